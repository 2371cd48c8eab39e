"""The Trainer's parts; the whole of it runs in tests/pipeline."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.distributed import share_of
from components.trainer.input_data import Share, evaluation_batches, find_examples, training_batches
from components.trainer.strategy import find_tpu, make_strategy
from components.trainer.training import Training
from tests.trainer.tiny_training import FLANK, WINDOW, decode, head_examples, write_examples

SMALL = {"window_length": WINDOW, "batch_size": 3}


@pytest.fixture
def folder(tmp_path):
    write_examples(tmp_path, tiny=7, small=5)
    return tmp_path


def batches(folder, seed, steps=5, heads=("tiny",), of="tiny", **changes):
    arguments = {"max_shift": FLANK, "reverse_complement": True, **SMALL, **changes}
    examples = {head: head_examples(folder, head) for head in heads}
    dataset = training_batches(examples, decode, seed=seed, **arguments)
    return [(x[of].numpy(), y[of].numpy()) for x, y in dataset.take(steps)]


def assert_equal(some, others):
    for pair, other in zip(some, others, strict=True):
        for value, expected in zip(pair, other, strict=True):
            np.testing.assert_array_equal(value, expected)


def test_the_seed_decides_the_batches(folder):
    first, again, other = batches(folder, 1), batches(folder, 1), batches(folder, 2)
    assert_equal(first, again)
    assert any(not np.array_equal(x, x_other) for (x, _), (x_other, _) in zip(first, other, strict=True))


def test_batches_from_a_step_are_those_that_follow_it(folder):
    whole = batches(folder, 1, steps=12)
    for first_step in (1, 2, 7):  # in the first epoch, across its end, in the third
        assert_equal(batches(folder, 1, steps=12 - first_step, first_step=first_step), whole[first_step:])


def test_every_head_has_windows_and_draws_of_its_own(folder):
    alone = batches(folder, 1)
    assert_equal(batches(folder, 1, heads=("tiny", "small")), alone)
    other = batches(folder, 1, heads=("tiny", "small"), of="small")
    assert [y.shape for _, y in other] == [(3, 2, 1)] * 5
    windows = {window.tobytes() for x, _ in alone for window in x}
    assert not windows & {window.tobytes() for x, _ in other for window in x}
    # The same windows as another head's: the order is the seed's, shifts and strands are drawn anew.
    examples = head_examples(folder)
    arguments = {"max_shift": FLANK, "reverse_complement": True, "seed": 1, **SMALL}
    both = training_batches({"one": examples, "two": examples}, decode, **arguments)
    assert any(not np.array_equal(x["one"], x["two"]) for x, _ in both.take(5))


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])  # rchar


def test_a_late_step_costs_what_the_first_costs(tmp_path):
    write_examples(tmp_path, tiny=500)
    examples = {"tiny": head_examples(tmp_path)}
    arguments = {"max_shift": 0, "reverse_complement": False, "seed": 1, **SMALL}
    cost = {}
    for step in (1, 0, 10_000):  # the first time, TensorFlow reads things of its own
        before = bytes_read()
        for _ in training_batches(examples, decode, **arguments, first_step=step).take(40):
            pass
        cost[step] = bytes_read() - before
    assert cost[10_000] < 2 * cost[0]


def test_no_python_runs_in_the_pipeline(folder):
    """It could wait for the interpreter's lock while whoever ends the pipeline holds it and waits."""
    examples = head_examples(folder)
    arguments = {"max_shift": 3, "reverse_complement": True, "seed": 1, **SMALL}
    for dataset in (
        training_batches({"tiny": examples}, decode, **arguments),
        evaluation_batches(examples, decode, **SMALL),
    ):
        graph = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor, strip_device_assignment=True)
        assert b"PyFunc" not in graph.numpy()
        assert b"MapDataset" in graph.numpy()


def test_every_epoch_shows_every_window_once(folder):
    plain = np.concatenate([x for x, _ in batches(folder, 1, 14, max_shift=0, reverse_complement=False)])
    evaluated = np.concatenate([x for x, _ in evaluation_batches(head_examples(folder), decode, **SMALL)])
    assert len(evaluated) == 7
    windows = {window.tobytes() for window in evaluated}
    epochs = [[window.tobytes() for window in plain[start : start + 7]] for start in range(0, 42, 7)]
    assert all(set(epoch) == windows for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    shifted = np.concatenate([x for x, _ in batches(folder, 1, reverse_complement=False)])
    assert not {window.tobytes() for window in shifted} <= windows


def test_whole_batches_leave_out_the_rest_and_say_so(folder, caplog):
    examples = head_examples(folder)
    whole = evaluation_batches(examples, decode, **SMALL, whole_batches=True)
    assert [len(x) for x, _ in whole] == [3, 3]
    assert "1 of 7 examples are left out" in caplog.text
    with pytest.raises(ValueError, match="2 validation examples do not fill a batch of 3"):
        evaluation_batches(
            dataclasses.replace(examples, places=examples.places[:2]), decode, **SMALL, whole_batches=True
        )


def test_parts_of_whole_batches(folder):
    """Two replicas of one host, and one of each of two hosts, read what one device does, in fixed shapes."""
    examples = head_examples(folder)
    sizes = {"window_length": WINDOW, "batch_size": 2, "whole_batches": True}
    whole = np.concatenate([x for x, _ in evaluation_batches(examples, decode, **sizes)])
    of_shares = []
    for share in (Share(2, 0, 2), Share(2, 0, 1), Share(2, 1, 1)):
        dataset = evaluation_batches(examples, decode, **sizes, share=share)
        x, y = dataset.element_spec
        assert (x.shape, y.shape) == ((1, WINDOW, 4), (1, 2, 2))
        of_shares.append(np.concatenate([x for x, _ in dataset]))
    both, first, second = of_shares
    assert len(whole) == 6  # of seven
    np.testing.assert_array_equal(both, whole)
    np.testing.assert_array_equal(first, whole[::2])
    np.testing.assert_array_equal(second, whole[1::2])


def test_what_a_host_reads():
    contexts = [tf.distribute.InputContext(2, index, 8) for index in range(2)]
    assert [share_of(context) for context in contexts] == [Share(8, 0, 4), Share(8, 4, 4)]


def test_too_few_examples(folder):
    files = [f"{folder}/*"]
    assert len(find_examples(files, "tiny", at_least=7)) == 7
    with pytest.raises(ValueError, match="7 examples, fewer than 8"):
        find_examples(files, "tiny", at_least=8)
    with pytest.raises(FileNotFoundError, match=r"no examples of mouse: nothing matches .*mouse"):
        find_examples(files, "mouse", at_least=1)


def test_strategies_are_chosen_in_the_open(caplog):
    caplog.set_level("INFO")
    assert make_strategy("auto").num_replicas_in_sync == 1
    assert "strategy auto: one" in caplog.text
    with pytest.raises(RuntimeError, match="this host has no TPU chips: set TPU_NAME"):
        make_strategy("tpu")
    with pytest.raises(RuntimeError, match="has 0 GPUs"):
        make_strategy("mirrored")
    with pytest.raises(ValueError, match="'gpu'"):
        make_strategy("gpu")


class Resolver:
    """Of TPUs: what it is told, in the place of TensorFlow's, whose signature tests/tpu holds against this."""

    def __init__(self, tpu=None):
        self.tpu = tpu


@pytest.mark.parametrize("named", ["local", "grpc://10.0.0.1:8470,grpc://10.0.0.2:8470", ""])
@pytest.mark.parametrize("strategy", ["auto", "tpu"])
def test_a_tpu_is_found_and_connected_in_order(monkeypatch, strategy, named):
    """`local` is said aloud: in TPU_NAME alone TensorFlow takes it for a TPU of Google Cloud of that name."""
    monkeypatch.setenv("TPU_NAME", named)
    chips = [tf.config.PhysicalDevice("/physical_device:TPU:0", "TPU")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: chips if kind == "TPU" else [])
    asked = []
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", Resolver)
    monkeypatch.setattr(
        tf.config, "experimental_connect_to_cluster", lambda tpu: asked.append(("connect", tpu.tpu))
    )
    monkeypatch.setattr(
        tf.tpu.experimental, "initialize_tpu_system", lambda tpu: asked.append(("start", tpu.tpu))
    )
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda tpu: ("strategy", tpu.tpu))
    name = named or "local"
    assert find_tpu() == name
    assert make_strategy(strategy) == ("strategy", name)
    assert asked == [("connect", name), ("start", name)]


def test_a_tpu_that_is_named_and_does_not_answer(monkeypatch):
    """Is no reason to train on the CPU; this TensorFlow, which is not for TPUs, finds none."""
    monkeypatch.setenv("TPU_NAME", "local")
    for strategy in ("auto", "tpu"):
        with pytest.raises(
            RuntimeError, match=r"no TPU answers at TPU_NAME='local' .*TPUs not found.*DEVICES=tpu"
        ):
            make_strategy(strategy)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"strategy": "gpu"}, "strategy"),
        ({"decay": True, "steps": 9}, "warm_up_steps"),
        ({"patience": -1}, "patience"),
        ({"keep": "first"}, "keep"),
        ({"steps": 12, "epochs": 4, "steps_per_execution": 2}, "steps_per_execution"),
    ],
)
def test_training_that_cannot_be(changes, name):
    with pytest.raises(ValueError, match=name):
        Training(**changes)
