"""Trainer: fits Enformer to the examples and writes the trainable and the served model."""
