"""Options that several subcommands have, and what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from enformer_keras.prediction.predictor import PredictedTrack, Predictor

_Function = TypeVar("_Function", bound=Callable[..., Any])


def model_options(function: _Function) -> _Function:
    """Adds MODEL and what says how to open it."""
    for option in (
        click.option("--preset", help="Sizes of a checkpoint's model."),
        click.option("--head", help="Which head is asked; needed where the model has several."),
        click.argument("model", type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return function


def open_predictor(model: Path, head: str | None, preset: str | None, batch_size: int = 4) -> Predictor:
    """Opens a model; what Keras and its backend say at start-up that is no error is not shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from enformer_keras import open_model

    return open_model(model, head=head, preset=preset, batch_size=batch_size)


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
            try:
                lines = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise click.UsageError(f"--tracks {text}: cannot be read ({error})") from error
            found.update(choose_tracks(tracks, [line.strip() for line in lines if line.strip()]))
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
