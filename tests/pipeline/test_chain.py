"""The whole chain on a small genome: real FASTA, bigWig, TFRecord, SavedModel and MLMD on SQLite."""

import contextlib
import dataclasses
import importlib.metadata
import json
import re
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from components.evaluator.figures import load_figures
from components.trainer.serving import MODEL_CARD
from components.trainer.training import TRAINABLE_MODEL, Averaging
from components.transform.decoding import decode_targets
from enformer_keras import one_hot_encode, open_model
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from pipeline import pipeline as pipeline_module
from pipeline import report
from pipeline.data import fingerprint_data
from pipeline.split_signal import read_splits

CACHED = {
    "GenomeExampleGen",
    "DataReporter",
    "StatisticsGen",
    "ExampleValidator",
    "AnomalyGate",
    "LeakAudit",
    "Transform",
    "Trainer",
    "Evaluator",
    "InfraCheck",
    "Pusher",
    "EvaluationReporter",
    "VariantScorer",
}
# Loads a model where nothing but TensorFlow is imported, and answers for the sequences on standard input.
CLIENT = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
answer = model.predict_sequences(tf.constant(json.load(sys.stdin)))
assert not {"keras", "tfx", "enformer_keras", "tensorflow_transform"} & set(sys.modules)
json.dump({head: values.numpy().tolist() for head, values in answer.items()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def sequences(chain):
    tiny, _ = chain.settings.description.organisms
    return [one.decode() for one in read_splits(chain.settings, tiny)["test"].sequences]


@pytest.fixture(scope="module")
def predicted(chain, sequences):
    """Of the trainable model, for one-hot sequences."""
    model = keras.saving.load_model(chain.first_outcome.pushed / TRAINABLE_MODEL)
    return model.predict(one_hot_encode(sequences), verbose=0)


def test_everything_ran_and_a_model_was_pushed(chain):
    assert chain.first_run >= CACHED
    assert chain.first_outcome.blessed
    assert chain.first_outcome.servable
    assert chain.first_outcome.pushed.parent == chain.settings.pushed
    assert any((chain.settings.root / "Trainer" / "model_run").rglob("events.out.tfevents*"))
    (training,) = chain.settings.checkpoints.iterdir()
    assert (training / "finished").exists()


def test_pushed_model_serves_what_the_trainable_model_predicts(chain, sequences, predicted):
    command = [sys.executable, "-c", CLIENT, str(chain.first_outcome.pushed)]
    done = subprocess.run(command, input=json.dumps(sequences), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer.keys() == predicted.keys() == {"tiny", "yeast"}
    for head, values in predicted.items():
        np.testing.assert_allclose(answer[head], values, rtol=0, atol=1e-5)


def test_pushed_model_says_what_it_is(chain):
    card = json.loads((chain.first_outcome.pushed / MODEL_CARD).read_text())
    assert {name: card[name] for name in ("window_length", "target_length", "bin_size")} == {
        "window_length": 1024,
        "target_length": 4,
        "bin_size": 128,
    }
    assert {head: data["assembly"] for head, data in card["organisms"].items()} == {
        "tiny": "tiny1",
        "yeast": "R64",
    }
    assert [track["identifier"] for track in card["organisms"]["yeast"]["tracks"]] == ["cds"]
    tracks = card["organisms"]["tiny"]["tracks"]
    assert [track["identifier"] for track in tracks] == ["coverage", "cds_plus", "cds_minus"]
    assert tracks[1] == {
        "index": 1,
        "identifier": "cds_plus",
        "description": "CDS +",
        "genome": "tiny",
        "strand_pair": 2,
        "scale": 1.0,
        "sum_stat": "mean",
        "clip_soft": None,
        "clip": None,
    }
    assert tracks[0]["scale"] > 0  # `mean` in the table
    assert card["organisms"]["yeast"]["contig_lengths"].keys() == {"IV"}
    with contextlib.closing(Genome(chain.settings.dataset.parent / "genome.fa")) as genome:
        assert card["organisms"]["tiny"]["contig_lengths"] == genome.contig_lengths
        assert card["organisms"]["tiny"]["sequence_sha256"] == genome.sha256()
    assert card["data_fingerprint"] == fingerprint_data(chain.settings.dataset)
    assert card["code"]["version"] == importlib.metadata.version("enformer-keras")
    assert card["lineage"] == {"started_from": "scratch", "seed": 0, "step": 8}


def test_pushed_model_can_be_asked_about_its_own_genome_alone(chain):
    folder, pushed = chain.settings.dataset.parent, chain.first_outcome.pushed
    genome, yeast = Genome(folder / "genome.fa"), Genome(folder / "yeast.fa")
    window = [Interval("chrom", 2000, 2100)]
    plain = open_model(pushed, head="tiny", genome=genome)
    found = open_model(pushed, head="tiny", unscale=True).predict(window, genome)
    scales = [track.transformation.scale for track in plain.tracks]
    assert scales[0] != 1
    np.testing.assert_allclose(found * scales, plain.predict(window, genome), rtol=1e-5)
    with pytest.raises(DatasetError, match=r"yeast\.fa: has the contigs IV, but .* \(tiny1\) has chrom"):
        open_model(pushed, head="tiny", genome=yeast)


def read_test_records(chain, organism):
    files = sorted(chain.settings.root.glob(f"GenomeExampleGen/examples/*/Split-test/{organism}-*.gz"))
    return list(tf.data.TFRecordDataset([str(file) for file in files], "GZIP").as_numpy_iterator())


def test_endpoints_agree_and_refuse_what_is_wrong(chain, sequences, predicted):
    model = tf.saved_model.load(str(chain.first_outcome.pushed))
    records = read_test_records(chain, "tiny")
    served = model.serving_default(tf.constant(records))["tiny"].numpy()
    features = model.transform_features(tf.constant(records))
    one_hot = features["sequence"][:, 3:-3]
    np.testing.assert_allclose(model.predict_on_batch(one_hot)["tiny"], served, rtol=0, atol=1e-5)
    # The same window, asked for as an example and as a sequence.
    index = {one_hot_encode(sequence).tobytes(): row for row, sequence in enumerate(sequences)}
    rows = [index.get(window.tobytes()) for window in one_hot.numpy()]
    assert any(row is not None for row in rows)
    for row, values in zip(rows, served, strict=True):
        if row is not None:
            np.testing.assert_allclose(values, predicted["tiny"][row], rtol=0, atol=1e-5)
    good = sequences[0]
    for wrong in (good[:-1], good + "A", "X" + good[1:], ""):
        with pytest.raises(tf.errors.InvalidArgumentError):
            model.predict_sequences(tf.constant([good, wrong]))


def signal_of_test(chain, outcome, endpoint, head, tracks):
    """Of the test split, measured and predicted, float64 [windows, bins, tracks] each."""
    model = tf.saved_model.load(str(outcome.pushed))
    records = tf.constant(read_test_records(chain, head))
    measured = decode_targets(model.transform_features(records)["target"], 4, tracks)
    predicted = model.signatures[endpoint](examples=records)[head]
    return tuple(values.numpy().astype(np.float64) for values in (measured, predicted))


@pytest.mark.parametrize(
    ("head", "tracks"), [("tiny", ["coverage", "cds_plus", "cds_minus"]), ("yeast", ["cds"])]
)
def test_evaluator_measures_what_numpy_measures(chain, head, tracks):
    y, p = signal_of_test(chain, chain.first_outcome, "serving_default", head, len(tracks))
    figures = load_figures(chain.first_outcome.evaluation)[head]
    assert figures.tracks == tracks
    for track in range(len(tracks)):
        r = np.corrcoef(y[..., track].ravel(), p[..., track].ravel())[0, 1]
        r2 = 1 - ((y - p)[..., track] ** 2).sum() / ((y[..., track] - y[..., track].mean()) ** 2).sum()
        # Other batches, other last digits of predictions that hardly vary after 8 steps. That the figures of
        # the same arrays agree to 1e-6 is tested in tests/evaluator.
        assert figures.by_slice[()]["pearson_r_per_track"][track] == pytest.approx(r, abs=1e-4)
        assert figures.by_slice[()]["r2_per_track"][track] == pytest.approx(r2, abs=1e-4)


def test_regions_are_measured_and_shown(chain, capsys):
    figures = load_figures(chain.first_outcome.evaluation)["tiny"].by_slice[()]
    # Of a region every 1,000 bp those with their middle in a target of the test block, 32,256 to 39,936 bp.
    assert figures["region_pearson_r_count"] == 7
    assert len(figures["region_log1p_r2_per_track"]) == 3
    assert "across regions" in (chain.first_outcome.report / "report.html").read_text()
    assert report.write_report(chain.settings) == 0
    assert re.search(
        r"across 7 regions of .*genes\.bed, mean over all tracks: Pearson r", capsys.readouterr().out
    )


def test_other_regions_are_in_the_cache_key_of_the_evaluator_alone(chain):
    def properties():
        settings = dataclasses.replace(chain.settings)  # which reads the files again
        pipeline = pipeline_module.create_pipeline(settings, "fingerprint")
        return {node.id: node.exec_properties for node in pipeline.components}

    before = properties()
    bed = chain.settings.regions["tiny"]
    content = bed.read_text()
    bed.write_text(content.replace("\t300\t", "\t301\t"))
    after = properties()
    bed.write_text(content)
    assert {name for name in before if before[name] != after[name]} == {"Evaluator"}


def test_report(chain, capsys):
    assert report.write_report(chain.settings) == 0
    printed = capsys.readouterr().out
    folder = chain.settings.run / "report"
    assert (folder / "tracks.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((folder / "scores.json").read_text())["tracks"]
    page = (folder / "report.html").read_text()
    assert [score["track"] for score in scores] == ["coverage", "cds_plus", "cds_minus", "cds"]
    assert [score["organism"] for score in scores] == ["tiny"] * 3 + ["yeast"]
    for score in scores:
        width = {"tiny": 9, "yeast": 3}[score["organism"]]
        assert (
            f"{score['track']:<{width}}  model {score['model']:.4f}   ridge on 6-mers {score['baseline']:.4f}"
            in printed
        )
        assert all(f">{score[of]:.4f}</td>" in page for of in ("model", "baseline"))
    assert f"the run's page   {folder / 'report.html'}" in printed
    splits = json.loads((chain.first_outcome.data / "report.json").read_text())["organisms"]["tiny"]["splits"]
    assert f"tiny: {splits['train']['windows']} train" in page
    assert page.count("<h3>Best: ") == page.count("<h3>Worst: ") == 2  # of each organism
    assert "21 variants, 20 of them scored" in page
    links = re.findall(r'<a href="(.*?)">', page)
    assert [(folder / link).resolve() for link in links] == [
        chain.first_outcome.report / "report.html",
        chain.first_outcome.data / "report.png",
        chain.first_outcome.variants / "report.html",
    ]
    assert all((folder / link).is_file() for link in links)
    assert "21 variants of tiny, scored 20; the strongest by SADR" in printed
    assert f"scored variants  {chain.first_outcome.variants / 'report.html'}" in printed
    trainable = keras.saving.load_model(chain.settings.run / "model.keras")
    assert trainable.heads == {"tiny": 3, "yeast": 1}


def test_report_of_a_version_that_is_kept_no_more(chain, capsys):
    pushed = chain.first_outcome.pushed
    aside = pushed.rename(pushed.with_name(".aside"))
    assert report.write_report(chain.settings) == 1
    assert (
        f"version {pushed.name} has been removed since, for newer ones: the last 5 are kept"
        in capsys.readouterr().out
    )
    aside.rename(pushed)


def test_training_waits_for_the_leak_audit_which_found_nothing(chain):
    nodes = {node.id: node for node in pipeline_module.create_pipeline(chain.settings, "f").components}
    assert nodes["LeakAudit"] in nodes["Trainer"].upstream_nodes
    (file,) = chain.settings.root.glob("LeakAudit/report/*/leaks.json")
    found = json.loads(file.read_text())
    assert [pair["inputs"] for pair in found["pairs"]] == [0] * 6
    assert min(found["examples"].values()) > 0


def test_data_report_of_the_run(chain):
    (folder,) = chain.settings.root.glob("DataReporter/report/*")
    found = json.loads((folder / "report.json").read_text())
    splits = found["organisms"]["tiny"]["splits"]
    assert list(splits) == ["train", "valid", "test"]
    assert list(splits["train"]["tracks"]) == ["coverage", "cds_plus", "cds_minus"]
    assert found["warnings"] == []
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    nodes = {node.id: node for node in pipeline_module.create_pipeline(chain.settings, "f").components}
    assert not nodes["DataReporter"].downstream_nodes


def test_evaluation_report_of_the_run(chain):
    page = (chain.first_outcome.report / "report.html").read_text()
    assert "<h1>Evaluation: tiny (tiny1), yeast (R64)</h1>" in page
    assert ">Blessed</p>" in page
    for said in (
        chain.settings.dataset,
        chain.settings.run,
        chain.first_outcome.pushed.name,
        "of step 8, seed 0",
    ):
        assert str(said) in page
    assert page.count("data:image/png;base64,") == 5  # histograms and signals of each, curves
    nodes = {node.id: node for node in pipeline_module.create_pipeline(chain.settings, "f").components}
    assert not nodes["EvaluationReporter"].downstream_nodes


def test_variants_are_scored_by_the_pushed_model(chain):
    tiny = chain.settings.description.organisms[0]
    folder = chain.first_outcome.variants
    with h5py.File(folder / "tiny" / "scores.h5") as file:
        statuses, found = file["status"].asstr()[:].tolist(), file["SADR"][:]
        assert file["target_ids"].asstr()[:].tolist() == [track.identifier for track in tiny.tracks]
        assert file.attrs["model"] == chain.first_outcome.pushed.name
    assert statuses == ["scored"] * 20 + ["reference_mismatch"]
    data = chain.settings.dataset.parent
    expected = open_model(chain.first_outcome.pushed, head="tiny").score_variants(
        data / "variants.vcf", data / "genome.fa", statistics=["SADR"]
    )
    np.testing.assert_allclose(found, expected.statistics["SADR"], atol=1e-7)
    page = (folder / "report.html").read_text()
    assert "<h1>Scores of variants: tiny (tiny1)</h1>" in page
    assert [path.stem for path in chain.settings.kept_scores.rglob("*.h5")] == [chain.first_outcome.pushed.name]
    nodes = {node.id: node for node in pipeline_module.create_pipeline(chain.settings, "f").components}
    assert not nodes["VariantScorer"].downstream_nodes


def test_other_variants_are_in_the_cache_key_of_the_scorer_alone(chain):
    def properties():
        settings = dataclasses.replace(chain.settings)  # which reads the files again
        pipeline = pipeline_module.create_pipeline(settings, "fingerprint")
        return {node.id: node.exec_properties for node in pipeline.components}

    before = properties()
    file = chain.settings.variants["tiny"]
    content = file.read_text()
    file.write_text(content.replace("rs1", "rs2"))
    after = properties()
    file.write_text(content)
    assert {name for name in before if before[name] != after[name]} == {"VariantScorer"}
    settings = dataclasses.replace(chain.settings, variants={})
    nodes = {node.id for node in pipeline_module.create_pipeline(settings, "fingerprint").components}
    assert nodes == before.keys() - {"VariantScorer"}


def edit_code(monkeypatch, name):
    """Makes the code of one folder look edited."""
    original = pipeline_module.code_fingerprint
    monkeypatch.setattr(
        pipeline_module,
        "code_fingerprint",
        lambda *folders: original(*folders) + name * any(folder.name == name for folder in folders),
    )


def test_a_second_run_uses_the_cache(chain):
    assert not chain.run() & CACHED
    assert chain.outcome().pushed == chain.first_outcome.pushed


@pytest.mark.full
def test_averages_are_judged_without_training_again(chain):
    settings = chain.settings
    trained = {file: file.stat().st_mtime_ns for file in settings.checkpoints.rglob("step-*.npz")}
    assert chain.run(test_time_averaging=Averaging((-2, 2))) & CACHED == {
        "Trainer",  # which exports
        "Evaluator",
        "InfraCheck",
        "Pusher",
        "EvaluationReporter",
        "VariantScorer",
    }
    assert {file: file.stat().st_mtime_ns for file in settings.checkpoints.rglob("step-*.npz")} == trained
    outcome = chain.outcome()
    y, p = signal_of_test(chain, outcome, "serving_averaged", "tiny", 3)
    found = load_figures(outcome.evaluation)["tiny"].by_slice[()]["pearson_r_per_track"]
    for track, r in enumerate(found):
        assert r == pytest.approx(np.corrcoef(y[..., track].ravel(), p[..., track].ravel())[0, 1], abs=1e-4)
    assert "endpoint serving_averaged" in (outcome.report / "report.html").read_text()
    chain.settings = settings


@pytest.mark.full
def test_a_model_starts_from_the_last_blessed_one(chain):
    settings, before = chain.settings, chain.outcome().pushed
    assert chain.run(warm_start="last_blessed") & CACHED >= {"Trainer", "Pusher"}
    card = json.loads((chain.outcome().pushed / MODEL_CARD).read_text())
    assert card["lineage"]["started_from"] == str(before)
    assert not chain.run() & CACHED  # it is the last one now, but nothing to train on has changed
    chain.settings = settings


@pytest.mark.full
def test_changed_code_of_the_trainer_trains_anew(chain, monkeypatch):
    edit_code(monkeypatch, "trainer")
    judged = {"Trainer", "Evaluator", "InfraCheck", "Pusher", "EvaluationReporter", "VariantScorer"}
    assert chain.run() & CACHED == judged
    assert len(list(chain.settings.checkpoints.iterdir())) == 1  # the first training's are gone


def test_a_refused_model_is_not_pushed_and_the_figures_are_shown(chain, capsys):
    settings = chain.settings
    assert chain.run(thresholds={"log1p_pearson_r": 0.99}) & CACHED == {
        "Evaluator",
        "Pusher",
        "EvaluationReporter",
        "VariantScorer",
    }
    assert not chain.outcome().blessed
    assert report.write_report(chain.settings) == 1
    assert re.search(
        r"missed  tiny: log1p_pearson_r -?0\.\d{4}, at least 0\.99 is wanted", capsys.readouterr().out
    )
    chain.settings = settings


@pytest.mark.full
def test_changed_data_runs_everything_anew(chain):
    genes = chain.settings.dataset.parent / "genes.gff3"
    genes.write_text(genes.read_text().replace("\t300\t", "\t299\t"))
    assert chain.run() & CACHED == CACHED


@pytest.mark.parametrize(
    ("folder", "components"),
    [
        ("trainer", {"Trainer"}),
        ("transform", {"Transform", "Trainer"}),
        ("enformer_keras", {"Transform", "Trainer"}),
        ("infra_check", {"InfraCheck"}),
        ("pusher", {"Pusher"}),
        ("leak_audit", {"LeakAudit"}),
        ("evaluator", {"Evaluator", "EvaluationReporter"}),
        ("evaluation_report", {"EvaluationReporter", "VariantScorer"}),
        ("html_page", {"EvaluationReporter", "VariantScorer"}),
        ("variant_scorer", {"VariantScorer"}),
        ("prediction", {"VariantScorer"}),
        ("data_report", {"DataReporter"}),
        ("examples", {"DataReporter", "LeakAudit", "Trainer"}),
        ("anomaly_gate", {"AnomalyGate"}),
        ("datasets", {"LeakAudit"}),
        ("formats", {"LeakAudit", "VariantScorer"}),
    ],
)
def test_code_is_in_the_cache_key_of_what_it_decides(chain, monkeypatch, folder, components):
    def properties():
        pipeline = pipeline_module.create_pipeline(chain.settings, "fingerprint")
        return {node.id: node.exec_properties for node in pipeline.components}

    before = properties()
    edit_code(monkeypatch, folder)
    after = properties()
    assert {name for name in before if before[name] != after[name]} == components
