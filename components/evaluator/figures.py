"""Reading back what the Evaluator measured and how it judged."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer

Figures = dict[str, float | np.ndarray]


@dataclasses.dataclass(frozen=True)
class HeadFigures:
    """What was measured of a head.

    Attributes:
        tracks: names of its tracks, in order.
        assays: assay of each track.
        by_slice: slice (`()` is all examples, `("chr1",)` one contig) -> figures by key: a number, or an array
            float64 [tracks] for `<metric>_per_track`. The keys stand in `components.evaluator.metrics`; of a
            contig without a region there are none across regions.
    """

    tracks: list[str]
    assays: list[str]
    by_slice: dict[tuple[str, ...], Figures]

    def per_track(self, metric: str) -> np.ndarray:
        """Returns a metric of every track over all examples, float64 [tracks]."""
        return np.asarray(self.by_slice[()][f"{metric}_per_track"])


@dataclasses.dataclass(frozen=True)
class Check:
    """A figure over all examples, and the limit that it has.

    Attributes:
        head: name of the head.
        key: of the figure.
        value: of the candidate; NaN where it is not defined.
        least: lowest value that passes, or -inf.
        most: highest value that passes, or inf.
        tracks: those without a value, where the figure is their number.
    """

    head: str
    key: str
    value: float
    least: float
    most: float
    tracks: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the figure is within its limits; NaN is not."""
        return self.least <= self.value <= self.most

    def __str__(self) -> str:
        limits = [f"at least {self.least:g}"] * math.isfinite(self.least)
        limits += [f"at most {self.most:g}"] * math.isfinite(self.most)
        named = f" ({', '.join(self.tracks)})" if self.tracks else ""
        return f"{self.head}: {self.key} {self.value:.4f}{named}, {' and '.join(limits)} is wanted"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How the Evaluator judged, and why.

    Attributes:
        blessed: whether every limit was met.
        compared: whether there was a last blessed model to compare with.
        endpoint: of the model, which gave the predictions.
        checks: every limit with its figure.
    """

    blessed: bool
    compared: bool
    endpoint: str
    checks: list[Check]


def load_figures(evaluation: str | Path) -> dict[str, HeadFigures]:
    """Reads the candidate's figures from an evaluation.

    Args:
        evaluation: folder that the Evaluator wrote.

    Returns:
        Head -> its figures.
    """
    heads = {}
    for spec in _load_config(evaluation).metrics_specs:
        (head,) = spec.output_names
        named = json.loads(spec.metrics[0].config)
        heads[head] = HeadFigures(named["track_names"], named["assays"], {})
    for found in tfma.load_metrics(str(evaluation)):
        for item in found.metric_keys_and_values:
            if item.key.model_name != tfma.BASELINE_KEY and not item.key.is_diff:
                name, of_contig, contig = item.key.name.partition("/contig:")
                keys = (contig,) if of_contig else ()
                heads[item.key.output_name].by_slice.setdefault(keys, {})[name] = (
                    np.array(item.value.array_value.float64_values)
                    if item.value.HasField("array_value")
                    else item.value.double_value.value
                )
    return heads


def load_verdict(evaluation: str | Path) -> Verdict:
    """Reads how an evaluation ended, and every limit with its figure.

    Args:
        evaluation: folder that the Evaluator wrote.

    Returns:
        The verdict, with the checks in the order of heads and keys.
    """
    figures = load_figures(evaluation)
    config = _load_config(evaluation)
    checks = []
    for spec in config.metrics_specs:
        (head,) = spec.output_names
        for key, threshold in sorted(spec.thresholds.items()):
            limit = threshold.value_threshold
            checks.append(
                Check(
                    head,
                    key,
                    float(figures[head].by_slice[()][key]),
                    limit.lower_bound.value if limit.HasField("lower_bound") else -math.inf,
                    limit.upper_bound.value if limit.HasField("upper_bound") else math.inf,
                    _undefined_tracks(figures[head], key),
                )
            )
    return Verdict(
        blessed=tfma.load_validation_result(str(evaluation)).validation_ok,
        compared=any(spec.is_baseline for spec in config.model_specs),
        endpoint=config.model_specs[0].signature_name,
        checks=checks,
    )


def _undefined_tracks(head: HeadFigures, key: str) -> tuple[str, ...]:
    """Names the tracks that a figure such as `r2_undefined_tracks/assay:CAGE` counts."""
    mean, counts, group = key.partition("_undefined_tracks")
    if not counts:
        return ()
    assay = group.removeprefix("/assay:")
    values = zip(head.tracks, head.assays, head.per_track(mean), strict=True)
    return tuple(track for track, own, value in values if np.isnan(value) and assay in ("", own))


def _load_config(evaluation: str | Path) -> config_pb2.EvalConfig:
    config, *_ = eval_config_writer.load_eval_run(str(evaluation))
    return config
