"""The function that TFX's Transform traces into a graph."""

from typing import Any

import tensorflow as tf

from components.transform.decoding import decode_sequences


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Decodes a batch of examples.

    There is no analyzer, so Transform needs no pass over the data, and nothing is materialized: a one-hot
    sequence is 16 times its bytes. The targets of a batch may be of several organisms and so of several widths:
    they stay bytes, which `decode_targets` decodes where the organism is known.

    Args:
        inputs: `sequence` and `target`, strings [batch], of an ExampleGen; other features are ignored.
        custom_config: `flanked_length` (bp of window and flanks).

    Returns:
        `sequence`, float32 [batch, flanked_length, 4], and `target` as it came.
    """
    return {
        "sequence": decode_sequences(inputs["sequence"], int(custom_config["flanked_length"])),
        "target": tf.identity(inputs["target"]),
    }
