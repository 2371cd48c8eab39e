"""`enformer calibrate`: a background of scores, which says how large others are."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="How large scores are: a background for their quantiles.")
@click.argument("scores", type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The background."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def calibrate(scores: Path, output: Path, overwrite: bool) -> None:
    """Make a background of SCORES, the scores.h5 (or its folder) of common variants.

    Score variants that are common in a population first, 10,000 or more, with the model and the options that
    the others will have:

    \b
    enformer score MODEL common.vcf.gz --fasta genome.fa --output common
    enformer calibrate common --output background.h5
    enformer score MODEL mine.vcf.gz --fasta genome.fa --background background.h5 --output mine

    A quantile is the share of the background whose scores are smaller in size, with the sign of the score.
    Scores of another model or made with other options are refused.
    """  # noqa: D301 (click takes the character itself)
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output}: is there; give another --output, or --overwrite")

    from enformer_keras.prediction.background import calibrate as make

    background = make(scores, output)
    click.echo(
        f"{output}: {background.count} scores of {len(background.tracks)} tracks, {', '.join(background.sizes)}"
    )
