"""The `tf.train.Example` of a window: what every ExampleGen of this project writes."""

import numpy as np
import tensorflow as tf

from enformer_keras.genome.intervals import Window


def make_example(
    *, organism: str, window: Window, sequence: bytes, flank_length: int, target: np.ndarray
) -> tf.train.Example:
    """Builds the example of a window.

    Args:
        organism: name of the head.
        window: where it lies.
        sequence: ASCII bases of the window and its flanks, [window_length + 2 * flank_length].
        flank_length: bp of each flank.
        target: float16 [target_length, tracks].

    Returns:
        Features: `sequence`, bytes as given; `target`, bytes of the array (little-endian float16, C order);
        `organism` and `chrom`, bytes; `start` and `end`, the window without flanks, 0-based half-open (they
        may lie beyond the contig, where the bases are N);
        and for checks of the data, each a float: `gc_fraction` (of the window's A, C, G and T),
        `n_fraction` (of the window) and `mean_signal` (of the target).
    """
    # (numpy: `bytes.count` of a letter that is everywhere takes thirty times as long.)
    bases = np.frombuffer(sequence, dtype=np.uint8)[flank_length : len(sequence) - flank_length]
    a, c, g, t, n = (np.count_nonzero(bases == letter) for letter in b"ACGTN")

    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def of_int(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    def of_float(value: float) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "sequence": of_bytes(sequence),
                "target": of_bytes(target.astype("<f2").tobytes()),
                "organism": of_bytes(organism.encode()),
                "chrom": of_bytes(window.interval.chrom.encode()),
                "start": of_int(window.interval.start),
                "end": of_int(window.interval.end),
                "gc_fraction": of_float((g + c) / max(a + c + g + t, 1)),
                "n_fraction": of_float(n / len(bases)),
                "mean_signal": of_float(float(target.mean(dtype=np.float64))),
            }
        )
    )
