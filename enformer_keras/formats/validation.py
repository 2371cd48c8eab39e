"""Pydantic's errors in the words of `DatasetError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import first_names

with from_extra("genome"):
    import pydantic


def describe_validation_error(where: str, error: pydantic.ValidationError, given: object) -> list[str]:
    """Turns a pydantic error into one line for each wrong field.

    Args:
        where: file, or file and row, that was validated.
        error: what pydantic raised.
        given: what was validated, mappings and sequences.

    Returns:
        Lines such as `dataset.yaml: splits.blocks.train[0]: Input should be less than or equal to 1 (got 1.5)`.
    """
    fields: dict[str, list[str]] = {}
    got: dict[str, object] = {}
    texts: dict[str, list[object]] = {}
    for detail in error.errors(include_url=False):
        # A union (scale: number or `mean`) reports once for each of its members: one line says both.
        place, *around = _places(detail["loc"], given)
        if detail["type"] in ("extra_forbidden", "missing"):
            place = ".".join(map(str, detail["loc"]))
            message = "is missing; add it"
            if detail["type"] == "extra_forbidden":
                message = "unknown field; remove it or correct its spelling"
        elif detail["type"] in ("string_type", "path_type") and detail["input"] is None:
            message = "is empty; give it a value, or remove it"
        elif detail["type"] in ("string_type", "path_type") and not isinstance(
            detail["input"], Mapping | Sequence
        ):
            # Together for all of a list, or all keys of a mapping.
            inside = place.endswith("]") or detail["loc"][-1] == "[key]"
            texts.setdefault(around[0] if inside else place, []).append(detail["input"])
            continue
        else:
            message = detail["msg"].removeprefix("Value error, ")
            got[place] = detail["input"]
        fields.setdefault(place, []).append(message)
    lines = [
        f"{where}: {place}: {first_names(map(str, values))} is not read as text; put it in quotes"
        f"{_example(values[0])}"
        for place, values in texts.items()
    ]
    for place, messages in fields.items():
        if place in texts or (
            place and any(o.startswith((f"{place}.", f"{place}[")) for o in (*fields, *texts))
        ):
            continue  # what lies inside says it already, or another member of a union came further
        value = f" (got {got[place]!r})" if place and place in got else ""
        prefix = f"{where}: {place}: " if place else f"{where}: "
        lines.append(f"{prefix}{'; or: '.join(dict.fromkeys(messages))}{value}")
    return lines


def _places(location: Sequence[str | int], given: Any) -> list[str]:
    """Writes where a wrong value lies, and around it, from the inside out.

    What pydantic adds to the way there, such as the member of a union, is no field and is left out.
    """
    places = [""]
    for part in location:
        if isinstance(given, Mapping) and part in given:
            places.append(f"{places[-1]}.{part}".removeprefix("."))
        elif isinstance(given, list | tuple) and isinstance(part, int) and part < len(given):
            places.append(f"{places[-1]}[{part}]")
        else:
            continue
        given = given[part]
    return places[::-1]


def _example(value: object) -> str:
    if isinstance(value, bool):
        return " (YAML reads the words yes, no, on and off as True and False)"
    return f': "{value}"'
