"""The files of variants that a run scores, and what of the dataset they are held against."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.basenji_example_gen.description import describes_folders, load_basenji_description
from enformer_keras.datasets.description import load_description
from enformer_keras.datasets.tracks import read_track_table
from enformer_keras.formats.errors import DatasetError, counted, first_names
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.genes import Gene, read_genes
from enformer_keras.formats.text_file import suffix_of
from enformer_keras.formats.variants import read_variants
from enformer_keras.prediction.alleles import ReferencePolicy
from enformer_keras.prediction.resolving import check_references

_OF_GENES = (".gtf", ".gff3", ".gff")
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class VariantFile:
    """A file of variants as the pipeline carries it.

    Attributes:
        path: where it lies, for the component too.
        sha256: of its bytes, so that the cache sees another content under the same path.
    """

    path: str
    sha256: str

    @classmethod
    def open(cls, path: Path) -> VariantFile:
        """Reads the first variant of a file to see that it can be read.

        Args:
            path: see `variants.read_variants`.

        Raises:
            DatasetError: it cannot, or there is none.
        """
        if next(read_variants(path), None) is None:
            raise DatasetError(f"{path}: holds no variant; give another file of variants, or none")
        return cls(str(path), _digest(path))

    def check(self) -> None:
        """Sees that the file is still what it was.

        Raises:
            DatasetError: it is another, or there is none.
        """
        path = Path(self.path)
        if not path.is_file():
            raise DatasetError(f"{path}: no such file of variants; it must lie at the same place for all tasks")
        if _digest(path) != self.sha256:
            raise DatasetError(
                f"{path}: has changed since the pipeline was laid out; do that again (Kubeflow: make kubeflow)"
            )


@dataclasses.dataclass(frozen=True)
class GenomeFiles:
    """What a dataset says of an organism's genome.

    Attributes:
        fasta: its sequence.
        contig_aliases: contig of that file -> other names.
        genes: the first file of genes (GTF or GFF3) among the dataset's tracks; `None`: there is none.
    """

    fasta: Path
    contig_aliases: Mapping[str, Sequence[str]]
    genes: Path | None


def genome_of(dataset: Path, organism: str) -> GenomeFiles:
    """Reads a dataset's YAML file, but no data.

    Args:
        dataset: of either kind.
        organism: one of its organisms.

    Raises:
        DatasetError: it cannot be used, or names no genome.
    """
    if describes_folders(dataset):
        fasta = load_basenji_description(dataset).organisms[organism].fasta_file(dataset)
        if fasta is None:
            raise DatasetError(
                f"{dataset}: organisms.{organism}: names no fasta, against which variants are held; add it, or "
                "give no variants"
            )
        return GenomeFiles(fasta, {}, None)
    description = load_description(dataset, organism)
    tracks = read_track_table(dataset.parent / description.tracks, dataset.parent)
    return GenomeFiles(
        dataset.parent / description.fasta,
        description.contig_aliases,
        next((track.file for track in tracks if suffix_of(track.file) in _OF_GENES), None),
    )


def read_known_genes(known: GenomeFiles, genome: Genome) -> tuple[Gene, ...]:
    """Reads the genes of a dataset's annotation; none where it has none, or no genes in it."""
    if known.genes is None:
        return ()
    try:
        return read_genes(known.genes, genome.contig_lengths, known.contig_aliases)
    except DatasetError as error:
        _logger.info("no genes are named or drawn: %s", error)
        return ()


def check_alleles(file: Path, genome: Genome, aliases: Mapping[str, Sequence[str]], longest: int) -> None:
    """Holds a file's first 1,000 variants against a genome.

    Args:
        file: of variants.
        genome: what they should be variants of.
        aliases: contig of the genome -> other names.
        longest: bp that an allele may have to be scored.

    Raises:
        DatasetError: none of them can be scored, or more than a fifth have another REF.
    """
    try:
        first = check_references(read_variants(file), genome, ReferencePolicy.SKIP, aliases, longest)
    except DatasetError as error:
        raise DatasetError(f"{file}: {error}; give variants of this assembly, or none") from error
    if not any(status.is_scored for _, status, _ in first):
        contigs = first_names(dict.fromkeys(variant.chrom for variant, _, _ in first))
        statuses = counted(Counter(str(status) for _, status, _ in first))
        raise DatasetError(
            f"{file}: none of the first {len(first)} variants can be scored: {statuses}; they lie on {contigs}"
            f", and {genome.path} has {first_names(genome.contig_lengths)}: give variants of this assembly, or "
            "none, or name their contigs in the dataset's contig_aliases"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
