"""What the runners read from the environment, and what a run prints."""

import logging
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import absl.logging

from components.trainer.warm_start import LAST_BLESSED, check_start, find_start
from enformer_keras.formats.errors import DatasetError
from pipeline.configs import CONFIGURATIONS, ECOLI, PROJECT, SPLITS, Settings
from pipeline.data import check_regions, check_variants, fingerprint_data

if TYPE_CHECKING:
    from tfx import v1 as tfx


def settings_from_environment() -> Settings:
    """Reads the settings of a run.

    `ENFORMER_RUN` is the output folder, `ENFORMER_DATASET` the YAML file of the dataset, `ENFORMER_REGIONS` a
    BED file of regions to judge by, `ENFORMER_VARIANTS` a file of variants to score, one for each organism
    (`ecoli=a.vcf.gz yeast=b.vcf.gz`), or `none`; `ENFORMER_STEPS` and `ENFORMER_SEED` are numbers,
    `ENFORMER_BEAM` is a line of Beam's flags, quoted as for a shell, `ENFORMER_BEAM_FILES` a folder
    or URI for its workers (`Settings.beam_files`), `ENFORMER_WARM_START` is `last_blessed` or a model's path
    (`Settings.warm_start`), `ENFORMER_CONFIGURATION` is one of `configs.CONFIGURATIONS`; what is not set has
    the default of that configuration, `small`.

    Returns:
        The settings.

    Raises:
        SystemExit: a value cannot be used; the message names the variable.
    """
    arguments = {}
    converters = {"run": Path, "dataset": Path, "regions": Path, "steps": int, "seed": int}
    for name, convert in converters.items():
        variable = f"ENFORMER_{name.upper()}"
        value = os.environ.get(variable)
        if not value:
            continue
        try:
            arguments[name] = convert(value)
        except ValueError:
            sys.exit(f"{variable}={value!r} must be a whole number")
    for name in ("run", "dataset", "regions"):
        if name in arguments:
            arguments[name] = arguments[name].resolve()
    arguments["variants"] = _read_variants(os.environ.get("ENFORMER_VARIANTS", ""))
    beam = os.environ.get("ENFORMER_BEAM", "")
    try:
        arguments["beam_arguments"] = shlex.split(beam)
    except ValueError as error:
        sys.exit(f"ENFORMER_BEAM={beam!r} is no line of flags: {error}")
    files = os.environ.get("ENFORMER_BEAM_FILES", "")
    arguments["beam_files"] = files if not files or "://" in files else str(Path(files).resolve())
    warm_start = os.environ.get("ENFORMER_WARM_START", "")
    arguments["warm_start"] = (
        warm_start if warm_start in ("", LAST_BLESSED) else str(Path(warm_start).resolve())
    )
    configuration = os.environ.get("ENFORMER_CONFIGURATION") or "small"
    if configuration not in CONFIGURATIONS:
        sys.exit(f"ENFORMER_CONFIGURATION={configuration!r} must be one of {', '.join(CONFIGURATIONS)}")
    try:
        return CONFIGURATIONS[configuration](**arguments)
    except (DatasetError, ValueError, FileNotFoundError) as error:
        sys.exit(f"these settings cannot work: {error}")


def _read_variants(text: str) -> Path | dict[str, Path] | None:
    """Reads `ENFORMER_VARIANTS`; `None` where nothing is said."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        sys.exit(f"ENFORMER_VARIANTS={text!r} cannot be read: {error}")
    if not words or words == ["none"]:
        return {} if words else None
    if len(words) == 1 and "=" not in words[0]:
        return Path(words[0]).resolve()
    pairs = [word.partition("=") for word in words]
    if not all(organism and path for organism, _, path in pairs) or len({pair[0] for pair in pairs}) < len(
        words
    ):
        sys.exit(
            f"ENFORMER_VARIANTS={text!r} must be a file, or ORGANISM=FILE for each organism that has one, with "
            "blanks between them"
        )
    return {organism: Path(path).resolve() for organism, _, path in pairs}


def pipeline_from_environment() -> "tfx.dsl.Pipeline":
    """Checks the dataset and lays out the pipeline for a run on this machine.

    Returns:
        The pipeline, with ML Metadata on SQLite in the run's folder.

    Raises:
        SystemExit: the dataset, the output folder, the place for Beam's workers or the model to start from
            cannot be used; the message says what is wrong.
    """
    # TFX takes half a minute to import; bad settings and the report need not wait for it.
    import tensorflow as tf
    from tfx import v1 as tfx
    from tfx.dsl.io import fileio

    from pipeline.pipeline import create_pipeline

    show_progress()
    settings = settings_from_environment()
    try:
        settings.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"ENFORMER_RUN={str(settings.run)!r} cannot be the output folder: {error}")
    try:
        if settings.beam_files:
            fileio.makedirs(settings.beam_files)
    except tf.errors.OpError as error:
        sys.exit(f"ENFORMER_BEAM_FILES={settings.beam_files!r} cannot be written: {error}")
    try:
        fingerprint = fingerprint_data(settings.dataset, settings.digests)
        check_regions(settings.dataset, settings.region_files, SPLITS[-1])
        check_variants(settings.dataset, settings.variant_files)
    except DatasetError as error:
        sys.exit(f"the dataset cannot be used:\n{error}{_hint_at_demo_data(settings.dataset)}")
    try:
        tracks = {
            one.name: [track.identifier for track in one.tracks] for one in settings.description.organisms
        }
        check_start(find_start(settings.warm_start, settings.pushed), settings.model_arguments, tracks)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        sys.exit(f"ENFORMER_WARM_START={settings.warm_start!r} cannot be started from: {error}")
    return create_pipeline(
        settings,
        fingerprint,
        tfx.orchestration.metadata.sqlite_metadata_connection_config(str(settings.metadata)),
    )


def _hint_at_demo_data(dataset: Path) -> str:
    """Says how to fetch the files of the datasets that come with this repository, where they are missing."""
    if not dataset.is_relative_to(PROJECT / "datasets"):
        return ""
    folders = ["ecoli", *(["yeast"] if "yeast" in str(dataset) else [])]  # as the Makefile has it
    if all((PROJECT / "data" / folder).is_dir() for folder in folders):
        return ""
    argument = "" if dataset == ECOLI else f" DATASET={dataset.relative_to(PROJECT)}"
    return f"\nthe demo's files are not in this folder yet: `make data{argument}` fetches them"


class _Progress(logging.Formatter):
    """Seconds since the start, and the message."""

    def __init__(self) -> None:
        super().__init__()
        self._start = time.time()

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{record.created - self._start:6.0f} s  {level}{record.getMessage()}"


def _is_progress(record: logging.LogRecord) -> bool:
    """Lets through what a user follows: this project's messages, components' starts and ends, errors."""
    return (
        record.levelno >= logging.ERROR
        or record.name.startswith(("components", "enformer_keras", "pipeline"))
        or record.getMessage().startswith(("Component ", "node "))
    )


def show_progress() -> None:
    """Prints what a user follows to stderr, and nothing of what the libraries chat about."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Progress())
    handler.addFilter(_is_progress)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # TFX says through absl which component runs. What exports a graph, as Transform does, sets absl to another
    # verbosity and then back to what it was told, which is warnings where nobody told it.
    absl.logging.set_verbosity(absl.logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it has a handler of its own
