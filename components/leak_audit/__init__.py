"""A TFX component that stops the pipeline where inputs of one split show targets of another."""
