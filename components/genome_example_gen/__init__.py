"""A TFX ExampleGen that cuts a genome and its tracks into windows (no TFX is imported here)."""
