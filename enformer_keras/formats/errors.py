"""The one error of genome data."""

from collections.abc import Iterable

# Of one file: more would say the same again.
MOST_PROBLEMS = 10


class DatasetError(ValueError):
    """A dataset that cannot be used: every line names the file, the field or record, and the cure."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)  # Beam carries errors between processes
