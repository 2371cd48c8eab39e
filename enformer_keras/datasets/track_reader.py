"""All tracks of a dataset, read by interval and pooled to targets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from enformer_keras.datasets.binning import limit, pool, rescale
from enformer_keras.datasets.interval_tracks import read_annotations, read_intervals
from enformer_keras.datasets.masks import Blacklist
from enformer_keras.datasets.segments import Segments
from enformer_keras.datasets.tracks import Track
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.bigwig import BigWig, allow_open_files
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval

_logger = logging.getLogger(__name__)

# Stretch read at once where a whole genome is summed: 4 MB of float32.
_CHUNK_BP = 1 << 20
# Before the work begins, tracks are asked whether they have values on contigs, the longest first: so often in
# all, which takes eight seconds of bigWigs in the page cache, but at least so many contigs of each track.
_QUESTIONS = 50_000
_LEAST_CONTIGS = 100
# Of each track without a value on a contig.
_NAMED_CONTIGS = 4


class TrackBins(NamedTuple):
    """An interval of all tracks, and what was done to it.

    Attributes:
        values: float16 [bins, tracks].
        missing: int64 [tracks], the bp without a value, counted as 0.
        clipped: int64 [tracks], the bins that clip_soft or clip changed.
    """

    values: np.ndarray
    missing: np.ndarray
    clipped: np.ndarray


class TrackReader:
    """All tracks of a dataset, each bigWig opened and every other file read once.

    Args:
        tracks: rows of the track table, or some of them.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig of the FASTA file -> other names in track files.
        bin_size: bp per value.
        blacklist: where bins are limited to a quantile; `None`: nowhere.

    Raises:
        DatasetError: every file that is missing, cannot be opened or does not fit the FASTA file.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        contig_lengths: Mapping[str, int],
        aliases: Mapping[str, Sequence[str]],
        bin_size: int,
        blacklist: Blacklist | None = None,
    ) -> None:
        self._tracks = tuple(tracks)
        self._blacklist = blacklist
        self._contig_lengths = contig_lengths
        self._bin_size = bin_size
        by_file: dict[Path, list[Track]] = {}
        for track in tracks:
            by_file.setdefault(track.file, []).append(track)
        allow_open_files(sum(rows[0].kind == "bigWig" for rows in by_file.values()))
        self._sources: dict[int, BigWig | Segments] = {}
        problems: list[str] = []
        for path, rows in by_file.items():
            try:
                if not path.is_file():
                    raise DatasetError(
                        f"{path}: no such file (track {rows[0].identifier}); correct the track table"
                    )
                if rows[0].kind == "bigWig":
                    signal = BigWig(path, contig_lengths, aliases)
                    self._sources.update({track.index: signal for track in rows})
                elif rows[0].kind in ("GFF3", "GTF"):
                    self._sources.update(read_annotations(path, rows, contig_lengths, aliases))
                else:
                    self._sources.update(read_intervals(path, rows, contig_lengths, aliases))
            except DatasetError as error:
                problems += error.problems
        if problems:
            self.close()
            raise DatasetError(problems)

    def read(self, interval: Interval, scales: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
        """Returns `values`, float16 [bins, tracks], and `missing`, int64 [tracks], of `read_bins`."""
        values, missing, _ = self.read_bins(interval, scales)
        return values, missing

    def read_bins(self, interval: Interval, scales: Mapping[int, float]) -> TrackBins:
        """Reads an interval: `read_run` of one."""
        (bins,) = self.read_run([interval], scales)
        return bins

    def read_run(self, intervals: Sequence[Interval], scales: Mapping[int, float]) -> list[TrackBins]:
        """Reads intervals together: of each track one stretch, from the first start to the last end.

        One by one, neighbours would each unpack the blocks of a bigWig that lie across their common border.

        Args:
            intervals: of one contig, in its order, each a whole number of bins. They may overlap; what lies
                between them is read too.
            scales: track index -> factor, for the tracks whose scale is `mean`.

        Returns:
            The bins of each.

        Raises:
            DatasetError: an interval that is not inside a used contig, a stretch that cannot be read, or a
                value that float16 cannot hold, with its track and interval.
        """
        for interval in intervals:
            length = self._contig_lengths.get(interval.chrom, 0)
            if not 0 <= interval.start <= interval.end <= length:
                raise DatasetError(
                    f"{interval} does not lie inside a contig in use ({interval.chrom} has {length} bp "
                    "there); give an interval of the dataset's own contigs"
                )
        return self._read_run(self._tracks, intervals, scales)

    def _read_run(
        self, tracks: Sequence[Track], intervals: Sequence[Interval], scales: Mapping[int, float]
    ) -> list[TrackBins]:
        """Reads some of the tracks as `read_run` reads all."""
        span = _span(intervals)
        inside = [slice(interval.start - span.start, interval.end - span.start) for interval in intervals]
        pooled = [np.empty((len(tracks), i.width // self._bin_size)) for i in intervals]
        missing = np.zeros((len(intervals), len(tracks)), dtype=np.int64)
        for row, track in enumerate(tracks):
            values, absent = self._sources[track.index].values(span)
            for number, part in enumerate(inside):
                pooled[number][row] = pool(values[part], track.sum_stat, self._bin_size)
                if absent is not None:
                    missing[number, row] = np.count_nonzero(absent[part])
        return [
            self._transform(tracks, *found, scales) for found in zip(intervals, pooled, missing, strict=True)
        ]

    def _transform(
        self,
        tracks: Sequence[Track],
        interval: Interval,
        pooled: np.ndarray,
        missing: np.ndarray,
        scales: Mapping[int, float],
    ) -> TrackBins:
        """Makes targets of what `pool` gave for an interval, [tracks, bins]."""
        listed, quantile = None, 0.5
        if self._blacklist is not None:
            listed, quantile = self._blacklist.bins(interval, self._bin_size), self._blacklist.quantile
        factors = [scales[track.index] if track.scale == "mean" else track.scale for track in tracks]
        # All tracks at once: steps of a few hundred bins are over before numpy has begun.
        with np.errstate(over="ignore", invalid="ignore"):  # judged in the next lines
            bins = rescale(pooled, tracks, factors, listed, quantile)
            limited = limit(bins, tracks)
            target = limited.T.astype(np.float16, order="C")
        if not np.isfinite(target).all():
            row, at = np.argwhere(~np.isfinite(target.T))[0]
            track, start = tracks[row], interval.start + int(at) * self._bin_size
            cure = "float16 ends at 65504; set clip or a smaller scale in the track table"
            if np.isnan(limited[row, at]):
                cure = "the root of a number below 0; choose a sum_stat without root"
            raise DatasetError(
                f"{track.file}: track {track.identifier}: the {track.sum_stat} of "
                f"{Interval(interval.chrom, start, start + self._bin_size)} is {limited[row, at]:g}, {cure}"
            )
        return TrackBins(target, missing, np.count_nonzero(limited != bins, axis=1))

    def check_signal(self) -> None:
        """Asks every track which contigs have values, and logs where there is none, or nothing but 0.

        A bigWig is asked for what it says of itself, a fraction of a millisecond for each contig: most that are
        cut fail at that. One whose own sum is not finite is read on all used contigs, and one whose smallest
        value is below 0 is asked where. Of many tracks on many contigs the longest 100 are asked about or more;
        how many were not is logged.

        Raises:
            DatasetError: every file that cannot be read so far, or holds an infinite value or one below 0.
        """
        contigs = sorted(self._contig_lengths, key=self._contig_lengths.__getitem__, reverse=True)
        most = max(_LEAST_CONTIGS, _QUESTIONS // len(self._tracks))
        if len(contigs) > most:
            _logger.info(
                "%d tracks: of %d contigs the %d shortest, %.2g%% of all bp, were not looked at for values",
                len(self._tracks),
                len(contigs),
                len(contigs) - most,
                100
                * sum(self._contig_lengths[contig] for contig in contigs[most:])
                / sum(self._contig_lengths.values()),
            )
        contigs = contigs[:most]
        problems: list[str] = []
        partly = []
        for track in self._tracks:
            source = self._sources[track.index]
            try:
                empty = [contig for contig in contigs if not source.has_values(contig)]
                totals = source.totals()
                if totals is not None and not np.isfinite(totals).all():
                    self._sum(track)
                    _logger.warning(
                        "%s: track %s holds NaN, which counts as no value, or, on contigs not in use, infinite "
                        "values",
                        track.file,
                        track.identifier,
                    )
                self._check_signs(track)
            except DatasetError as error:
                problems += error.problems
                continue
            if len(empty) == len(contigs):
                _logger.warning(
                    "%s: track %s has no value on %s; leave it out, or give another file",
                    track.file,
                    track.identifier,
                    ", ".join(contigs[:8]),
                )
            elif totals == (0, 0):
                _logger.warning(
                    "%s: track %s is 0 everywhere; leave it out, or give another file",
                    track.file,
                    track.identifier,
                )
            elif empty:
                partly.append(f"{track.identifier} ({self._describe(empty)})")
        if problems:
            raise DatasetError(dict.fromkeys(problems))
        if partly:
            _logger.warning(
                "tracks without a value on a whole contig: %d: %s", len(partly), "; ".join(partly[:8])
            )

    def _describe(self, contigs: Sequence[str]) -> str:
        """Names a few contigs, and says how many there are and how much of the bp in use they hold."""
        if len(contigs) <= _NAMED_CONTIGS:
            return ", ".join(contigs)
        share = sum(self._contig_lengths[contig] for contig in contigs) / sum(self._contig_lengths.values())
        return (
            f"{', '.join(contigs[:_NAMED_CONTIGS])}, ...: {len(contigs)} contigs, {100 * share:.2g}% of all bp"
        )

    def _check_signs(self, track: Track) -> None:
        """Looks for values below 0.

        Raises:
            DatasetError: there are some on a used contig.
        """
        source = self._sources[track.index]
        if source.bounds()[0] >= 0:
            return
        for contig, length in self._contig_lengths.items():
            smallest, _ = source.extremes(Interval(contig, 0, length))
            if smallest == -np.inf:
                smallest = min(float(values.min()) for values in self._chunks(track, contig))
            if smallest < 0:
                raise DatasetError(
                    f"{track.file}: track {track.identifier} has negative values, on {contig} down to "
                    f"{smallest:g}; the Poisson loss needs values of at least 0: give the absolute values of "
                    "minus-strand coverage, a file for each strand where the sign says which, or coverage in "
                    "place of a log ratio"
                )

    def check_bins(
        self, windows: Sequence[Window], scales: Mapping[int, float], keeps: Callable[[Window], bool]
    ) -> None:
        """Looks for bins that float16 cannot hold, in the targets of windows that are about to be read.

        Where a track's largest value cannot make such a bin, nothing is read; else its zoom levels lead to the
        windows that may have one, and only these are read. What was read is logged.

        Args:
            windows: in any order.
            scales: track index -> factor, for tracks whose scale is `mean`; one that is not there is taken from
                the file's own sum, which counts contigs not in use too: it is not too large.
            keeps: whether a window will be read at all.

        Raises:
            DatasetError: the first such bin of every track that has one.
        """
        by_contig: dict[str, list[Window]] = {}
        for window in sorted(windows, key=lambda window: window.target):
            by_contig.setdefault(window.target.chrom, []).append(window)
        problems: list[str] = []
        looked = {}
        for track in self._tracks:
            try:
                number = self._check_bins(track, by_contig, scales.get(track.index), keeps)
            except DatasetError as error:
                problems += error.problems
                continue
            if number:
                looked[track.identifier] = number
        if problems:
            raise DatasetError(problems)
        if looked:
            _logger.info(
                "the largest values of %d tracks left room for bins that float16 cannot hold; read windows, in "
                "which there is none: %s",
                len(looked),
                ", ".join(f"{identifier} {number}" for identifier, number in list(looked.items())[:8]),
            )

    def _check_bins(
        self,
        track: Track,
        by_contig: Mapping[str, list[Window]],
        factor: float | None,
        keeps: Callable[[Window], bool],
    ) -> int:
        """Looks at one track, and returns how many windows had to be read.

        Args:
            track: which.
            by_contig: contig -> windows in the order of their targets.
            factor: of a track whose scale is `mean`, if it is known.
            keeps: see `check_bins`.

        Raises:
            DatasetError: float16 cannot hold a bin.
        """
        source = self._sources[track.index]
        if track.scale != "mean":
            factor = track.scale
        elif factor is None:
            totals = source.totals()
            if totals is None or not (np.isfinite(totals[0]) and totals[0] > 0):
                return 0  # what `genome_mean` says of it comes first
            factor = sum(self._contig_lengths.values()) / totals[0]
        if self._fits(track, factor, source.bounds()[1]):
            return 0
        number = 0
        runs = list(by_contig.values())[::-1]
        while runs:
            run = runs.pop()
            if self._fits(track, factor, source.extremes(_span([window.target for window in run]))[1]):
                continue
            if len(run) > 1:
                runs += [run[len(run) // 2 :], run[: len(run) // 2]]
                continue
            if not keeps(run[0]):
                continue
            number += 1
            self._read_run([track], [run[0].target], {track.index: factor})
        return number

    def _fits(self, track: Track, factor: float, largest: float) -> bool:
        """Says whether float16 holds a bin whose bp all have one value, at least 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            pooled = pool(np.full(self._bin_size, largest, dtype=np.float32), track.sum_stat, self._bin_size)
            bins = limit(rescale(pooled[np.newaxis], [track], [factor]), [track])
            return bool(np.isfinite(bins.astype(np.float16)).all())

    def genome_mean(self, track: Track) -> float:
        """Means a track over all bp of all used contigs, chunk by chunk; bp without a value count as 0.

        Args:
            track: one of the tracks.

        Returns:
            The mean, in the units of the file.

        Raises:
            DatasetError: the mean is not above 0, so that nothing can be divided by it.
        """
        mean = self._sum(track) / sum(self._contig_lengths.values())
        if not (np.isfinite(mean) and mean > 0):
            raise DatasetError(
                f"{track.file}: track {track.identifier}: its mean over the genome is {mean:g}, so scale "
                "cannot be `mean`; give a number or leave the track out"
            )
        return float(mean)

    def _sum(self, track: Track) -> float:
        """Reads a track on all used contigs."""
        total = 0.0
        for contig in self._contig_lengths:
            for values in self._chunks(track, contig):
                total += values.sum(dtype=np.float64)
        return total

    def _chunks(self, track: Track, contig: str) -> Iterator[np.ndarray]:
        """Yields a track's values on a contig, float32, a stretch at a time."""
        length = self._contig_lengths[contig]
        for start in range(0, length, _CHUNK_BP):
            values, _ = self._sources[track.index].values(
                Interval(contig, start, min(start + _CHUNK_BP, length))
            )
            yield values

    def close(self) -> None:
        """Closes all files."""
        for source in set(self._sources.values()):
            source.close()


def _span(intervals: Sequence[Interval]) -> Interval:
    """Returns the stretch from the first start to the last end."""
    return Interval(intervals[0].chrom, intervals[0].start, max(interval.end for interval in intervals))
