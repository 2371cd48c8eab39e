"""The page of a run: what was trained on what, how good it is, where, and what variants do by it."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation_report.signal import extremes
from components.evaluation_report.subject import Subject
from components.html_page.page import embed, render
from enformer_keras.formats.genes import Gene
from pipeline.data import Organism
from pipeline.run_pictures import MOST_NAMED, draw_comparison, draw_window
from pipeline.run_template import TEMPLATE
from pipeline.scores import MEASURE, TrackScore, score_windows
from pipeline.split_signal import SplitSignal

# Best windows that are named, and as many of the worst; of each end one is drawn.
_MOST_PLACES = 3
# Strongest variants that are named, and how many of them are drawn.
_MOST_VARIANTS, _MOST_DRAWN = 5, 2
# Letters of a variant.
_MOST_LETTERS = 40


@dataclasses.dataclass(frozen=True)
class Judged:
    """An organism's test split, and what the pushed model predicts for it.

    Attributes:
        organism: whose.
        test: its bins.
        predicted: [windows, target_length, tracks].
        scores: of its tracks, in their order.
        genes: of its genome; may be none.
        regions: what is said of figures across regions; empty where there are none.
    """

    organism: Organism
    test: SplitSignal
    predicted: np.ndarray
    scores: Sequence[TrackScore]
    genes: Sequence[Gene]
    regions: str


def make_page(
    subject: Subject,
    model: Path,
    data: Mapping[str, Any],
    judged: Sequence[Judged],
    strongest: bytes,
    variants: Path | None,
    links: Sequence[tuple[str, str]],
) -> str:
    """Puts a run on a page that needs no other file.

    Args:
        subject: what was trained.
        model: the pushed one's Keras file.
        data: report on the examples, of `components.data_report.figures.make_report`.
        judged: organisms.
        strongest: picture of the strongest windows.
        variants: folder of the scores of variants; `None`: there are none.
        links: name and relative address of what else there is to see.

    Returns:
        HTML; all text from the data is escaped.
    """
    windows = (
        f"{name}: " + ", ".join(f"{found['windows']:,} {split}" for split, found in one["splits"].items())
        for name, one in data["organisms"].items()
    )
    return render(
        TEMPLATE,
        subject=subject,
        measure=MEASURE.removeprefix("Pearson r of "),
        rows=[("model", describe_model(model)), ("windows by split", "; ".join(windows)), *subject.rows],
        organisms=[_describe(one) for one in judged],
        strongest=embed(strongest),
        variants={"organisms": []} if variants is None else _describe_variants(variants),
        links=links,
        number=lambda value: "not defined" if np.isnan(value) else f"{value:.4f}",
    )


def describe_model(model: Path) -> str:
    """Says how large a model is, by its Keras file, whose weights are not read."""
    with zipfile.ZipFile(model) as archive:
        sizes = json.loads(archive.read("config.json"))["config"]
    return (
        f"Enformer of {sizes['channels']:,} channels, {sizes['num_transformer_layers']} transformer blocks and "
        f"{sizes['num_heads']} attention heads"
    )


def spell_variant(variant: str) -> str:
    """Shortens a variant of long alleles."""
    return variant if len(variant) <= _MOST_LETTERS else f"{variant[:_MOST_LETTERS]}..."


def _describe(one: Judged) -> dict[str, Any]:
    tracks, scores = one.organism.tracks, one.scores
    model, baseline = (np.array([getattr(score, of) for score in scores]) for of in ("model", "baseline"))
    defined = ~np.isnan(model)
    within = score_windows(one.test.measured, one.predicted)
    places = extremes(within, _MOST_PLACES)
    titles = {places[-1]: "Worst", places[0]: "Best"} if places else {}
    return {
        "name": one.organism.name,
        "model": _mean(model),
        "baseline": _mean(baseline),
        "windows": len(one.test.windows),
        "bins": one.test.measured[..., 0].size,
        "tracks": len(tracks),
        "above": int((model > baseline).sum()),
        "undefined": int((~defined).sum()),
        "comparison": embed(draw_comparison(scores)),
        "all_listed": int(defined.sum()) <= MOST_NAMED,
        "listed": [(tracks[index], scores[index]) for index in extremes(model, MOST_NAMED // 2)],
        "regions": one.regions,
        "all_places_listed": len(places) == len(within),
        "places": [
            {
                "name": str(one.test.windows[index].target),
                "r": within[index],
                "title": titles.get(index, ""),
                "picture": embed(_draw_place(one, index)) if index in titles else "",
            }
            for index in places
        ],
        "has_genes": bool(one.genes),
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _draw_place(one: Judged, index: int) -> bytes:
    target = one.test.windows[index].target
    return draw_window(one.organism.tracks, target, one.test.measured[index], one.predicted[index], one.genes)


def _describe_variants(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    statistic = summary["statistic"]
    return {
        "statistic": statistic,
        "formula": summary["formula"],
        "organisms": [
            {
                "name": name,
                "variants": sum(scored["statuses"].values()),
                "scored": scored["statuses"].get("scored", 0),
                "strongest": [
                    {
                        "variant": spell_variant(strong["variant"]),
                        "gene": strong["gene"],
                        "track": strong["track"],
                        "score": strong[statistic],
                        "picture": embed((folder / strong["picture"]).read_bytes())
                        if strong["picture"] and number < _MOST_DRAWN
                        else "",
                    }
                    for number, strong in enumerate(scored["strongest"][:_MOST_VARIANTS])
                ],
            }
            for name, scored in summary["organisms"].items()
        ],
    }
