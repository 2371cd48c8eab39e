"""Progress of long work, on the error output: how many, how fast, and how long yet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")


@contextlib.contextmanager
def progress(
    items: Iterable[_Item], *, unit: str, total: int | None = None, quiet: bool = False
) -> Iterator[Iterable[_Item]]:
    """Tells as items are taken; a line every ten seconds where the error output is no terminal.

    Args:
        items: what is worked on.
        unit: what they are, for `12.3 variants/s`.
        total: how many there are; `None`: not known, and no time left is told.
        quiet: whether to tell nothing.

    Yields:
        The items.
    """
    with _bar(items, unit, total, quiet) as bar:
        yield bar


@contextlib.contextmanager
def counting(*, unit: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Callable[[int], object]]:
    """Tells as `progress` does of what is counted, not taken.

    Args:
        unit: what they are.
        total: how many there are.
        done: how many of them were done before.
        quiet: whether to tell nothing.

    Yields:
        What is called with how many more are done.
    """
    with _bar(None, unit, total, quiet, done) as bar:
        yield bar.update


def _bar(
    items: Iterable[_Item] | None, unit: str, total: int | None, quiet: bool, done: int = 0
) -> tqdm[_Item]:
    return tqdm(
        items,
        total=total,
        initial=done,
        unit=f" {unit}",
        disable=quiet,
        dynamic_ncols=True,
        delay=1,  # an error at the start stands alone
        mininterval=0.5 if sys.stderr.isatty() else 10,
        file=sys.stderr,
    )
