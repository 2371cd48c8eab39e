"""What a pushed model of the tiny pipeline is asked, in both environments."""

import numpy as np
import tensorflow as tf

from enformer_keras import one_hot_encode, open_model
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval

REGION = Interval("chrom", 2000, 2100)


def ask(pushed, data):
    """Name -> numbers: of each head's endpoint, of the library for a region, and of its gradient there."""
    genome = Genome(data / "genome.fa")
    windows = [genome.sequence(Interval("chrom", start, start + 1024)).decode() for start in (0, 10_000)]
    model = tf.saved_model.load(str(pushed))  # which holds the variables
    served = model.predict_sequences(tf.constant(windows))
    opened = open_model(pushed, head="tiny", genome=genome)
    one_hot = one_hot_encode(windows[:1])
    return {
        **{head: values.numpy() for head, values in served.items()},
        "opened": np.asarray(opened.predict([REGION], genome)),
        "gradient": opened.pullback(one_hot, np.ones((1, 4, 3), np.float32)),
    }
