"""A Keras model that anyone can check: its bins count a k-mer on the forward and on the other strand."""

import keras
import numpy as np
from keras import ops

from enformer_keras.prediction.predictor import PredictedTrack, Predictor
from enformer_keras.prediction.windows import Frame

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def other_strand(bases):
    return bases.translate(COMPLEMENT)[::-1]


class Counts(keras.layers.Layer):
    """Sums stretches of `bin_size` bp and keeps the central ones."""

    def __init__(self, bins, bin_size, **kwargs):
        super().__init__(**kwargs)
        self.bins, self.bin_size = bins, bin_size

    def call(self, hits):
        width = self.bins * self.bin_size
        start = (hits.shape[1] - width) // 2
        hits = hits[:, start : start + width]
        return ops.sum(ops.reshape(hits, (-1, self.bins, self.bin_size, hits.shape[2])), axis=2)


def counting_predictor(kmer, window_length=512, bins=8, bin_size=32, batch_size=3):
    """Track 0 counts the k-mer where it begins, track 1 where it begins on the other strand: a strand pair."""
    inputs = keras.Input((window_length, 4))
    hits = []
    for bases, padding in ((kmer, (0, len(kmer) - 1)), (other_strand(kmer), (len(kmer) - 1, 0))):
        convolution = keras.layers.Conv1D(1, len(kmer), activation="relu", trainable=False)
        found = keras.layers.ZeroPadding1D(padding)(convolution(inputs))
        kernel = np.zeros((len(kmer), 4, 1), "float32")
        kernel[range(len(kmer)), ["ACGT".index(base) for base in bases]] = 1
        convolution.set_weights([kernel, np.array([1 - len(kmer)], "float32")])
        hits.append(found)
    outputs = Counts(bins, bin_size)(keras.layers.Concatenate()(hits))
    tracks = [PredictedTrack(0, "plus", "", 1), PredictedTrack(1, "minus", "", 0)]
    return Predictor(
        keras.Model(inputs, outputs), Frame(window_length, bins, bin_size), tracks, batch_size=batch_size
    )


def count(window, kmer, bins, bin_size):
    """The same by comparing strings: [bins, 2]."""
    found = np.zeros((bins, 2), "float32")
    crop = (len(window) - bins * bin_size) // 2
    for at in range(len(window) - len(kmer) + 1):
        for track, bases, place in ((0, kmer, at), (1, other_strand(kmer), at + len(kmer) - 1)):
            number = (place - crop) // bin_size
            if window[at : at + len(kmer)] == bases and 0 <= number < bins:
                found[number, track] += 1
    return found
