"""Regions of a genome as people name them: a stretch, a whole contig, a file of intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from enformer_keras.formats.bed import read_bed
from enformer_keras.formats.contig_names import ContigNames, likely_aliases
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, first_names
from enformer_keras.formats.intervals import Interval

_SPELLED = re.compile(r"(?P<chrom>.+):(?P<first>\d[\d,]*)-(?P<last>\d[\d,]*)")


def find_regions(
    texts: Sequence[str], contig_lengths: Mapping[str, int], aliases: Mapping[str, Sequence[str]]
) -> list[Interval]:
    """Finds the intervals that are meant.

    Args:
        texts: each a contig; a stretch such as `chr1:1,001-2,000`, 1-based with both ends (samtools); or a BED
            file, plain or gzip, 0-based half-open, its lines in any order.
        contig_lengths: contig of the genome -> bp.
        aliases: contig -> other names that it goes by.

    Returns:
        In the order in which they were named, under the genome's names.

    Raises:
        DatasetError: a text is none of these; a contig is not the genome's, or ends before the interval does; a
            file cannot be read or holds no interval.
    """
    names = ContigNames(contig_lengths, aliases)
    found: list[Interval] = []
    for text in texts:
        contig, spelled = names.find(text), _SPELLED.fullmatch(text)
        if contig is not None:
            found.append(Interval(contig, 0, contig_lengths[contig]))
        elif Path(text).is_file():
            found.extend(_of_file(Path(text), contig_lengths, names))
        elif spelled is not None:
            found.append(_of_text(text, spelled, contig_lengths, names))
        else:
            raise DatasetError(
                f"{text}: is no contig of the genome ({first_names(contig_lengths)}), no stretch such as "
                "chr1:1001-2000, and no file; correct it" + _meant(contig_lengths, text)
            )
    return found


def _of_text(
    text: str, spelled: re.Match[str], contig_lengths: Mapping[str, int], names: ContigNames
) -> Interval:
    contig = names.find(spelled["chrom"])
    first, last = (int(spelled[end].replace(",", "")) for end in ("first", "last"))
    if contig is None:
        raise DatasetError(
            f"{text}: {spelled['chrom']} is no contig of the genome ({first_names(contig_lengths)}); use its "
            "names" + _meant(contig_lengths, spelled["chrom"])
        )
    if not 1 <= first <= last:
        raise DatasetError(f"{text}: must begin at 1 or later and not end before; its bases count from 1")
    if last > contig_lengths[contig]:
        raise DatasetError(
            f"{text}: ends past the contig's end at {contig_lengths[contig]}; end it there, or use the genome "
            "of the same assembly"
        )
    return Interval(contig, first - 1, last)


def _of_file(path: Path, contig_lengths: Mapping[str, int], names: ContigNames) -> list[Interval]:
    """Reads a file's intervals in its order; unlike a track's, none may be passed over without a word."""
    lines: list[tuple[int, Interval]] = []
    problems: list[tuple[int, str]] = []
    for name, rows in read_bed(path, None, {}, in_any_order=True).items():
        contig = names.find(name)
        if contig is None:
            problem = f"{name} is no contig of the genome ({first_names(contig_lengths)}); leave it out"
            problems.append((int(rows.lines[0]), problem + _meant(contig_lengths, name)))
            continue
        for number, start, end in zip(
            rows.lines.tolist(), rows.starts.tolist(), rows.ends.tolist(), strict=True
        ):
            lines.append((number, Interval(contig, start, end)))
            if end > contig_lengths[contig]:
                end_of_contig = f"ends past the contig's end at {contig_lengths[contig]} bp"
                problem = f"{name}:{start}-{end} {end_of_contig}; use files of the same assembly"
                problems.append((number, problem))
    if problems:
        raise DatasetError(
            f"{path}: line {number}: {problem}" for number, problem in sorted(problems)[:MOST_PROBLEMS]
        )
    return [interval for _, interval in sorted(lines, key=lambda line: line[0])]


def _meant(contig_lengths: Mapping[str, int], name: str) -> str:
    likely = likely_aliases(contig_lengths, [name])
    return "".join(f" (give --alias {contig}={other} if it is that one)" for contig, other in likely.items())
