"""`enformer info`: what a model is and which tracks it has."""

from __future__ import annotations

import json

import click

from enformer_command.options import ModelOptions, model_options


@click.command()
@model_options
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def info(model: ModelOptions, as_json: bool) -> None:
    """Say what MODEL reads and predicts, and list its tracks."""
    predictor = model.open()
    frame = predictor.frame
    chosen = [predictor.tracks[index] for index in model.tracks(predictor)]
    if as_json:
        fields = ("index", "identifier", "description", "strand_pair")
        click.echo(
            json.dumps(
                {
                    "window_length": frame.window_length,
                    "target_length": frame.target_length,
                    "bin_size": frame.bin_size,
                    "num_tracks": len(predictor.tracks),
                    "tracks": [{field: getattr(track, field) for field in fields} for track in chosen],
                },
                indent=2,
            )
        )
        return
    click.echo(
        f"window {frame.window_length} bp, target {frame.target_length} bins of {frame.bin_size} bp, "
        f"{len(predictor.tracks)} tracks"
    )
    click.echo("index\tidentifier\tstrand_pair\tdescription")
    for track in chosen:
        click.echo(f"{track.index}\t{track.identifier}\t{track.strand_pair}\t{track.description}")
