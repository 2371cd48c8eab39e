"""Progress of long work, on the error output: how many, how fast, and how long yet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
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
    with tqdm(
        items,
        total=total,
        unit=f" {unit}",
        disable=quiet,
        dynamic_ncols=True,
        delay=1,  # an error at the start stands alone
        mininterval=0.5 if sys.stderr.isatty() else 10,
        file=sys.stderr,
    ) as bar:
        yield bar
