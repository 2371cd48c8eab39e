"""Files of what is predicted of both alleles of variants, bin by bin: bigWigs of each, or HDF5 of all."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.hdf5_file import Hdf5Output
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.safe_names import safe_names
from enformer_keras.formats.variants import Variant
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.predictor import PredictedTrack, VariantScores
from enformer_keras.prediction.row_files import said_of
from enformer_keras.prediction.track_files import CHUNK_TRACKS, check_whole, open_bigwig
from enformer_keras.prediction.windows import Frame

# Of more alleles, or into more files, nobody looks one by one.
MOST_ALLELES = 100
_MOST_FILES = 2000
ALLELE_FORMATS = ("bigwig", "h5")
# Beside bigWigs, which hold numbers alone.
_DESCRIPTION = "tracks.json"


class AlleleTracks(abc.ABC):
    """Files of both alleles' tracks that are being written."""

    @abc.abstractmethod
    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles, of scores that keep their predictions."""

    def finish(self) -> None:  # noqa: B027 (bigWigs need nothing)
        """Writes what comes after the last allele."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the files."""


class _AlleleBigWigs(AlleleTracks):
    """Of each scored allele and track two bigWigs, of R and of A: bins where R's are, cut at the contig's ends.

    Args:
        paths: those of `allele_track_names`, in their order.
        contig_lengths: contig -> bp.
        bin_size: bp.
    """

    def __init__(self, paths: Sequence[Path], contig_lengths: Mapping[str, int], bin_size: int) -> None:
        self._paths = iter(paths)
        self._lengths = contig_lengths
        self._bin_size = bin_size

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles' files."""
        for prediction in scores.predictions:
            for track in range(len(scores.tracks)):
                paths = next(self._paths), next(self._paths)
                if prediction is not None:
                    for path, bins in zip(paths, (prediction.reference, prediction.alternate), strict=True):
                        self._write(path, prediction.interval, bins[:, track])

    def _write(self, path: Path, interval: Interval, bins: np.ndarray) -> None:
        length = self._lengths[interval.chrom]
        starts = interval.start + self._bin_size * np.arange(len(bins))
        ends = np.clip(starts + self._bin_size, 0, length)
        starts = np.clip(starts, 0, length)
        inside = ends > starts
        with contextlib.closing(open_bigwig(path, self._lengths)) as file:
            try:
                file.addEntries(
                    [interval.chrom] * int(inside.sum()),
                    starts[inside].tolist(),
                    ends=ends[inside].tolist(),
                    values=bins[inside].astype(float).tolist(),
                )
            except RuntimeError as error:
                raise DatasetError(f"{path}: cannot be written; is the disk full?") from error
        check_whole(path, int((ends - starts).sum()))

    def close(self) -> None:
        """Does nothing: each file is closed once it is written."""


class _AlleleHdf5(AlleleTracks):
    """`tracks.h5`: `ref_preds` and `alt_preds` float32 [alleles, bins, tracks], NaN where not scored.

    Beside them the keys of `scores.h5` (`snp`, `chr`, `pos`, `ref_allele`, `alt_allele`, `status`,
    `target_ids`, `target_labels`), and `start` and `end` of the bins, 0-based half-open along the forward
    strand.
    """

    def __init__(
        self, path: Path, tracks: Sequence[PredictedTrack], frame: Frame, about: Mapping[str, Any]
    ) -> None:
        import h5py

        self._output = Hdf5Output(path)
        self._file = file = h5py.File(self._output, "w")
        text = h5py.string_dtype("utf-8")
        for key in ("snp", "chr", "ref_allele", "alt_allele", "status"):
            file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=text)
        for key in ("pos", "start", "end"):
            file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=np.int64)
        each = frame.target_length, len(tracks)
        for key in ("ref_preds", "alt_preds"):
            file.create_dataset(
                key,
                (0, *each),
                maxshape=(None, *each),
                chunks=(1, frame.target_length, min(len(tracks), CHUNK_TRACKS)),
                dtype=np.float32,
                fillvalue=np.nan,
            )
        file.create_dataset("target_ids", data=[track.identifier for track in tracks], dtype=text)
        file.create_dataset("target_labels", data=[track.description for track in tracks], dtype=text)
        file.attrs.update(said_of({**about, "bin_size": frame.bin_size}))

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles' rows."""
        places = [None if found is None else found.interval for found in scores.predictions]
        rows: dict[str, list[Any]] = {
            "snp": [variant.name or str(variant) for variant in scores.variants],
            "chr": [variant.chrom for variant in scores.variants],
            "pos": [variant.position for variant in scores.variants],
            "ref_allele": [variant.reference for variant in scores.variants],
            "alt_allele": [variant.alternate for variant in scores.variants],
            "status": [str(status) for status in scores.statuses],
            "start": [0 if place is None else place.start for place in places],
            "end": [0 if place is None else place.end for place in places],
        }
        first = len(self._file["snp"])
        for key in (*rows, "ref_preds", "alt_preds"):
            self._file[key].resize(first + len(scores.variants), axis=0)
        for key, values in rows.items():
            self._file[key][first:] = values
        for row, prediction in enumerate(scores.predictions, first):
            if prediction is not None:
                self._file["ref_preds"][row] = prediction.reference
                self._file["alt_preds"][row] = prediction.alternate
        self._output.check()

    def finish(self) -> None:
        """Closes the file, and looks whether all of it was written."""
        self.close()
        self._output.check()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._output.close()


def allele_track_names(
    kind: str, variants: Sequence[Variant], tracks: Sequence[PredictedTrack] | None
) -> list[str]:
    """Returns the names of the files of `write_allele_tracks`: of each allele and track REF's, then ALT's.

    Args:
        kind: of `ALLELE_FORMATS`.
        variants: the alleles; for `h5` it does not matter which.
        tracks: those written; `None`, where they are not known yet: only files of all tracks are named.

    Raises:
        DatasetError: there would be too many.
    """
    if kind == "h5":
        return ["tracks.h5"]
    cure = f"choose fewer {'alleles' if tracks is None else 'alleles or --tracks'}, or h5, which is one file"
    if len(variants) > MOST_ALLELES:
        raise DatasetError(f"bigWigs are written of at most {MOST_ALLELES} alleles; {cure}")
    if tracks is None:
        return []
    count = 2 * len(variants) * len(tracks)
    if count > _MOST_FILES:
        raise DatasetError(f"there would be {count} bigWigs, at most {_MOST_FILES} are written; {cure}")
    # Insertions may be long.
    spelled = [f"{v.chrom}_{v.position}_{v.reference[:20]}_{v.alternate[:20]}" for v in variants]
    labels = [f"{v.name}_{text}" if v.name else text for v, text in zip(variants, spelled, strict=True)]
    alleles = safe_names(labels, range(len(labels)), longest=100)
    stems = safe_names([t.identifier for t in tracks], [t.index for t in tracks], longest=100)
    pairs = [f"{allele}.{stem}" for allele in alleles for stem in stems]
    return [
        *(f"tracks/{pair}.{allele}.bw" for pair in pairs for allele in ("ref", "alt")),
        f"tracks/{_DESCRIPTION}",
    ]


@contextlib.contextmanager
def write_allele_tracks(
    folder: Path,
    kind: str,
    variants: Sequence[Variant],
    tracks: Sequence[PredictedTrack],
    frame: Frame,
    contig_lengths: Mapping[str, int],
    about: Mapping[str, Any],
) -> Iterator[Callable[[VariantScores], None]]:
    """Writes what is predicted of both alleles: `tracks.h5`, or bigWigs in a folder `tracks`.

    A's bins lie on R's, and R's where the forward strand's window has them (`VariantPrediction.interval`). All
    files appear whole at the end, or none.

    Args:
        folder: where to; made if it is missing.
        kind: of `ALLELE_FORMATS`.
        variants: for `bigwig`, all alleles that will come, in their order.
        tracks: those written.
        frame: the model's.
        contig_lengths: contig of the genome -> bp.
        about: how the predictions were made.

    Yields:
        What is called with the next scores, which keep their predictions.

    Raises:
        DatasetError: there would be too many files; one cannot be written.
        OSError: a file cannot be written.
    """
    names = [Path(name) for name in allele_track_names(kind, variants, tracks)]
    inner = folder / names[0].parent
    try:
        with whole_files(inner, [name.name for name in names]) as partial:
            paths = list(partial.values())
            files: AlleleTracks
            if kind == "h5":
                files = _AlleleHdf5(paths[0], tracks, frame, about)
            else:
                files = _AlleleBigWigs(paths[:-1], contig_lengths, frame.bin_size)
                said = {
                    **about,
                    "bin_size": frame.bin_size,
                    "coordinates": "0-based half-open; bins as in the reference's window of the forward strand",
                    "alleles": [f"{variant}" for variant in variants],
                    "tracks": [dataclasses.asdict(track) for track in tracks],
                    "files": [name.name for name in names[:-1]],
                }
                paths[-1].write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
            with contextlib.closing(files):
                yield files.append
                files.finish()
    except BaseException:
        if inner != folder:
            with contextlib.suppress(OSError):
                inner.rmdir()  # unless it holds what was there before
        raise
