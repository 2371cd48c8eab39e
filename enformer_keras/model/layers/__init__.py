"""The layers that Enformer has and Keras lacks."""

from enformer_keras.model.layers.batch_normalization import SynchronizedBatchNormalization
from enformer_keras.model.layers.dropout import Dropout
from enformer_keras.model.layers.gelu import gelu
from enformer_keras.model.layers.named_dense import Dense
from enformer_keras.model.layers.pieces import CutIntoPieces1D, JoinPieces1D, Neighbours1D
from enformer_keras.model.layers.put_bins import PutBins1D
from enformer_keras.model.layers.relative_attention import RelativeMultiHeadAttention
from enformer_keras.model.layers.softmax_pooling import SoftmaxPooling1D
from enformer_keras.model.layers.softplus import softplus
from enformer_keras.model.layers.target_length_crop import TargetLengthCrop1D
from enformer_keras.model.layers.winograd_convolution import WinogradConv1D

__all__ = [
    "CutIntoPieces1D",
    "Dense",
    "Dropout",
    "JoinPieces1D",
    "Neighbours1D",
    "PutBins1D",
    "RelativeMultiHeadAttention",
    "SoftmaxPooling1D",
    "SynchronizedBatchNormalization",
    "TargetLengthCrop1D",
    "WinogradConv1D",
    "gelu",
    "softplus",
]
