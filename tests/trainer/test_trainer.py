"""The Trainer's parts; the whole of it runs in tests/pipeline."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.input_data import evaluation_batches, training_batches
from components.trainer.run_fn import compile_model, count_examples, fit
from components.trainer.strategy import make_strategy
from components.trainer.training import Training
from enformer_keras import Enformer, one_hot_encode

BASES = np.array(list("ACGT"))
TINY = {
    "channels": 24,
    "num_transformer_layers": 0,
    "num_heads": 1,
    "heads": {"tiny": 2},
    "sequence_length": 256,
    "target_length": 2,
    "filters_divisible_by": 4,
}


@pytest.fixture
def files(tmp_path):
    """Seven examples whose sequence and target tell them apart; here a record is a sequence alone."""
    rng = np.random.default_rng(0)
    path = tmp_path / "examples.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for _ in range(7):
            writer.write("".join(BASES[rng.integers(0, 4, 262)]).encode())
    return [str(tmp_path / "*")]


def transform(serialized):
    codes = tf.io.decode_raw(serialized, tf.uint8)
    sequence = tf.ensure_shape(tf.one_hot(codes % 4, 4), [None, 262, 4])
    return {"sequence": sequence, "target": tf.ensure_shape(sequence[:, :2, :2], [None, 2, 2])}


def batches(files, seed, **changes):
    arguments = {
        "head": "tiny",
        "window_length": 256,
        "batch_size": 3,
        "max_shift": 3,
        "reverse_complement": True,
        "strand_pairs": [1, 0],
        "shuffle_buffer": 7,
    }
    dataset = training_batches(files, transform, seed=seed, **{**arguments, **changes})
    return [(x.numpy(), y["tiny"].numpy()) for x, y in dataset.take(5)]


def test_the_seed_decides_the_batches(files):
    first, again, other = batches(files, 1), batches(files, 1), batches(files, 2)
    for (x, y), (x_again, y_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
    assert any(not np.array_equal(x, x_other) for (x, _), (x_other, _) in zip(first, other, strict=True))


def test_without_augmentation_the_windows_are_those_of_evaluation(files):
    plain = np.concatenate([x for x, _ in batches(files, 1, max_shift=0, reverse_complement=False)])
    evaluated = np.concatenate(
        [x for x, _ in evaluation_batches(files, transform, head="tiny", window_length=256, batch_size=3)]
    )
    assert len(evaluated) == 7
    windows = {window.tobytes() for window in evaluated}
    assert {window.tobytes() for window in plain} == windows
    shifted = np.concatenate([x for x, _ in batches(files, 1, reverse_complement=False)])
    assert not {window.tobytes() for window in shifted} <= windows


def test_too_few_examples(files):
    assert count_examples(files, at_least=7) == 7
    assert count_examples(files, at_least=3, stop_at=3) == 3
    with pytest.raises(ValueError, match="7 examples, fewer than 8"):
        count_examples(files, at_least=8)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        count_examples(["/nowhere/*"], at_least=1)


def test_strategies_are_chosen_in_the_open(caplog):
    caplog.set_level("INFO")
    assert make_strategy("auto").num_replicas_in_sync == 1
    assert "strategy auto: one" in caplog.text
    with pytest.raises(RuntimeError, match="no TPU answers"):
        make_strategy("tpu")
    with pytest.raises(RuntimeError, match="has 0 GPUs"):
        make_strategy("mirrored")
    with pytest.raises(ValueError, match="'gpu'"):
        make_strategy("gpu")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"strategy": "gpu"}, "strategy"),
        ({"decay": True, "steps": 9}, "warm_up_steps"),
    ],
)
def test_training_that_cannot_be(changes, name):
    with pytest.raises(ValueError, match=name):
        Training(**changes)


def test_a_killed_run_goes_on(tmp_path):
    """Two of three parts, then a crash; the second attempt does the third alone."""
    training = Training(steps=6, epochs=3, warm_up_steps=1, learning_rate=1e-3)
    x = one_hot_encode(["ACGT" * 64])
    data = tf.data.Dataset.from_tensors((x, {"tiny": np.ones((1, 2, 2), "float32")}))

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("power cut")

    def attempt(*callbacks):
        keras.utils.set_random_seed(0)
        model = Enformer(**TINY)
        compile_model(model, training)
        fit(
            model,
            data.repeat(),
            data,
            training,
            checkpoints=tmp_path / "checkpoints",
            log_folder=str(tmp_path / "logs"),
            callbacks=callbacks,
        )
        return model

    with pytest.raises(RuntimeError, match="power cut"):
        attempt(Crash())
    assert any((tmp_path / "checkpoints").rglob("*"))
    starts = []
    model = attempt(keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: starts.append(epoch)))
    assert starts == [2]
    assert int(model.optimizer.iterations) == 6
    assert not any(path.is_file() for path in (tmp_path / "checkpoints").rglob("*"))
    assert any((tmp_path / "logs").rglob("events*"))
