"""Windows of two real genomes, small enough for a test."""

import numpy as np

from enformer_keras import BIN_SIZE, one_hot_encode
from tests.golden import FIXTURES

LENGTHS = {"sequence_length": 1024, "target_length": 4}


def windows(count, sequence_length=1024, target_length=4):
    """``{genome: one-hot [count, sequence_length, 4]}`` and ``{genome: CDS by strand [count, bins, 2]}``."""
    x, y = {}, {}
    with np.load(FIXTURES / "genomes.npz") as archive:
        for genome in ("ecoli", "yeast"):
            bases = archive[f"{genome}_sequence"].tobytes()
            cds = np.unpackbits(archive[f"{genome}_cds"], axis=1).T.astype("float32")
            starts = range(0, count * sequence_length, sequence_length)
            x[genome] = one_hot_encode([bases[start : start + sequence_length] for start in starts])
            bins = cds.reshape(-1, BIN_SIZE, 2).mean(axis=1)
            bins = bins[: count * sequence_length // BIN_SIZE].reshape(count, -1, 2)
            crop = (bins.shape[1] - target_length) // 2
            y[genome] = bins[:, crop : crop + target_length]
    return x, y
