import pytest

from enformer_keras.formats.intervals import Interval


def test_interval_methods():
    interval = Interval("a", 100, 200)
    assert interval.width == 100
    assert interval.resize(50) == Interval("a", 125, 175)
    assert interval.resize(400) == Interval("a", -50, 350)
    assert interval.resize(400).truncate(300) == Interval("a", 0, 300)
    assert interval.shift(-150).truncate(1000) == Interval("a", 0, 50)
    assert interval.shift(500).truncate(300).width == 0
    assert interval.extend(3) == Interval("a", 97, 203)
    assert interval.overlaps(Interval("a", 199, 300))
    assert not interval.overlaps(Interval("a", 200, 300))
    assert not interval.overlaps(Interval("b", 100, 200))
    with pytest.raises(ValueError, match="ends before it starts"):
        Interval("a", 2, 1)
