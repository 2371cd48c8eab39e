"""A run's folder whose pushed model looks like the demo's from outside, and knows nothing."""

import json

import keras

from enformer_keras import Enformer

TRACKS = (("chip_1", 0), ("chip_2", 1), ("cds_plus", 3), ("cds_minus", 2))


def make_run(folder):
    """Makes it: one pushed version, without its SavedModel."""
    keras.utils.set_random_seed(0)
    model = Enformer.from_preset("tiny", heads={"ecoli": 4}, sequence_length=16_384, target_length=112)
    extra = folder / "pushed" / "1" / "assets.extra"
    extra.mkdir(parents=True)
    model.save(extra / "model.keras")
    rows = [
        {"index": at, "identifier": name, "description": name, "strand_pair": pair}
        for at, (name, pair) in enumerate(TRACKS)
    ]
    card = {"organisms": {"ecoli": {"tracks": rows, "contig_lengths": {"U00096.3": 4_641_652}}}}
    (extra / "model.json").write_text(json.dumps(card))
