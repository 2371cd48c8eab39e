"""`VariantScorer`: a run's files of variants, scored with the model that it pushed."""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import contextlib
import datetime
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from components.variant_scorer.comparison import keep_scores
from components.variant_scorer.describing import Question, describe, shorten
from components.variant_scorer.files import VariantFile, genome_of, read_known_genes
from components.variant_scorer.page import make_page
from components.variant_scorer.reading import FORMULA, RANKED_BY
from components.variant_scorer.scoring import SCORES_FILE, score_file
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction import open_heads

REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.json"
_logger = logging.getLogger(__name__)


class ScoredVariants(Artifact):
    """Folder of `report.html`, which needs no other file and no network, and of what it was made of.

    `summary.json` names the strongest variants and the pictures of some, which lie beside it, and
    `<organism>/scores.h5` has all scores; of a model that was not pushed there are none.
    """

    TYPE_NAME = "enformer.ScoredVariants"


@tfx.dsl.components.component
def VariantScorer(  # noqa: N802 (a component is named like a class)
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    pushed_model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.PushedModel],
    scores: tfx.dsl.components.OutputArtifact[ScoredVariants],
    variants: tfx.dsl.components.Parameter[str],
    dataset: tfx.dsl.components.Parameter[str],
    kept: tfx.dsl.components.Parameter[str],
    strands: tfx.dsl.components.Parameter[str] = "both",
    most_listed: tfx.dsl.components.Parameter[int] = 20,
    most_drawn: tfx.dsl.components.Parameter[int] = 3,
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Scores variants if the model was pushed; else says in the report that it was not.

    Args:
        model: the Trainer's, of which a pushed version is a copy; that one may be gone by now, for newer ones.
        pushed_model: the Pusher's output: which version the model became, if any.
        scores: gets the report, and of each organism the scores.
        variants: organism -> fields of its `VariantFile`, as JSON.
        dataset: YAML file of the dataset, which names the genomes.
        kept: folder that outlives the run, in which a model's scores are kept to compare the next one's with
            (`comparison.keep_scores`).
        strands: that predictions are averaged over, `both` or `forward`.
        most_listed: strongest variants that are listed, and as many of those whose scores changed.
        most_drawn: of the strongest, how many are drawn.
        code_fingerprint: of the code that decides scores and report, so that the cache sees a change.
    """
    del code_fingerprint
    files = {name: VariantFile(**fields) for name, fields in json.loads(variants).items()}
    date = datetime.datetime.now(datetime.UTC)
    version = pushed_model.get_string_custom_property("pushed_version")
    folder = Path(scores.uri)
    rows = [
        ("dataset", dataset),
        ("pushed as version", version or "not pushed"),
        ("date", f"{date:%Y-%m-%d %H:%M} UTC"),
    ]
    if not version:
        note = "No scores: the model was not pushed, and only pushed models are asked about variants."
        _logger.warning("no variants are scored: the model was not pushed")
        _write(folder, make_page(", ".join(files), date, rows, [], note), {"pushed": "", "organisms": {}}, {})
        return

    heads = open_heads(path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)))
    described = []
    for name, file in files.items():
        known = genome_of(Path(dataset), name)
        with contextlib.closing(Genome(known.fasta)) as genome:
            question = Question(
                name,
                heads[name],
                genome,
                known.contig_aliases,
                strands,
                read_known_genes(known, genome),
            )
            score_file(
                question.predictor,
                file,
                genome,
                known.contig_aliases,
                strands,
                folder / name,
                {"model": version},
                Path(kept) / name,
            )
            described.append(
                describe(question, file, folder / name, Path(kept) / name, version, most_listed, most_drawn)
            )
    assemblies = {name: heads[name].card.assembly for name in files}
    title = ", ".join(f"{name} ({assembly})" if assembly else name for name, assembly in assemblies.items())
    summary = {
        "pushed": version,
        "statistic": RANKED_BY,
        "formula": FORMULA,
        "organisms": {one.name: shorten(one) for one in described},
    }
    pictures = {file: png for one in described for file, png in one.pictures.items()}
    _write(folder, make_page(title, date, rows, described), summary, pictures)
    # Last: to a run that was killed before, the last model's scores are still there.
    for name in files:
        keep_scores(folder / name / SCORES_FILE, Path(kept) / name, version)


def _write(folder: Path, page: str, summary: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    with whole_files(folder, [REPORT_FILE, SUMMARY_FILE, *pictures]) as paths:
        for file, png in pictures.items():
            paths[file].write_bytes(png)
        paths[REPORT_FILE].write_text(page, encoding="utf-8")
        paths[SUMMARY_FILE].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
