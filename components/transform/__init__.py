"""Transform: bases of an example to a one-hot sequence, the same graph in training and serving."""
