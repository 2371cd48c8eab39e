"""A TFX component that scores files of variants with the pushed model, and tells people what changed."""
