"""Which models pass, why the others do not, and that the Pusher heeds it."""

import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.infra_check.component import InfraCheck, examine
from components.infra_check.probe import ProbeError, probe
from components.pusher.component import Pusher
from components.trainer.serving import PREDICTIONS
from tests.trainer import tiny_served

SERVING = "Format-Serving"  # where TFX looks for a SavedModel inside a Model artifact
TOLERANCE = 0.01
STRINGS = tf.TensorSpec([None], tf.string, name="sequences")


def accept_any_sequence(model):
    @tf.function(input_signature=[STRINGS])
    def predict_sequences(sequences):
        return model.predict_sequences(tf.strings.substr(tf.strings.join([sequences, "A" * 256]), 0, 256))

    return {"predict_sequences": predict_sequences}


def mix_up_tracks(model):
    @tf.function(input_signature=[STRINGS])
    def predict_sequences(sequences):
        return {head: values[..., ::-1] for head, values in model.predict_sequences(sequences).items()}

    return {"predict_sequences": predict_sequences}


def accept_any_track(model):
    @tf.function(input_signature=[STRINGS, tf.TensorSpec([None], tf.int32, name="tracks")])
    def predict_tracks(sequences, tracks):
        return model.predict_tracks_yeast(sequences, tracks % 2)

    return {"predict_tracks_yeast": predict_tracks}


def change_a_weight(model, value):
    (bias,) = (weight for weight in model.weights if weight.name.startswith("head_ecoli/bias"))
    bias[1].assign(value)
    return {}


def read_off_centre(model):
    @tf.function(input_signature=[tf.TensorSpec([None, None, 4], tf.float32, name="one_hot")])
    def predict_on_batch(one_hot):
        return model.predict_on_batch(one_hot[:, :256])

    model.model.predict_on_batch = predict_on_batch
    return {}


def reverse_examples(model):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(examples):
        features = model.transform_features(examples)
        return features | {"sequence": features["sequence"][:, ::-1]}

    return {"transform_features": transform_features}


# What is done to the loaded model, the signatures that replace its own, and what the check says.
DEFECTS = {
    "nan": (lambda model: change_a_weight(model, np.nan), "predict_sequences: head 'ecoli' has 2 of 6 values"),
    "other weights": (
        lambda model: change_a_weight(model, 0.5),
        r"predict_sequences: 1 of 3 tracks of head 'ecoli' are not .* within 0.01 .* track 1 of norm",
    ),
    "mixed up": (mix_up_tracks, r"predict_sequences: \d of 3 tracks of head 'ecoli' are not the Trainer's"),
    "no endpoint": (lambda model: {"predict_tracks_yeast": None}, r"missing: \['predict_tracks_yeast'\]"),
    "any sequence": (accept_any_sequence, "predict_sequences accepts a sequence that is one base short"),
    "any track": (accept_any_track, "predict_tracks_yeast accepts track 2 of 2"),
    "another sequence": (reverse_examples, "transform_features gives another sequence than the example's"),
    "off centre": (read_off_centre, r"model\.predict_on_batch on twice the window: \d of 3 tracks"),
    "not as published": (
        lambda model: setattr(model.model, "predict_on_batch", None) or {},
        r"model\.predict_on_batch is missing",
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model that serves, exported as the Trainer does it."""
    keras.utils.set_random_seed(0)
    return tiny_served.write_served(tmp_path_factory.mktemp("infra_check"), tiny_served.make_model())


@pytest.fixture(scope="module")
def examples(served):
    return [str(served.parent / "examples.gz")]


def test_a_good_model_passes(served, examples):
    probe(str(served), examples, TOLERANCE)


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_reason_is_named(tmp_path, served, examples, defect):
    spoil, message = DEFECTS[defect]
    model = tf.saved_model.load(str(served))
    signatures = {**model.signatures, **spoil(model)}
    tf.saved_model.save(
        model, str(tmp_path), {name: signature for name, signature in signatures.items() if signature}
    )
    shutil.copytree(served / "assets.extra", tmp_path / "assets.extra")
    with pytest.raises(ProbeError, match=message):
        probe(str(tmp_path), examples, TOLERANCE)


def test_a_model_without_the_trainers_numbers(tmp_path, served, examples):
    shutil.copytree(served, tmp_path / "model")
    (tmp_path / "model" / PREDICTIONS).unlink()
    with pytest.raises(ProbeError, match=r"predictions\.npz is missing"):
        probe(str(tmp_path / "model"), examples, TOLERANCE)


def test_time_and_memory_are_limited(served, examples):
    finding = examine(str(served), examples, time_limit_s=0.1, memory_limit_mb=1e6, tolerance=TOLERANCE)
    assert finding.problem == "no answer within 0.1 s"
    ballast = np.ones(3 * 2**26)  # 1.5 GB here, which the process that is measured must not be charged for
    finding = examine(str(served), examples, time_limit_s=600, memory_limit_mb=100, tolerance=TOLERANCE)
    assert finding.problem == f"it took {finding.peak_memory_mb:.0f} MB of memory, 100 MB are allowed"
    assert 100 < finding.peak_memory_mb < ballast.nbytes / 2**20
    assert finding.seconds > 0.1


def test_the_pusher_pushes_what_passes_and_nothing_else(tmp_path, served, examples):
    from tfx import v1 as tfx

    artifacts = tfx.types.standard_artifacts
    for kind in ("good", "damaged"):
        shutil.copytree(served, tmp_path / kind / SERVING)
    graph = tmp_path / "damaged" / SERVING / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    split = tmp_path / "examples" / "Split-test"
    split.mkdir(parents=True)
    shutil.copy(examples[0], split / "ecoli-00000-of-00001.gz")
    (split / ".DS_Store").write_bytes(b"no record")  # as a file manager leaves it
    blessing = tmp_path / "blessing"
    blessing.mkdir()

    data = tfx.dsl.Importer(
        str(split.parent), artifact_type=artifacts.Examples, properties={"split_names": '["test"]'}
    ).with_id("data")
    components, models, checks = [data], {}, {}
    for kind in ("good", "damaged"):
        models[kind] = tfx.dsl.Importer(str(tmp_path / kind), artifact_type=artifacts.Model).with_id(kind)
        checks[kind] = InfraCheck(
            model=models[kind].outputs["result"],
            examples=data.outputs["result"],
            time_limit_s=600,
            memory_limit_mb=8192,
            tolerance=TOLERANCE,
        ).with_id(f"check_{kind}")
        components += [models[kind], checks[kind]]
    for name, (kind, judged) in {"good": ("good", 1), "damaged": ("damaged", 1), "poor": ("good", 0)}.items():
        judge = tfx.dsl.Importer(
            str(blessing),
            artifact_type=artifacts.ModelBlessing,
            custom_properties={"blessed": judged},
            reimport=True,
        ).with_id(f"judge_{name}")
        pusher = Pusher(
            model=models[kind].outputs["result"],
            model_blessing=judge.outputs["result"],
            infra_blessing=checks[kind].outputs["blessing"],
            destination=str(tmp_path / "served" / name),
            keep_versions=1,
        ).with_id(f"push_{name}")
        components += [judge, pusher]
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
    (version,) = (tmp_path / "served" / "good").glob("*/saved_model.pb")
    assert [folder.name for folder in (tmp_path / "served").iterdir()] == ["good"]
    assert sorted(path.relative_to(version.parent) for path in version.parent.rglob("*")) == sorted(
        path.relative_to(served) for path in pathlib.Path(served).rglob("*")
    )
    (reason,) = (tmp_path / "root" / "check_damaged").rglob("INFRA_NOT_BLESSED")
    assert "the process ended with status 1" in reason.read_text()
    assert "saved_model.pb" in reason.read_text()
    assert len(list((tmp_path / "root" / "check_good").rglob("INFRA_BLESSED"))) == 1
    assert pushed_models(tmp_path / "metadata.sqlite") == {
        "push_good": {
            "pushed": 1,
            "pushed_destination": str(version.parent),
            "pushed_version": version.parent.name,
        },
        "push_damaged": {"pushed": 0},
        "push_poor": {"pushed": 0},
    }


def pushed_models(metadata):
    """What the Pushers tell other components: by component, the properties that TFX's own writes."""
    import ml_metadata
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata)
    found = {}
    for artifact in ml_metadata.MetadataStore(connection).get_artifacts_by_type("PushedModel"):
        values = artifact.custom_properties
        found[pathlib.Path(artifact.uri).parts[-3]] = {
            name: values[name].int_value if name == "pushed" else values[name].string_value
            for name in ("pushed", "pushed_destination", "pushed_version")
            if name in values
        }
    return found
