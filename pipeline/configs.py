"""Settings of the pipeline: what to train, on what, how, and where to put it."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.evaluator.regions import RegionFile
from components.trainer.training import Averaging, Training
from enformer_keras import BIN_SIZE, PRESETS
from pipeline.data import DataDescription, describe_data

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
        model: arguments of `Enformer` other than those that the dataset decides (head, lengths).
        training: how to train.
        thresholds: least value of each metric of the Evaluator for a model to be pushed.
        max_drop: how far `change_metric` may fall below the last blessed model's; a model is refused where the
            whole interval of the change lies below that.
        leak_tolerance: inputs of a split that may overlap targets of another, for each pair of splits.
        change_metric: the metric that is compared with the last blessed model.
        test_time_averaging: what the Evaluator's predictions are averages over, those of the endpoint
            `serving_averaged`, which each model has; None: single predictions are judged, `serving_default`.
        regions: organism -> BED file of regions, such as genes, across which it is judged too (the metrics
            `region_...` of the Evaluator).
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
    leak_tolerance: int = 0
    change_metric: str = "log1p_pearson_r"
    test_time_averaging: Averaging | None = None
    regions: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    serving_time_limit_s: int = 600
    serving_memory_limit_mb: int = 16_384
    serving_tolerance: float = 0.01
    keep_versions: int = 5
    schema: Path = PROJECT / "pipeline" / "schema" / "schema.pbtxt"
    # In this process: Beam's default would fetch a runner binary first.
    beam_arguments: tuple[str, ...] = ("--runner=FnApiRunner",)

    def __post_init__(self) -> None:
        """Raises ValueError where the dataset does not fit the model or the training, or a number cannot be."""
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
        unknown = sorted(set(self.regions) - {self.description.organism})
        if unknown:
            problems.append(f"regions are given for {unknown}, but it describes {self.description.organism}")
        # The flanks hold no more, and a model says nothing dependable of what it was not trained on.
        shifts = tuple(self.averaging.shifts)
        longest = min(self.description.flank_length, self.training.max_shift)
        if not shifts or max(map(abs, shifts)) > longest:
            problems.append(
                f"test_time_averaging.shifts={shifts} must be at least one, and none longer than {longest} "
                f"bp, the shorter of flank_length={self.description.flank_length} (what is read beside a "
                f"window) and training.max_shift={self.training.max_shift} (what the model has seen)"
            )
        if self.averaging.strands and not self.training.reverse_complement:
            problems.append(
                "test_time_averaging.strands asks about the other strand, which training does not show without "
                "training.reverse_complement; set both or neither"
            )
        if problems:
            raise ValueError(f"{self.dataset}: " + "; ".join(problems))
        if self.keep_versions < 1:
            raise ValueError(f"keep_versions must be at least 1, not {self.keep_versions}")
        _ = self.region_files  # raises for a line that is wrong

    @functools.cached_property
    def description(self) -> DataDescription:
        """What the dataset's YAML file and its table of tracks say."""
        return _describe(self.dataset)

    @functools.cached_property
    def region_files(self) -> dict[str, RegionFile]:
        """Organism -> its regions, read once to see that they can be."""
        aliases = self.description.contig_aliases
        return {organism: RegionFile.open(file, aliases) for organism, file in self.regions.items()}

    @property
    def averaging(self) -> Averaging:
        """What `serving_averaged` averages over: unless said otherwise, the strands that training showed."""
        return self.test_time_averaging or Averaging(strands=self.training.reverse_complement)

    @property
    def model_arguments(self) -> dict[str, Any]:
        """Arguments of `Enformer`: the dataset decides head, window and target length."""
        return {
            **self.model,
            "heads": {self.description.organism: len(self.description.tracks)},
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


def _describe(dataset: Path) -> DataDescription:
    """Reads a description; the Trainer takes one organism, so that several are a ValueError."""
    descriptions = describe_data(dataset)
    if len(descriptions) > 1:
        names = ", ".join(description.organism for description in descriptions)
        raise ValueError(
            f"{dataset}: describes {names}, but the pipeline trains one organism so far; "
            "give it a description of one"
        )
    return descriptions[0]


ECOLI = PROJECT / "datasets" / "ecoli" / "dataset.yaml"
RUN = PROJECT / "runs" / "demo"


def small(
    run: Path = RUN,
    dataset: Path = ECOLI,
    steps: int = 600,
    seed: int = 0,
    beam_arguments: Sequence[str] = (),
    regions: Path | None = None,
) -> Settings:
    """A small Enformer, by default on the E. coli genome: two cores and five minutes.

    Args:
        run: output folder.
        dataset: YAML file of the dataset.
        steps: training steps.
        seed: of weights, order and augmentation.
        beam_arguments: added to those that `Settings` has.
        regions: BED file of regions of the organism, across which the model is judged too.

    Returns:
        The settings.
    """
    organism = _describe(dataset).organism
    return Settings(
        name=f"enformer-{organism}",
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
        regions={} if regions is None else {organism: regions},
        beam_arguments=(*Settings.beam_arguments, *beam_arguments),
    )
