"""A TFX component that shows what the examples hold and what was left out of them."""
