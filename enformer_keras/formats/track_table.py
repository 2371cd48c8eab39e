"""Track tables as text, whoever wrote them: tab separated, with a header, a row for each track."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.text_file import read_text
from enformer_keras.formats.validation import describe_validation_error

with from_extra("genome"):
    import pydantic

_logger = logging.getLogger(__name__)

# Assay of a description without one.
NO_ASSAY = "other"


class TrackRow(pydantic.BaseModel):
    """What a row of every track table has.

    Attributes:
        index: number of the track.
        identifier: short name.
        strand_pair: index of the track that this one becomes on the other strand.
    """

    index: pydantic.NonNegativeInt
    identifier: Annotated[str, pydantic.Field(min_length=1)]
    strand_pair: pydantic.NonNegativeInt | None = None


class Target(TrackRow):
    """One row of `targets.txt`: a track that the records hold. Other columns are not read.

    Attributes:
        index: see `TrackRow`; a second organism's need not start at 0.
        genome: number or name of the genome, as basenji has it; not interpreted.
        identifier: see `TrackRow`.
        file: where the values came from; not opened.
        clip: as it was applied when the data was made; so with clip_soft, scale and sum_stat.
        clip_soft: see clip.
        scale: see clip; `mean` in a track table of this project, where the data decides.
        sum_stat: see clip.
        strand_pair: see `TrackRow`; None if it has none.
        description: free text.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    genome: str = ""
    file: str = ""
    clip: float | None = None
    clip_soft: float | None = None
    scale: float | Literal["mean"] | None = None
    sum_stat: str | None = None
    description: str = ""


Row = TypeVar("Row", bound=TrackRow)


def read_rows(path: Path, kind: type[Row], required: Iterable[str]) -> tuple[dict[int, Row], list[str]]:
    """Reads a table.

    The header of `index` may be empty, as pandas writes it. An empty cell is a value not given. Quotes have no
    meaning: descriptions hold 5' and 3'.

    Args:
        path: the table.
        kind: what a row is; columns that it does not know are passed over, or refused if it forbids them.
        required: columns that must be there.

    Returns:
        Line number, from 1 -> row; and what is wrong with the other lines.

    Raises:
        DatasetError: the file cannot be read, has no row, or lacks, doubles or does not know a column.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    if len(lines) < 2:
        raise DatasetError(f"{path}: holds no track; write a header and one row for each track")
    header = lines[0].split("\t")
    header[0] = header[0] or "index"
    known = kind.model_fields
    problems = [
        f"{path}: column {name} is missing; add it to the header" for name in required if name not in header
    ]
    if kind.model_config.get("extra") == "forbid":
        problems += [f"{path}: column {name} is unknown; remove it" for name in header if name not in known]
    problems += [
        f"{path}: column {name} comes {header.count(name)} times; keep one"
        for name in dict.fromkeys(header)
        if name in known and header.count(name) > 1
    ]
    if problems:
        raise DatasetError(problems)
    rows: dict[int, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}: line {number}"
        cells = line.split("\t")
        if len(cells) != len(header):
            problems.append(
                f"{where}: has {len(cells)} fields, the header {len(header)}; separate them by tabs"
            )
            continue
        given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        try:
            rows[number] = kind.model_validate(given)
        except pydantic.ValidationError as error:
            problems += describe_validation_error(where, error, given)
    return rows, problems


def unpaired_strands(path: Path, rows: Mapping[int, TrackRow]) -> list[str]:
    """Says which tracks name a partner on the other strand that does not name them.

    Args:
        path: the table.
        rows: line number -> row, of the whole table.

    Returns:
        A line for each such track.
    """
    partners = {row.index: row.strand_pair for row in rows.values()}
    problems = []
    for number, row in rows.items():
        where, pair = f"{path}: line {number}", row.strand_pair
        if pair is not None and pair not in partners:
            problems.append(f"{where}: strand_pair {pair} is no track; the last is {max(partners)}")
        elif pair is not None and partners[pair] != row.index:
            problems.append(
                f"{where}: strand_pair is {pair}, but that track's is {partners[pair]}; "
                "partners must name each other"
            )
    return problems


def read_target_table(path: Path) -> tuple[Target, ...]:
    """Reads `targets.txt`, or a track table of this project, which has columns more.

    Args:
        path: the file.

    Returns:
        The rows in their order, that of the target's columns.

    Raises:
        DatasetError: every row that is wrong, by line number.
    """
    rows, problems = read_rows(path, Target, required=("index", "identifier"))
    targets = tuple(rows.values())
    line_of: dict[int, int] = {}
    for number, target in rows.items():
        if line_of.setdefault(target.index, number) != number:
            problems.append(
                f"{path}: line {number}: index {target.index} is also on line {line_of[target.index]}; make it "
                "unique"
            )
    names = Counter(target.identifier for target in targets)
    for name, count in names.items():
        if count > 1:  # an error in a track table of ours, but this one is the authors'
            _logger.warning("%s: identifier %s is that of %d tracks", path, name, count)
    if not problems:
        problems += unpaired_strands(path, rows)
    if problems:
        raise DatasetError(problems)
    return targets


def strand_pairs(targets: Sequence[Target]) -> list[int]:
    """Returns for each column of the target its partner on the other strand, itself if it has none.

    Args:
        targets: rows of `targets.txt`; their indices need not start at 0.
    """
    column = {target.index: number for number, target in enumerate(targets)}
    return [
        number if target.strand_pair is None else column[target.strand_pair]
        for number, target in enumerate(targets)
    ]


def number_columns(targets: Sequence[Target]) -> list[Target]:
    """Counts index and strand_pair from the first column of the target.

    Args:
        targets: rows of `targets.txt`; their indices need not start at 0.

    Returns:
        The rows with their columns as indices; a track without a partner is its own.
    """
    return [
        target.model_copy(update={"index": column, "strand_pair": pair})
        for column, (target, pair) in enumerate(zip(targets, strand_pairs(targets), strict=True))
    ]


def assay_of(description: str) -> str:
    """Tells a track's assay by its description, such as ``CHIP`` of ``CHIP:H3K4me3:K562``.

    Args:
        description: of the track, as in `targets.txt`.

    Returns:
        What it has before the first ":", or `NO_ASSAY` without one.
    """
    assay, colon, _ = description.partition(":")
    return (assay.strip() if colon else "") or NO_ASSAY
