"""Files of components whose Beam workers are elsewhere, handed over for the time that they work."""
