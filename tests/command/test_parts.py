"""Predictions in parts: the same files in one go, after kills, and from Beam's workers, byte for byte."""

import dataclasses
import functools
import pickle
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from enformer_keras import open_model
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction import gene_jobs, jobs, tile_jobs, variant_rows
from enformer_keras.prediction.beam import _wait_for
from enformer_keras.prediction.predictor import Predictor
from enformer_keras.prediction.score_job import ScoreWorker
from tests.beam_services import job_service, workers_in
from tests.command.test_genes import folder, run  # noqa: F401 (a fixture)
from tests.command.test_haplotypes import vcf  # noqa: F401 (a fixture)
from tests.kubeflow.beam_prism import prism

ALIAS = ("--fasta", "{0}/genome.fa", "--alias", "c1=chr1", "--batch-size", "2")
GTF = ("--gtf", "{0}/x.gtf", "--part", "span")
PROCESSES = "--direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(tile_jobs, "_TILES", 2)
    monkeypatch.setattr(gene_jobs, "_GENES", 1)
    monkeypatch.setattr(gene_jobs, "_HAPLOTYPES", 1)
    monkeypatch.setattr(variant_rows, "ALLELES_PER_PART", 2)


@pytest.fixture(scope="module", autouse=True)
def _opened_once():
    """A model is compiled once for all tests, but for workers elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        opened = functools.cache(open_model)
        patch.setattr("enformer_keras.open_model", lambda path, **_: opened(path, batch_size=2))
        yield


@pytest.fixture
def questions(vcf):  # noqa: F811
    """Name -> command, and number of parts."""
    of_tiles = ("predict", "{0}/model.keras", *ALIAS, "c1")
    of_rows = ("--format", "h5", "--format", "tsv")
    of_people = ("haplotypes", "{0}/model.keras", *ALIAS, "--vcf", str(vcf))
    kinds = ("bigwig", "bedgraph.gz", "h5", "npz")
    return {
        "tiles": ((*of_tiles, *(word for kind in kinds for word in ("--format", kind))), 5),
        "centred": (
            ("predict", "{0}/model.keras", *ALIAS, "c1:9-99", "c1:1-20", "c1:2000-2001", "--centred"),
            2,
        ),
        "genes": (("genes", "{0}/model.keras", *ALIAS, *GTF, *of_rows), 3),
        "haplotypes of regions": ((*of_people, *of_rows, "c1:1401-1600", "c1:2951-3050"), 2),
        "haplotypes of genes": ((*of_people, *of_rows, *GTF), 3),
        "scores": (("score", "{0}/model.keras", "{0}/x.vcf", *ALIAS, *of_rows, "--format", "vcf"), 3),
        "scores of genes": (("score", "{0}/model.keras", "{0}/x.vcf", *ALIAS, *GTF, *of_rows), 3),
    }


def content_of(path):
    assert path.is_dir()
    return {file.name: file.read_bytes() for file in path.iterdir()}


def expect(folder, questions, name, tmp_path):  # noqa: F811
    """Runs a question in one go."""
    command, _ = questions[name]
    result = run(folder, *command, "--output", str(tmp_path / "expected"))
    assert result.exit_code == 0, result.output
    content = content_of(tmp_path / "expected")
    assert not any(file.startswith(".") for file in content)
    return content, result.stdout


NAMES = ["tiles", "centred", "genes", "haplotypes of regions", "haplotypes of genes"]
SCORES = ["scores", "scores of genes"]


@pytest.mark.parametrize("name", NAMES)
def test_beam_and_a_run_that_goes_on_give_the_same_bytes(folder, questions, name, tmp_path, monkeypatch):  # noqa: F811
    expected, told = expect(folder, questions, name, tmp_path)
    command, num_parts = questions[name]
    result = run(folder, *command, "--output", str(tmp_path / "beam"), "--beam", "")
    assert result.exit_code == 0, result.output
    assert result.stdout == told
    assert content_of(tmp_path / "beam") == expected

    predict_strands, calls = Predictor.predict_strands, []

    def breaks(self, *arguments, **options):
        calls.append(1)
        if len(calls) == num_parts:
            raise OSError("the disk is gone")
        return predict_strands(self, *arguments, **options)

    command = (*command, "--output", str(tmp_path / "again"))
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_strands", breaks)
        result = run(folder, *command)
    assert result.exit_code == 1
    message = f"{num_parts - 1} of {num_parts} parts are done; the same command goes on with them"
    assert message in result.stderr
    assert "the disk is gone" in result.stderr
    assert content_of_names(tmp_path / "again") == {".parts"}
    monkeypatch.setattr(
        Predictor, "predict_strands", lambda *a, **o: calls.append(2) or predict_strands(*a, **o)
    )
    calls.clear()
    result = run(folder, *command)
    assert result.exit_code == 0, result.output
    assert f"goes on: {num_parts - 1} of {num_parts} parts are there" in result.stderr
    assert len(calls) == 1
    assert result.stdout == told
    assert content_of(tmp_path / "again") == expected


@pytest.mark.parametrize("name", SCORES)
def test_beam_gives_the_same_bytes_of_scores(folder, questions, name, tmp_path, monkeypatch):  # noqa: F811
    """Whose runs that go on have tests of their own."""
    expected, told = expect(folder, questions, name, tmp_path)
    command, output = (*questions[name][0], "--output", str(tmp_path / "beam")), []
    compute = ScoreWorker.part
    monkeypatch.setattr(ScoreWorker, "part", lambda *arguments: output.append(1) or compute(*arguments))
    result = run(folder, *command, "--beam", "")
    assert result.exit_code == 0, result.output
    assert result.stdout == told
    assert content_of(tmp_path / "beam") == expected
    assert len(output) > 1


def content_of_names(path):
    return {file.name for file in path.iterdir()}


def test_parts_of_another_question_are_refused_or_replaced(folder, tmp_path, monkeypatch):  # noqa: F811
    command = ("predict", "{0}/model.keras", *ALIAS, "c1", "--format", "h5", "--output", str(tmp_path / "out"))
    with monkeypatch.context() as patch:
        # As if the process ended once all parts were there.
        patch.setattr("enformer_keras.prediction.tile_jobs.TilesJob.read", lambda *_: 1 / 0)
        assert run(folder, *command).exit_code == 1
    assert content_of_names(tmp_path / "out") == {".parts"}
    for change, what in ((("--strands", "forward"), "strands"), (("--tracks", "1"), "tracks")):
        result = run(folder, *command, *change)
        assert result.exit_code == 1
        assert ".parts: " in result.stderr
        assert f" {what}=" in result.stderr
    other = run(folder, *command, "--strands", "forward", "--overwrite")
    assert other.exit_code == 0, other.output
    assert "goes on" not in other.stderr
    assert content_of_names(tmp_path / "out") == {"predict.h5"}


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--beam", "--runner=NoRunner"), "--beam: Beam's flags --runner=NoRunner: cannot be"),
        (("--beam", "'"), "--beam ': is no line of flags"),
        (("--beam-files", "there"), '--beam-files is for workers of Beam: give --beam "FLAGS"'),
    ],
)
def test_flags_that_cannot_be_are_said_before_the_model_is_loaded(folder, tmp_path, flags, problem):  # noqa: F811
    command = ("predict", "no model", *ALIAS, "c1", "--output", str(tmp_path / "out"))
    result = run(folder, *command, *flags)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_open_stays_when_a_job_is_pickled_and_others_must_open_the_same(folder):  # noqa: F811
    asked = jobs.Asked(folder / "model.keras", folder / "genome.fa", {"batch_size": 2}, {}, (0, 2))
    with asked.open() as opened:
        asked = dataclasses.replace(asked, opened=opened)
        job = tile_jobs.TilesJob.of(asked, [Interval("c1", 0, 2000)])
        sent = pickle.loads(pickle.dumps(job))
        assert sent == job
        assert sent.asked.opened is None
        with job.open() as here, sent.open() as there:
            for index in range(job.num_parts):
                np.testing.assert_array_equal(here.part(index)["bins"], there.part(index)["bins"])
        sent.question = {**sent.question, "backend": "another"}
        message = (
            f"asks it with backend={keras.backend.backend()}, the other parts are of another; set KERAS_BACK"
        )
        with pytest.raises(ValueError, match=message), sent.open():
            pass


@pytest.mark.full
@pytest.mark.parametrize("name", ["tiles", "haplotypes of genes", "scores"])
def test_two_processes_give_the_same_bytes(folder, questions, name, tmp_path):  # noqa: F811
    expected, told = expect(folder, questions, name, tmp_path)
    result = run(folder, *questions[name][0], "--output", str(tmp_path / "beam"), "--beam", PROCESSES)
    assert result.exit_code == 0, result.output
    assert result.stdout == told
    assert content_of(tmp_path / "beam") == expected


@pytest.mark.full
@pytest.mark.parametrize("engine", [job_service, prism])
def test_workers_elsewhere_give_the_same_bytes(folder, questions, engine, tmp_path, monkeypatch):  # noqa: F811
    """They do not see the model, the genome or the variants but where these are handed over."""
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "place"
    elsewhere.mkdir()
    with engine() as jobs_at, workers_in(elsewhere) as workers:
        _wait_for(workers, "workers")  # Prism does not
        flags = (
            f"--runner=PortableRunner --job_endpoint={jobs_at} "
            f"--environment_type=EXTERNAL --environment_config={workers}"
        )
        for name in (*NAMES, *SCORES):
            path = tmp_path / name
            path.mkdir()
            expected, told = expect(folder, questions, name, path)
            options = ("--output", str(path / "beam"), "--beam", flags, "--beam-files", str(place))
            result = run(folder, *questions[name][0], *options)
            assert result.exit_code == 0, result.output
            assert result.stdout == told
            assert content_of(path / "beam") == expected
    assert not content_of_names(place)
    assert not content_of_names(elsewhere)


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on(folder, tmp_path, how):  # noqa: F811
    bases = (folder / "genome.fa").read_text().splitlines()[1]
    (tmp_path / "long.fa").write_text(f">c1\n{bases * 60}\n")
    command = ["-m", "enformer_command.main", "predict", str(folder / "model.keras"), "--all", "--format", "h5"]
    command += ["--fasta", str(tmp_path / "long.fa"), "--quiet", "--output"]
    process = subprocess.Popen([sys.executable, *command, str(tmp_path / "out")])
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".parts/part-*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(60) == (143 if how == signal.SIGTERM else -how)
    assert content_of_names(tmp_path / "out") == {".parts"}
    result = subprocess.run([sys.executable, *command, str(tmp_path / "out")], capture_output=True, check=True)
    assert b"goes on: " in result.stderr
    subprocess.run([sys.executable, *command, str(tmp_path / "one")], check=True)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "one")
