"""`LeakAudit`: examples by which no model can be judged end the run before training.

Those are inputs of one split that show targets of another, and tracks whose correlation is undefined.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import json

import apache_beam as beam
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.examples.account import read_accounts
from components.leak_audit.places import write_report

REPORT_FILE = "leaks.json"


_NAMED = 10  # tracks that an error names


class LeakError(ValueError):
    """Splits are not apart, or there is nothing to audit."""


class FlatTrackError(ValueError):
    """Tracks are the same in every bin of the split by which models are judged."""


class LeakReport(Artifact):
    """Folder of `leaks.json`, which `places.make_report` documents."""

    TYPE_NAME = "enformer.LeakReport"


@tfx.dsl.components.component(use_beam=True)
def LeakAudit(  # noqa: N802 (a component is named like a class)
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    report: tfx.dsl.components.OutputArtifact[LeakReport],
    target_width: tfx.dsl.components.Parameter[int],
    max_shift: tfx.dsl.components.Parameter[int],
    tolerance: tfx.dsl.components.Parameter[int] = 0,
    judged_split: tfx.dsl.components.Parameter[str] = "",
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Counts, for every ordered pair of splits, the inputs that overlap targets; fails above the tolerance.

    It reads the places that the emitted examples carry, not the plan they were made by.

    Args:
        examples: an ExampleGen's output, whatever it is: sequence, organism, chrom, start and end are read.
        report: gets the counts as JSON.
        target_width: bp of a target, which lies centred in its window.
        max_shift: largest shift of the augmentation in bp; inputs reach this far, or as far as their flanks.
        tolerance: inputs of a pair of splits that may leak.
        judged_split: split by which models are judged, whose tracks must not be the same in every bin: the
            Evaluator, and with it the Pusher, takes no model of an undefined correlation. Empty: none is.
        code_fingerprint: of the audit's code, so that the cache sees a change.
        beam_pipeline: where it runs; TFX gives it.

    Raises:
        LeakError: the counts above the tolerance with the first leaking inputs, or a split without examples.
        FlatTrackError: names the tracks.
        FileNotFoundError: tracks are to be looked at, and the examples have no account of their build.
    """
    del code_fingerprint
    folders = {
        split: f"{examples.uri}/Split-{split}"
        for split in artifact_utils.decode_split_names(examples.split_names)
    }
    file = f"{report.uri}/{REPORT_FILE}"
    tf.io.gfile.makedirs(report.uri)
    with beam_pipeline as pipeline:
        write_report(
            pipeline,
            folders,
            file,
            target_width,
            max_shift,
            judged_split,
            read_accounts(examples.uri) if judged_split else {},
        )
    with tf.io.gfile.GFile(file) as written:
        found = json.load(written)
    problems = [
        f"split {split} holds no example; nothing can be said of it"
        for split, number in found["examples"].items()
        if not number
    ]
    problems += [
        f"split {pair['reader']}: {pair['inputs']} of {found['examples'][pair['reader']]} inputs overlap "
        f"targets of split {pair['owner']}, {tolerance} are tolerated; first: {'; '.join(pair['first'])}"
        for pair in found["pairs"]
        if pair["inputs"] > tolerance
    ]
    if problems:
        raise LeakError(
            "the splits are not apart; move them apart, or drop windows:\n  " + "\n  ".join(problems)
        )
    if found["flat"]:
        raise FlatTrackError(
            "\n".join(
                _describe_flat(organism, judged_split, tracks) for organism, tracks in found["flat"].items()
            )
        )


def _describe_flat(organism: str, split: str, tracks: list[str]) -> str:
    more = f" and {len(tracks) - _NAMED} more" if len(tracks) > _NAMED else ""
    return (
        f"{organism}: of split {split} every bin is the same in track {', '.join(tracks[:_NAMED])}{more}: its "
        "correlation is undefined, so that no model could be pushed; give the split regions in which "
        "it has signal, or take the track out of the table"
    )
