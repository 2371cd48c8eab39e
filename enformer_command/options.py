"""Options that several subcommands have, bundled: what belongs together comes to a command as one argument."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.genes import Gene
    from enformer_keras.prediction.gene_windows import Part
    from enformer_keras.prediction.predictor import PredictedTrack, Predictor, Strands

_Command = TypeVar("_Command", bound=Callable[..., Any])


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Hides what Keras and its backend say at start-up that is no error; warnings come as a line each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings(record=True) as told:
        yield
    for warning in told:
        if warning.category is UserWarning:
            click.echo(f"enformer: warning: {warning.message}", err=True)


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """MODEL, how it is opened, and which of its tracks are asked for."""

    path: Path
    head: str | None
    preset: str | None
    batch_size: int
    asked_tracks: tuple[str, ...]
    tracks_table: Path | None
    unscale: bool
    sum_strand_pairs: bool
    dtype: str | None
    any_genome: bool
    full_passes: bool

    def open(
        self, genome: Genome | None = None, contig_aliases: Mapping[str, Sequence[str]] | None = None
    ) -> Predictor:
        """Opens the model.

        Args:
            genome: what it will be asked about, if it is known.
            contig_aliases: contig of it -> its other names.
        """
        with _quiet_start():
            from enformer_keras import open_model

            return open_model(self.path, genome=genome, contig_aliases=contig_aliases, **self.arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `open_model`, but for the path, the genome and its aliases."""
        return {
            "head": self.head,
            "tracks_table": self.tracks_table,
            "preset": self.preset,
            "dtype": self.dtype,
            "unscale": self.unscale,
            "sum_strand_pairs": self.sum_strand_pairs,
            "any_genome": self.any_genome,
            "full_passes": self.full_passes,
            "batch_size": self.batch_size,
        }

    def open_heads(self) -> list[Predictor]:
        """Opens the head that is named, or all heads where none is, and nothing else is said of one."""
        if self.head is not None or self.tracks_table is not None or self.unscale or self.sum_strand_pairs:
            return [self.open()]
        with _quiet_start():
            from enformer_keras.prediction import open_heads

            heads = open_heads(self.path, preset=self.preset, dtype=self.dtype, batch_size=self.batch_size)
        return list(heads.values())

    def tracks(self, predictor: Predictor) -> list[int]:
        """Returns the indices of the tracks that are asked for.

        Raises:
            click.UsageError: a text stands for no track.
        """
        return choose_tracks(predictor.tracks, self.asked_tracks)


@dataclasses.dataclass(frozen=True)
class GenomeOptions:
    """The genome, and what else its contigs are called."""

    fasta: Path
    alias: tuple[str, ...]

    @contextlib.contextmanager
    def open(self) -> Iterator[Genome]:
        """Opens the genome for a while."""
        from enformer_keras.formats.fasta import Genome

        with contextlib.closing(Genome(self.fasta)) as genome:
            yield genome

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Contig of the genome -> its other names.

        Raises:
            click.UsageError: a text is no `CONTIG=NAME`.
        """
        return parse_aliases(self.alias)


@dataclasses.dataclass(frozen=True)
class AveragingOptions:
    """What predictions are averaged over."""

    strands: Strands
    shifts_text: str

    @property
    def shifts(self) -> list[int]:
        """Bp by which windows move to the right.

        Raises:
            click.UsageError: they are no whole numbers, or one comes twice.
        """
        try:
            shifts = [int(shift) for shift in self.shifts_text.split(",")]
        except ValueError as error:
            raise click.UsageError(
                f"--shifts {self.shifts_text}: write whole numbers, separated by commas"
            ) from error
        if len(set(shifts)) < len(shifts):
            raise click.UsageError(f"--shifts {self.shifts_text}: give each once")
        return shifts


@dataclasses.dataclass(frozen=True)
class GeneOptions:
    """Genes, and what of each counts."""

    gtf: Path | None
    part: Part
    each_start: bool
    sense: bool
    asked_genes: tuple[str, ...]
    biotypes: tuple[str, ...]

    def read(self, genome: Genome, aliases: Mapping[str, Sequence[str]]) -> list[Gene]:
        """Reads the genes that are asked for.

        Raises:
            click.UsageError: no file was given, or one of names cannot be read.
            DatasetError: the file of genes cannot be read, or has none of them.
        """
        from enformer_keras.formats.genes import choose_genes, read_genes

        if self.gtf is None:
            raise click.UsageError("genes are read from a file: give --gtf")
        asked = [name for text in self.asked_genes for name in texts_of("--gene", text)]
        return choose_genes(read_genes(self.gtf, genome.contig_lengths, aliases), asked, self.biotypes)

    def said(self, genes: Sequence[Gene]) -> dict[str, Any]:
        """What decides the numbers, for `about`; of exons also how many genes have them from which features."""
        said = {
            "genes": str(self.gtf),
            "part": self.part,
            "each_start": self.each_start,
            "sense": self.sense,
            "biotypes": self.biotypes,
        }
        return said | ({"exons_from": self.exons_from(genes)} if self.part == "exons" else {})

    @staticmethod
    def exons_from(genes: Sequence[Gene]) -> dict[str, int]:
        """Returns feature -> number of genes whose exons it stands for."""
        return dict(Counter(gene.exons_from for gene in genes).most_common())

    def check_unused(self, context: click.Context) -> None:
        """Checks that without genes nothing is said of them.

        Raises:
            click.UsageError: something is.
        """
        for option in context.command.params:
            name = "gtf" if option.name is None else option.name
            source = context.get_parameter_source(name)
            of_genes = name in {field.name for field in dataclasses.fields(self)} | {"distance"}
            if self.gtf is None and of_genes and source is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{option.opts[0]} is about genes: give --gtf")


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """Where results go, and what is told meanwhile."""

    folder: Path
    overwrite: bool
    dry_run: bool
    quiet: bool

    def check(self, names: Sequence[str]) -> None:
        """Checks that files may be written.

        Args:
            names: of the files in the folder.

        Raises:
            click.UsageError: one is there, and shall not be replaced.
        """
        there = [self.folder / name for name in names if (self.folder / name).exists()]
        if there and not self.overwrite:
            raise click.UsageError(f"{there[0]}: is there; give another --output, or --overwrite")


def bundle(argument: str, kind: type, *options: Callable[[_Command], _Command]) -> Callable[[_Command], Any]:
    """Makes a decorator: a command gets these options' values as one argument, an instance of `kind`."""

    def decorate(function: _Command) -> Any:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(kind)}
            return function(**values, **{argument: kind(**fields)})

        return functools.reduce(lambda made, option: option(made), reversed(options), command)

    return decorate


model_options = bundle(
    "model",
    ModelOptions,
    click.argument("path", type=click.Path(path_type=Path), metavar="MODEL"),
    click.option("--head", help="Which head is asked; needed where the model has several."),
    click.option("--preset", help="Sizes of a checkpoint's model."),
    click.option(
        "--tracks-table",
        type=click.Path(path_type=Path),
        metavar="TARGETS.TXT",
        help="Names, strand pairs and scales of the tracks, where the model does not say them.",
    ),
    click.option(
        "--sum-strand-pairs", is_flag=True, help="Add up the two tracks of each strand pair, before all else."
    ),
    click.option("--unscale", is_flag=True, help="Values in the units of the tracks' files."),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "tf32", "bfloat16", "mixed_bfloat16", "mixed_float16"]),
        help="What the model computes in; else as it was saved. tf32: float32 whose products GPUs round.",
    ),
    click.option(
        "--any-genome", is_flag=True, help="Also ask about another genome than the model was trained on."
    ),
    click.option(
        "--full-passes",
        is_flag=True,
        help="Compute each window wholly: the same numbers, several times slower.",
    ),
    click.option(
        "--tracks",
        "asked_tracks",
        multiple=True,
        metavar="WHICH",
        help="These tracks: index, identifier, re:PATTERN over identifiers and descriptions, @FILE.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), default=4, show_default=True, help="Windows at a time."
    ),
)
genome_options = bundle(
    "genome",
    GenomeOptions,
    click.option("--fasta", required=True, type=click.Path(path_type=Path), help="The genome."),
    click.option(
        "--alias", multiple=True, metavar="CONTIG=NAME", help="Another name of a contig in the input."
    ),
)
averaging_options = bundle(
    "averaging",
    AveragingOptions,
    click.option("--strands", type=click.Choice(["both", "forward"]), default="both", show_default=True),
    click.option(
        "--shifts",
        "shifts_text",
        default="0",
        show_default=True,
        help="Windows' shifts in bp to average over, by commas.",
    ),
)
output_options = bundle(
    "output",
    OutputOptions,
    click.option("--output", "folder", required=True, type=click.Path(path_type=Path), metavar="FOLDER"),
    click.option("--overwrite", is_flag=True, help="Replace results that are there."),
    click.option(
        "--dry-run", is_flag=True, help="Only say what would be done, what skipped, and how long it takes."
    ),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)
gene_options = bundle(
    "genes",
    GeneOptions,
    click.option(
        "--gtf", type=click.Path(path_type=Path), metavar="FILE", help="Genes: GTF or GFF3, plain or gzip."
    ),
    click.option(
        "--part",
        type=click.Choice(["tss", "exons", "span"]),
        default="tss",
        show_default=True,
        help="Bins of a gene that count: that of its TSS and one on either side; of its exons; of its span.",
    ),
    click.option("--each-start", is_flag=True, help="Take each start of a gene's transcripts, not the first."),
    click.option(
        "--sense",
        is_flag=True,
        help="Of genes on the minus strand, take each track's strand pair: a column is the gene's own strand.",
    ),
    click.option("--gene", "asked_genes", multiple=True, metavar="WHICH", help="These genes: id, name, @FILE."),
    click.option("--biotype", "biotypes", multiple=True, help="Genes of this kind, such as protein_coding."),
)
width_option = click.option(
    "--width", type=click.IntRange(1), metavar="BP", help="Only bins within BP about the centre count."
)

length_option = click.option(
    "--length", type=click.IntRange(1), metavar="BP", help="Take BP about each region's middle, instead of it."
)


def choose_tracks(tracks: Sequence[PredictedTrack], asked: Sequence[str]) -> list[int]:
    """Finds tracks by what was given with `--tracks`.

    Args:
        tracks: of the head.
        asked: each an index, an identifier, `re:` and a pattern to look for in identifiers and descriptions, or
            `@` and a file with one of these a line. Nothing: all tracks.

    Returns:
        Their indices, in the order of the head.

    Raises:
        click.UsageError: a text stands for no track.
    """
    if not asked:
        return [track.index for track in tracks]
    found: set[int] = set()
    for text in asked:
        if text.startswith("@"):
            found.update(choose_tracks(tracks, texts_of("--tracks", text)))
            continue
        if text.startswith("re:"):
            try:
                pattern = re.compile(text[3:])
            except re.error as error:
                raise click.UsageError(f"--tracks {text}: is no regular expression ({error})") from error
            chosen = [t.index for t in tracks if pattern.search(t.identifier) or pattern.search(t.description)]
        else:
            chosen = [track.index for track in tracks if track.identifier == text]
            if not chosen and text.isdecimal() and int(text) < len(tracks):
                chosen = [int(text)]
        if not chosen:
            raise click.UsageError(
                f"--tracks {text}: no track of the {len(tracks)} (`enformer info` lists them)"
            )
        found.update(chosen)
    return sorted(found)


def texts_of(option: str, text: str, *, commas: bool = False) -> list[str]:
    """Returns the lines of a file that is given as `@FILE`, empty ones left out; any other text as it is.

    Args:
        option: that was given.
        text: its value.
        commas: whether a text that is no file may be several, separated by commas.

    Raises:
        click.UsageError: the file cannot be read.
    """
    if not text.startswith("@"):
        return [part.strip() for part in text.split(",")] if commas else [text]
    try:
        lines = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{option} {text}: cannot be read ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def parse_shard(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Reads `--shard I/N`: which of how many.

    Raises:
        click.UsageError: the text is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.UsageError(f"--shard {text}: write I/N, such as 2/8 for the second of eight")
    return int(match[1]), int(match[2])


shard_option = click.option(
    "--shard",
    callback=parse_shard,
    metavar="I/N",
    help="Do every Nth part, from the Ith on, and write no file yet; `enformer merge` does of all N.",
)


def parse_aliases(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads `--alias CONTIG=NAME`, as often as it was given.

    Raises:
        click.UsageError: a text is none.
    """
    aliases: dict[str, tuple[str, ...]] = {}
    for text in texts:
        contig, equals, name = text.partition("=")
        if not (contig and equals and name):
            raise click.UsageError(f"--alias {text}: write CONTIG=NAME, the genome's name first")
        aliases[contig] = (*aliases.get(contig, ()), name)
    return aliases
