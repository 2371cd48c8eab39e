"""Files of variant scores, written as the scores come: HDF5 with basenji's keys, tables, or the VCF once more.

All appear whole, by a rename, or not at all.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.hdf5_file import Hdf5Output
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.alleles import Status
from enformer_keras.prediction.asking import PredictedTrack, VariantScores
from enformer_keras.prediction.row_files import cell, said_of
from enformer_keras.prediction.score_file import ScoreFile, one_line
from enformer_keras.prediction.score_vcf import VcfScores
from enformer_keras.prediction.statistics import formula_of, quantile_of

if TYPE_CHECKING:
    from enformer_keras.formats.variants import VcfRecords

# Rows of a chunk of HDF5, and at least of a row group of Parquet.
_CHUNK_ROWS = 64
# Columns of AlphaGenome's that are null where scores are of no gene.
_GENE = ("gene_id", "gene_name", "gene_strand")
_GROUP_ROWS = 1 << 17


class _Hdf5(ScoreFile):
    """`scores.h5`, with the keys of basenji's `sad.h5`.

    `snp`, `chr`, `pos` (uint32, 1-based), `ref_allele` and `alt_allele` (also as `ref` and `alt`, the keys of
    the authors' published files) and `status` [alleles]; `target_ids` and `target_labels` [tracks]; and of each
    statistic a float32 dataset [alleles, tracks], NaN where an allele was not scored, with its `formula` as an
    attribute. What else is known of each row (`VariantScores.further`) is [alleles] under its own name. The
    file's attributes say how the scores were made.
    """

    names = ("scores.h5",)

    def __init__(
        self,
        path: Path,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        further: Mapping[str, type],
    ) -> None:
        import h5py

        self._output = Hdf5Output(path)
        self._file = file = h5py.File(self._output, "w")
        text = h5py.string_dtype("utf-8")
        for key in ("snp", "chr", "ref_allele", "alt_allele", "status"):
            file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=text)
        file.create_dataset("pos", (0,), maxshape=(None,), chunks=(4096,), dtype=np.uint32)
        for key, kind in further.items():
            dtype = text if kind is str else kind
            file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=dtype)
        file["ref"], file["alt"] = file["ref_allele"], file["alt_allele"]  # hard links
        file.create_dataset("target_ids", data=[track.identifier for track in tracks], dtype=text)
        file.create_dataset("target_labels", data=[track.description for track in tracks], dtype=text)
        for statistic in statistics:
            shape, chunks = (0, len(tracks)), (_CHUNK_ROWS, len(tracks))
            values = file.create_dataset(
                statistic, shape, maxshape=(None, len(tracks)), chunks=chunks, dtype=np.float32
            )
            values.attrs["formula"] = formula_of(statistic)
        for key, value in said_of(about).items():
            file.attrs[key] = value

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles."""
        start = len(self._file["snp"])
        rows: dict[str, Any] = {
            "snp": [variant.name or str(variant) for variant in scores.variants],
            "chr": [variant.chrom for variant in scores.variants],
            "pos": [variant.position for variant in scores.variants],
            "ref_allele": [variant.reference for variant in scores.variants],
            "alt_allele": [variant.alternate for variant in scores.variants],
            "status": [str(status) for status in scores.statuses],
            **scores.further,
            **scores.statistics,
        }
        for key, values in rows.items():
            dataset = self._file[key]
            dataset.resize(start + len(scores.variants), axis=0)
            dataset[start:] = values
        self._output.check()

    def finish(self) -> None:
        """Closes the file."""
        self.close()
        self._output.check()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._output.close()


class _Table(ScoreFile):
    """`scores.tsv`: a row for each allele; columns for what else is known of it, and each statistic and track.

    Lines that begin with `##` say how the scores were made, in front of the header. Where an allele was not
    scored, its cells are empty.
    """

    names = ("scores.tsv",)

    def __init__(
        self,
        path: Path,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        further: Mapping[str, type],
    ) -> None:
        self._file = path.open("w", encoding="utf-8")
        for key, value in about.items():
            self._file.write(f"##{key}={one_line(value)}\n")
        for statistic in statistics:
            self._file.write(f"##{statistic}={formula_of(statistic)}\n")
        columns = [f"{statistic}:{track.identifier}" for statistic in statistics for track in tracks]
        self._file.write("\t".join(["chrom", "pos", "id", "ref", "alt", "status", *further, *columns]) + "\n")

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles."""
        values = np.concatenate(list(scores.statistics.values()), axis=1)
        further = zip(*(column.tolist() for column in scores.further.values()), strict=True)
        for variant, status, more, row in zip(
            scores.variants,
            scores.statuses,
            further if scores.further else itertools.repeat(()),
            values,
            strict=False,
        ):
            cells = [
                variant.chrom,
                str(variant.position),
                variant.name,
                variant.reference,
                variant.alternate,
                str(status),
                *map(cell, more),
            ]
            self._file.write("\t".join([*cells, *map(cell, row.tolist())]) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _Parquet(ScoreFile):
    """`scores.parquet`: a row for each allele, statistic and track, with AlphaGenome's `tidy_scores` columns.

    `variant_id` (chr:pos:REF>ALT), `gene_id`, `gene_name` and `gene_strand` (null where scores are of no gene),
    `variant_scorer` (the statistic), `track_name` (the identifier), `track_strand` (`.` where the track is its
    own strand pair, null where it has a partner, as a model does not say which of the two is which),
    `raw_score` and `quantile_score` (null without a background); and `id`, the file's name of the variant,
    `status`, `track_index` and what else is known of a row. Where an allele was not scored, `raw_score` is
    null. The metadata of the schema say under `enformer`, in JSON, how the scores were made and what their
    formulas are.
    """

    names = ("scores.parquet",)

    def __init__(
        self,
        path: Path,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        further: Mapping[str, type],
    ) -> None:
        with from_extra("command"):
            import pyarrow as pa
            import pyarrow.parquet as pq

        ranks = {quantile_of(statistic) for statistic in statistics}
        self._statistics = [statistic for statistic in statistics if statistic not in ranks]
        more = {key: kind for key, kind in further.items() if key not in _GENE}
        repeated = pa.dictionary(pa.int32(), pa.string())
        said = {**about, "formulas": {statistic: formula_of(statistic) for statistic in statistics}}
        self._schema = pa.schema(
            [
                ("variant_id", pa.string()),
                ("gene_id", pa.string()),
                ("gene_name", pa.string()),
                ("gene_strand", pa.string()),
                ("variant_scorer", repeated),
                ("track_name", repeated),
                ("track_strand", repeated),
                ("raw_score", pa.float32()),
                ("quantile_score", pa.float32()),
                ("id", pa.string()),
                ("status", repeated),
                ("track_index", pa.int32()),
                *(
                    (key, pa.string() if kind is str else pa.from_numpy_dtype(kind))
                    for key, kind in more.items()
                ),
            ],
            metadata={"enformer": json.dumps(said)},
        )
        self._tracks = tracks
        self._waiting: list[Any] = []
        self._file = pq.ParquetWriter(path, self._schema)

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles, many of them together."""
        with from_extra("command"):
            import pyarrow as pa

        kinds, tracks = self._statistics, self._tracks
        each, alleles = len(kinds) * len(tracks), len(scores.variants)

        def spread(texts: Sequence[str]) -> Any:
            return pa.array(np.repeat(np.array(texts, dtype=object), each), pa.string())

        def further(key: str) -> Any:
            values = scores.further.get(key)
            if values is None:
                return pa.nulls(alleles * each, pa.string())
            unknown = values == "" if values.dtype.kind in "OU" else np.isnan(values)
            kind = self._schema.field(key).type
            return pa.array(np.repeat(values, each), kind, mask=np.repeat(unknown, each))

        def stacked(names: Sequence[str]) -> Any:
            nothing = np.full((alleles, len(tracks)), np.nan, dtype=np.float32)
            values = np.stack([scores.statistics.get(name, nothing) for name in names], axis=1).ravel()
            return pa.array(values, pa.float32(), mask=np.isnan(values))

        def coded(numbers: np.ndarray, texts: Sequence[str | None]) -> Any:
            named = dict.fromkeys(text for text in texts if text is not None)
            known = {text: code for code, text in enumerate(named)}
            codes = np.array([-1 if text is None else known[text] for text in texts])[numbers]
            indices = pa.array(codes, pa.int32(), mask=codes < 0)
            return pa.DictionaryArray.from_arrays(indices, pa.array(list(known), pa.string()))

        number = np.tile(np.arange(len(tracks)), alleles * len(kinds))
        statuses = [str(status) for status in Status]
        status = np.repeat([statuses.index(str(status)) for status in scores.statuses], each)
        strands = ["." if track.strand_pair == track.index else None for track in tracks]
        columns = {
            "variant_id": spread([str(variant) for variant in scores.variants]),
            **{key: further(key) for key in (*_GENE, *scores.further)},
            "variant_scorer": coded(np.tile(np.repeat(np.arange(len(kinds)), len(tracks)), alleles), kinds),
            "track_name": coded(number, [track.identifier for track in tracks]),
            "track_strand": coded(number, strands),
            "raw_score": stacked(kinds),
            "quantile_score": stacked([quantile_of(kind) for kind in kinds]),
            "id": spread([variant.name for variant in scores.variants]),
            "status": coded(status, statuses),
            "track_index": pa.array(np.array([track.index for track in tracks])[number], pa.int32()),
        }
        self._waiting.append(pa.table(columns, schema=self._schema))
        if sum(len(table) for table in self._waiting) >= _GROUP_ROWS:
            self.finish()

    def finish(self) -> None:
        """Writes what waits, as one row group."""
        with from_extra("command"):
            import pyarrow as pa

        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting))
        self._waiting = []

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


_Plain = type[_Hdf5] | type[_Table] | type[_Parquet]
_OF_ALLELES: Mapping[str, _Plain] = {"h5": _Hdf5, "tsv": _Table, "parquet": _Parquet}
# The last one is written of the records that the alleles come from.
FORMATS: Mapping[str, type[ScoreFile]] = {**_OF_ALLELES, "vcf": VcfScores}


def file_names(formats: Sequence[str]) -> list[str]:
    """Returns the names of the files that `write_scores` writes.

    Args:
        formats: of `FORMATS`.
    """
    return [*(name for kind in dict.fromkeys(formats) for name in FORMATS[kind].names), "skipped.tsv"]


@contextlib.contextmanager
def write_scores(
    folder: Path,
    formats: Sequence[str],
    tracks: Sequence[PredictedTrack],
    statistics: Sequence[str],
    about: Mapping[str, Any],
    further: Mapping[str, type] | None = None,
    *,
    records: VcfRecords | None = None,
    contig_lengths: Mapping[str, int] | None = None,
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Callable[[VariantScores], None]]:
    """Writes files of scores, and `skipped.tsv` of the alleles that were not scored, with the reason.

    All are written beside their places and renamed at the end, so that an error leaves none of them.

    Args:
        folder: where to; made if it is missing. Files of these names in it are replaced.
        formats: of `FORMATS`.
        tracks: the columns.
        statistics: in their order.
        about: how the scores were made: text, numbers, or what JSON holds.
        further: name -> type of what else is known of each row (`VariantScores.further`).
        records: for `vcf`, where the alleles come from; the first of them has been read.
        contig_lengths: for `vcf`, contig of the genome -> bp.
        contig_aliases: contig -> other names that it has among the records.

    Yields:
        What is called with the next alleles, as often as there are some.

    Raises:
        DatasetError: a VCF would have more than 64 fields more, or has some of them already.
        ValueError: `vcf` comes without `records`, or with more than one row for an allele.
        OSError: a file cannot be written.
    """
    with whole_files(folder, file_names(formats)) as partial, contextlib.ExitStack() as opened:
        files: list[ScoreFile] = []
        for kind in dict.fromkeys(formats):
            path = partial[FORMATS[kind].names[0]]
            made: ScoreFile
            if kind != "vcf":
                made = _OF_ALLELES[kind](path, tracks, statistics, about, further or {})
            elif records is not None and not further:
                contigs = contig_lengths or {}, contig_aliases or {}
                made = VcfScores(path, tracks, statistics, about, records, *contigs)
            else:
                raise ValueError(
                    "a VCF is written of records, a row for each allele: give records=, not further="
                )
            files.append(opened.enter_context(contextlib.closing(made)))
        skipped = opened.enter_context(partial["skipped.tsv"].open("w", encoding="utf-8"))
        skipped.write("chrom\tpos\tid\tref\talt\tstatus\n")

        def append(scores: VariantScores) -> None:
            for file in files:
                file.append(scores)
            for variant, status in zip(scores.variants, scores.statuses, strict=True):
                if not status.is_scored:
                    cells = (variant.chrom, variant.position, variant.name, variant.reference)
                    skipped.write("\t".join(map(str, (*cells, variant.alternate, status))) + "\n")

        yield append
        for file in files:
            file.finish()
        stale = [folder / name for name, path in partial.items() if not path.exists()]
    for path in stale:  # an index of what was there before
        path.unlink(missing_ok=True)
