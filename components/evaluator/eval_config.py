"""What the Evaluator measures, and what a model must reach to be blessed."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

import tensorflow_model_analysis as tfma

# `tfma.EvalConfig` and its parts are there only after `import tfx`, which puts them in place.
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.metrics import R2, TRANSFORMS, PairedChange, PearsonR, default_name
from components.evaluator.regions import RegionFile
from enformer_keras.formats.track_table import assay_of

_METRICS = (PearsonR, R2)
# Mean metric -> its class and transform.
_MEANS = {
    default_name(metric.default, transform): (metric, transform)
    for transform in TRANSFORMS
    for metric in _METRICS
}
# The same across regions.
_REGION_MEANS = {
    default_name(metric.default, transform, of_regions=True): (metric, transform)
    for metric, transform in _MEANS.values()
}
# For the Evaluator: batches of at most 20 MiB of records, which are two of Enformer's examples. Without it Beam
# makes them larger the faster they are done, up to 1,000 examples, each with 19 MB of predictions.
BEAM_ARGUMENTS = ("--tfxio_use_byte_size_batching",)


@dataclasses.dataclass(frozen=True)
class Head:
    """A head that is judged.

    Attributes:
        organism: Its name, and the value of the feature `organism` of the examples that count for it.
        tracks: Names of its tracks, in order.
        descriptions: Of each track, as in `targets.txt`; an assay and ":" may come first.
        regions: Where it is measured across regions too, such as genes.
    """

    organism: str
    tracks: Sequence[str]
    descriptions: Sequence[str]
    regions: RegionFile | None = None

    @property
    def assays(self) -> list[str]:
        """Assay of each track, by its description."""
        return [assay_of(description) for description in self.descriptions]


def make_eval_config(
    heads: Sequence[Head],
    thresholds: Mapping[str, float],
    max_drop: float,
    *,
    change_metric: str = "pearson_r",
    max_undefined_tracks: int = 0,
    endpoint: str = "serving_default",
    code_fingerprint: str = "",
) -> config_pb2.EvalConfig:
    """Returns the configuration of TFX's Evaluator.

    Measured are `pearson_r`, `r2`, `log1p_pearson_r` and `log1p_r2` of each head (the keys of each stand in
    `components.evaluator.metrics`), over all examples of its organism and for each contig. Limits hold for the
    figures over all examples; a NaN fails them. A head with regions has the same across these, as
    `region_pearson_r` and so on; a model is refused where the examples hold none of them.

    A model is refused as worse than the last blessed one if even the upper end of the interval of the change
    lies below `-max_drop`: one that is worse by `max_drop` or less is refused once in 40 times at most, however
    few windows there are to judge by. Without a last blessed model the thresholds alone decide.

    The metrics decode the targets' bytes themselves: decoded by the model, tensors of 22 MB an example at
    Enformer's size would come from each model.

    Args:
        heads: The heads that are judged.
        thresholds: Least value of each key, for each head that has it, e.g.
            `{"pearson_r": 0.4, "pearson_r/assay:CHIP": 0.3, "pearson_r/chip_1": 0.3}`. With an organism in
            front it is for that head, whatever holds for all: `{"pearson_r": 0.5, "yeast:pearson_r": 0.3}`.
        max_drop: How far `change_metric` may fall below the last blessed model's on the same examples.
        change_metric: The mean metric that is compared with the last blessed model; none across regions.
        max_undefined_tracks: How many tracks may be left out of a mean that has a threshold or is compared. A
            head that collapsed to a constant on some tracks would otherwise be judged on the others.
        endpoint: Which one of a model answers for serialized examples; the last blessed one has it too.
        code_fingerprint: Any text that changes with the metrics' code, see `PairedChange`.

    Raises:
        ValueError: If no threshold is given (TFX would bless and push nothing, in silence), a key is
            unknown, or a limit is no finite number.
    """
    known = {head.organism: _keys(head) for head in heads}
    of_one = {f"{organism}:{key}": (organism, key) for organism, keys in known.items() for key in keys}
    unknown = sorted(set(thresholds) - of_one.keys() - set().union(*known.values()))
    if not all(known):
        raise ValueError("name the head to judge")
    if not thresholds:
        raise ValueError("give at least one threshold: without any, no model is ever blessed")
    if unknown or change_metric not in _MEANS:
        regions = f", with a file of regions {list(_REGION_MEANS)} too" if unknown else ""
        raise ValueError(f"no such metric: {unknown or change_metric}; the means are {list(_MEANS)}{regions}")
    if not all(map(math.isfinite, thresholds.values())) or not (math.isfinite(max_drop) and max_drop >= 0):
        raise ValueError(f"limits must be finite and max_drop >= 0: {dict(thresholds)}, max_drop={max_drop}")

    def metrics_spec(head: Head) -> config_pb2.MetricsSpec:
        least = {key: value for key, value in thresholds.items() if key in known[head.organism]}
        for key, value in thresholds.items():
            organism, own_key = of_one.get(key, ("", ""))
            if organism == head.organism:
                least[own_key] = value
        limits = {key: _limit(lower_bound=value) for key, value in least.items()}
        limits[f"{change_metric}_change_high"] = _limit(lower_bound=-max_drop)
        for key in {*least, change_metric}:
            mean, slash, group = key.partition("/")
            if not slash or group.startswith("assay:"):
                undefined = f"{mean}_undefined_tracks{slash}{group}"
                limits[undefined] = _limit(upper_bound=max_undefined_tracks)
        if head.regions:
            limits["region_pearson_r_count"] = _limit(lower_bound=1)
        of_head = {"organism": head.organism}
        of_tracks = of_head | {
            "track_names": list(head.tracks),
            "assays": head.assays,
            "keyed_tracks": sorted({key.partition("/")[2] for key in least} & set(head.tracks)),
        }
        across = {"regions": dataclasses.asdict(head.regions)} if head.regions else {}
        compared, transform = _MEANS[change_metric]
        change = {"metric": compared.default, "transform": transform, "code_fingerprint": code_fingerprint}
        return config_pb2.MetricsSpec(
            output_names=[head.organism],
            metrics=[
                *(
                    _metric_config(metric, of_tracks | {"transform": name, "in_blocks": name == transform})
                    for metric, name in _MEANS.values()
                ),
                *(
                    _metric_config(metric, of_tracks | across | {"transform": name})
                    for metric, name in _REGION_MEANS.values()
                    if across
                ),
                _metric_config(PairedChange, change | of_head),
            ],
            thresholds=limits,
        )

    def model_spec(name: str, is_baseline: bool) -> config_pb2.ModelSpec:
        return config_pb2.ModelSpec(
            name=name,
            is_baseline=is_baseline,
            # Not a tf_keras model: TFMA's Keras path needs Keras 2.
            model_type=tfma.TF_GENERIC,
            signature_name=endpoint,
            label_keys={head.organism: "target" for head in heads},
        )

    return config_pb2.EvalConfig(
        model_specs=[
            model_spec(tfma.CANDIDATE_KEY, is_baseline=False),
            model_spec(tfma.BASELINE_KEY, is_baseline=True),
        ],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[metrics_spec(head) for head in heads],
    )


def _keys(head: Head) -> set[str]:
    """Returns the keys of a head that may have a threshold; a name that tracks share is none."""
    tracks = {track for track, times in collections.Counter(head.tracks).items() if times == 1}
    groups = {f"/assay:{assay}" for assay in head.assays} | {f"/{track}" for track in tracks}
    means = [*_MEANS, *(_REGION_MEANS if head.regions else ())]
    return {mean + group for mean in means for group in {"", *groups}}


def _metric_config(metric: type[tfma.metrics.Metric], config: Mapping[str, object]) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=metric.__name__, module=metric.__module__, config=json.dumps(config)
    )


def _limit(**bound: float) -> config_pb2.MetricThreshold:
    limit = config_pb2.MetricThreshold()
    for name, value in bound.items():
        getattr(limit.value_threshold, name).value = value
    return limit
