"""A TFX ExampleGen that reads the authors' TFRecord folders (no TFX is imported here)."""
