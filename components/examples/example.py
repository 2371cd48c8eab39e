"""The `tf.train.Example` of a window: what every ExampleGen of this project writes."""

import numpy as np
import tensorflow as tf

from enformer_keras.datasets.windows import Window


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
    a, c, g, t, n = (int(np.count_nonzero(bases == letter)) for letter in b"ACGTN")

    example = tf.train.Example()
    # Filled in place: to pass messages to messages is to copy the target at every level.
    feature = example.features.feature
    feature["sequence"].bytes_list.value.append(sequence)
    feature["target"].bytes_list.value.append(target.astype("<f2").tobytes())
    feature["organism"].bytes_list.value.append(organism.encode())
    feature["chrom"].bytes_list.value.append(window.interval.chrom.encode())
    feature["start"].int64_list.value.append(window.interval.start)
    feature["end"].int64_list.value.append(window.interval.end)
    feature["gc_fraction"].float_list.value.append((g + c) / max(a + c + g + t, 1))
    feature["n_fraction"].float_list.value.append(n / len(bases))
    feature["mean_signal"].float_list.value.append(float(target.mean(dtype=np.float64)))
    return example
