"""Reading: genome sequence (FASTA), the track table, and tracks of all kinds of file, pooled to bins."""

from __future__ import annotations

import logging
import resource
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyBigWig
import pydantic
import pysam

from enformer_keras.datasets.masks import Blacklist
from enformer_keras.datasets.segments import Segments, Stretches, largest, merge, presence
from enformer_keras.datasets.track_table import TrackRow, read_rows, unpaired_strands
from enformer_keras.formats.bed import read_bed
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta_index import check_index, find_fault
from enformer_keras.formats.gff import read_features
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import ALPHABET, AMBIGUOUS
from enformer_keras.formats.text_file import check_last_block, is_packed

_logger = logging.getLogger(__name__)

# For bytes.translate: IUPAC codes of either case become upper case, all else 0.
_UPPER_OR_0 = bytes(code & 0xDF if chr(code & 0xDF) in ALPHABET + AMBIGUOUS else 0 for code in range(256))
# Suffix -> kind of file; all but bigWig may be compressed (.gz, .bgz).
_KINDS = {
    ".bw": "bigWig",
    ".bigwig": "bigWig",
    ".gff3": "GFF3",
    ".gff": "GFF3",
    ".gtf": "GTF",
    ".bed": "BED",
    ".narrowpeak": "narrowPeak",
    ".broadpeak": "broadPeak",
    ".bedgraph": "bedGraph",
}
# Kind -> name of a column with numbers -> where it stands, from 1 (UCSC's descriptions of the formats).
_PEAK_COLUMNS = {"score": 5, "signalValue": 7, "pValue": 8, "qValue": 9}
_VALUE_COLUMNS = {
    "BED": {"score": 5},
    "narrowPeak": _PEAK_COLUMNS,
    "broadPeak": _PEAK_COLUMNS,
    "bedGraph": {"dataValue": 4},
}
_FIELDS = {"BED": None, "narrowPeak": 10, "broadPeak": 9, "bedGraph": 4}
_STRAND_COLUMN = 6
# Stretch read at once where a whole genome is summed: 4 MB of float32.
_CHUNK_BP = 1 << 20
_BIGWIG_MAGIC = bytes.fromhex("26fc8f88")  # of a little-endian file
# Of each contig, read from its FASTA file before the work begins.
_END_BP = 128
# Before the work begins, tracks are asked whether they have values on contigs, the longest first: so often in
# all, which takes eight seconds of bigWigs in the page cache, but at least so many contigs of each track.
_QUESTIONS = 50_000
_LEAST_CONTIGS = 100


class Track(TrackRow):
    """One row of the track table: a measured signal or an annotation, and how a bin's value is made.

    The first eight fields, clip_soft and strand_pair are those of basenji's `targets.txt`.

    Attributes:
        index: position in the table, from 0.
        genome: genome or organism, as basenji has it; not interpreted.
        identifier: short name, unique.
        file: bigWig, BED, narrowPeak, broadPeak, bedGraph, GFF3 or GTF file, resolved; its suffix says which.
        clip: values are limited to [-clip, clip].
        scale: factor on every bp, or `mean`: 1 / (mean over all used contigs).
        sum_stat: how the bp of a bin become one value.
        description: free text.
        clip_soft: values x above it become clip_soft - 1 + sqrt(x - clip_soft + 1).
        strand_pair: index of the track that this one becomes on the other strand; itself if unstranded.
        feature: GFF3 and GTF only: feature type (third column); the value is 1 where one lies, 0 elsewhere.
        strand: of the features or intervals that count; `.` takes all. Not for bigWig and bedGraph.
        value: BED and its kin only: column that holds an interval's value, by name (`score`, `signalValue`,
            `pValue`, `qValue`, `dataValue`) or by number from 1; where intervals overlap the largest value
            holds. Empty: 1 where at least one lies; for bedGraph `dataValue`. Elsewhere the value is 0.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    genome: str
    file: Path
    clip: pydantic.PositiveFloat | None = None
    scale: pydantic.PositiveFloat | Literal["mean"]
    sum_stat: Literal["sum", "mean", "max", "median", "sum_sqrt", "mean_sqrt"]
    description: str = ""
    clip_soft: pydantic.PositiveFloat | None = None
    strand_pair: pydantic.NonNegativeInt
    feature: str | None = None
    strand: Literal["+", "-", "."] = "."
    value: str | None = None

    @property
    def kind(self) -> str | None:
        """Format of the file by its suffix; `None` if unknown."""
        name = self.file.name.lower()
        packed = name.endswith((".gz", ".bgz"))
        kind = _KINDS.get(Path(name.rsplit(".", 1)[0] if packed else name).suffix)
        return None if packed and kind == "bigWig" else kind

    @property
    def value_column(self) -> int | None:
        """Column of the intervals' values, from 1; `None` where presence counts."""
        names = _VALUE_COLUMNS.get(self.kind or "", {})
        if self.kind == "bedGraph" and self.value is None:
            return names["dataValue"]
        if self.value is None or self.value in names:
            return names.get(self.value or "")
        return int(self.value)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _pair(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """A track without a partner is its own."""
        return {"strand_pair": fields.get("index"), **fields}

    @pydantic.model_validator(mode="after")
    def _check(self) -> Track:
        name = self.file.name
        if self.kind is None:
            raise ValueError(
                f"{name}: unknown kind of file; use one of {tuple(_KINDS)}, all but bigWig also "
                "with .gz or .bgz"
            )
        if self.kind in ("GFF3", "GTF"):
            if self.feature is None:
                raise ValueError(f"{name} is {self.kind}: name the feature type (for example CDS)")
        elif self.feature is not None:
            raise ValueError(f"{name} is a {self.kind} file, without feature types: leave feature empty")
        if self.kind in ("bigWig", "bedGraph") and self.strand != ".":
            raise ValueError(f"{name} is a {self.kind} file, without strands: leave strand empty")
        if self.value is not None:
            names = _VALUE_COLUMNS.get(self.kind)
            if names is None:
                raise ValueError(f"{name} is a {self.kind} file: leave value empty")
            if self.value not in names and not (self.value.isdecimal() and int(self.value) > 3):
                raise ValueError(
                    f"value {self.value} is no column of {self.kind}; use {', '.join(names)} or a number"
                )
            fields = _FIELDS[self.kind]
            if fields is not None and self.value_column > fields:
                raise ValueError(f"value {self.value} is no column of {self.kind}, which has {fields}")
        return self


def read_track_table(path: Path, folder: Path) -> tuple[Track, ...]:
    """Reads a track table (see `track_table.read_rows`) with the columns of basenji's `targets.txt`.

    Required columns: index, genome, identifier, file, clip, scale, sum_stat, description; optional: clip_soft,
    strand_pair, feature, strand, value.

    Args:
        path: the table.
        folder: what the `file` column is relative to.

    Returns:
        The tracks in the order of the rows.

    Raises:
        DatasetError: every row that is wrong, by line number.
    """
    required = ("index", "genome", "identifier", "file", "clip", "scale", "sum_stat", "description")
    rows, problems = read_rows(path, Track, required)
    problems += [
        f"{path}: line {number}: index is {track.index}, but the row is the {number - 2}th from 0; renumber"
        for number, track in rows.items()
        if track.index != number - 2
    ]
    if problems:
        raise DatasetError(problems)

    first_use: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for number, track in rows.items():
        where = f"{path}: line {number}"
        if first_use.setdefault(track.identifier, number) != number:
            problems.append(
                f"{where}: identifier {track.identifier} is also on line {first_use[track.identifier]}; "
                "make it unique"
            )
        if track.identifier != track.identifier.strip():
            problems.append(f"{where}: identifier {track.identifier!r} has blanks at an end; remove them")
        other = spelled.setdefault(track.identifier.casefold(), track.identifier)
        if other != track.identifier:
            _logger.warning("%s: identifiers %s and %s differ by case only", where, other, track.identifier)
    problems += unpaired_strands(path, rows)
    if problems:
        raise DatasetError(problems)
    return tuple(track.model_copy(update={"file": folder / track.file}) for track in rows.values())


class Genome:
    """A FASTA file, read by interval through its `.fai` index (written beside it at first use).

    A file compressed by bgzip has a `.gzi` index too.

    htslib reads it: unlike pyfaidx it takes the files that archives hand out (line ends of DOS, blank lines
    at the end).

    Args:
        path: FASTA file, plain or compressed by bgzip.

    Raises:
        DatasetError: the file is missing, is no FASTA, or has no index and none can be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DatasetError(f"{path}: no such FASTA file; correct the path or download it")
        if not path.stat().st_size:
            raise DatasetError(f"{path}: is empty; fetch it again")
        packed = is_packed(path)
        if packed:
            check_last_block(path)
        indices = [path.with_name(path.name + suffix) for suffix in ([".fai", ".gzi"] if packed else [".fai"])]
        try:
            # htslib would silently use the index of a file that has since been replaced.
            if any(not i.is_file() or i.stat().st_mtime < path.stat().st_mtime for i in indices):
                pysam.faidx(str(path))
            check_index(path, packed)
            self._fasta = pysam.FastaFile(str(path))
        except DatasetError:
            raise
        except (OSError, ValueError, pysam.SamtoolsError) as error:
            fault = find_fault(path)
            if fault is not None:
                raise DatasetError(f"{path}: cannot be indexed as FASTA: {fault}") from error
            raise DatasetError(
                f"{path}: cannot be indexed and opened as FASTA ({str(error).strip()}); run `samtools "
                "faidx` on it, in a folder that you may write"
                + (" (compressed by bgzip, not by gzip)" if packed else "")
            ) from error
        self.contig_lengths = dict(zip(self._fasta.references, self._fasta.lengths, strict=True))
        if not self.contig_lengths:
            self.close()
            raise DatasetError(f"{path}: holds no sequence; give a FASTA file with `>` records")

    def sequence(self, interval: Interval) -> bytes:
        """Reads the bases of an interval, upper case; N where it reaches past the contig.

        Args:
            interval: what to read.

        Returns:
            ASCII, `interval.width` bytes, IUPAC codes of DNA.

        Raises:
            DatasetError: no such contig, a stretch that cannot be read, or a character that is no IUPAC code,
                with its position.
        """
        if interval.chrom not in self.contig_lengths:
            known = ", ".join(list(self.contig_lengths)[:8])
            raise DatasetError(
                f"{self.path}: {interval} lies on none of its contigs, {known}; use the FASTA file's names"
            )
        inside = interval.truncate(self.contig_lengths[interval.chrom])
        fetched = self._fetch(inside)
        bases = fetched.encode().translate(_UPPER_OR_0)
        wrong = bases.find(0)
        if wrong >= 0:
            raise DatasetError(
                f"{self.path}: {interval.chrom}: position {inside.start + wrong + 1} (1-based) is "
                f"{fetched[wrong]!r}, no IUPAC code of DNA; replace it by N"
            )
        left = max(0, min(-interval.start, interval.width))
        return b"N" * left + bases + b"N" * (interval.width - left - len(bases))

    def check_ends(self, contigs: Iterable[str]) -> None:
        """Reads the first and the last bp of contigs: most files that are cut or no DNA do not come so far.

        Args:
            contigs: which.

        Raises:
            DatasetError: a stretch cannot be read, or holds a character that is no IUPAC code.
        """
        for contig in contigs:
            length = self.contig_lengths[contig]
            self.sequence(Interval(contig, 0, min(_END_BP, length)))
            self.sequence(Interval(contig, max(0, length - _END_BP), length))

    def _fetch(self, interval: Interval) -> str:
        try:
            bases = self._fasta.fetch(interval.chrom, interval.start, interval.end)
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{self.path}: {interval} cannot be read ({error}); fetch the file again"
            ) from error
        if len(bases) != interval.width:
            raise DatasetError(
                f"{self.path}: {interval} has only {len(bases)} bp in the file; it was cut or replaced since "
                "it was indexed: fetch it again, or remove its .fai"
            )
        return bases

    def runs_of_n(self, contig: str, min_length: int) -> np.ndarray:
        """Finds runs of N (or n), chunk by chunk.

        Args:
            contig: where.
            min_length: of the shortest run wanted, in bp.

        Returns:
            int64 [2, runs], starts and ends.
        """
        runs = [np.zeros((2, 0), dtype=np.int64)]
        for start in range(0, self.contig_lengths[contig], _CHUNK_BP):
            chunk = Interval(contig, start, min(start + _CHUNK_BP, self.contig_lengths[contig]))
            is_n = (np.frombuffer(self._fetch(chunk).encode(), dtype=np.uint8) | 0x20) == ord("n")
            borders = np.flatnonzero(np.diff(is_n, prepend=False, append=False))
            runs.append(borders.reshape(-1, 2).T + start)
        starts, ends = merge(*np.concatenate(runs, axis=1))  # of runs that cross a chunk's end
        return np.stack([starts, ends])[:, ends - starts >= min_length]

    def close(self) -> None:
        """Closes the file."""
        self._fasta.close()


class _BigWig:
    """Signal of a bigWig file (Kent et al. 2010), under the FASTA file's contig names."""

    def __init__(
        self, path: Path, contig_lengths: Mapping[str, int], aliases: Mapping[str, Sequence[str]]
    ) -> None:
        self._path = path
        try:
            self._file = pyBigWig.open(str(path))
        except RuntimeError as error:
            raise DatasetError(f"{path}: cannot be opened as bigWig; give a whole bigWig file") from error
        if not self._file.isBigWig():
            self.close()
            raise DatasetError(f"{path}: is no bigWig file but a bigBed file; give a bigWig file")
        chroms = self._file.chroms()
        self._names: dict[str, str] = {}
        problems = []
        for contig, length in contig_lengths.items():
            known = [name for name in dict.fromkeys((contig, *aliases.get(contig, ()))) if name in chroms]
            name = known[0] if known else None
            if len(known) > 1:
                problems.append(
                    f"{path}: contig {contig} is there as {' and as '.join(known)}; keep one in "
                    "contig_aliases, or in the file"
                )
            elif name is None:
                problems.append(
                    f"{path}: contig {contig} is missing; the file has {', '.join(list(chroms)[:8])}: name "
                    "it in contig_aliases, or leave the contig out with splits.contigs"
                )
            elif chroms[name] != length:
                problems.append(
                    f"{path}: contig {contig} ({name}) has {chroms[name]} bp, the FASTA file's has "
                    f"{length}; use files of the same assembly"
                )
            else:
                self._names[contig] = name
        if problems:
            self.close()
            raise DatasetError(problems)

    def values(self, interval: Interval) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns float32 [bp], 0 where the file has no value, and bool [bp], where; None: nowhere.

        Raises:
            DatasetError: the stretch cannot be read, or holds an infinite value.
        """
        try:
            values = self._file.values(self._names[interval.chrom], interval.start, interval.end, numpy=True)
        except RuntimeError as error:
            raise self._unreadable(str(interval)) from error
        if not len(values):  # pyBigWig's answer where the whole file has none
            return np.zeros(interval.width, dtype=np.float32), np.ones(interval.width, dtype=bool)
        finite = np.isfinite(values)
        if finite.all():
            return values, None
        absent = np.isnan(values)
        if np.count_nonzero(absent) + np.count_nonzero(finite) < len(values):
            infinite = np.flatnonzero(np.isinf(values))
            raise DatasetError(
                f"{self._path}: {interval.chrom}:{interval.start + infinite[0]} (from 0) is "
                f"{values[infinite[0]]}, one of {infinite.size} such bp of {interval}; write the file without "
                "infinite values"
            )
        values[absent] = 0
        return values, absent

    def has_values(self, contig: str) -> bool:
        """Says whether a contig has any value, of a large file by its zoom levels.

        Raises:
            DatasetError: the file is cut or damaged.
        """
        try:
            return bool(self._file.stats(self._names[contig], type="coverage")[0])
        except RuntimeError as error:
            raise self._unreadable(contig) from error

    def totals(self) -> tuple[float, float] | None:
        """Returns the sum of all values and that of their squares, by the file's own summary; None without one.

        pyBigWig's `header` rounds them, and ends the process where one is infinite.
        """
        with self._path.open("rb") as file:
            header = file.read(64)
            order = "<" if header[:4] == _BIGWIG_MAGIC else ">"
            (offset,) = struct.unpack_from(f"{order}Q", header, 44)
            inside = 0 < offset < self._path.stat().st_size
            file.seek(offset if inside else 0)
            summary = file.read(40) if inside else b""
        return struct.unpack_from(f"{order}dd", summary, 24) if len(summary) == 40 else None

    def _unreadable(self, where: str) -> DatasetError:
        return DatasetError(f"{self._path}: {where} cannot be read; the file is cut or damaged: fetch it again")

    def close(self) -> None:
        self._file.close()


def _read_intervals(
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
        | {_STRAND_COLUMN for track in tracks if track.strand != "."}
    )
    lines = read_bed(path, contig_lengths, aliases, columns=wanted, fields=_FIELDS[tracks[0].kind])
    problems: list[str] = []
    sources = {}
    for track in tracks:
        stretches: dict[str, Stretches] = {}
        for contig, rows in lines.items():
            cells = dict(zip(wanted, rows.cells, strict=True))
            chosen = np.ones(len(rows.starts), dtype=bool)
            if track.strand != ".":
                on = np.array(cells[_STRAND_COLUMN])
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
            problems.append(
                f"{path}: track {track.identifier}: no interval on strand {track.strand} of any used contig; "
                "correct the strand"
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


def _allow_open_files(count: int) -> None:
    """Raises this process's limit of open files where `count` bigWigs would exceed it."""
    needed = count + 256  # what Beam, Python and the FASTA file hold
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise DatasetError(
            f"{count} bigWig files need {needed} open files, this system allows {hard}; raise it (`ulimit -Hn`)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def pool(values: np.ndarray, track: Track, bin_size: int) -> np.ndarray:
    """Makes bins of bp by sum_stat, without scale and root.

    Sums are float64: a float16 or float32 sum of a bin loses counts.

    Args:
        values: float32 [bins * bin_size] signal per bp, no NaN.
        track: sum_stat.
        bin_size: bp per bin.

    Returns:
        float64 [bins].
    """
    per_bin = values.reshape(-1, bin_size)
    match track.sum_stat:
        # einsum adds in float64 without a float64 copy of the bp: half the time of sum's own dtype argument.
        case "sum" | "sum_sqrt":
            return np.einsum("ij->i", per_bin, dtype=np.float64)
        case "mean" | "mean_sqrt":
            return np.einsum("ij->i", per_bin, dtype=np.float64) / bin_size
        case "max":
            return per_bin.max(axis=1).astype(np.float64)
        case "median":
            return np.median(per_bin.astype(np.float64), axis=1)


def rescale(
    pooled: np.ndarray,
    tracks: Sequence[Track],
    scales: Sequence[float],
    listed: np.ndarray | None = None,
    quantile: float = 0.5,
) -> np.ndarray:
    """Makes what `pool` gave what basenji gives before its clips: scale, root, blacklist.

    basenji scales the bp. Every sum_stat of scaled bp is the scaled sum_stat, as scales are positive.

    `sum_sqrt` is sqrt(1 + sum) - 1, `mean_sqrt` the same of the mean. Blacklisted bins are limited to [-q, q],
    q being the absolute value of a quantile of all of a track's bins.

    Args:
        pooled: float64 [tracks, bins].
        tracks: sum_stat.
        scales: the factor of each track (`mean` resolved).
        listed: bool [bins], which bins are blacklisted; `None`: none.
        quantile: of the bins, from 0 to 1.

    Returns:
        float64 [tracks, bins].
    """
    bins = pooled * np.array(scales)[:, np.newaxis]
    roots = [row for row, track in enumerate(tracks) if track.sum_stat.endswith("_sqrt")]
    if roots:
        bins[roots] = np.sqrt(1 + bins[roots]) - 1
    if listed is not None and listed.any():
        most = np.abs(np.quantile(bins, quantile, axis=1, keepdims=True))
        bins[:, listed] = np.clip(bins[:, listed], -most, most)
    return bins


def limit(bins: np.ndarray, tracks: Sequence[Track]) -> np.ndarray:
    """Limits bins by each track's clip_soft, then by its clip.

    Args:
        bins: float64 [tracks, bins]; left as they are.
        tracks: clip_soft and clip.

    Returns:
        float64 [tracks, bins].
    """
    soft, hard = (
        np.array([np.inf if bound is None else bound for bound in bounds])[:, np.newaxis]
        for bounds in ([track.clip_soft for track in tracks], [track.clip for track in tracks])
    )
    rows, at = np.nonzero(bins > soft)
    if rows.size:
        start = soft[rows, 0]
        bins = bins.copy()
        bins[rows, at] = start - 1 + np.sqrt(bins[rows, at] - start + 1)
    return np.clip(bins, -hard, hard)


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
        _allow_open_files(sum(rows[0].kind == "bigWig" for rows in by_file.values()))
        self._sources: dict[int, _BigWig | Segments] = {}
        problems: list[str] = []
        for path, rows in by_file.items():
            try:
                if not path.is_file():
                    raise DatasetError(
                        f"{path}: no such file (track {rows[0].identifier}); correct the track table"
                    )
                if rows[0].kind == "bigWig":
                    signal = _BigWig(path, contig_lengths, aliases)
                    self._sources.update({track.index: signal for track in rows})
                elif rows[0].kind in ("GFF3", "GTF"):
                    self._sources.update(read_features(path, rows, contig_lengths, aliases))
                else:
                    self._sources.update(_read_intervals(path, rows, contig_lengths, aliases))
            except DatasetError as error:
                problems += error.problems
        if problems:
            self.close()
            raise DatasetError(problems)

    def read(self, interval: Interval, scales: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
        """Returns `values` and `missing` of `read_bins`."""
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
        span = Interval(intervals[0].chrom, intervals[0].start, max(interval.end for interval in intervals))
        inside = [slice(interval.start - span.start, interval.end - span.start) for interval in intervals]
        pooled = [np.empty((len(self._tracks), i.width // self._bin_size)) for i in intervals]
        missing = np.zeros((len(intervals), len(self._tracks)), dtype=np.int64)
        for row, track in enumerate(self._tracks):
            values, absent = self._sources[track.index].values(span)
            for number, part in enumerate(inside):
                pooled[number][row] = pool(values[part], track, self._bin_size)
                if absent is not None:
                    missing[number, row] = np.count_nonzero(absent[part])
        return [self._transform(*found, scales) for found in zip(intervals, pooled, missing, strict=True)]

    def _transform(
        self, interval: Interval, pooled: np.ndarray, missing: np.ndarray, scales: Mapping[int, float]
    ) -> TrackBins:
        """Makes targets of what `pool` gave for an interval, [tracks, bins]."""
        listed, quantile = None, 0.5
        if self._blacklist is not None:
            listed, quantile = self._blacklist.bins(interval, self._bin_size), self._blacklist.quantile
        factors = [scales[track.index] if track.scale == "mean" else track.scale for track in self._tracks]
        # All tracks at once: steps of a few hundred bins are over before numpy has begun.
        with np.errstate(over="ignore", invalid="ignore"):  # judged in the next lines
            bins = rescale(pooled, self._tracks, factors, listed, quantile)
            limited = limit(bins, self._tracks)
            target = limited.T.astype(np.float16, order="C")
        if not np.isfinite(target).all():
            row, at = np.argwhere(~np.isfinite(target.T))[0]
            track, start = self._tracks[row], interval.start + int(at) * self._bin_size
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
        cut fail at that. One whose own sum is not finite is read on all used contigs. Of many tracks on many
        contigs the longest 100 are asked about or more; how many were not is logged.

        Raises:
            DatasetError: every file that cannot be read so far, or holds an infinite value.
        """
        contigs = sorted(self._contig_lengths, key=self._contig_lengths.get, reverse=True)
        most = max(_LEAST_CONTIGS, _QUESTIONS // len(self._tracks))
        if len(contigs) > most:
            _logger.info(
                "%d tracks: of %d contigs the %d shortest, %.2g%% of all bp, were not looked at for values",
                len(self._tracks),
                len(contigs),
                len(contigs) - most,
                100 * sum(map(self._contig_lengths.get, contigs[most:])) / sum(self._contig_lengths.values()),
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
                partly.append(f"{track.identifier} ({', '.join(empty[:4])})")
        if problems:
            raise DatasetError(dict.fromkeys(problems))
        if partly:
            _logger.warning(
                "tracks without a value on a whole contig: %d: %s", len(partly), "; ".join(partly[:8])
            )

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
        for contig, length in self._contig_lengths.items():
            for start in range(0, length, _CHUNK_BP):
                chunk = Interval(contig, start, min(start + _CHUNK_BP, length))
                values, _ = self._sources[track.index].values(chunk)
                total += values.sum(dtype=np.float64)
        return total

    def close(self) -> None:
        """Closes all files."""
        for source in set(self._sources.values()):
            source.close()
