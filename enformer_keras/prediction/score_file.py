"""What a file of scores is, whatever its format."""

from __future__ import annotations

import abc
import json
from typing import Any, ClassVar

from enformer_keras.prediction.asking import VariantScores


class ScoreFile(abc.ABC):
    """A file of scores that is being written.

    Attributes:
        names: of the file in its folder, and of what may come with it.
    """

    names: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles."""

    def finish(self) -> None:  # noqa: B027 (some formats need nothing)
        """Writes what comes after the last allele."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the file, finished or not."""


def one_line(value: Any) -> str:
    """Writes a value of a header, text as it is and all else as JSON, without line breaks."""
    return " ".join(str(value if isinstance(value, str | int | float) else json.dumps(value)).split())
