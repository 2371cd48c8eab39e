"""The VCF that the variants came from, with their scores in INFO."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.safe_names import safe_names
from enformer_keras.formats.variants import MISSING
from enformer_keras.prediction.alleles import Status
from enformer_keras.prediction.asking import PredictedTrack, VariantScores
from enformer_keras.prediction.score_file import ScoreFile, one_line
from enformer_keras.prediction.statistics import formula_of

if TYPE_CHECKING:
    from enformer_keras.formats.variants import VcfRecords

# A VCF of more is no longer one that people read or tools like.
_MOST_COLUMNS = 64
# Positions from here on need an index of the other kind (VCF specification 4.5; tabix).
_TBI_END = 1 << 29


class VcfScores(ScoreFile):
    """`scores.vcf.gz`: the records that came, in their order, with scores in INFO; compressed by bgzip.

    Of each statistic and track `ENF_<statistic>_<identifier>`, and `ENF_STATUS`, a value for each alternative
    allele, `.` where there is none. Nothing else of a record changes. Contigs that the header lacks come from
    the genome. A tabix index is there where the records are sorted.
    """

    names = ("scores.vcf.gz", "scores.vcf.gz.tbi", "scores.vcf.gz.csi")

    def __init__(
        self,
        path: Path,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        records: VcfRecords,
        contig_lengths: Mapping[str, int],
        contig_aliases: Mapping[str, Sequence[str]],
    ) -> None:
        with from_extra("genome"):
            import pysam

        count = len(statistics) * len(tracks)
        if count > _MOST_COLUMNS:
            raise DatasetError(
                f"{len(statistics)} statistics of {len(tracks)} tracks are {count} INFO fields, "
                f"{_MOST_COLUMNS} are the most; choose --tracks, or h5 or parquet as the format"
            )
        stems = safe_names([t.identifier for t in tracks], [t.index for t in tracks], others="_.")
        self._keys = [f"ENF_{statistic}_{stem}" for statistic in statistics for stem in stems]
        *lines, columns = records.header.rstrip("\n").split("\n")
        there = set(re.findall(r"^##INFO=<ID=([^,>]+)", records.header, re.MULTILINE))
        taken = [key for key in ("ENF_STATUS", *self._keys) if key in there]
        if taken:
            raise DatasetError(
                f"the VCF has INFO {taken[0]} already; remove it and its like "
                f"(`bcftools annotate -x INFO/{taken[0]}`)"
            )
        lines += _missing_contigs(records.header, contig_lengths, contig_aliases)
        lines += [f"##enformer_{key}={one_line(value)}" for key, value in about.items()]
        model = _quotable(about.get("model", ""))
        for key, (statistic, track) in zip(
            self._keys, ((statistic, track) for statistic in statistics for track in tracks), strict=True
        ):
            label = _quotable(f"{track.identifier} {track.description}".strip())
            meaning = f"{statistic} = {_quotable(formula_of(statistic))} of track {label}, model {model}"
            lines.append(f'##INFO=<ID={key},Number=A,Type=Float,Description="{meaning}">')
        kinds = ", ".join(Status)
        lines.append(f'##INFO=<ID=ENF_STATUS,Number=A,Type=String,Description="Whether scored: {kinds}">')
        self._path = path
        self._records = records
        self._rows: collections.deque[tuple[str, np.ndarray]] = collections.deque()
        # Whether records are sorted so far, as an index needs it.
        self._sorted, self._seen, self._last = True, {""}, ("", 0)
        self._end = 0
        self._file = pysam.BGZFile(str(path), "wb", index=None)
        self._file.write("\n".join([*lines, columns, ""]).encode())

    def append(self, scores: VariantScores) -> None:
        """Writes the records whose last allele has come."""
        values = np.concatenate(list(scores.statistics.values()), axis=1)
        self._rows.extend(zip(map(str, scores.statuses), values, strict=True))
        waiting = self._records.waiting
        while waiting and len(self._rows) >= waiting[0][1]:
            line, count = waiting.popleft()
            self._write(line, [self._rows.popleft() for _ in range(count)])

    def _write(self, line: str, rows: Sequence[tuple[str, np.ndarray]]) -> None:
        cells = line.split("\t")
        chrom, position = cells[0], int(cells[1])
        if chrom != self._last[0]:
            self._sorted &= chrom not in self._seen
            self._seen.add(chrom)
        elif position < self._last[1]:
            self._sorted = False
        self._last = chrom, position
        self._end = max(self._end, position + len(cells[3]))
        if cells[4] == MISSING:  # no alternative alleles, so no values
            fields = [f"{key}=." for key in ("ENF_STATUS", *self._keys)]
        else:
            fields = ["ENF_STATUS=" + ",".join(status for status, _ in rows)]
            for key, column in zip(self._keys, np.stack([values for _, values in rows], axis=1), strict=True):
                fields.append(f"{key}=" + ",".join(_digits(value, MISSING) for value in column.tolist()))
        cells[7] = ";".join(fields if cells[7] == MISSING else [cells[7], *fields])
        self._file.write(("\t".join(cells) + "\n").encode())

    def finish(self) -> None:
        """Closes the file and indexes it."""
        with from_extra("genome"):
            import pysam

        self._file.close()
        if self._sorted:
            csi = self._end >= _TBI_END
            pysam.tabix_index(str(self._path), preset="vcf", force=True, keep_original=True, csi=csi)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _missing_contigs(
    header: str, lengths: Mapping[str, int], aliases: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yields header lines of the genome's contigs that a header does not name by any of their names."""
    there = set(re.findall(r"^##contig=<(?:.*,)?ID=([^,>]+)", header, re.MULTILINE))
    for contig, length in lengths.items():
        names = contig, *aliases.get(contig, ())
        if there.isdisjoint(names):
            yield from (f"##contig=<ID={name},length={length}>" for name in names)


def _quotable(text: str) -> str:
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _digits(value: float, missing: str) -> str:
    """Writes as many digits as tell float32 apart."""
    return missing if np.isnan(value) else f"{value:.9g}"
