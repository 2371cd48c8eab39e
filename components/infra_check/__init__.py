"""A TFX component that proves a SavedModel loads and answers in a process of its own."""
