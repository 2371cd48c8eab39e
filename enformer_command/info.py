"""`enformer info`: what a model is and which tracks it has."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enformer_command.options import ModelOptions, choose_tracks, model_options, parse_aliases

if TYPE_CHECKING:
    from enformer_keras.prediction.predictor import PredictedTrack, Predictor

# Of the contigs of a genome these many are written, but in JSON.
_MOST_CONTIGS = 8


@click.command(short_help="What a model is, and which tracks it has.")
@model_options
@click.option(
    "--fasta", type=click.Path(path_type=Path), help="Compare this genome with the one it was trained on."
)
@click.option("--alias", multiple=True, metavar="CONTIG=NAME", help="Another name of a contig of --fasta.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, with all that is known.")
def info(model: ModelOptions, fasta: Path | None, alias: tuple[str, ...], as_json: bool) -> None:
    """Say what MODEL reads and predicts, and list its tracks; of all heads where none is named."""
    aliases = parse_aliases(alias)
    predictors = model.open_heads()
    chosen = _choose(model, predictors)
    if as_json:
        click.echo(json.dumps(_describe(predictors, chosen), indent=2))
    else:
        for line in _lines(predictors, chosen):
            click.echo(line)
    if fasta is not None:
        _compare(predictors, fasta, aliases)


def _choose(model: ModelOptions, predictors: list[Predictor]) -> list[list[PredictedTrack]]:
    """Returns of each head the tracks that are asked for; one of the heads must have them."""
    chosen: list[list[PredictedTrack]] = []
    problems: list[click.UsageError] = []
    for predictor in predictors:
        try:
            found = choose_tracks(predictor.tracks, model.asked_tracks)
        except click.UsageError as error:
            problems.append(error)
            found = []
        chosen.append([predictor.tracks[index] for index in found])
    if not any(chosen):
        raise problems[0]
    return chosen


def _describe(predictors: list[Predictor], chosen: list[list[PredictedTrack]]) -> dict[str, Any]:
    heads = {}
    for predictor, tracks in zip(predictors, chosen, strict=True):
        card = predictor.card
        heads[card.head or ""] = {
            "target_length": predictor.frame.target_length,
            "num_tracks": len(predictor.tracks),
            "assembly": card.assembly,
            "contig_lengths": card.contig_lengths,
            "sequence_sha256": card.sequence_sha256,
            "tracks": [_describe_track(track) for track in tracks],
        }
    card, frame = predictors[0].card, predictors[0].frame
    return {
        "model": str(card.path),
        "window_length": frame.window_length,
        "bin_size": frame.bin_size,
        "code": card.code,
        "data_fingerprint": card.data_fingerprint,
        "lineage": card.lineage,
        "averaging": card.averaging,
        "heads": heads,
    }


def _describe_track(track: PredictedTrack) -> dict[str, Any]:
    fields = dataclasses.asdict(track)
    return fields | fields.pop("transformation")


def _lines(predictors: list[Predictor], chosen: list[list[PredictedTrack]]) -> list[str]:
    card, frame = predictors[0].card, predictors[0].frame
    lineage, code, averaging = card.lineage or {}, card.code or {}, card.averaging
    lines = [f"model\t{card.path}", f"window\t{frame.window_length} bp"]
    if lineage:
        step, start, seed = (lineage.get(name) for name in ("step", "started_from", "seed"))
        lines.append(f"lineage\tstep {step}, begun from {start}, seed {seed}")
    if code:
        lines.append(f"code\tenformer-keras {code.get('version')}, fingerprint {code.get('fingerprint')}")
    if card.data_fingerprint:
        lines.append(f"data\tfingerprint {card.data_fingerprint}")
    if averaging:
        shifts = ", ".join(map(str, averaging.get("shifts", ())))
        strands = "both strands" if averaging.get("strands") else "the forward strand"
        lines.append(f"served\tas the average over {strands} and shifts by {shifts} bp")
    for predictor, tracks in zip(predictors, chosen, strict=True):
        card, frame = predictor.card, predictor.frame
        lines += [
            "",
            f"head\t{card.head}: {len(predictor.tracks)} tracks, {frame.target_length} bins of "
            f"{frame.bin_size} bp from {frame.crop} bp of the window on",
        ]
        if card.assembly:
            lines.append(f"assembly\t{card.assembly}")
        if card.contig_lengths:
            contigs = list(card.contig_lengths.items())
            named = ", ".join(f"{contig} {length} bp" for contig, length in contigs[:_MOST_CONTIGS])
            more = len(contigs) - _MOST_CONTIGS
            lines.append(f"contigs\t{named}" + (f" and {more} more" if more > 0 else ""))
        if card.sequence_sha256:
            lines.append(f"sha256\t{card.sequence_sha256}")
        lines.append("index\tidentifier\tstrand_pair\tscale\tdescription")
        for track in tracks:
            scale = track.transformation.scale
            lines.append(
                f"{track.index}\t{track.identifier}\t{track.strand_pair}\t"
                f"{'' if scale is None else format(scale, 'g')}\t{track.description}"
            )
    return lines


def _compare(predictors: list[Predictor], fasta: Path, aliases: dict[str, tuple[str, ...]]) -> None:
    """Says on the error output whether a genome is that of each head; reads all of it where a digest is known.

    Raises:
        DatasetError: it is that of none.
    """
    from enformer_keras.formats.errors import DatasetError
    from enformer_keras.formats.fasta import Genome

    problems: list[str] = []
    with contextlib.closing(Genome(fasta)) as genome:
        digest = None
        for predictor in predictors:
            card = predictor.card
            try:
                card.check_genome(genome, aliases)
            except DatasetError as error:
                problems += error.problems
                continue
            if card.contig_lengths is None:
                words = "MODEL does not say its genome"
            elif card.sequence_sha256 is None:
                words = "the contigs' lengths are the same"
            else:
                digest = digest or genome.sha256()
                same = digest == card.sequence_sha256
                words = "the same genome" if same else "lengths agree, names or bases differ"
            click.echo(f"{fasta}: head {card.head}: {words}", err=True)
    if len(problems) == len(predictors):
        raise DatasetError(problems)
