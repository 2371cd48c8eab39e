"""`DataReporter`: what the examples hold and what was left out of them, for people to look at."""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import json
import logging

import apache_beam as beam
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.data_report.figures import write_figures
from components.data_report.picture import draw_report
from components.examples.account import read_accounts

REPORT_FILE = "report.json"
PICTURE_FILE = "report.png"
_logger = logging.getLogger(__name__)


class DataReport(Artifact):
    """Folder of `report.json`, which `figures.make_report` documents, and `report.png`."""

    TYPE_NAME = "enformer.DataReport"


@tfx.dsl.components.component(use_beam=True)
def DataReporter(  # noqa: N802 (a component is named like a class)
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    report: tfx.dsl.components.OutputArtifact[DataReport],
    most_drawn: tfx.dsl.components.Parameter[int] = 8,
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Reports windows by split, and every track's figures; odd tracks are warnings and fail nothing.

    Args:
        examples: an ExampleGen's output: every target is read, and the account of the build beside them.
        report: gets the figures as JSON and a picture of some tracks.
        most_drawn: tracks of each organism in the picture, at most, evenly spaced over the track table.
        code_fingerprint: of the report's code, so that the cache sees a change.
        beam_pipeline: where it runs; TFX gives it.

    Raises:
        FileNotFoundError: the examples have no account of their build.
    """
    del code_fingerprint
    folders = {
        split: f"{examples.uri}/Split-{split}"
        for split in artifact_utils.decode_split_names(examples.split_names)
    }
    accounts = read_accounts(examples.uri)
    file = f"{report.uri}/{REPORT_FILE}"
    tf.io.gfile.makedirs(report.uri)
    with beam_pipeline as pipeline:
        write_figures(pipeline, folders, accounts, file, most_drawn)
    with tf.io.gfile.GFile(file) as written:
        found = json.load(written)
    for warning in found["warnings"]:
        _logger.warning("%s", warning)
    with tf.io.gfile.GFile(f"{report.uri}/{PICTURE_FILE}", "wb") as out:
        out.write(draw_report(found))
