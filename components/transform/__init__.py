"""Transform: bytes of an example to one-hot sequence and target, the same graph in training and serving."""
