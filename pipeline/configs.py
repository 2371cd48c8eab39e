"""Settings of the pipeline: what to train, on what, how, and where to put it."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.trainer.training import Training
from components.trainer.warm_start import fingerprint_start
from enformer_keras import BIN_SIZE, PARTS, PRESETS
from pipeline.data import DataDescription, describe_data

# A warm start from whatever the pipeline blessed last; from nothing as long as there is no such model.
LAST_BLESSED = "last_blessed"
# Trains the weights, watches the training, judges the model.
SPLITS = ("train", "valid", "test")

PROJECT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that `create_pipeline` needs to know.

    Attributes:
        name: of the pipeline; runs of one name share their cache and their last blessed model.
        dataset: YAML file of the dataset: genome files or a Basenji folder.
        run: folder of everything that the pipeline writes.
        model: arguments of `Enformer` other than those that the dataset decides (heads, lengths).
        training: how to train.
        thresholds: least value of each metric of the Evaluator for a model to be pushed.
        max_drop: how far `change_metric` may fall below the last blessed model's; a model is refused where the
            whole interval of the change lies below that.
        warm_start: whose weights to begin with: `LAST_BLESSED`, the last model of this pipeline that was good
            enough; or a file or folder, see `warm_start.start_from`; or empty for fresh ones.
        leak_tolerance: inputs of a split that may overlap targets of another, for each pair of splits.
        change_metric: the metric that is compared with the last blessed model.
        serving_time_limit_s: seconds that a process of its own may take to load a model and answer at every
            endpoint; a model that takes longer is not pushed.
        serving_memory_limit_mb: the most memory that this process may hold at a time, in MB (2**20 bytes).
        serving_tolerance: how far the served model may be from the Trainer's, see `InfraCheck`.
        keep_versions: newest pushed versions that stay.
        schema: what examples must look like.
        beam_arguments: where and how Beam runs; of an argument given twice the last one holds.
    """

    name: str
    dataset: Path
    run: Path
    model: Mapping[str, Any]
    training: Training
    thresholds: Mapping[str, float]
    max_drop: float = 0.02
    warm_start: str = ""
    leak_tolerance: int = 0
    change_metric: str = "log1p_pearson_r"
    serving_time_limit_s: int = 600
    serving_memory_limit_mb: int = 16_384
    serving_tolerance: float = 0.01
    keep_versions: int = 5
    schema: Path = PROJECT / "pipeline" / "schema" / "schema.pbtxt"
    # In this process: Beam's default would fetch a runner binary first.
    beam_arguments: tuple[str, ...] = ("--runner=FnApiRunner",)

    def __post_init__(self) -> None:
        """Looks for what cannot work before the run begins.

        Raises:
            ValueError: the dataset does not fit the model or the training, or a number cannot be.
            FileNotFoundError: nothing is where the warm start is said to be.
        """
        problems = []
        if self.description.bin_size != BIN_SIZE:
            problems.append(f"bin_size must be {BIN_SIZE}, the model's, not {self.description.bin_size}")
        if self.description.flank_length < self.training.max_shift:
            problems.append(
                f"flank_length={self.description.flank_length} must be at least training.max_shift="
                f"{self.training.max_shift}"
            )
        if set(self.description.splits) != set(SPLITS):
            problems.append(f"the splits must be named {SPLITS}, not {self.description.splits}")
        if problems:
            raise ValueError(f"{self.dataset}: " + "; ".join(problems))
        if self.keep_versions < 1:
            raise ValueError(f"keep_versions must be at least 1, not {self.keep_versions}")
        if self.warm_start not in ("", LAST_BLESSED):
            fingerprint_start(self.warm_start)

    @functools.cached_property
    def description(self) -> DataDescription:
        """What the dataset's YAML file and its tables of tracks say."""
        return describe_data(self.dataset)

    @property
    def model_arguments(self) -> dict[str, Any]:
        """Arguments of `Enformer`: the dataset decides heads, window and target length."""
        return {
            **self.model,
            "heads": {one.name: len(one.tracks) for one in self.description.organisms},
            "sequence_length": self.description.window_length,
            "target_length": self.description.target_length,
        }

    @property
    def root(self) -> Path:
        """Folder of the components' outputs."""
        return self.run / "pipeline"

    @property
    def metadata(self) -> Path:
        """ML Metadata's SQLite file."""
        return self.run / "metadata.sqlite"

    @property
    def pushed(self) -> Path:
        """Folder of the pushed models, one subfolder for each version."""
        return self.run / "pushed"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, from which a killed run goes on."""
        return self.run / "checkpoints"

    @property
    def digests(self) -> Path:
        """File that remembers the digests of the data files, so that a second run need not read them."""
        return self.run / "digests.json"


ECOLI = PROJECT / "datasets" / "ecoli" / "dataset.yaml"
RUN = PROJECT / "runs" / "demo"


def small(
    run: Path = RUN,
    dataset: Path = ECOLI,
    steps: int = 600,
    seed: int = 0,
    beam_arguments: Sequence[str] = (),
    warm_start: str = "",
) -> Settings:
    """A small Enformer, by default on the E. coli genome: two cores and five minutes.

    Args:
        run: output folder.
        dataset: YAML file of the dataset.
        steps: training steps.
        seed: of weights, order and augmentation.
        beam_arguments: added to those that `Settings` has.
        warm_start: see `Settings`.

    Returns:
        The settings.
    """
    return Settings(
        name="-".join(["enformer", *(organism.name for organism in describe_data(dataset).organisms)]),
        dataset=dataset,
        run=run,
        model=PRESETS["laptop"],
        training=Training(
            steps=steps,
            batch_size=4,
            learning_rate=1.5e-3,
            warm_up_steps=min(50, steps // 2),
            decay=True,
            jit_compile=True,
            strategy="auto",
            seed=seed,
        ),
        thresholds={"log1p_pearson_r": 0.5},
        beam_arguments=(*Settings.beam_arguments, *beam_arguments),
        warm_start=warm_start,
    )


def fine_tuning(warm_start: str = "", **arguments: Any) -> Settings:
    """New heads on the trunk of an earlier model, which moves at a tenth of their rate.

    Args:
        warm_start: see `Settings`; of the sizes of `small`.
        **arguments: those of `small`.

    Returns:
        The settings.

    Raises:
        ValueError: there is nothing to tune.
    """
    if not warm_start:
        raise ValueError("fine_tuning wants a model to start from: give WARM_START")
    settings = small(warm_start=warm_start, **arguments)
    return dataclasses.replace(
        settings,
        # Batches of four say less of a genome than the statistics that the trunk has learnt.
        model={**settings.model, "frozen_statistics": True},
        training=dataclasses.replace(settings.training, rates=dict.fromkeys(PARTS, 0.1)),
    )


CONFIGURATIONS = {"small": small, "fine_tuning": fine_tuning}
