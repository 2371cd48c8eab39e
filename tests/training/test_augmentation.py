"""Augmentation against slices and string reversal."""

import numpy as np
import pytest
from keras import ops

from enformer_keras import Augmentation, augment, average_predictions, one_hot_encode
from enformer_keras.training.augmentation import augment_arrays

FLANKED = "NNACGTACCATTGGCCRA"  # 12 bp of window, 3 bp of flank on each side
WINDOW = 12
COMPLEMENT = str.maketrans("ACGTNR", "TGCANR")


def run(shift, reverse, target, pairs, rule=augment):
    sequences, targets = one_hot_encode([FLANKED] * len(shift)), np.stack([target] * len(shift))
    before = sequences.copy(), targets.copy()
    sequence, target = rule(
        sequences,
        targets,
        shift=np.array(shift, "int32"),
        reverse_complement=np.array(reverse, dtype=bool),
        strand_pairs=pairs,
        window_length=WINDOW,
    )
    np.testing.assert_array_equal(sequences, before[0])
    np.testing.assert_array_equal(targets, before[1])
    return ops.convert_to_numpy(sequence), ops.convert_to_numpy(target)


@pytest.mark.parametrize("pairs", [[0, 1, 3, 2], [1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 2, 3]])
def test_shift_and_reverse_complement_are_those_of_strings(pairs):
    target = np.arange(8, dtype="float32").reshape(2, 4)
    shifts = [-3, 0, 3, 3, 0, -2]
    for reverses in ([False, False, False, True, True, True], [True] * 6, [False] * 6):
        sequences, targets = run(shifts, reverses, target, pairs)
        assert_turned(sequences, targets, shifts, reverses, target, pairs)
        for found, expected in zip(
            run(shifts, reverses, target, pairs, augment_arrays), (sequences, targets), strict=True
        ):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def assert_turned(sequences, targets, shifts, reverses, target, pairs):
    for sequence, augmented, shift, reverse in zip(sequences, targets, shifts, reverses, strict=True):
        window = FLANKED[3 + shift : 3 + shift + WINDOW]
        if reverse:
            window = window.translate(COMPLEMENT)[::-1]
        np.testing.assert_array_equal(sequence, one_hot_encode(window))
        np.testing.assert_array_equal(augmented, target[::-1][:, pairs] if reverse else target)


def predict(one_hot):
    """Two heads of three and two tracks: for each bin of 4 bp the counts of some letters, times its number."""
    bins = np.asarray(ops.convert_to_numpy(one_hot)).reshape(-1, WINDOW // 4, 4, 4).sum(axis=2)
    return {"a": bins[..., :3] * np.arange(1, 4)[:, None], "b": bins[..., 2:] + 1}


@pytest.mark.parametrize("shifts", [(0,), (-3, 1), (2, -2, 0)])
@pytest.mark.parametrize("strands", [False, True])
def test_averages_are_those_of_a_loop_over_strings(shifts, strands):
    pairs = {"a": [2, 1, 0], "b": [0, 1]}
    flanked = [FLANKED, FLANKED[::-1]]
    found = average_predictions(
        predict,
        one_hot_encode(flanked),
        strand_pairs=pairs,
        window_length=WINDOW,
        shifts=shifts,
        strands=strands,
    )
    assert found.keys() == pairs.keys()
    for number, text in enumerate(flanked):
        answers = {"a": [], "b": []}
        for shift in shifts:
            window = text[3 + shift : 3 + shift + WINDOW]
            for head, values in predict(one_hot_encode([window])).items():
                answers[head].append(values[0])
            if strands:
                for head, values in predict(one_hot_encode([window.translate(COMPLEMENT)[::-1]])).items():
                    answers[head].append(values[0, ::-1][:, pairs[head]])
        for head, values in answers.items():
            np.testing.assert_allclose(found[head][number], np.mean(values, axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("shifts", "pairs", "message"),
    [
        ((), [0, 1, 2], "at least one"),
        ((0, -4), [0, 1, 2], r"shifts=\[0, -4\] must .* none longer than the flanks of 3 bp"),
        ((0.5,), [0, 1, 2], "at least one integer"),
        ((0,), [1, 2, 0], "strand_pairs="),
    ],
)
def test_averages_that_cannot_be_are_refused(shifts, pairs, message):
    with pytest.raises(ValueError, match=message):
        average_predictions(
            predict,
            one_hot_encode([FLANKED]),
            strand_pairs={"a": pairs, "b": [0, 1]},
            window_length=WINDOW,
            shifts=shifts,
        )


@pytest.mark.parametrize("pairs", [[0, 1], [1, 2, 0], [0, 1, 3]])
def test_strand_pairs_that_pair_nothing(pairs):
    for rule in (augment, augment_arrays):
        with pytest.raises(ValueError, match="strand_pairs="):
            run([0], [True], np.zeros((2, 3), "float32"), pairs, rule)


@pytest.mark.parametrize("rule", [augment, augment_arrays])
def test_flanks_must_be_even(rule):
    with pytest.raises(ValueError, match="window_length=11"):
        rule(
            one_hot_encode([FLANKED]),
            np.zeros((1, 2, 1), "float32"),
            shift=np.zeros(1, "int32"),
            reverse_complement=np.zeros(1, bool),
            strand_pairs=[0],
            window_length=11,
        )


def test_layer_draws_every_shift_and_both_strands_in_training_only():
    target = np.arange(8, dtype="float32").reshape(2, 4)
    pairs, count = [0, 1, 3, 2], 64
    layer = Augmentation(WINDOW, pairs, max_shift=2, seed=0)
    batch = one_hot_encode([FLANKED] * count), np.stack([target] * count)
    sequences, targets = (ops.convert_to_numpy(tensor) for tensor in layer(*batch))
    np.testing.assert_array_equal(sequences, one_hot_encode([FLANKED[3:-3]] * count))
    np.testing.assert_array_equal(targets, batch[1])

    every = {
        (shift, reverse): run([shift], [reverse], target, pairs) for shift in range(-2, 3) for reverse in (0, 1)
    }
    drawn = set()
    for sequence, augmented in zip(*layer(*batch, training=True), strict=True):
        drawn |= {
            key
            for key, (expected, turned) in every.items()
            if np.array_equal(ops.convert_to_numpy(sequence), expected[0])
            and np.array_equal(ops.convert_to_numpy(augmented), turned[0])
        }
    assert drawn == set(every)
    again = Augmentation.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("window_length", 0),
        ("max_shift", -1),
        ("max_shift", 1.5),
        ("reverse_complement", "no"),
        ("strand_pairs", [1, 1]),
    ],
)
def test_layer_refuses_arguments_that_cannot_be(argument, value):
    with pytest.raises(ValueError, match=argument):
        Augmentation(**{"window_length": WINDOW, "strand_pairs": [0], argument: value})


def test_layer_refuses_flanks_shorter_than_its_shift():
    with pytest.raises(ValueError, match="flanks of 3 bp are shorter than max_shift=4"):
        Augmentation(WINDOW, [0], max_shift=4)(one_hot_encode([FLANKED]), np.zeros((1, 2, 1), "float32"))
