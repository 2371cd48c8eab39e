"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first (robfig/cron, version 1)."""

import calendar
import dataclasses
import datetime
import re

# Name, smallest and largest value, and words for the values from the smallest on.
FIELDS = (
    ("second", 0, 59, ""),
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day of month", 1, 31, ""),
    ("month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"),
    ("day of week", 0, 6, "SUN MON TUE WED THU FRI SAT"),
)
PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
EVERY_DAY_OF_WEEK = frozenset(range(7))


@dataclasses.dataclass(frozen=True)
class Cron:
    """The times of a cron expression.

    Args:
        text: the expression.
        seconds: the seconds of a minute that it names.
        minutes: the minutes of an hour that it names.
    """

    text: str
    seconds: frozenset[int]
    minutes: frozenset[int]

    def may_fall_on(self, moment: datetime.datetime) -> bool:
        """Says whether this second can be one of the times, in whatever time zone the server reads them.

        Minutes count modulo 15, because zones differ by quarters of an hour. Hours and days are not looked at.

        Args:
            moment: a time.

        Returns:
            False where no time zone makes it one of the times.
        """
        minutes = any((moment.minute - minute) % 15 == 0 for minute in self.minutes)
        return minutes and moment.second in self.seconds


def parse_cron(text: str) -> Cron:
    """Reads a cron expression.

    Args:
        text: six fields separated by spaces, such as `0 0 3 * * MON`.

    Returns:
        Its times.

    Raises:
        ValueError: the server would refuse the expression, misread it, or never come to a time of it; the
            message names the field.
    """
    words = text.split()
    if len(words) != len(FIELDS):
        # Of five fields the server would take the first, the minute, for the second.
        names = ", ".join(name for name, *_ in FIELDS)
        raise ValueError(f"cron {text!r} has {len(words)} fields, not six: {names}")
    values = [_parse_field(text, word, *field) for word, field in zip(words, FIELDS, strict=True)]
    seconds, minutes, _, days, months, weekdays = values
    longest = max(calendar.monthrange(2024, month)[1] for month in months)  # a leap year
    if weekdays == EVERY_DAY_OF_WEEK and min(days) > longest:
        raise ValueError(f"cron {text!r}: no month that it names has a day {min(days)}")
    return Cron(text, seconds, minutes)


def _parse_field(text: str, field: str, name: str, smallest: int, largest: int, words: str) -> frozenset[int]:
    values: set[int] = set()
    for part in field.upper().split(","):
        match = PART.fullmatch(part)
        if match is None:
            raise ValueError(
                f"cron {text!r}: {part!r} is no {name}; write *, a number, a-b or, of these, /step"
            )
        first, last, step = match.group("first", "last", "step")
        start = smallest if first is None else _number(text, first, name, smallest, largest, words)
        if last is not None:
            end = _number(text, last, name, smallest, largest, words)
        else:
            end = largest if first is None or step is not None else start
        if start > end:
            raise ValueError(f"cron {text!r}: {part!r} begins after its end")
        if step is not None and int(step) == 0:
            raise ValueError(f"cron {text!r}: the step of {part!r} is zero")
        values.update(range(start, end + 1, int(step or 1)))
    return frozenset(values)


def _number(text: str, value: str, name: str, smallest: int, largest: int, words: str) -> int:
    names = words.split()
    number = smallest + names.index(value) if value in names else int(value) if value.isdecimal() else -1
    if not smallest <= number <= largest:
        also = f" or {names[0]} to {names[-1]}" if names else ""
        raise ValueError(f"cron {text!r}: {name} {value} is not {smallest} to {largest}{also}")
    return number
