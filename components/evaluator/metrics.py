"""TFMA metrics of genomic tracks: Pearson's correlation and R², per track and their mean.

Every example is reduced to `TrackMoments` before slicing and shuffling, so that a few numbers per track
reach the combiners and not the arrays (38 MB for an Enformer example of 896 bins × 5,313 tracks).
`PearsonR` and `R2` of one head and transform read the same moments.

For a metric named `pearson_r` the keys are

- `pearson_r`: mean over the tracks where it is defined. NaN if it is defined nowhere, or if any prediction
  or target was NaN or infinite: a model that diverged on one track must not be judged on the others;
- `pearson_r_undefined_tracks`: number of tracks left out of the mean, because a constant target (or, for
  the correlation, a constant prediction) leaves nothing to measure;
- `pearson_r_per_track`: float64 [tracks];
- `pearson_r/<track>`: one scalar for each name in `track_names`.

All carry `example_weighted=None`, the form in which TFMA looks up thresholds that are given by name in
`MetricsSpec.thresholds` or `MetricsSpec.per_slice_thresholds`. `MetricConfig.threshold` looks for another
form and reports "Metric not found", which blocks the blessing.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.evaluator.moments import TrackMoments

# What a metric may do to targets and predictions first; the name becomes the prefix of its keys.
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"": np.asarray, "log1p": np.log1p}


def default_name(metric: str, transform: str) -> str:
    """Returns a metric's key, e.g. `log1p_pearson_r` for `pearson_r` of log1p values."""
    return f"{transform}_{metric}" if transform else metric


class _TrackMetric(tfma.metrics.Metric):
    """A figure per track, derived from the moments.

    Args:
        name: Key of the mean; by default `default` behind the transform's prefix.
        track_names: Names of the head's tracks in order, for one key each. Leave empty with thousands of
            tracks: the array under `<name>_per_track` has them all.
        transform: A key of `TRANSFORMS`, applied to both sides.
        organism: Value of the feature `organism` of the examples that count; all of them if empty. Needed
            where one evaluation set serves heads of several organisms.

    Raises:
        ValueError: If the transform is unknown or two tracks share a name.
    """

    default: str
    figure: Callable[[TrackMoments], np.ndarray]

    def __init__(
        self, name: str = "", track_names: Sequence[str] = (), transform: str = "", organism: str = ""
    ) -> None:
        if transform not in TRANSFORMS:
            raise ValueError(f"transform {transform!r} is none of {sorted(TRANSFORMS)}")
        twice = sorted(track for track, times in collections.Counter(track_names).items() if times > 1)
        if twice:
            raise ValueError(f"track names must be unique, these are not: {twice}")
        super().__init__(
            metric_util.merge_per_key_computations(functools.partial(_computations, type(self).figure)),
            name=name or default_name(self.default, transform),
            track_names=list(track_names),
            transform=transform,
            organism=organism,
        )


class PearsonR(_TrackMetric):
    """Pearson's correlation of target and prediction, over all bins of all examples of a slice."""

    default = "pearson_r"
    figure = TrackMoments.pearson_r


class R2(_TrackMetric):
    """Coefficient of determination, `1 - SSE / SST`, over all bins of all examples of a slice."""

    default = "r2"
    figure = TrackMoments.r2


class MomentsPreprocessor(metric_types.Preprocessor):
    """Reduces one example's extracts to `TrackMoments`.

    Args:
        name: Unique name of what is computed; TFMA tells preprocessors apart by it.
        model_name: Model to read, or empty if there is one only.
        head: Output to read, or empty if the model has one only.
        transform: A key of `TRANSFORMS`.
        organism: Examples of other organisms yield nothing; empty takes all.
    """

    def __init__(self, name: str, model_name: str, head: str, transform: str, organism: str) -> None:
        super().__init__(name=name)
        self._model_name = model_name
        self._head = head
        self._transform = transform
        self._organism = organism

    def process(self, extracts: Mapping[str, Any]) -> Iterator[TrackMoments]:
        """Yields the moments of one example, or nothing if it is of another organism.

        Args:
            extracts: Of one example: `predictions` float [target_length, tracks] and `labels`, either float
                of the same shape or the raw float16 bytes of it; each may be nested by model and head.

        Raises:
            ValueError: If label and prediction do not fit each other.
        """
        if self._organism and _organism_of(extracts) != self._organism:
            return
        prediction = np.asarray(self._select(extracts[tfma.PREDICTIONS_KEY]))
        label = self._select(extracts[tfma.LABELS_KEY])
        where = f"head {self._head!r}" + (f" of model {self._model_name!r}" if self._model_name else "")
        if prediction.ndim != 2:
            raise ValueError(f"{where}: prediction has shape {prediction.shape}, not [target_length, tracks]")
        target = _decode_label(label, prediction.shape, where)
        transform = TRANSFORMS[self._transform]
        with np.errstate(invalid="ignore", divide="ignore"):  # log1p below -1 is NaN, which fails the metric
            yield TrackMoments.from_arrays(
                transform(target.astype(np.float64)), transform(prediction.astype(np.float64))
            )

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


class MomentsCombineFn(beam.CombineFn):
    """Merges `TrackMoments`; its accumulator is `None` until an example has come.

    Args:
        key: Private metric key under which the moments reach the metrics derived from them.
    """

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> TrackMoments | None:
        """Returns the accumulator of no examples."""
        return None

    def add_input(self, accumulator: TrackMoments | None, element: TrackMoments) -> TrackMoments:
        """Adds one example's moments."""
        return element if accumulator is None else accumulator.merge(element)

    def merge_accumulators(self, accumulators: Iterable[TrackMoments | None]) -> TrackMoments | None:
        """Merges accumulators, in any order."""
        return functools.reduce(self.add_input, (one for one in accumulators if one is not None), None)

    def extract_output(self, accumulator: TrackMoments | None) -> dict[metric_types.MetricKey, Any]:
        """Returns the moments, or `None` if no example counted, under the private key."""
        return {self._key: accumulator}


def _computations(
    figure: Callable[[TrackMoments], np.ndarray],
    name: str,
    track_names: Sequence[str],
    transform: str,
    organism: str,
    model_name: str = "",
    output_name: str = "",
) -> metric_types.MetricComputations:
    """Returns the shared reduction to moments and the keys that `figure` derives from it."""
    # TFMA merges computations of equal private keys and preprocessor names: both hold all that matters.
    private_name = "_track_moments" + "".join(f"|{part}" for part in (transform, organism))
    moments_key = metric_types.MetricKey(private_name, model_name=model_name, output_name=output_name)
    preprocessor = MomentsPreprocessor(
        f"{private_name}|{model_name}|{output_name}", model_name, output_name, transform, organism
    )

    def key(suffix: str = "") -> metric_types.MetricKey:
        return metric_types.MetricKey(
            name + suffix, model_name=model_name, output_name=output_name, example_weighted=None
        )

    def derive(metrics: Mapping[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, Any]:
        moments: TrackMoments | None = metrics[moments_key]
        values = np.full(len(track_names), np.nan) if moments is None else figure(moments)
        if track_names and len(values) != len(track_names):
            raise ValueError(
                f"head {output_name!r} has {len(values)} tracks, {name} got {len(track_names)} track names"
            )
        defined = values[~np.isnan(values)]
        usable = moments is not None and moments.is_finite() and defined.size > 0
        return {
            key(): float(defined.mean()) if usable else float("nan"),
            key("_undefined_tracks"): float(values.size - defined.size),
            key("_per_track"): values,
            **{key(f"/{track}"): float(value) for track, value in zip(track_names, values, strict=False)},
        }

    keys = [
        key(),
        key("_undefined_tracks"),
        key("_per_track"),
        *(key(f"/{track}") for track in track_names),
    ]
    return [
        metric_types.MetricComputation(
            keys=[moments_key], preprocessors=[preprocessor], combiner=MomentsCombineFn(moments_key)
        ),
        metric_types.DerivedMetricComputation(keys=keys, result=derive),
    ]


def _organism_of(extracts: Mapping[str, Any]) -> str:
    """Returns the feature `organism` of one example as text."""
    value = np.asarray(extracts[tfma.FEATURES_KEY]["organism"]).reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _decode_label(label: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns the label as real numbers of the prediction's shape.

    Raises:
        ValueError: If it does not have that shape, or that many float16 values.
    """
    if label is None:
        raise ValueError(f"{where}: no label; check ModelSpec.label_keys")
    # Bytes stay in an object array: numpy's own bytes type drops trailing zeros, and coverage ends in them.
    array = np.asarray(label, dtype=object if isinstance(label, bytes) else None)
    if array.dtype.kind == "O" and array.size == 1:
        raw = array.reshape(-1)[0]
        if len(raw) != 2 * shape[0] * shape[1]:
            raise ValueError(
                f"{where}: target holds {len(raw) / 2:g} float16 values, the prediction has shape {shape}"
            )
        return np.frombuffer(raw, dtype="<f2").reshape(shape)
    if array.shape != shape:
        raise ValueError(f"{where}: target has shape {array.shape}, the prediction {shape}")
    return array
