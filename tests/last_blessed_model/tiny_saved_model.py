"""SavedModels of one number, with the card that pushed models have."""

import json

import tensorflow as tf

from components.trainer.training import MODEL_CARD


def write_model(folder, tracks=("a", "b"), endpoints=("serving_default", "serving_averaged"), flanked=1030):
    """Writes a SavedModel with endpoints; without tracks, one that has no card."""
    served = tf.Module()
    served.answer = tf.function(lambda examples: {"ecoli": 1.0}, [tf.TensorSpec([None], tf.string, "examples")])
    served.decode = tf.function(
        lambda examples: {"sequence": tf.zeros([tf.size(examples), flanked, 4])}, served.answer.input_signature
    )
    signatures = dict.fromkeys(endpoints, served.answer) | {"transform_features": served.decode}
    tf.saved_model.save(served, folder, signatures=signatures)
    if tracks:
        card = folder / MODEL_CARD
        card.parent.mkdir()
        organisms = {"ecoli": {"assembly": None, "tracks": [{"identifier": name} for name in tracks]}}
        lengths = {"window_length": 1024, "target_length": 4, "bin_size": 128}
        card.write_text(json.dumps({**lengths, "organisms": organisms}))
    return folder
