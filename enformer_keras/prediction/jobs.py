"""What jobs of predictions have in common (`parts`): a model, a genome, and parts of a few items each.

What a job asks of a model stands in its fields, which can be pickled; a worker opens model and genome. So
another process or machine can compute a part.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras

from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction.made_by import installed_version
from enformer_keras.prediction.opening import open_model
from enformer_keras.prediction.parts import Worker
from enformer_keras.prediction.predictor import Predictor, Strands

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome


class Opened(NamedTuple):
    """What a worker has open.

    Attributes:
        predictor: the model.
        genome: where the sequences are from.
        tell: called with the number of tiles, genes or loci that are predicted, as they are.
    """

    predictor: Predictor
    genome: Genome
    tell: Callable[[int], object] = lambda count: None


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked, and of which genome.

    Attributes:
        model: path of the model; of a run's folder the pushed version (`ModelCard.path`), for a newer one may
            come while parts are computed.
        fasta: the genome.
        options: of `open_model`, but for the genome and its aliases.
        aliases: contig of the genome -> other names, of which one may be the model's.
        tracks: indices of the head's tracks.
        strands: `both` averages over the two strands.
        shifts: bp by which windows move to the right, to average over.
        opened: these, where they are open in this process already; it stays here when a job is pickled.
    """

    model: Path
    fasta: Path
    options: Mapping[str, Any]
    aliases: Mapping[str, Sequence[str]]
    tracks: tuple[int, ...]
    strands: Strands = "both"
    shifts: tuple[int, ...] = (0,)
    opened: Opened | None = dataclasses.field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    @contextlib.contextmanager
    def open(self) -> Iterator[Opened]:
        """Opens model and genome, where they are not open.

        Raises:
            DatasetError: a file cannot be used.
        """
        if self.opened is not None:
            yield self.opened
            return
        from enformer_keras.formats.fasta import Genome  # needs pysam

        with contextlib.closing(Genome(self.fasta)) as genome:
            predictor = open_model(self.model, genome=genome, contig_aliases=self.aliases, **self.options)
            yield Opened(predictor, genome)

    def of_model(self, predictor: Predictor) -> dict[str, Any]:
        """Says what tells a model apart, and what computes it."""
        return {
            "fingerprint": predictor.fingerprint,
            "version": installed_version(),
            "backend": keras.backend.backend(),
            "batch_size": predictor.batch_size,
        }

    @property
    def averaged(self) -> dict[str, Any]:
        """Arguments that all predictions have."""
        return {"tracks": self.tracks, "strands": self.strands, "shifts": self.shifts}


@dataclasses.dataclass
class SlicedJob(abc.ABC):
    """A job whose parts are so many items each.

    Attributes:
        asked: of which model and genome.
        question: see `parts.Job`.
        num_items: tiles, genes or loci.
        per_part: items of a part.
        num_parts: see `parts.Job`.
    """

    asked: Asked
    question: Mapping[str, Any]
    num_items: int
    per_part: int
    num_parts: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.num_parts = -(-self.num_items // self.per_part)

    @abc.abstractmethod
    def open(self) -> contextlib.AbstractContextManager[Worker]:
        """See `parts.Job`."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Opened]:
        """Opens model and genome.

        Raises:
            DatasetError: they give other numbers here than where the question was asked.
        """
        with self.asked.open() as opened:
            for name, here in self.asked.of_model(opened.predictor).items():
                if here != self.question[name] and None not in (here, self.question[name]):
                    cure = (
                        f"set KERAS_BACKEND={self.question[name]}" if name == "backend" else "give all the same"
                    )
                    raise DatasetError(
                        f"{self.asked.model}: a worker asks it with {name}={here}, the other parts are of "
                        f"{self.question[name]}; {cure} where workers are started"
                    )
            yield opened

    def items(self, index: int) -> range:
        """Returns the numbers of a part's items."""
        return range(self.num_items)[index * self.per_part : (index + 1) * self.per_part]


def question_of(
    asked: Asked,
    opened: Opened,
    said: Mapping[str, Any] | None,
    files: Sequence[Path] = (),
    **more: Any,
) -> dict[str, Any]:
    """Says all that decides a number; of files that are read, their sizes and when they were changed."""
    tables = [option for option in asked.options.values() if isinstance(option, Path)]
    return {
        **(said or {}),
        **more,
        **asked.of_model(opened.predictor),
        "options": {name: str(option) for name, option in asked.options.items()},
        "tracks": list(asked.tracks),
        "strands": asked.strands,
        "shifts": list(asked.shifts),
        "files": {
            str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in (asked.fasta, *tables, *files)
        },
    }


def digest_of(items: Iterable[Any]) -> str:
    """Digests what tells items apart."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item!r}\n".encode())
    return digest.hexdigest()[:16]
