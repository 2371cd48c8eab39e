"""A TFX component that puts a judged model where it is served, whole or not at all."""
