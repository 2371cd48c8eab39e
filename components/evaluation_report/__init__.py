"""A TFX component that tells people how a model was trained, how well it predicts, and how it was judged."""
