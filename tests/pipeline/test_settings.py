"""What users may set, and what they are told when it cannot work."""

import dataclasses
import json
import logging
import shutil

import absl.logging
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from tfx import v1 as tfx
from tfx.dsl.components.common.resolver import RESOLVER_CONFIG
from tfx.utils.dependency_utils import make_beam_dependency_flags

from components.trainer.training import Averaging
from enformer_keras import PARTS
from pipeline import environment
from pipeline.configs import ECOLI, PROJECT, small
from pipeline.environment import settings_from_environment
from pipeline.pipeline import create_pipeline
from tests.pipeline.conftest import write_genome


@pytest.fixture
def dataset(tmp_path):
    """A copy of the demo's description that can be spoilt."""

    def spoil(**fields):
        shutil.copy(ECOLI.with_name("tracks.tsv"), tmp_path)
        path = tmp_path / "dataset.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(ECOLI.read_text()) | fields))
        return path

    return spoil


def test_the_environment_sets_run_steps_and_seed(monkeypatch, tmp_path):
    monkeypatch.setenv("ENFORMER_RUN", str(tmp_path))
    monkeypatch.setenv("ENFORMER_STEPS", "7")
    monkeypatch.setenv("ENFORMER_SEED", "3")
    monkeypatch.setenv("ENFORMER_DATASET", "")  # as make hands over what is not set
    settings = settings_from_environment()
    assert (settings.run, settings.training.steps, settings.training.seed) == (tmp_path, 7, 3)
    assert settings == dataclasses.replace(small(run=tmp_path, steps=7, seed=3))


def test_the_environment_adds_flags_for_beam(monkeypatch):
    monkeypatch.setenv("ENFORMER_BEAM", "--runner=FlinkRunner --environment_option='process_command=a b'")
    options = PipelineOptions(list(settings_from_environment().beam_arguments)).get_all_options()
    assert options["runner"] == "FlinkRunner"
    assert options["environment_options"] == ["process_command=a b"]
    monkeypatch.setenv("ENFORMER_BEAM", "")
    default = settings_from_environment().beam_arguments
    assert default[0] == "--runner=FnApiRunner"
    assert make_beam_dependency_flags(list(default)) == list(default)  # nothing is packed


@pytest.mark.parametrize(
    ("value", "place"), [("", ""), ("gs://bucket/x", "gs://bucket/x"), ("x", str(PROJECT / "x"))]
)
def test_the_environment_says_where_workers_find_files(monkeypatch, value, place):
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("ENFORMER_BEAM_FILES", value)
    assert settings_from_environment().beam_files == place


@pytest.mark.parametrize("place", ["/proc/nowhere", "nobodys://bucket/x"])
def test_a_place_for_workers_that_cannot_be_written_ends_the_run_at_once(monkeypatch, tmp_path, place):
    monkeypatch.setenv("ENFORMER_RUN", str(tmp_path))
    monkeypatch.setenv("ENFORMER_BEAM_FILES", place)
    monkeypatch.setattr(environment, "show_progress", lambda: None)
    with pytest.raises(SystemExit, match=f"ENFORMER_BEAM_FILES='{place}' cannot be written: "):
        environment.pipeline_from_environment()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ENFORMER_BEAM", "--a='b", r"ENFORMER_BEAM=\"--a='b\" is no line of flags: No closing quotation"),
        ("ENFORMER_STEPS", "many", "ENFORMER_STEPS='many' must be a whole number"),
        ("ENFORMER_STEPS", "0", r"training\.steps must be at least 1"),
        ("ENFORMER_SEED", "-1", r"training\.seed must be from 0"),
        ("ENFORMER_DATASET", "/nowhere/dataset.yaml", r"/nowhere/dataset\.yaml: no such file"),
        (
            "ENFORMER_RUN",
            "/runs/run [1]",
            r"run='/runs/run \[1\]' \(ENFORMER_RUN\) holds \[, .* give a path without",
        ),
        ("ENFORMER_RUN", "/runs/what? a*b", r"\(ENFORMER_RUN\) holds \* \?, which"),
        (
            "ENFORMER_BEAM_FILES",
            "gs://bucket/a*",
            r"beam_files='gs://bucket/a\*' \(ENFORMER_BEAM_FILES\) holds \*",
        ),
    ],
)
def test_settings_that_cannot_work(monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match=message):
        settings_from_environment()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bin_size": 64, "window_length": 8192}, "bin_size must be 128"),
        ({"flank_length": 2}, r"flank_length=2 must be at least training\.max_shift=3"),
        (
            {"splits": {"blocks": {"train": [0, 0.5], "test": [0.5, 1]}}, "stride": 14336},
            "splits must be named",
        ),
    ],
)
def test_a_dataset_that_does_not_fit_the_model(dataset, fields, message):
    with pytest.raises(ValueError, match=message):
        small(dataset=dataset(**fields))


def test_several_organisms_have_a_head_each(tmp_path):
    content = yaml.safe_load(ECOLI.read_text())
    organism = {name: content.pop(name) for name in ("organism", "fasta", "tracks", "contig_aliases")}
    del organism["organism"]
    shutil.copy(ECOLI.with_name("tracks.tsv"), tmp_path)
    path = tmp_path / "dataset.yaml"
    path.write_text(yaml.safe_dump(content | {"organisms": {"one": organism, "two": organism}}))
    settings = small(dataset=path)
    assert settings.name == "enformer-one-two"
    assert settings.model_arguments["heads"] == {"one": 4, "two": 4}


def test_fine_tuning_is_a_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("ENFORMER_CONFIGURATION", "fine_tuning")
    with pytest.raises(SystemExit, match="give WARM_START"):
        settings_from_environment()
    monkeypatch.setenv("ENFORMER_WARM_START", str(tmp_path / "nowhere.keras"))
    with pytest.raises(SystemExit, match=r"no model to start from at .*nowhere\.keras"):
        settings_from_environment()
    monkeypatch.setenv("ENFORMER_WARM_START", "last_blessed")
    settings = settings_from_environment()
    assert settings.warm_start == "last_blessed"
    assert settings.model["frozen_statistics"]
    assert settings.training.rates == dict.fromkeys(PARTS, 0.1)
    monkeypatch.setenv("ENFORMER_CONFIGURATION", "large")
    with pytest.raises(SystemExit, match="'large' must be one of small, fine_tuning"):
        settings_from_environment()


@pytest.mark.parametrize(
    ("averaging", "training", "message"),
    [
        (Averaging((0, 4)), {"max_shift": 3}, r"shifts=\(0, 4\) .* none longer than 3 bp.*flank_length=3"),
        (Averaging((-2,)), {"max_shift": 1}, r"none longer than 1 bp.*training\.max_shift=1"),
        (Averaging(()), {}, "at least one"),
        (Averaging(), {"reverse_complement": False}, r"strands asks about the other strand"),
    ],
)
def test_averages_over_what_training_never_showed_are_refused(averaging, training, message):
    settings = small()
    training = dataclasses.replace(settings.training, **training)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(settings, training=training, test_time_averaging=averaging)
    # A served model averages over nothing that it has not seen.
    assert dataclasses.replace(settings, training=training).averaging.strands == training.reverse_complement


def test_regions_are_read_before_anything_runs(monkeypatch, tmp_path):
    bed = tmp_path / "genes.bed"
    bed.write_text("U00096.3\t0\t100\tthrL\nU00096.3\t300\t200\n")
    monkeypatch.setenv("ENFORMER_REGIONS", str(bed))
    with pytest.raises(SystemExit, match=r"genes\.bed: line 2: start '300' and end '200' are no 0-based"):
        settings_from_environment()
    bed.write_text("U00096.3\t0\t100\tthrL\n")
    settings = settings_from_environment()
    assert settings.region_files["ecoli"].path == str(bed)
    with pytest.raises(ValueError, match=r"regions are given for \['yeast'\], but it describes ecoli"):
        dataclasses.replace(settings, regions={"yeast": bed})


def test_the_demo_scores_its_own_variants_unless_others_are_named(monkeypatch, tmp_path):
    def variants(text):
        monkeypatch.setenv("ENFORMER_VARIANTS", text)
        return settings_from_environment().variants

    assert variants("") == {"ecoli": ECOLI.with_name("variants.vcf.gz")}
    assert variants("none") == {}
    other = tmp_path / "a b.tsv"
    other.write_text("chrom\tpos\tref\talt\nU00096.3\t1\tA\tC\n")
    assert variants(f"'{other}'") == variants(f"ecoli='{other}'") == {"ecoli": other}
    with pytest.raises(SystemExit, match=r"variants are given for \['yeast'\], but it describes ecoli"):
        variants(f"yeast='{other}'")
    with pytest.raises(SystemExit, match="must be a file, or ORGANISM=FILE for each organism"):
        variants("ecoli=a.vcf ecoli=b.vcf")
    with pytest.raises(SystemExit, match=r"no\.vcf: no such file of variants; correct the path"):
        variants(str(tmp_path / "no.vcf"))
    other.write_text("chrom\tpos\tref\talt\n")
    with pytest.raises(SystemExit, match=r"a b\.tsv: holds no variant; give another file"):
        variants(f"'{other}'")


def test_variants_of_several_organisms_need_their_names(tmp_path):
    dataset = write_genome(tmp_path)
    with pytest.raises(ValueError, match=r"describes tiny, yeast: whose are the variants .* VARIANTS=tiny="):
        small(dataset=dataset, variants=tmp_path / "variants.vcf")
    assert small(dataset=dataset).variants == {}


def test_components_are_named_after_a_graph_was_exported_too(monkeypatch):
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)  # pytest's handlers stay
    before = absl.logging.get_verbosity()
    environment.show_progress()
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    absl.logging.set_verbosity(verbosity)
    assert logging.getLogger("absl").isEnabledFor(logging.INFO)
    absl.logging.set_verbosity(before)


def test_the_demos_missing_files_are_said_to_be_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    monkeypatch.setattr(environment, "ECOLI", tmp_path / "datasets" / "ecoli" / "dataset.yaml")
    yeast = tmp_path / "datasets" / "ecoli_yeast" / "dataset.yaml"
    assert "`make data` fetches them" in environment._hint_at_demo_data(environment.ECOLI)
    (tmp_path / "data" / "ecoli").mkdir(parents=True)
    assert environment._hint_at_demo_data(environment.ECOLI) == ""
    assert "`make data DATASET=datasets/ecoli_yeast/dataset.yaml`" in environment._hint_at_demo_data(yeast)
    assert environment._hint_at_demo_data(tmp_path / "mine" / "dataset.yaml") == ""


def test_what_is_served_must_stay():
    with pytest.raises(ValueError, match="keep_versions must be at least 1"):
        dataclasses.replace(small(), keep_versions=0)


@pytest.mark.parametrize(
    ("averaging", "endpoint"), [(None, "serving_default"), (Averaging(), "serving_averaged")]
)
def test_the_baseline_has_the_endpoint_that_is_judged(averaging, endpoint):
    settings = dataclasses.replace(small(), test_time_averaging=averaging)
    for metadata in (tfx.orchestration.metadata.sqlite_metadata_connection_config("metadata.sqlite"), None):
        pipeline = create_pipeline(settings, "fingerprint", metadata)
        properties = {node.id: node.exec_properties for node in pipeline.components}
        asked = json.loads(properties["Evaluator"]["eval_config"])["model_specs"]
        assert [model["signature_name"] for model in asked] == [endpoint] * 2
        finder = (
            properties["last_blessed_model"][RESOLVER_CONFIG] if metadata else properties["LastPushedModel"]
        )
        assert finder["endpoint"] == endpoint
