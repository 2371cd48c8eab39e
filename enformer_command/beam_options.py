"""Options of commands whose work Apache Beam can do."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import click

from enformer_command.options import bundle


@dataclasses.dataclass(frozen=True)
class BeamOptions:
    """Whether the work is done by Beam, and where its workers are."""

    beam: str | None
    beam_files: str | None

    @property
    def is_asked(self) -> bool:
        """Whether Beam does the work."""
        return self.beam is not None

    @property
    def flags(self) -> list[str]:
        """Beam's flags.

        Raises:
            click.UsageError: they are no line of flags.
        """
        try:
            return shlex.split(self.beam or "")
        except ValueError as error:
            raise click.UsageError(f"--beam {self.beam}: is no line of flags ({error})") from error

    @property
    def place(self) -> str | None:
        """Where files are handed over."""
        place = self.beam_files
        return place if not place or "://" in place else str(Path(place).resolve())

    def check(self) -> None:
        """Checks that Beam is there and takes the flags.

        Raises:
            click.UsageError: it is not, or does not; or nothing is for Beam to do.
        """
        if not self.is_asked:
            if self.beam_files is not None:
                raise click.UsageError('--beam-files is for workers of Beam: give --beam "FLAGS"')
            return
        flags = self.flags
        try:
            from enformer_keras.prediction.beam import check_flags
        except ImportError as error:
            if error.name is None or not error.name.startswith("apache_beam"):
                raise
            raise click.UsageError("--beam needs Apache Beam: pip install 'enformer-keras[beam]'") from error
        try:
            check_flags(flags)
        except ValueError as error:
            raise click.UsageError(f"--beam: {error}") from error


beam_options = bundle(
    "beam",
    BeamOptions,
    click.option(
        "--beam",
        metavar="FLAGS",
        help='Let Apache Beam do the work, with these flags of its; "": in one process.',
    ),
    click.option(
        "--beam-files",
        metavar="PLACE",
        help="Folder or URI that Beam's workers see, where they do not see the files: these are copied there.",
    ),
)
