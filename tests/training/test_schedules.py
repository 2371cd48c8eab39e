"""The learning rate against its definition."""

import keras
import numpy as np
import pytest

from enformer_keras import WarmUp


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def test_constant_after_the_warm_up():
    np.testing.assert_allclose(rates(WarmUp(0.4, 4), [0, 1, 3, 4, 1000]), [0.1, 0.2, 0.4, 0.4, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates(WarmUp(0.4, 0), [0, 9]), [0.4, 0.4], rtol=1e-6)


def test_half_cosine_to_zero():
    np.testing.assert_allclose(rates(WarmUp(0.4, 4, 10), [3, 9, 14, 99]), [0.4, 0.2, 0, 0], atol=1e-7)


def test_survives_serialization():
    schedule = WarmUp(0.4, 4, 10)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert copy.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0.1, -1), "warm_up_steps"),
        ((0.1, 1.5), "warm_up_steps"),
        ((0.1, 1, 0), "decay_steps"),
        (("0.1", 1), "peak"),
        ((float("nan"), 1), "peak"),
    ],
)
def test_steps_that_cannot_be(arguments, name):
    with pytest.raises(ValueError, match=name):
        WarmUp(*arguments)
