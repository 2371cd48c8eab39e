"""The TFX components of this pipeline: one folder each."""
