"""TFMA metrics of genomic tracks: Pearson's correlation and R², per track and their means.

Every example is reduced to `TrackMoments` before shuffling, so that a few numbers per track reach the combiners
and not the arrays (38 MB for an Enformer example of 896 bins × 5,313 tracks). Metrics of one head and transform
read the same moments, kept apart by contig; those of a transform in which two models are compared, by blocks
of the genome. Those across regions have moments of their own, over the regions' mean signals.

For a metric named `pearson_r` the keys are

- `pearson_r`: mean over the tracks where it is defined. NaN if it is defined nowhere, or if any prediction
  or target was NaN or infinite: a model that diverged on one track must not be judged on the others;
- `pearson_r_undefined_tracks`: number of tracks left out of the mean, because a constant target (or, for
  the correlation, a constant prediction) leaves nothing to measure;
- `pearson_r/assay:<assay>`, `pearson_r_undefined_tracks/assay:<assay>`: the same over the tracks of an assay;
- `pearson_r_per_track`: float64 [tracks];
- `pearson_r/<track>`: one scalar for each track that is asked for by name, so that it can have a threshold.

Given a file of regions, a metric is measured across them, on the mean signal of each (a transform comes after
the mean). Its name is then `region_pearson_r`, and one more key is

- `region_pearson_r_count`: number of regions whose middle lies in a window's target, each counted for every
  such window. 0 makes the others NaN.

All stand for each contig too, as `pearson_r/contig:chr1` and so on, where it has a window or a region; of more
than 32 contigs, one figure stands for all but the first 16 by name (`blocks.OTHER_CONTIGS`). (With slices of
TFMA, its combiners would hold everything twice, and as many blocks of every contig as of all.)

`PairedChange` compares with the baseline model on the same examples:

- `pearson_r_change`: mean over tracks of the difference, candidate - baseline;
- `pearson_r_change_low`, `pearson_r_change_high`: its 95% interval, by a bootstrap over contigs or blocks of
  neighbouring windows (`components.evaluator.bootstrap`). Without a baseline nothing is known of the change:
  NaN, between -inf and inf.

All keys carry `example_weighted=None`, the form in which TFMA looks up thresholds that are given by name in
`MetricsSpec.thresholds` or `MetricsSpec.per_slice_thresholds`. `MetricConfig.threshold` looks for another
form and reports "Metric not found", which blocks the blessing.
"""

from __future__ import annotations

import collections
import functools
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.evaluator.blocks import BlockMoments
from components.evaluator.bootstrap import Change, paired_change
from components.evaluator.moments import TrackMoments
from components.evaluator.regions import RegionFile
from enformer_keras.formats.intervals import Interval

# What a metric may do to targets and predictions first; the name becomes the prefix of its keys.
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"": np.asarray, "log1p": np.log1p}

# Tracks that are in memory as float64 at the same time: 2 MB an array at the 896 bins of an example.
TRACKS_AT_ONCE = 256


def default_name(metric: str, transform: str, of_regions: bool = False) -> str:
    """Returns a metric's key, e.g. `region_log1p_r2` for `r2` of log1p of the means of regions."""
    return "region_" * of_regions + (f"{transform}_{metric}" if transform else metric)


class _TrackMetric(tfma.metrics.Metric):
    """A figure per track of the candidate, derived from the moments.

    Args:
        name: Key of the mean; by default `default` behind the transform's prefix.
        track_names: Names of the head's tracks in order; may be empty if no other argument names a track.
        assays: Assay of each track, for a mean over the tracks of each; may be empty.
        keyed_tracks: Tracks that get a key of their own. With thousands of tracks those of all would take
            gigabytes: the array under `<name>_per_track` has them.
        transform: A key of `TRANSFORMS`, applied to both sides.
        organism: Value of the feature `organism` of the examples that count; all of them if empty. Needed
            where one evaluation set serves heads of several organisms.
        in_blocks: Whether to read the moments that a `PairedChange` of the same transform reads, instead of
            having examples reduced once more.
        regions: Fields of a `RegionFile`: measures across its regions, else across the bins of all examples.

    Raises:
        ValueError: If the transform is unknown, or a keyed track is not the name of one track.
    """

    default: str
    figure: Callable[[TrackMoments], np.ndarray]

    def __init__(
        self,
        name: str = "",
        track_names: Sequence[str] = (),
        assays: Sequence[str] = (),
        keyed_tracks: Sequence[str] = (),
        transform: str = "",
        organism: str = "",
        in_blocks: bool = False,
        regions: Mapping[str, Any] | None = None,
    ) -> None:
        _check_transform(transform)
        times = collections.Counter(track_names)
        wrong = sorted(track for track in keyed_tracks if times[track] != 1)
        if wrong:
            raise ValueError(f"not the name of one track: {wrong}")
        if assays and len(assays) != len(track_names):
            raise ValueError(f"{len(assays)} assays for {len(track_names)} tracks")
        super().__init__(
            metric_util.merge_per_key_computations(functools.partial(_computations, type(self).figure)),
            name=name or default_name(self.default, transform, bool(regions)),
            track_names=list(track_names),
            assays=list(assays),
            keyed_tracks=list(keyed_tracks),
            transform=transform,
            organism=organism,
            in_blocks=in_blocks,
            regions=regions,
        )


class PearsonR(_TrackMetric):
    """Pearson's correlation of target and prediction, over all bins of all examples of a slice, or regions."""

    default = "pearson_r"
    figure = staticmethod(TrackMoments.pearson_r)


class R2(_TrackMetric):
    """Coefficient of determination, `1 - SSE / SST`, over all bins of all examples of a slice, or regions."""

    default = "r2"
    figure = staticmethod(TrackMoments.r2)


class PairedChange(tfma.metrics.Metric):
    """How far the mean of a metric lies above the baseline model's on the same examples, with an interval.

    Args:
        metric: `PearsonR.default` or `R2.default`.
        name: Key of the difference; by default that of the metric and `_change`.
        transform: As the metric's.
        organism: As the metric's.
        code_fingerprint: Any text that changes with the metrics' code: TFX's cache of an evaluation sees the
            configuration of its metrics, not their sources.

    Raises:
        ValueError: If the metric or the transform is unknown.
    """

    def __init__(
        self, metric: str, name: str = "", transform: str = "", organism: str = "", code_fingerprint: str = ""
    ) -> None:
        _check_transform(transform)
        figures = {one.default: one.figure for one in (PearsonR, R2)}
        if metric not in figures:
            raise ValueError(f"metric {metric!r} is none of {sorted(figures)}")
        super().__init__(
            metric_util.merge_per_key_computations(functools.partial(_change_computations, figures[metric])),
            name=name or f"{default_name(metric, transform)}_change",
            metric=metric,
            transform=transform,
            organism=organism,
            code_fingerprint=code_fingerprint,
        )


class MomentsPreprocessor(metric_types.Preprocessor):
    """Reduces one example's target and prediction to `BlockMoments`.

    Args:
        name: Unique name of what is computed; TFMA tells preprocessors apart by it.
        model_name: Model to read, or empty if there is one only.
        head: Output to read, or empty if the model has one only.
        organism: Examples of other organisms yield nothing; empty takes all.
        transform: A key of `TRANSFORMS`.
        in_blocks: Whether to tell windows of a contig apart by their place; else they are one block.
        regions: Takes the moments over the mean signals of these; else over all bins.
    """

    def __init__(
        self,
        name: str,
        model_name: str,
        head: str,
        organism: str,
        transform: str,
        in_blocks: bool = False,
        regions: RegionFile | None = None,
    ) -> None:
        super().__init__(name=name)
        self._model_name = model_name
        self._head = head
        self._organism = organism
        self._transform = transform
        self._in_blocks = in_blocks
        self._file = regions

    def setup(self) -> None:
        """Reads the regions; sets aside all objects there are, which makes looking for garbage quick."""
        self._regions = self._file.read() if self._file else None
        gc.freeze()

    def process(self, extracts: Mapping[str, Any]) -> Iterator[BlockMoments]:
        """Yields an example's moments, or nothing if it is of another organism or without a region.

        Args:
            extracts: Of one example: `predictions` float [target_length, tracks]; `labels`, the float16 bytes
                of the same shape; each may be nested by model and head; `features` with `organism`, `chrom`,
                `start` and `end`.

        Raises:
            ValueError: If label and prediction do not fit each other.
        """
        # TFMA leaves the arrays of past batches in reference cycles, 100 MB each at Enformer's size, and Python
        # counts objects, not bytes: it would let them pile up.
        gc.collect()
        if self._organism and _text(extracts, "organism") != self._organism:
            return
        prediction = np.asarray(self._select(extracts[tfma.PREDICTIONS_KEY]))
        label = self._select(extracts[tfma.LABELS_KEY])
        where = f"head {self._head!r}" + (f" of model {self._model_name!r}" if self._model_name else "")
        if prediction.ndim != 2:
            raise ValueError(f"{where}: prediction has shape {prediction.shape}, not [target_length, tracks]")
        target = _decode_label(label, prediction.shape, where)
        chrom, start = _text(extracts, "chrom"), _number(extracts, "start")
        if self._file and self._regions is not None:
            bin_size = self._file.bin_size
            window = Interval(chrom, start, _number(extracts, "end"))
            span = window.resize(len(target) * bin_size)
            target, prediction = self._regions.mean_signals(span, bin_size, target, prediction)
        if target.size:
            moments = _transformed_moments(self._transform, target, prediction)
            yield BlockMoments.of_window(chrom, start if self._in_blocks else 0, moments)

    def _select(self, values: Any) -> Any:
        """Follows the model and head names, where TFMA has nested values by them."""
        for key in (self._model_name, self._head):
            if key and isinstance(values, Mapping):
                if key not in values:
                    raise ValueError(f"{key!r} is not among {sorted(values)}")
                values = values[key]
        if isinstance(values, Mapping):
            raise ValueError(f"name one of the outputs {sorted(values)} in MetricsSpec.output_names")
        return values


class MergeCombineFn(beam.CombineFn):
    """Merges the moments of examples; its accumulator is `None` until one has come.

    Args:
        key: Private metric key, under which metrics find them.
    """

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> BlockMoments | None:
        """Returns the accumulator of no examples."""
        return None

    def add_input(self, accumulator: BlockMoments | None, element: BlockMoments) -> BlockMoments:
        """Adds one example's moments."""
        return element if accumulator is None else accumulator.merge(element)

    def merge_accumulators(self, accumulators: Iterable[BlockMoments | None]) -> BlockMoments | None:
        """Merges accumulators, in any order."""
        return functools.reduce(self.add_input, (one for one in accumulators if one is not None), None)

    def extract_output(
        self, accumulator: BlockMoments | None
    ) -> dict[metric_types.MetricKey, BlockMoments | None]:
        """Returns the moments, `None` if no example counted, under their key."""
        return {self._key: accumulator}


def _moments_computation(
    transform: str,
    organism: str,
    model_name: str,
    output_name: str,
    *,
    in_blocks: bool = False,
    regions: RegionFile | None = None,
) -> tuple[metric_types.MetricKey, metric_types.MetricComputation]:
    """Returns the reduction to `BlockMoments` that metrics share, and the key under which they find them."""
    # TFMA merges computations of equal private keys and preprocessor names: both hold all that matters.
    where = regions.sha256 if regions else ""
    key = metric_types.MetricKey(
        f"_moments|{transform}|{organism}|{in_blocks}|{where}", model_name=model_name, output_name=output_name
    )
    preprocessor = MomentsPreprocessor(
        name=f"{key.name}|{model_name}|{output_name}",
        model_name=model_name,
        head=output_name,
        organism=organism,
        transform=transform,
        in_blocks=in_blocks,
        regions=regions,
    )
    return key, metric_types.MetricComputation(
        keys=[key], preprocessors=[preprocessor], combiner=MergeCombineFn(key)
    )


def _transformed_moments(transform: str, targets: np.ndarray, predictions: np.ndarray) -> TrackMoments:
    """Returns the moments of arrays [pairs, tracks], transformed, some tracks at a time."""
    parts = [slice(start, start + TRACKS_AT_ONCE) for start in range(0, targets.shape[1], TRACKS_AT_ONCE)]
    apply = TRANSFORMS[transform]
    with np.errstate(invalid="ignore", divide="ignore"):  # log1p below -1 is NaN, which fails the metric
        return TrackMoments.concatenate(
            [
                TrackMoments.from_arrays(
                    apply(targets[:, part].astype(np.float64)), apply(predictions[:, part].astype(np.float64))
                )
                for part in parts
            ]
        )


def _computations(
    figure: Callable[[TrackMoments], np.ndarray],
    name: str,
    track_names: Sequence[str],
    assays: Sequence[str],
    keyed_tracks: Sequence[str],
    transform: str,
    organism: str,
    in_blocks: bool,
    regions: Mapping[str, Any] | None,
    model_name: str = "",
    output_name: str = "",
) -> metric_types.MetricComputations:
    """Returns the shared reduction to moments and the keys that `figure` derives from it."""
    if model_name == tfma.BASELINE_KEY:
        return []  # nobody judges it, and its moments take memory; `PairedChange` asks for those it needs
    moments_key, reduction = _moments_computation(
        transform,
        organism,
        model_name,
        output_name,
        in_blocks=in_blocks,
        regions=RegionFile(**regions) if regions else None,
    )
    groups = {"": slice(None)} | {
        f"/assay:{assay}": np.flatnonzero(np.array(assays) == assay) for assay in dict.fromkeys(assays)
    }
    positions = {track: track_names.index(track) for track in keyed_tracks}

    def key(suffix: str) -> metric_types.MetricKey:
        return metric_types.MetricKey(
            name + suffix, model_name=model_name, output_name=output_name, example_weighted=None
        )

    def measure(moments: TrackMoments | None) -> dict[str, float | np.ndarray]:
        if moments is None:
            values = np.full(len(track_names), np.nan)
            finite = np.zeros(len(track_names), dtype=bool)
        else:
            values, finite = figure(moments), moments.finite()
        if track_names and len(values) != len(track_names):
            raise ValueError(
                f"head {output_name!r} has {len(values)} tracks, {name} got {len(track_names)} track names"
            )
        figures: dict[str, float | np.ndarray] = {"_per_track": values}
        if regions:
            figures["_count"] = float(0 if moments is None else moments.count)
        for suffix, members in groups.items():
            defined = values[members][~np.isnan(values[members])]
            usable = finite[members].all() and defined.size > 0
            figures[suffix] = float(defined.mean()) if usable else float("nan")
            figures[f"_undefined_tracks{suffix}"] = float(values[members].size - defined.size)
        return figures | {f"/{track}": float(values[index]) for track, index in positions.items()}

    def derive(metrics: Mapping[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, Any]:
        found: BlockMoments | None = metrics[moments_key]
        by_contig = found.by_contig() if found else {}
        total = functools.reduce(TrackMoments.merge, by_contig.values()) if by_contig else None
        places = {"": total} | {f"/contig:{contig}": moments for contig, moments in by_contig.items()}
        return {
            key(suffix + place): value
            for place, moments in places.items()
            for suffix, value in measure(moments).items()
        }

    # Those of the contigs, which nobody knows before, are not declared; TFMA writes all that it gets.
    keys = [
        key("_per_track"),
        *([key("_count")] if regions else []),
        *(key(suffix) for suffix in groups),
        *(key(f"_undefined_tracks{suffix}") for suffix in groups),
        *(key(f"/{track}") for track in keyed_tracks),
    ]
    return [reduction, metric_types.DerivedMetricComputation(keys=keys, result=derive)]


def _change_computations(
    figure: Callable[[TrackMoments], np.ndarray],
    name: str,
    metric: str,
    transform: str,
    organism: str,
    code_fingerprint: str,
    model_name: str = "",
    output_name: str = "",
) -> metric_types.MetricComputations:
    """Returns the shared reduction to moments and, but for the baseline, the comparison with it."""
    del metric, code_fingerprint  # `figure` is the one, and TFX has seen the other
    of_example = transform, organism
    candidate_key, reduction = _moments_computation(*of_example, model_name, output_name, in_blocks=True)
    if model_name == tfma.BASELINE_KEY:
        return [reduction]
    baseline_key, _ = _moments_computation(transform, organism, tfma.BASELINE_KEY, output_name, in_blocks=True)
    keys = [
        metric_types.MetricKey(
            name + suffix, model_name=model_name, output_name=output_name, example_weighted=None
        )
        for suffix in ("", "_low", "_high")
    ]

    def derive(metrics: Mapping[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, Any]:
        candidate: BlockMoments | None = metrics[candidate_key]
        baseline: BlockMoments | None = metrics.get(baseline_key)
        if candidate is None or baseline is None:
            change = Change(np.nan, -np.inf, np.inf)
        else:
            change = paired_change(figure, candidate.units(), baseline.units())
        return dict(zip(keys, change, strict=True))

    return [reduction, metric_types.DerivedMetricComputation(keys=keys, result=derive)]


def _check_transform(transform: str) -> None:
    if transform not in TRANSFORMS:
        raise ValueError(f"transform {transform!r} is none of {sorted(TRANSFORMS)}")


def _text(extracts: Mapping[str, Any], feature: str) -> str:
    """Returns a feature of one example as text."""
    value = np.asarray(extracts[tfma.FEATURES_KEY][feature]).reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _number(extracts: Mapping[str, Any], feature: str) -> int:
    """Returns a feature of one example as a number."""
    return int(np.asarray(extracts[tfma.FEATURES_KEY][feature]).item())


def _decode_label(label: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns the float16 numbers of a label's bytes.

    Raises:
        ValueError: If it is not as many as the prediction's shape asks for.
    """
    if label is None:
        raise ValueError(f"{where}: no label; check ModelSpec.label_keys")
    # Bytes stay in an object array: numpy's own bytes type drops trailing zeros, and coverage ends in them.
    (raw,) = np.asarray(label, dtype=object).reshape(-1)
    if len(raw) != 2 * shape[0] * shape[1]:
        raise ValueError(
            f"{where}: target holds {len(raw) / 2:g} float16 values, the prediction has shape {shape}"
        )
    return np.frombuffer(raw, dtype="<f2").reshape(shape)
