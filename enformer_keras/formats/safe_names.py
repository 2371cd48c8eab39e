"""Names of files and fields, made of free texts: distinct, and of letters that every system takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def safe_names(
    texts: Sequence[str], numbers: Sequence[int], others: str = "._+-", longest: int = 150
) -> list[str]:
    """Makes names of texts.

    Letters other than those of ASCII, digits and `others` become `_`. A text whose name another one has too,
    by letters of either case, is told from it by `_` and its number.

    Args:
        texts: whose names they are.
        numbers: of the texts, each once.
        others: what may stand in a name besides letters and digits.
        longest: letters that are kept of a text; file systems take 255, of which endings need some.

    Returns:
        Distinct names, none of which begins with a dot or a dash.
    """
    allowed = re.compile(rf"[^A-Za-z0-9{re.escape(others)}]")
    names = [re.sub(r"^[.-]", "_", allowed.sub("_", text)[:longest]) or "_" for text in texts]
    while True:
        times = Counter(name.lower() for name in names)
        if len(times) == len(names):
            return names
        names = [
            f"{name}_{number}" if times[name.lower()] > 1 else name
            for name, number in zip(names, numbers, strict=True)
        ]
