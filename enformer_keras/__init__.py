"""Enformer in Keras 3: DNA sequence to expression and epigenomic tracks, on TensorFlow, JAX or torch."""

# Everything that a saved model may name is imported here, so that `import enformer_keras` suffices to load one.
from enformer_keras.augmentation import augment
from enformer_keras.enformer import BIN_SIZE, Enformer
from enformer_keras.schedules import WarmUp
from enformer_keras.sequence import one_hot_encode
from enformer_keras.sonnet_checkpoint import load_sonnet_checkpoint

__all__ = ["BIN_SIZE", "Enformer", "WarmUp", "augment", "load_sonnet_checkpoint", "one_hot_encode"]
