"""The layers that Enformer has and Keras lacks."""

from enformer_keras.layers.batch_normalization import SynchronizedBatchNormalization
from enformer_keras.layers.dropout import Dropout
from enformer_keras.layers.gelu import gelu
from enformer_keras.layers.relative_attention import RelativeMultiHeadAttention
from enformer_keras.layers.softmax_pooling import SoftmaxPooling1D
from enformer_keras.layers.target_length_crop import TargetLengthCrop1D
from enformer_keras.layers.winograd_convolution import WinogradConv1D

__all__ = [
    "Dropout",
    "RelativeMultiHeadAttention",
    "SoftmaxPooling1D",
    "SynchronizedBatchNormalization",
    "TargetLengthCrop1D",
    "WinogradConv1D",
    "gelu",
]
