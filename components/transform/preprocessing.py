"""The function that TFX's Transform traces into a graph."""

from typing import Any

import tensorflow as tf

from components.transform.decoding import decode_sequences, decode_targets


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Decodes a batch of examples.

    There is no analyzer, so Transform needs no pass over the data, and nothing is materialized: a one-hot
    sequence is 16 times its bytes.

    Args:
        inputs: `sequence` and `target`, strings [batch], of GenomeExampleGen; other features are ignored.
        custom_config: `flanked_length` (bp of window and flanks), `target_length` (bins), `tracks`.

    Returns:
        `sequence`, float32 [batch, flanked_length, 4], and `target`, float32 [batch, target_length, tracks].
    """
    return {
        "sequence": decode_sequences(inputs["sequence"], int(custom_config["flanked_length"])),
        "target": decode_targets(
            inputs["target"], int(custom_config["target_length"]), int(custom_config["tracks"])
        ),
    }
