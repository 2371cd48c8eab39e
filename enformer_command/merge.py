"""`enformer merge`: files of scores from the shards of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from enformer_keras.prediction.parts import PartsFolder


@click.command(short_help="Files of scores from the shards of a run.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option("--output", required=True, type=click.Path(path_type=Path), metavar="OUTPUT")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["h5", "tsv", "parquet", "vcf"]),
    help="Of the files; may be given more than once.  [default: what the shards were given]",
)
@click.option(
    "--variants", type=click.Path(), help="For vcf, the file of variants, where it lies elsewhere now."
)
@click.option(
    "--background", type=click.Path(), help="The background of the quantiles, where it lies elsewhere now."
)
def merge(
    folders: tuple[Path, ...],
    output: Path,
    overwrite: bool,
    formats: tuple[str, ...],
    variants: str | None,
    background: str | None,
) -> None:
    """Write the files of scores of a run whose shards (`enformer score --shard I/N`) have FOLDERs as --output.

    Machines that see one folder may all have had the same FOLDER. Each part must be there once. The files are
    those of one run without shards, byte for byte. The parts stay.
    """
    from enformer_keras.formats.errors import DatasetError
    from enformer_keras.prediction.parts import PARTS, PartsFolder
    from enformer_keras.prediction.score_files import file_names
    from enformer_keras.prediction.score_parts import ScoreFiles

    opened = [PartsFolder.begun(folder / PARTS) for folder in folders]
    told = [path for parts in opened for path in sorted(parts.folder.glob("shard-*-of-*.json"))]
    where = _find(
        opened, {int(match[1]) for path in told if (match := re.search(r"-of-(\d+)\.json$", path.name))}
    )
    if not told:
        raise DatasetError(f"{folders[0]}: no shard of a run is finished there; run `enformer score --shard`")
    files = ScoreFiles.load(told[0])
    given: dict[str, Any] = {"formats": formats, "variants": variants, "background": background}
    files = dataclasses.replace(files, **{name: value for name, value in given.items() if value})
    if "vcf" in files.formats and files.variants is None:
        raise click.UsageError("--format vcf: the shards' alleles came from no file")
    there = [output / name for name in file_names(files.formats) if (output / name).exists()]
    if there and not overwrite:
        raise click.UsageError(f"{there[0]}: is there; give another --output, or --overwrite")
    with contextlib.ExitStack() as held:
        for parts in {parts.folder.resolve(): parts for parts in opened}.values():
            held.enter_context(parts.held())
        counts = files.write(output, (parts.read(index) for index, parts in enumerate(where)))
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))


def _find(opened: list[PartsFolder], counts: set[int]) -> list[PartsFolder]:
    """Finds the folder of each part.

    Args:
        opened: the folders.
        counts: how many shards there are, as they say.
    """
    from enformer_keras.formats.errors import DatasetError
    from enformer_keras.prediction.parts import differences, read_question

    for parts in opened[1:]:
        if parts.digest != opened[0].digest:
            first, this = (read_question(each.folder) or {} for each in (opened[0], parts))
            raise DatasetError(
                f"{parts.folder}: is of another run than {opened[0].folder}, with {differences(this, first)}; "
                "give the folders of one run"
            )
    having = [[parts for parts in opened if parts.path(index).exists()] for index in range(opened[0].num_parts)]
    missing = [index for index, folders in enumerate(having) if not folders]
    if missing:
        whose = ""
        if len(counts) == 1:
            (count,) = counts
            shards = sorted({index % count + 1 for index in missing})
            whose = ", of shard " + ", ".join(f"{shard}/{count}" for shard in shards)
        name = opened[0].path(missing[0]).name
        raise DatasetError(
            f"{len(missing)} of {len(having)} parts are missing, such as {name}{whose}; "
            "run it (again: it goes on), or give its folder, too"
        )
    for index, (one, *others) in enumerate(having):
        for other in others:
            if not other.path(index).samefile(one.path(index)):
                raise DatasetError(
                    f"{other.path(index)}: the same part is in {one.folder}; give each shard's folder once"
                )
    return [folders[0] for folders in having]
