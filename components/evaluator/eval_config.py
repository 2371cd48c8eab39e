"""What the Evaluator measures, and what a model must reach to be blessed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import tensorflow_model_analysis as tfma

# `tfma.EvalConfig` and its parts are there only after `import tfx`, which puts them in place.
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.metrics import R2, TRANSFORMS, PearsonR, default_name

_METRICS = (PearsonR, R2)


def make_eval_config(
    head: str,
    track_names: Sequence[str],
    thresholds: Mapping[str, float],
    max_drop: float,
    *,
    change_metric: str = "pearson_r",
    max_undefined_tracks: int = 0,
    organism: str = "",
    slice_by: Sequence[str] = ("chrom",),
    preprocessing_functions: Sequence[str] = ("transform_features",),
) -> config_pb2.EvalConfig:
    """Returns the configuration of TFX's Evaluator for one head.

    Measured are `pearson_r`, `r2`, `log1p_pearson_r` and `log1p_r2` (the keys of each stand in
    `components.evaluator.metrics`), over all examples and for each value of `slice_by`. Thresholds hold for
    the figures over all examples; a NaN fails them.

    Args:
        head: Name of the output of `serving_default` that is judged.
        track_names: Names of the head's tracks in order, for a key `<metric>/<track>` each; may be empty.
        thresholds: Least value of each key, e.g. `{"pearson_r": 0.4, "pearson_r/chip_1": 0.3}`.
        max_drop: How far `change_metric` may fall below the last blessed model's on the same examples. TFX
            ignores it while no model has been blessed.
        change_metric: The mean metric that is compared with the last blessed model.
        max_undefined_tracks: How many tracks may be left out of a mean that has a threshold. A head that
            collapsed to a constant on some tracks would otherwise be judged on the others.
        organism: Value of the feature `organism` of the examples that count for this head, or empty.
        slice_by: Features by whose values the figures are broken down.
        preprocessing_functions: Endpoint that decodes the label. With none the metrics decode the raw bytes
            themselves, which saves its tensors (22 MB an example at Enformer's size, for each model) and is
            needed where heads differ in width.

    Raises:
        ValueError: If no threshold is given (TFX would bless and push nothing, in silence), a key is
            unknown, or a limit is no finite number.
    """
    means = [default_name(metric.default, transform) for transform in TRANSFORMS for metric in _METRICS]
    known = means + [f"{mean}/{track}" for mean in means for track in track_names]
    unknown = sorted({*thresholds, change_metric} - set(known))
    if not head:
        raise ValueError("name the head to judge")
    if not thresholds:
        raise ValueError("give at least one threshold: without any, no model is ever blessed")
    if unknown or change_metric not in means:
        raise ValueError(f"no such metric: {unknown or change_metric}; the means are {means}")
    if not all(map(math.isfinite, thresholds.values())) or not (math.isfinite(max_drop) and max_drop >= 0):
        raise ValueError(f"limits must be finite and max_drop >= 0: {dict(thresholds)}, max_drop={max_drop}")

    limits = {key: config_pb2.MetricThreshold() for key in {*thresholds, change_metric}}
    for key, least in thresholds.items():
        limits[key].value_threshold.lower_bound.value = least
    limits[change_metric].change_threshold.absolute.value = -max_drop
    limits[change_metric].change_threshold.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
    for mean in set(means) & set(limits):
        limit = limits[f"{mean}_undefined_tracks"] = config_pb2.MetricThreshold()
        limit.value_threshold.upper_bound.value = max_undefined_tracks

    metrics = [
        config_pb2.MetricConfig(
            class_name=metric.__name__,
            module=metric.__module__,
            config=json.dumps({"transform": transform, "organism": organism, "track_names": list(track_names)}),
        )
        for transform in TRANSFORMS
        for metric in _METRICS
    ]

    def model_spec(name: str, is_baseline: bool) -> config_pb2.ModelSpec:
        return config_pb2.ModelSpec(
            name=name,
            is_baseline=is_baseline,
            # Not a tf_keras model: TFMA's Keras path needs Keras 2.
            model_type=tfma.TF_GENERIC,
            signature_name="serving_default",
            label_keys={head: "target"},
            preprocessing_function_names=list(preprocessing_functions),
        )

    def overall_only(limit: config_pb2.MetricThreshold) -> config_pb2.PerSliceMetricThresholds:
        # A plain threshold would hold for every slice, down to a chromosome with one window.
        return config_pb2.PerSliceMetricThresholds(
            thresholds=[
                config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=limit)
            ]
        )

    return config_pb2.EvalConfig(
        model_specs=[
            model_spec(tfma.CANDIDATE_KEY, is_baseline=False),
            model_spec(tfma.BASELINE_KEY, is_baseline=True),
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[key]) for key in slice_by),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                output_names=[head],
                metrics=metrics,
                per_slice_thresholds={key: overall_only(limit) for key, limit in limits.items()},
            )
        ],
    )
