"""What a run came to: its page, correlations beside a baseline, a picture, and where the model is.

Run as `python -m pipeline.report` with the environment of the runner (`pipeline/environment.py`).
"""

import contextlib
import dataclasses
import datetime
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from components.evaluation_report.subject import Subject
from components.trainer.training import MODEL_CARD, TRAINABLE_MODEL
from components.variant_scorer.files import genome_of, read_known_genes
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.genes import Gene
from pipeline.configs import Settings
from pipeline.data import Organism
from pipeline.outcome import NoRunError, Outcome, read_outcome
from pipeline.run_page import Judged, make_page, spell_variant
from pipeline.run_pictures import MOST_SHOWN, draw_strongest, shown_tracks
from pipeline.scores import MEASURE, TrackScore, score_tracks
from pipeline.split_signal import predict, read_splits

# Variants that are printed.
MOST_VARIANTS = 3


def write_report(settings: Settings) -> int:
    """Writes `report/` and `model.keras` of a run's pushed model, and prints what a user wants to know.

    Args:
        settings: of the run.

    Returns:
        Exit status: 0 if the model was pushed, 1 if it was judged and refused, or is kept no more.

    Raises:
        NoRunError: the pipeline has not run to its end.
    """
    outcome = read_outcome(settings.metadata, settings.name)
    if outcome.pushed is None:
        if not outcome.blessed:
            from components.evaluator.figures import load_verdict  # TFMA takes 20 s to import

            print("not pushed: the Evaluator refused the model on the test split")
            for check in load_verdict(outcome.evaluation).checks:
                print(f"  {'met   ' if check.met else 'missed'}  {check}")
        if not outcome.servable:
            print(f"not pushed: the model does not serve: {outcome.reason}")
        print(f"evaluation       {_short(outcome.report / 'report.html')}")
        return 1

    if not outcome.pushed.is_dir():
        print(
            f"this model was pushed before; its version {outcome.pushed.name} has been removed since, for "
            f"newer ones: the last {settings.keep_versions} are kept"
        )
        return 1

    judged = [_judge(settings, outcome, organism) for organism in settings.description.organisms]
    scores = [score for one in judged for score in one.scores]
    report = settings.run / "report"
    report.mkdir(parents=True, exist_ok=True)
    strongest = draw_strongest([(one.organism, one.test, one.predicted) for one in judged])
    picture, page = report / "tracks.png", report / "report.html"
    _replace(picture, strongest)
    figures = {
        "pushed": outcome.pushed.name,
        "measure": MEASURE,
        "tracks": [dataclasses.asdict(one) for one in scores],
    }
    _replace(report / "scores.json", (json.dumps(figures, indent=2) + "\n").encode())
    _replace(page, _make_page(settings, outcome, outcome.pushed, judged, strongest, report).encode())
    trainable = settings.run / "model.keras"
    partial = trainable.with_suffix(".partial")
    shutil.copyfile(outcome.pushed / TRAINABLE_MODEL, partial)
    partial.replace(trainable)

    print("\nPearson r on the test split, log1p of the signal per bin:")
    for one in judged:
        print(f"{one.organism.name} ({one.test.measured[..., 0].size:,} bins)")
        _print_scores(one.scores, report / "scores.json")
    for one in judged:
        if one.regions:
            print(one.regions)
    print(f"pushed model     {_short(outcome.pushed)}")
    print(f"trainable model  {_short(trainable)}")
    print(f"picture          {_short(picture)}")
    print(f"evaluation       {_short(outcome.report / 'report.html')}")
    if outcome.variants is not None:
        print(_describe_variants(outcome.variants))
        print(f"scored variants  {_short(outcome.variants / 'report.html')}")
    print(f"the run's page   {_short(page)}")
    return 0


def _judge(settings: Settings, outcome: Outcome, organism: Organism) -> Judged:
    assert outcome.pushed is not None
    splits = read_splits(settings, organism)
    predicted = predict(outcome.pushed, organism.name, splits["test"].sequences)
    regions = settings.regions.get(organism.name)
    return Judged(
        organism=organism,
        test=splits["test"],
        predicted=predicted,
        scores=score_tracks(organism, splits, predicted),
        genes=_read_genes(settings, organism.name),
        regions="" if regions is None else _describe_regions(outcome.evaluation, organism.name, regions),
    )


def _read_genes(settings: Settings, organism: str) -> Sequence[Gene]:
    if settings.description.kind != "genome":  # a Basenji folder's records name no genes
        return ()
    known = genome_of(settings.dataset, organism)
    with contextlib.closing(Genome(known.fasta)) as genome:
        return read_known_genes(known, genome)


def _make_page(
    settings: Settings, outcome: Outcome, pushed: Path, judged: Sequence[Judged], strongest: bytes, report: Path
) -> str:
    subject = Subject(
        dataset=str(settings.dataset),
        run=str(settings.run),
        version=pushed.name,
        date=datetime.datetime.now(datetime.UTC),
        card=json.loads((pushed / MODEL_CARD).read_text(encoding="utf-8")),
    )
    others = {
        "evaluation: limits, figures by assay and contig, best and worst tracks, training curves": (
            outcome.report / "report.html"
        ),
        "examples: what was kept, dropped and clipped, by split": outcome.data / "report.png",
    }
    if outcome.variants is not None:
        others["variants: the strongest, and what changed since the last model"] = (
            outcome.variants / "report.html"
        )
    return make_page(
        subject,
        pushed / TRAINABLE_MODEL,
        json.loads((outcome.data / "report.json").read_text(encoding="utf-8")),
        judged,
        strongest,
        outcome.variants,
        [(name, Path(os.path.relpath(path, report)).as_posix()) for name, path in others.items()],
    )


def _print_scores(scores: Sequence[TrackScore], file: Path) -> None:
    shown = shown_tracks(scores, MOST_SHOWN)
    width = max(len(one.track) for one in shown)
    for one in shown:
        print(f"  {one.track:<{width}}  model {one.model:.4f}   ridge on 6-mers {one.baseline:.4f}")
    if len(scores) > len(shown):
        print(f"  {len(scores) - len(shown)} more tracks in {_short(file)}")


def _describe_regions(evaluation: Path, organism: str, file: Path) -> str:
    from components.evaluator.figures import load_figures  # TFMA takes 20 s to import

    figures = load_figures(evaluation)[organism].by_slice[()]
    return (
        f"across {figures['region_pearson_r_count']:,.0f} regions of {_short(file)}, mean over all tracks: "
        f"Pearson r of log1p of the signal {figures['region_log1p_pearson_r']:.4f}, "
        f"of the signal {figures['region_pearson_r']:.4f}"
    )


def _describe_variants(folder: Path) -> str:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    statistic = summary["statistic"]
    lines = []
    for name, scored in summary["organisms"].items():
        lines.append(
            f"\n{sum(scored['statuses'].values()):,} variants of {name}, scored "
            f"{scored['statuses'].get('scored', 0):,}; the strongest by {statistic}:"
        )
        for one in scored["strongest"][:MOST_VARIANTS]:
            spelled = spell_variant(one["variant"])
            lines.append(f"  {spelled}  {one['track']} {one[statistic]:+.4f}  {one['gene']}".rstrip())
    return "\n".join(lines)


def _replace(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(file)


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    from pipeline.environment import settings_from_environment

    try:
        sys.exit(write_report(settings_from_environment()))
    except NoRunError as error:
        sys.exit(f"pipeline.report: {error}")
