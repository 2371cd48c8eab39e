"""Which version of this package a number is from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_NAME = "enformer-keras"


def installed_version() -> str | None:
    """Returns the package's version; `None` where it was copied and not installed, as into an image."""
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return None


def made_by() -> str:
    """Returns the package's name, and its version where that is known."""
    return " ".join([_NAME, *filter(None, [installed_version()])])
