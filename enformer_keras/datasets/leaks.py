"""Leaks between splits: inputs that show bp which another split predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Leak:
    """What one split's inputs show of another's targets.

    Attributes:
        reader: split whose inputs were looked at.
        owner: split whose targets they may not show.
        inputs: number of inputs that overlap at least one target.
        first: the first of them, in the order given, each with one target that it overlaps.
    """

    reader: str
    owner: str
    inputs: int
    first: tuple[tuple[Interval, Interval], ...]


def audit_leaks(windows: Iterable[Window], reach: int, num_first: int = 3) -> list[Leak]:
    """Counts the leaks of every ordered pair of splits.

    This looks at the windows themselves and so does not depend on how they were planned. Contigs of
    different organisms are different contigs, whatever their names.

    Args:
        windows: windows of all splits.
        reach: bp that may be read on each side of a window: flanks and shifts.
        num_first: how many leaking inputs to name, for each pair.

    Returns:
        A `Leak` for every ordered pair of splits, also where there is none, in the order of the splits' first
        windows.
    """
    splits: dict[str, None] = {}
    by_contig: dict[tuple[str, str], dict[str, list[Window]]] = {}
    for window in windows:
        splits[window.split] = None
        contig = by_contig.setdefault((window.organism, window.interval.chrom), {})
        contig.setdefault(window.split, []).append(window)
    pairs = [(reader, owner) for reader in splits for owner in splits if reader != owner]
    inputs = dict.fromkeys(pairs, 0)
    first: dict[tuple[str, str], list[tuple[Interval, Interval]]] = {pair: [] for pair in pairs}
    for contig in by_contig.values():
        for reader, reading in contig.items():
            starts = np.array([window.interval.start for window in reading]) - reach
            ends = np.array([window.interval.end for window in reading]) + reach
            for owner, owned in contig.items():
                if owner == reader:
                    continue
                target_starts = np.array([window.target.start for window in owned])
                target_ends = np.array([window.target.end for window in owned])
                # Targets begun before an input's end, less those that ended before its start.
                overlapping = np.searchsorted(np.sort(target_starts), ends, "left") - np.searchsorted(
                    np.sort(target_ends), starts, "right"
                )
                leaking = np.flatnonzero(overlapping)
                inputs[reader, owner] += len(leaking)
                for at in leaking[: num_first - len(first[reader, owner])]:
                    seen = np.flatnonzero((target_starts < ends[at]) & (target_ends > starts[at]))[0]
                    first[reader, owner].append((reading[at].interval.extend(reach), owned[seen].target))
    return [Leak(reader, owner, inputs[reader, owner], tuple(first[reader, owner])) for reader, owner in pairs]


def check_no_leak(windows: Iterable[Window], flank_length: int) -> None:
    """Verifies that no input, flanks included, overlaps a target of another split.

    A model that reads a bp in training has seen what it is later tested on.

    Args:
        windows: windows of all splits.
        flank_length: bp read on each side of a window.

    Raises:
        DatasetError: names the first leaking window of each pair of splits.
    """
    problems = [
        f"split {leak.reader}: {leak.inputs} inputs overlap targets of split {leak.owner}, the first is "
        f"{leak.first[0][0]} (flanks included): move the blocks apart"
        for leak in audit_leaks(windows, flank_length, num_first=1)
        if leak.inputs
    ]
    if problems:
        raise DatasetError(problems)
