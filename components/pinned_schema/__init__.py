"""A TFX component that hands on a schema that people wrote."""
