"""`enformer score`: what variants do to each track."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enformer_command.options import choose_tracks, model_options, open_predictor, parse_aliases

if TYPE_CHECKING:
    from enformer_keras.formats.variants import Variant
    from enformer_keras.prediction.predictor import Strands


@click.command()
@model_options
@click.argument("variants", required=False)
@click.option("--fasta", required=True, type=click.Path(path_type=Path), help="The genome of the variants.")
@click.option(
    "--variant", "spelled", multiple=True, metavar="CHR:POS:REF>ALT", help="A variant, instead of a file."
)
@click.option(
    "--tracks", multiple=True, metavar="WHICH", help="Score these: index, identifier, re:PATTERN, @FILE."
)
@click.option("--statistics", default="SAD", show_default=True, help="Scores, separated by commas.")
@click.option(
    "--width", type=click.IntRange(1), metavar="BP", help="Only bins within BP about the variant count."
)
@click.option("--strands", type=click.Choice(["both", "forward"]), default="both", show_default=True)
@click.option(
    "--shifts", default="0", show_default=True, help="Windows' shifts in bp to average over, by commas."
)
@click.option(
    "--reference",
    "policy",
    type=click.Choice(["skip", "fail", "swap", "force"]),
    default="skip",
    show_default=True,
    help="Where REF is not the genome's.",
)
@click.option(
    "--alias", multiple=True, metavar="CONTIG=NAME", help="Another name of a contig among the variants."
)
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True, help="Windows at a time.")
@click.option("--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["h5", "tsv"]),
    default=("h5",),
    show_default=True,
    help="Of the files; may be given twice.",
)
@click.option("--overwrite", is_flag=True, help="Replace scores that are there.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def score(
    model: Path,
    head: str | None,
    preset: str | None,
    variants: str | None,
    fasta: Path,
    spelled: tuple[str, ...],
    tracks: tuple[str, ...],
    statistics: str,
    width: int | None,
    strands: Strands,
    shifts: str,
    policy: str,
    alias: tuple[str, ...],
    batch_size: int,
    output: Path,
    formats: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
) -> None:
    r"""Score VARIANTS: VCF or BCF, a table (.tsv) with the columns chrom, pos, ref and alt, or - for stdin.

    Of every allele, in the order of the file, FOLDER gets a row with its status; what was not scored is also in
    skipped.tsv. Scores compare two predictions, of the reference's window (R) and of the alternative's (A):

    \b
    SAD   sum(A - R)                                SAR  sum(log2(1 + A)) - sum(log2(1 + R))
    SADR  log2(1 + sum(A)) - log2(1 + sum(R))       SAX  A - R where abs(A - R) is largest
    D1    sum(abs(A - R))                           D2   sqrt(sum((A - R)^2))
    logD1, logD2: D1 and D2 of log2(1 + x)          JSD  Jensen-Shannon divergence, in bits
    REF   sum(R)                                    ALT  sum(A)
    """
    if (variants is None) == (not spelled):
        raise click.UsageError("give a file of variants, or --variant")
    names = [name.strip() for name in statistics.split(",")]
    try:
        offsets = [int(shift) for shift in shifts.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--shifts {shifts}: write whole numbers, separated by commas") from error
    aliases = parse_aliases(alias)

    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.variants import Variant, read_variants
    from enformer_keras.prediction.predictor import check_averaging
    from enformer_keras.prediction.score_files import FORMATS, write_scores
    from enformer_keras.prediction.statistics import check_statistics

    # All that can be known before the model is loaded, which takes long.
    try:
        check_statistics(names)
        check_averaging(strands, offsets)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    there = [output / FORMATS[kind].name for kind in formats if (output / FORMATS[kind].name).exists()]
    if there and not overwrite:
        raise click.UsageError(f"{there[0]}: is there; give another --output, or --overwrite")
    alleles = iter([Variant.parse(text) for text in spelled]) if spelled else read_variants(str(variants))
    first = list(itertools.islice(alleles, 1))
    if not first:
        raise ValueError(f"{variants}: holds no variant; give another file")
    with contextlib.closing(Genome(fasta)) as genome:
        predictor = open_predictor(model, head, preset, batch_size)
        chosen = choose_tracks(predictor.tracks, tracks)
        about = {
            "model": str(model),
            "head": head or "",
            "genome": str(fasta),
            "variants": str(variants or ", ".join(spelled)),
            "strands": strands,
            "shifts": offsets,
            "width": width or 0,
            "reference_policy": policy,
        }
        kept = [predictor.tracks[index] for index in chosen]
        counts: Counter[str] = Counter()
        with write_scores(output, formats, kept, names, about) as append:
            for part in predictor.score_in_parts(
                _with_progress(itertools.chain(first, alleles), quiet),
                genome,
                statistics=names,
                tracks=chosen,
                width=width,
                strands=strands,
                shifts=offsets,
                reference_policy=policy,
                contig_aliases=aliases,
            ):
                append(part)
                counts.update(part.counts())
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))


def _with_progress(variants: Iterable[Variant], quiet: bool) -> Iterator[Variant]:
    """Tells every ten seconds, on the error output, how many variants were taken and how fast."""
    begun = told = time.monotonic()
    for number, variant in enumerate(variants, start=1):
        yield variant
        now = time.monotonic()
        if not quiet and now - told > 10:
            click.echo(f"{number} variants, {number / (now - begun):.3g} a second", err=True)
            told = now
