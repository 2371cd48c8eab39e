"""The plan of windows that a dataset is cut into, with an account of those that are left out."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.datasets.masks import HomologyGroups, Masks
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval

if TYPE_CHECKING:
    from enformer_keras.datasets.description import DatasetDescription

_logger = logging.getLogger(__name__)

# Split -> contig -> window starts, int64 [n], sorted.
_Starts = dict[str, dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a dataset is cut into.

    Attributes:
        windows: in the order split, contig, start.
        dropped: split -> reason -> number of windows. A window is counted once, for the first reason that
            applies, in the order `outside_regions`, `gap`, `blacklist`, `unmappable`, `homology`.
    """

    windows: list[Window]
    dropped: dict[str, dict[str, int]]


def make_plan(
    description: DatasetDescription, contig_lengths: Mapping[str, int], masks: Masks | None = None
) -> Plan:
    """Cuts the contigs into windows and drops those that the masks rule out.

    Every window lies wholly inside its block (or contig) and `flank_length` bp away from a border inside
    a contig, so that no input, flanks included, reaches a bp that another split may hold. The windows of a
    block start at its start (rounded up to a multiple of `snap`) and follow each other by the stride; a mask
    never moves a window, it drops it.

    Args:
        description: window, stride and splits.
        contig_lengths: bp of each contig that is used.
        masks: what the description's files say (`Dataset.read_masks`).

    Returns:
        The plan.

    Raises:
        DatasetError: a split has no window (the message says why).
        ValueError: the description names files, but no masks are given.
    """
    if masks is None:
        if description.mask_files or description.min_gap_length is not None:
            raise ValueError("the description has masks; use Dataset.plan, which reads them")
        masks = Masks()
    blocks_of = description.splits.stretches(contig_lengths, masks.splits)
    starts: _Starts = {}
    dropped: dict[str, Counter[str]] = {}
    planned: Counter[str] = Counter()
    tiled: set[str] = set()
    for split, blocks in blocks_of.items():
        starts[split] = _tile(description, blocks, contig_lengths, description.strides[split])
        tiled |= {contig for contig, tiles in starts[split].items() if len(tiles)}
        planned[split] = sum(map(len, starts[split].values()))
        dropped[split] = Counter()
        for contig, all_starts in starts[split].items():
            kept = all_starts
            for reason, wrong in _judge(description, masks, contig, all_starts):
                before = len(kept)
                kept = kept[~wrong[np.searchsorted(all_starts, kept)]]
                if before > len(kept):
                    dropped[split][reason] += before - len(kept)
            starts[split][contig] = kept
    if masks.homology is not None:
        reach = description.flank_length
        for split, number in _separate_groups(starts, masks.homology, description.window_length, reach).items():
            dropped[split]["homology"] += number

    problems = []
    for split, blocks in blocks_of.items():
        if not planned[split]:
            longest = max(blocks, key=lambda block: block.width)
            problems.append(
                f"split {split}: no window fits; its longest block {longest} has {longest.width} bp, a "
                f"window needs {description.window_length} bp and {description.flank_length} bp to each "
                "border inside a contig: give the split more of the genome, or shorten window_length"
            )
        elif not any(map(len, starts[split].values())):
            problems.append(
                f"split {split}: all {planned[split]} windows are dropped ({dict(dropped[split])}); give the "
                "split more of the genome, or relax these rules"
            )
    if problems:
        raise DatasetError(problems)
    _warn_of_short_contigs(blocks_of, tiled)
    windows = _windows(description, starts)
    _logger.info("windows planned: %s", dict(Counter(window.split for window in windows)))
    for split, reasons in dropped.items():
        if reasons:
            _logger.info("split %s: of %d windows, dropped: %s", split, planned[split], dict(reasons))
    return Plan(windows, {split: dict(reasons) for split, reasons in dropped.items()})


def plan_windows(
    description: DatasetDescription, contig_lengths: Mapping[str, int], masks: Masks | None = None
) -> list[Window]:
    """Returns the windows of `make_plan`."""
    return make_plan(description, contig_lengths, masks).windows


def _warn_of_short_contigs(blocks_of: Mapping[str, list[Interval]], tiled: set[str]) -> None:
    """Logs the contigs that belong to a split and are too short for a window."""
    used = dict.fromkeys(block.chrom for blocks in blocks_of.values() for block in blocks)
    short = [contig for contig in used if contig not in tiled]
    if short:
        _logger.warning(
            "%d of %d contigs in use are too short for any window: %s",
            len(short),
            len(used),
            ", ".join(short[:8]),
        )


def _tile(
    description: DatasetDescription, blocks: list[Interval], contig_lengths: Mapping[str, int], stride: int
) -> dict[str, np.ndarray]:
    """Returns contig -> sorted starts of the windows that lie inside the blocks."""
    starts: dict[str, list[np.ndarray]] = {}
    snap = description.snap
    for block in blocks:
        first = block.start + (description.flank_length if block.start > 0 else 0)
        first = -(-first // snap) * snap
        inner_end = block.end < contig_lengths[block.chrom]
        end = block.end - (description.flank_length if inner_end else 0)
        tiles = np.arange(first, end - description.window_length + 1, stride, dtype=np.int64)
        starts.setdefault(block.chrom, []).append(tiles)
    return {contig: np.sort(np.concatenate(tiles)) for contig, tiles in starts.items()}


def _judge(
    description: DatasetDescription, masks: Masks, contig: str, starts: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Returns (reason, bool [n]: which windows it rules out), in the order in which reasons count."""
    width = description.target_length * description.bin_size
    target = starts + (description.window_length - width) // 2
    found = []
    if masks.regions is not None:
        found.append(("outside_regions", masks.regions.covered(contig, target, target + width) < width))
    if masks.gaps is not None:
        distance = description.min_gap_distance
        ends = starts + description.window_length
        found.append(("gap", masks.gaps.covered(contig, starts - distance, ends + distance) > 0))
    if masks.blacklist is not None and description.blacklist_rule == "drop":
        found.append(("blacklist", masks.blacklist.covered(contig, target, target + width) > 0))
    if masks.unmappable is not None and description.max_unmappable_fraction is not None:
        most = description.max_unmappable_fraction * width
        found.append(("unmappable", masks.unmappable.covered(contig, target, target + width) > most))
    return found


def _separate_groups(starts: _Starts, homology: HomologyGroups, window_length: int, reach: int) -> Counter[str]:
    """Leaves the windows that touch a homology group in one split, and drops those of all others, in place.

    A window touches a group if what is read of it, flanks included, overlaps one of the group's intervals.
    The split with the most such windows keeps them; of equal ones, the first of the description. Windows are
    dropped and never moved: in another split they would lie among windows that overlap them.

    Returns:
        Split -> windows dropped.
    """
    order = list(starts)
    touches = []
    counts = np.zeros((homology.count, len(order)), dtype=np.int64)
    for number, split in enumerate(order):
        for contig, own in starts[split].items():
            window, group = homology.touching(contig, own - reach, window_length + 2 * reach)
            np.add.at(counts[:, number], group, 1)
            touches.append((number, contig, window, group))
    owner = counts.argmax(axis=1)  # the first of equal ones
    dropped: Counter[str] = Counter()
    for number, contig, window, group in touches:
        gone = np.unique(window[owner[group] != number])
        if gone.size:
            starts[order[number]][contig] = np.delete(starts[order[number]][contig], gone)
            dropped[order[number]] += gone.size
    return dropped


def _windows(description: DatasetDescription, starts: _Starts) -> list[Window]:
    target_width = description.target_length * description.bin_size
    windows = []
    for split, by_contig in starts.items():
        for contig, own in by_contig.items():
            for start in own.tolist():
                interval = Interval(contig, start, start + description.window_length)
                target = interval.resize(target_width)
                windows.append(Window(interval, target, split, description.organism))
    return windows
