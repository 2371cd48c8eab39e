import datetime

import pytest

from kubeflow.cron import parse_cron
from kubeflow.schedule import is_quiet


@pytest.mark.parametrize(
    ("text", "seconds", "minutes"),
    [
        ("0 0 3 * * MON", {0}, {0}),
        ("0 30 1 ? * 1-5", {0}, {30}),
        ("*/20 5,10-12 0 1 jan ?", {0, 20, 40}, {5, 10, 11, 12}),
        ("10/25 00 23 31 12 6", {10, 35}, {0}),
        ("0-10/5 * 0 29 2 *", {0, 5, 10}, set(range(60))),
    ],
)
def test_times(text, seconds, minutes):
    times = parse_cron(text)
    assert times.seconds == seconds
    assert times.minutes == minutes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 3 * * 1", "has 5 fields, not six: second, minute, hour"),
        ("0 0 0 3 * * 1", "has 7 fields"),
        ("@weekly", "has 1 fields"),
        ("", "has 0 fields"),
        ("60 0 3 * * 1", "second 60 is not 0 to 59"),
        ("0 0 24 * * 1", "hour 24 is not 0 to 23"),
        ("0 0 3 0 * 1", "day of month 0 is not 1 to 31"),
        ("0 0 3 * 13 1", "month 13 is not 1 to 12 or JAN to DEC"),
        ("0 0 3 * * 7", "day of week 7 is not 0 to 6 or SUN to SAT"),
        ("0 0 3 * * MOON", "day of week MOON is not"),
        ("0 0 five * * 1", "hour FIVE is not"),
        ("0 0 5-3 * * 1", "'5-3' begins after its end"),
        ("0 */0 3 * * 1", "the step of '*/0' is zero"),
        ("0 -1 3 * * 1", "'-1' is no minute"),
        ("0 1,,2 3 * * 1", "'' is no minute"),
        ("0 0 3 30 2 *", "no month that it names has a day 30"),
    ],
)
def test_wrong(text, message):
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        parse_cron(text)


def test_quiet_around_a_time_in_every_zone():
    weekly = [parse_cron("0 5 3 * * MON")]
    day = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)

    def loud(minute, second):
        return not is_quiet(weekly, day.replace(minute=minute, second=second))

    assert [minute for minute in range(60) if loud(minute, 0)] == [5, 20, 35, 50]
    assert [second for second in range(60) if loud(5, second)] == list(range(16))
    assert [second for second in range(60) if loud(4, second)] == list(range(45, 60))
