"""A tiny model of two organisms that scores a file of variants, and the next model that does so too."""

import base64
import dataclasses
import html.parser
import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import scipy.stats
from tfx.types import standard_artifacts

from components.trainer.serving import MODEL_CARD
from components.trainer.training import TRAINABLE_MODEL
from components.variant_scorer import comparison, component, reading
from components.variant_scorer.files import VariantFile
from enformer_keras import Enformer
from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction import open_model
from enformer_keras.prediction.score_job import ScoreWorker
from pipeline.data import check_variants, describe_data
from tests.pipeline.conftest import write_genome

SIZES = {"channels": 24, "num_transformer_layers": 1, "num_heads": 2, "key_size": 4, "filters_divisible_by": 4}
STATISTICS = ["SADR", "SAD", "SAX"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("data"))


def write_model(folder, dataset, seed, dtype=None):
    """What the pipeline pushes, as far as the scorer reads it."""
    keras.utils.set_random_seed(seed)
    data = describe_data(dataset)
    heads = {organism.name: len(organism.tracks) for organism in data.organisms}
    model = Enformer(**SIZES, heads=heads, sequence_length=1024, target_length=4, dtype=dtype)
    extra = folder / "Format-Serving"
    (extra / TRAINABLE_MODEL).parent.mkdir(parents=True)
    model.save(extra / TRAINABLE_MODEL)
    organisms = {
        organism.name: {
            "assembly": organism.assembly,
            "tracks": [
                {
                    "index": track.index,
                    "identifier": track.identifier,
                    "description": track.description,
                    "strand_pair": track.index if track.strand_pair is None else track.strand_pair,
                }
                for track in organism.tracks
            ],
        }
        for organism in data.organisms
    }
    (extra / MODEL_CARD).write_text(json.dumps({"organisms": organisms}))
    return folder


@pytest.fixture(scope="module")
def models(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / str(seed), dataset, seed) for seed in (1, 2)]


class Runs:
    """Runs of the component that keep scores in one folder."""

    def __init__(self, dataset, folder):
        self.dataset, self.folder = dataset, folder

    def run(self, model, version, variants=None, strands="both"):
        """Returns the folder of the artifact."""
        judged, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
        scores = component.ScoredVariants()
        judged.uri, scores.uri = str(model), str(self.folder / f"scores-{version or 'none'}")
        if version:
            pushed.set_string_custom_property("pushed_version", version)
        file = VariantFile.open(variants or self.dataset.with_name("variants.vcf"))
        component.VariantScorer_Executor().Do(
            {"model": [judged], "pushed_model": [pushed]},
            {"scores": [scores]},
            {
                "variants": json.dumps({"tiny": dataclasses.asdict(file)}),
                "dataset": str(self.dataset),
                "kept": str(self.folder / "kept"),
                "strands": strands,
                "most_listed": 20,
                "most_drawn": 1,
            },
        )
        return Path(scores.uri)

    def kept(self):
        return sorted(path.name for path in (self.folder / "kept").rglob("*.h5"))


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    return Runs(dataset, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def first(runs, models):
    return runs.run(models[0], "10")


@pytest.fixture(scope="module")
def second(runs, models, first):
    return runs.run(models[1], "11")


def text_of(folder):
    """The page's text; nothing in it comes from elsewhere."""
    page = (folder / "report.html").read_text()
    found = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "link", "iframe")
            assert dict(attrs).get("src", "data:").startswith("data:")

        def handle_data(self, data):
            found.append(data)

    Reader().feed(page)
    return " ".join(" ".join(found).split())


def scores_of(folder):
    with h5py.File(folder / "tiny" / "scores.h5") as file:
        return (
            {name: file[name][:] for name in STATISTICS},
            file["status"].asstr()[:].tolist(),
            dict(file.attrs),
        )


def test_scores_are_the_predictors(dataset, models, first):
    expected = open_model(models[0] / "Format-Serving", head="tiny").score_variants(
        dataset.with_name("variants.vcf"),
        dataset.with_name("genome.fa"),
        statistics=STATISTICS,
    )
    found, statuses, about = scores_of(first)
    assert statuses == [str(status) for status in expected.statuses] == ["scored"] * 20 + ["reference_mismatch"]
    for name in STATISTICS:
        np.testing.assert_array_equal(found[name], expected.statistics[name])
    assert (about["model"], about["strands"]) == ("10", "both")


@pytest.mark.full
def test_a_model_of_another_type_is_asked_as_it_was_saved(dataset, tmp_path, first):
    model = write_model(tmp_path / "half", dataset, 1, dtype="mixed_bfloat16")
    found, _, _ = scores_of(Runs(dataset, tmp_path).run(model, "10"))
    exact, _, _ = scores_of(first)
    assert np.isfinite(found["SADR"][:20]).all()
    assert not np.array_equal(found["SADR"][:20], exact["SADR"][:20])


def test_a_run_that_was_killed_goes_on(dataset, models, first, tmp_path, monkeypatch):
    """The next one computes only the parts that are missing, and its scores are those of an undisturbed one."""
    monkeypatch.setattr("enformer_keras.prediction.variant_rows.ALLELES_PER_PART", 3)
    computed, compute = [], ScoreWorker.part

    def part(worker, index):
        computed.append(index)
        if len(computed) == 2:
            raise KeyboardInterrupt
        return compute(worker, index)

    monkeypatch.setattr(ScoreWorker, "part", part)
    runs = Runs(dataset, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        runs.run(models[0], "10")
    folder = runs.run(models[0], "10")
    assert computed == [0, 1, *range(1, max(computed) + 1)]
    assert not (tmp_path / "kept" / "tiny" / ".parts").exists()
    (found, statuses, _), (expected, expected_statuses, _) = scores_of(folder), scores_of(first)
    assert statuses == expected_statuses
    for name in STATISTICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-5)


def test_the_report_shows_the_strongest(first):
    found, _, _ = scores_of(first)
    sizes = np.abs(found["SADR"][:20]).max(axis=1)
    row, track = int(sizes.argmax()), int(np.abs(found["SADR"][sizes.argmax()]).argmax())
    summary = json.loads((first / "summary.json").read_text())["organisms"]["tiny"]
    assert summary["statuses"] == {"scored": 20, "reference_mismatch": 1}
    strongest = summary["strongest"]
    assert len(strongest) == 20
    assert strongest[0]["variant"].startswith(f"chrom:{1000 + 2000 * row}:")
    assert strongest[0]["track"] == ["coverage", "cds_plus", "cds_minus"][track]
    assert strongest[0]["SADR"] == pytest.approx(found["SADR"][row, track])
    text = text_of(first)
    assert "Scores of variants: tiny (tiny1)" in text
    assert "21 variants of" in text
    assert f"chrom:{1000 + 2000 * row:,}" in text
    assert "Nothing to compare with: no model that was pushed before has scores here." in text
    page = (first / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2  # a variant, the spread
    assert [one["picture"] for one in strongest] == ["tiny-1.png"] + [""] * 19
    assert base64.b64encode((first / "tiny-1.png").read_bytes()).decode() in page


def test_what_changed_since_the_model_before(runs, models, first, second):
    (old, _, _), (new, _, _) = scores_of(first), scores_of(second)
    summary = json.loads((second / "summary.json").read_text())["organisms"]["tiny"]
    assert summary["compared_with"] == "10"
    expected = [scipy.stats.spearmanr(new["SADR"][:20, t], old["SADR"][:20, t])[0] for t in range(3)]
    np.testing.assert_allclose(summary["rank_correlations"], expected, atol=1e-12)
    moved = np.abs(new["SADR"] - old["SADR"])[:20].max(axis=1).argmax()
    text = text_of(second)
    assert "version 10: 20 variants are scored by both" in text
    assert text.split("score moved most")[1].split("chrom:")[1].startswith(f"{1000 + 2000 * moved:,}")
    assert runs.kept() == ["10.h5", "11.h5"]


@pytest.mark.full
def test_a_model_that_is_scored_anew_is_compared_with_the_one_before_it(dataset, models, tmp_path):
    runs = Runs(dataset, tmp_path)
    runs.run(models[0], "10")
    runs.run(models[1], "11")
    again = runs.run(models[1], "11")
    assert json.loads((again / "summary.json").read_text())["organisms"]["tiny"]["compared_with"] == "10"
    assert "No score changed." in text_of(runs.run(models[1], "12"))
    assert runs.kept() == ["11.h5", "12.h5"]


def test_another_file_is_not_compared(dataset, runs, models, second, tmp_path):
    lines = dataset.with_name("variants.vcf").read_text().splitlines(keepends=True)
    (tmp_path / "fewer.vcf").write_text("".join(lines[:-1]))
    text = text_of(runs.run(models[1], "12", tmp_path / "fewer.vcf", strands="forward"))
    assert (
        "Nothing to compare with: the scores of the model that was pushed before, version 11, are of " in text
    )
    assert "are of another file of variants and other strands." in text


def test_a_model_that_was_not_pushed_scores_nothing(dataset, models, tmp_path):
    folder = Runs(dataset, tmp_path).run(models[0], "")
    assert "No scores: the model was not pushed" in text_of(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "summary.json"]
    assert not (tmp_path / "kept").exists()


def test_a_file_that_changed_since_the_pipeline_was_laid_out(dataset, tmp_path):
    path = tmp_path / "changed.vcf"
    path.write_text(dataset.with_name("variants.vcf").read_text())
    file = VariantFile.open(path)
    path.write_text(path.read_text().replace("rs1", "rs2"))
    with pytest.raises(DatasetError, match=r"changed\.vcf: has changed since the pipeline was laid out"):
        check_variants(dataset, {"tiny": file})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[: text.rindex("chrom\t1000\t")], r"variants\.vcf: holds no variant; give another"),
        (
            lambda text: text.replace("\nchrom\t", "\nIV\t"),
            r"none of the first 21 variants can be scored: unknown_contig \(21\); they lie on IV, and "
            r".*genome\.fa has chrom: give variants of this assembly",
        ),
        (
            lambda text: text.replace("000\t.", "001\t."),
            r"of the first 21 variants have another REF than .*genome\.fa, such as chrom:1001",
        ),
        (
            lambda text: text.replace("\t.\t.\t.\n", "\n"),
            r"variants\.vcf: line 4: has 5 fields, VCF has at least 8",
        ),
    ],
)
def test_a_file_that_cannot_be_scored(dataset, tmp_path, edit, message):
    path = tmp_path / "variants.vcf"
    path.write_text(edit(dataset.with_name("variants.vcf").read_text()))
    with pytest.raises(DatasetError, match=message):
        check_variants(dataset, {"tiny": VariantFile.open(path)})


def test_spreads_count_every_score(first):
    found, _, _ = scores_of(first)
    with h5py.File(first / "tiny" / "scores.h5") as file:
        summary = reading.summarize(file, 3)
    assert [track.assay for track in summary.tracks] == ["other"] * 3
    spread = summary.spreads["other"]
    values = found["SADR"][:20]
    assert (spread.more.sum(), spread.less.sum(), spread.none) == (
        (values > 0).sum(),
        (values < 0).sum(),
        (values == 0).sum(),
    )
    assert spread.quantile(0.5) == pytest.approx(np.median(np.abs(values)), rel=0.1)
    assert [strong.row for strong in summary.strongest] == np.argsort(-np.abs(values).max(axis=1))[:3].tolist()


def test_blocks_do_not_change_what_is_found(first, second, tmp_path, monkeypatch):
    def read():
        with h5py.File(second / "tiny" / "scores.h5") as file:
            summary = reading.summarize(file, 5)
        compared = comparison.compare(second / "tiny" / "scores.h5", tmp_path / "10.h5", 5)
        return summary, compared

    comparison.keep_scores(first / "tiny" / "scores.h5", tmp_path, "10")
    whole, compared = read()
    monkeypatch.setattr(reading, "_BLOCK_VALUES", 7)
    in_blocks, compared_so = read()
    assert in_blocks.strongest == whole.strongest
    np.testing.assert_array_equal(in_blocks.spreads["other"].more, whole.spreads["other"].more)
    assert compared_so.moved == compared.moved
    np.testing.assert_array_equal(compared_so.correlations, compared.correlations)
