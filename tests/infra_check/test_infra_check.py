"""Which models pass, why the others do not, and that the Pusher heeds it."""

import pathlib

import numpy as np
import pytest

from components.infra_check.probe import ProbeError, probe
from tests.evaluator import tiny_model


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return tiny_model.write_examples(tmp_path_factory.mktemp("infra_check") / "examples", count=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model artifacts by what is wrong with them."""
    folder = tmp_path_factory.mktemp("infra_check_models")
    nan = tiny_model.TRUTH.copy()
    nan[0, 0] = np.nan
    kinds = {
        "good": {},
        "nan": {"weights": nan},
        "no endpoint": {"left_out": ("predict_sequences",)},
        "unchecked": {"checks_sequences": False},
        "other width": {"weights": np.ones((4, 3), np.float32)},
    }
    paths = {
        kind: tiny_model.write_saved_model(folder / kind, **{"weights": tiny_model.TRUTH, **options})
        for kind, options in kinds.items()
    }
    paths["damaged"] = tiny_model.write_saved_model(folder / "damaged", tiny_model.TRUTH)
    graph = pathlib.Path(paths["damaged"], tiny_model.SERVING, "saved_model.pb")
    graph.write_bytes(graph.read_bytes()[:1000])
    return paths


def serving(model):
    return f"{model}/{tiny_model.SERVING}"


def files(examples):
    return sorted(str(file) for file in pathlib.Path(examples).glob("Split-test/*"))


def test_a_good_model_passes(models, examples):
    probe(serving(models["good"]), files(examples))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", r"serving_default: head 'ecoli' has 6 of 12 values that are not finite"),
        ("no endpoint", r"endpoints are missing: \['predict_sequences'\]"),
        ("unchecked", r"predict_sequences accepts a sequence that is one base"),
        ("other width", r"no head fits the example's target of 12 values: .*\(1, 6, 3\)"),
    ],
)
def test_the_reason_is_named(models, examples, kind, message):
    with pytest.raises(ProbeError, match=message):
        probe(serving(models[kind]), files(examples))


def test_a_process_that_hangs_is_a_problem_of_the_model(models, examples):
    from components.infra_check.component import find_problem

    assert find_problem(serving(models["good"]), files(examples), time_limit_s=0.1) == "no answer within 0.1 s"


def test_the_pusher_pushes_what_passes_and_nothing_else(tmp_path, models, examples):
    from tfx import v1 as tfx

    from components.infra_check.component import InfraCheck

    data = tfx.dsl.Importer(
        examples,
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": tiny_model.SPLIT_NAMES},
    ).with_id("data")
    components = [data]
    for kind in ("good", "damaged"):
        model = tfx.dsl.Importer(models[kind], artifact_type=tfx.types.standard_artifacts.Model)
        check = InfraCheck(model=model.with_id(kind).outputs["result"], examples=data.outputs["result"])
        pusher = tfx.components.Pusher(
            model=model.outputs["result"],
            infra_blessing=check.with_id(f"check_{kind}").outputs["blessing"],
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(tmp_path / "served" / kind))
            ),
        )
        components += [model, check, pusher.with_id(f"push_{kind}")]
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="check",
            pipeline_root=str(tmp_path / "root"),
            components=components,
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(tmp_path / "metadata.sqlite")
            ),
        )
    )
    assert len(list((tmp_path / "served" / "good").glob("*/saved_model.pb"))) == 1
    assert not (tmp_path / "served" / "damaged").exists()
    (reason,) = (tmp_path / "root" / "check_damaged").rglob("INFRA_NOT_BLESSED")
    assert "the process ended with status 1" in reason.read_text()
    assert "saved_model.pb" in reason.read_text()
    assert len(list((tmp_path / "root" / "check_good").rglob("INFRA_BLESSED"))) == 1
