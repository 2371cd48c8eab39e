"""Enformer in Keras 3: DNA sequence to expression and epigenomic tracks, on TensorFlow, JAX or torch."""

# Everything that a saved model may name is imported here, so that `import enformer_keras` suffices to load one.
from enformer_keras.checkpoints.pytorch import load_pytorch_checkpoint, pytorch_heads
from enformer_keras.checkpoints.sonnet import load_sonnet_checkpoint, sonnet_heads
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.model.enformer import BIN_SIZE, PARTS, Enformer
from enformer_keras.model.presets import PRESETS
from enformer_keras.prediction.averaging import average_predictions
from enformer_keras.prediction.opening import open_model
from enformer_keras.prediction.predictor import Predictor
from enformer_keras.training.alternating import AlternatingHeads
from enformer_keras.training.augmentation import Augmentation, augment
from enformer_keras.training.metrics import R2, PearsonR
from enformer_keras.training.optimizers import AdamByPart, SynchronizedAdam
from enformer_keras.training.schedules import WarmUp

__all__ = [
    "BIN_SIZE",
    "PARTS",
    "PRESETS",
    "R2",
    "AdamByPart",
    "AlternatingHeads",
    "Augmentation",
    "Enformer",
    "PearsonR",
    "Predictor",
    "SynchronizedAdam",
    "WarmUp",
    "augment",
    "average_predictions",
    "load_pytorch_checkpoint",
    "load_sonnet_checkpoint",
    "one_hot_encode",
    "open_model",
    "pytorch_heads",
    "sonnet_heads",
]
