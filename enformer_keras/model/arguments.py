"""Checks of arguments that more than one class takes."""

import math
import numbers
from typing import Any


def is_integer(value: Any) -> bool:
    """Whether a value is an int; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a real number and finite; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def check_integer(argument: str, value: Any, at_least: int = 1, *, optional: bool = False) -> None:
    """Refuse what is no integer of at least ``at_least``.

    Args:
        argument: Name for the message.
        value: What the user gave.
        at_least: The lowest allowed, 0 or 1.
        optional: Whether ``None`` is allowed too.

    Raises:
        ValueError: Names the argument, what is allowed and the value.
    """
    if (value is None and optional) or (is_integer(value) and value >= at_least):
        return
    allowed = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
    raise ValueError(f"{argument} must be {allowed}{' or None' if optional else ''}, got {value!r}")


def check_rate(argument: str, value: Any) -> None:
    """Refuse what is no share of elements to drop.

    Args:
        argument: Name for the message.
        value: What the user gave.

    Raises:
        ValueError: It is no number of at least 0 and below 1.
    """
    if not is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(f"{argument} must be at least 0 and below 1, got {value!r}")


def check_switch(argument: str, value: Any) -> None:
    """Refuse what is neither True nor False, such as the word "no", which counts as true.

    Args:
        argument: Name for the message.
        value: What the user gave.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{argument} must be True or False, got {value!r}")


def check_length(layer: str, length: int | None) -> int:
    """Refuse sequences of a length that is not known, or 0.

    Args:
        layer: Name of the layer for the message.
        length: Of the sequence, as far as it is known.

    Returns:
        The length.

    Raises:
        ValueError: It is unknown or 0.
    """
    if length is None:
        raise ValueError(
            f"{layer}: the length must be known; one of None may come from batches of more than one length"
        )
    if length < 1:
        raise ValueError(f"{layer}: the length must be at least 1, got {length}")
    return length


def check_shapes(what: str, y_true: Any, y_pred: Any) -> None:
    """Refuse targets that are of another shape than the predictions, as far as both are known.

    Arithmetic would broadcast one track to all of them.

    Args:
        what: What compares them, for the message.
        y_true: Targets.
        y_pred: Predictions.

    Raises:
        ValueError: The shapes differ.
    """
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    if len(shapes[0]) != len(shapes[1]) or any(
        None not in sizes and sizes[0] != sizes[1] for sizes in zip(*shapes, strict=True)
    ):
        raise ValueError(f"{what}: y_true {shapes[0]} and y_pred {shapes[1]} differ in shape")
