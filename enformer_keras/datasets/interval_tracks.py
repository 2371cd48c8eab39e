"""Tracks from files of intervals (BED and its kin, GFF3, GTF): the value that each gives every bp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from enformer_keras.datasets.segments import Segments, Stretches, largest, presence
from enformer_keras.datasets.tracks import Track
from enformer_keras.formats.bed import FIELDS, STRAND_COLUMN, read_bed
from enformer_keras.formats.errors import DatasetError, counted
from enformer_keras.formats.gff import Feature, read_features


def read_annotations(
    path: Path,
    tracks: Sequence[Track],
    contig_lengths: Mapping[str, int],
    aliases: Mapping[str, Sequence[str]],
) -> dict[int, Segments]:
    """Reads the tracks of one GFF3 or GTF file in one pass.

    Args:
        path: the file.
        tracks: rows of the track table that name this file, with `feature` and `strand`.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig -> other names it has in the file.

    Returns:
        Track index -> 1 on bp covered by at least one of its features.

    Raises:
        DatasetError: see `gff.read_features`.
    """
    # Every track of such a file has a feature (`Track`).
    wanted: dict[int, Feature] = {
        track.index: (track.feature, track.strand) for track in tracks if track.feature is not None
    }
    features = read_features(path, tracks[0].kind, list(wanted.values()), contig_lengths, aliases)
    return {
        index: Segments({contig: presence(*places) for contig, places in features[feature].items()})
        for index, feature in wanted.items()
    }


def read_intervals(
    path: Path,
    tracks: Sequence[Track],
    contig_lengths: Mapping[str, int],
    aliases: Mapping[str, Sequence[str]],
) -> dict[int, Segments]:
    """Reads the tracks of one BED file (or narrowPeak, broadPeak, bedGraph) in one pass.

    Returns:
        Track index -> its values.

    Raises:
        DatasetError: lines that are wrong, or no interval on a track's strand.
    """
    wanted = sorted(
        {track.value_column for track in tracks if track.value_column is not None}
        | {STRAND_COLUMN for track in tracks if track.strand != "."}
    )
    lines = read_bed(path, contig_lengths, aliases, columns=wanted, fields=FIELDS[tracks[0].kind])
    problems: list[str] = []
    sources = {}
    for track in tracks:
        stretches: dict[str, Stretches] = {}
        for contig, rows in lines.items():
            cells = dict(zip(wanted, rows.cells, strict=True))
            chosen = np.ones(len(rows.starts), dtype=bool)
            if track.strand != ".":
                on = np.array(cells[STRAND_COLUMN])
                chosen = on == track.strand
                wrong = np.flatnonzero(~np.isin(on, ("+", "-", ".")))
                if wrong.size:
                    problems.append(
                        f"{path}: line {rows.lines[wrong[0]]}: strand {str(on[wrong[0]])!r} is not among "
                        "+ - .; correct it"
                    )
                    continue
            if not chosen.any():
                continue
            starts, ends = rows.starts[chosen], rows.ends[chosen]
            if track.value_column is None:
                stretches[contig] = presence(starts, ends)
                continue
            values = np.array([_as_float(text) for text in cells[track.value_column]], dtype=np.float32)
            wrong = np.flatnonzero(~np.isfinite(values))
            if wrong.size:
                problems.append(
                    f"{path}: line {rows.lines[wrong[0]]}: column {track.value_column} is "
                    f"{cells[track.value_column][wrong[0]]!r}, no number that float32 holds; correct it"
                )
                continue
            stretches[contig] = largest(starts, ends, values[chosen])
        if not stretches and not problems:
            at = wanted.index(STRAND_COLUMN)
            strands = Counter(strand for rows in lines.values() for strand in rows.cells[at])
            problems.append(
                f"{path}: track {track.identifier}: no interval on strand {track.strand} of any used contig, "
                f"but on {counted(strands)}; correct the strand"
            )
        sources[track.index] = Segments(stretches)
    if problems:
        raise DatasetError(dict.fromkeys(problems))
    return sources


def _as_float(text: str) -> float:
    """Returns NaN for what is no number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
