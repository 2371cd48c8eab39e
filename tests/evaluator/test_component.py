"""The Evaluator component with this configuration, under LocalDagRunner."""

import pathlib
import shutil

from tfx import v1 as tfx

from components.evaluator.component import Evaluator
from components.evaluator.eval_config import make_eval_config
from components.evaluator.figures import load_verdict
from tests.evaluator import tiny_model


def test_evaluator_blesses_by_value_and_by_change(tmp_path, examples, models):
    def importer(name, uri, artifact_type, **properties):
        return tfx.dsl.Importer(uri, artifact_type=artifact_type, properties=properties).with_id(name)

    importers = {
        name: importer(name, models[name], tfx.types.standard_artifacts.Model) for name in ("good", "weaker")
    }
    # With what a file manager leaves there, once as if it were one of the files.
    data = shutil.copytree(examples, tmp_path / "data")
    for name in (".DS_Store", "._data_tfrecord-00000-of-00002.gz"):
        (data / "Split-test" / name).write_bytes(b"\0\0\0\1Bud1" + bytes(100))
    data = importer(
        "data", str(data), tfx.types.standard_artifacts.Examples, split_names=tiny_model.SPLIT_NAMES
    )
    runs = {"first": ("weaker", None), "worse": ("weaker", "good")}
    evaluators = [
        Evaluator(
            examples=data.outputs["result"],
            example_splits=["test"],
            model=importers[candidate].outputs["result"],
            baseline_model=importers[baseline].outputs["result"] if baseline else None,
            eval_config=make_eval_config([tiny_model.head()], {"pearson_r": 0.1}, max_drop=0.01),
        ).with_id(name)
        for name, (candidate, baseline) in runs.items()
    ]
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="evaluate",
            pipeline_root=str(tmp_path),
            components=[data, *importers.values(), *evaluators],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(tmp_path / "metadata.sqlite")
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )
    blessings = {
        name: [file.name for file in pathlib.Path(tmp_path, name, "blessing").glob("*/*")] for name in runs
    }
    assert blessings == {"first": ["BLESSED"], "worse": ["NOT_BLESSED"]}
    (evaluation,) = (tmp_path / "worse" / "evaluation").iterdir()
    verdict = load_verdict(evaluation)
    assert verdict.compared
    (refused,) = [check for check in verdict.checks if not check.met]
    assert refused.key == "pearson_r_change_high"
    assert str(refused) == f"ecoli: pearson_r_change_high {refused.value:.4f}, at least -0.01 is wanted"
