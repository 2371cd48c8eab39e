"""Models by name."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Avsec et al. 2021: 251 million weights.
    "paper": {},
    # The one that the authors' training notebook builds, a quarter as wide.
    "notebook": {"channels": 384},
    # 0.8 million weights: trains on two cores in minutes.
    "laptop": {
        "channels": 144,
        "num_transformer_layers": 2,
        "num_heads": 4,
        "key_size": 32,
        "filters_divisible_by": 16,
        "dropout_rate": 0.2,
        "sequence_length": 16_384,
        "target_length": 112,
    },
    # For trying code out: builds and steps in seconds.
    "tiny": {
        "channels": 48,
        "num_transformer_layers": 1,
        "num_heads": 2,
        "key_size": 8,
        "filters_divisible_by": 8,
        "sequence_length": 2_048,
        "target_length": 8,
    },
}
"""Arguments of `Enformer` by preset; those not named have the paper's values."""
