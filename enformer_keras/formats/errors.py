"""The one error of genome data, and how lists are written in it."""

from collections import Counter
from collections.abc import Iterable

# Of one file: more would say the same again.
MOST_PROBLEMS = 10
_MOST_NAMES = 8


class DatasetError(ValueError):
    """A dataset that cannot be used: every line names the file, the field or record, and the cure."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)  # Beam carries errors between processes


def first_names(names: Iterable[str]) -> str:
    """Writes the first few names of a list."""
    names = list(names)
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")


def counted(occurring: Counter[str]) -> str:
    """Writes names with how often they occur, the most frequent first."""
    return first_names(f"{name} ({count})" for name, count in occurring.most_common())
