"""Packages that not everybody needs: an extra of this one brings each, and its lack is told with the cure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """Says what installs a package whose import within it fails.

    Example:
        >>> with from_extra("genome"):
        ...     import pysam

    Args:
        extra: of pyproject.toml.

    Raises:
        ModuleNotFoundError: one is not installed; the message says which, and what installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is needed here and is not installed: pip install 'enformer-keras[{extra}]'",
            name=error.name,
            path=error.path,
        ) from error
