"""Settings of the pipeline: what to train, on what, how, and where to put it."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.evaluator.regions import RegionFile
from components.trainer.training import Averaging, Training
from components.trainer.warm_start import LAST_BLESSED, fingerprint_start
from components.variant_scorer.files import VariantFile
from enformer_keras import BIN_SIZE, PARTS, PRESETS
from pipeline.data import DataDescription, describe_data

# Trains the weights, watches the training, judges the model.
SPLITS = ("train", "valid", "test")

PROJECT = Path(__file__).resolve().parents[1]

# What TensorFlow and Beam, which take every place of theirs for a pattern, read as one; they have no way to say
# that a name is meant.
_OF_PATTERNS = "*?[\\"


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that `create_pipeline` needs to know.

    Attributes:
        name: of the pipeline; runs of one name share their cache and their last blessed model.
        dataset: YAML file of the dataset: genome files or a Basenji folder.
        run: folder of everything that the pipeline writes; no `*`, `?`, `[` or backslash is in its path.
        model: arguments of `Enformer` other than those that the dataset decides (heads, lengths).
        training: how to train.
        thresholds: least value of each metric of the Evaluator for a model to be pushed, for every organism or,
            with its name and a colon in front, for one.
        max_drop: how far `change_metric` may fall below the last blessed model's; a model is refused where the
            whole interval of the change lies below that.
        warm_start: whose weights to begin with, see `warm_start.find_start`; empty for fresh ones.
        leak_tolerance: inputs of a split that may overlap targets of another, for each pair of splits.
        change_metric: the metric that is compared with the last blessed model.
        test_time_averaging: what the Evaluator's predictions are averages over, those of the endpoint
            `serving_averaged`, which each model has; None: single predictions are judged, `serving_default`.
        regions: organism -> BED file of regions, such as genes, across which it is judged too (the metrics
            `region_...` of the Evaluator).
        variants: organism -> VCF, BCF or table of variants (`variants.read_variants`), which a model that is
            pushed scores.
        serving_time_limit_s: seconds that a process of its own may take to load a model and answer at every
            endpoint; a model that takes longer is not pushed.
        serving_memory_limit_mb: the most memory that this process may hold at a time, in MB (2**20 bytes).
        serving_tolerance: how far the served model may be from the Trainer's, see `InfraCheck`.
        keep_versions: newest pushed versions that stay.
        schema: what examples must look like.
        beam_arguments: where and how Beam runs; of an argument given twice the last one holds.
        beam_files: folder or URI (gs://...) that Beam's workers see, where they do not see `run`: what a
            component reads is copied there, and what it writes is copied back. Empty: they see `run`.
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
    test_time_averaging: Averaging | None = None
    regions: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    variants: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    serving_time_limit_s: int = 600
    serving_memory_limit_mb: int = 16_384
    serving_tolerance: float = 0.01
    keep_versions: int = 5
    schema: Path = PROJECT / "pipeline" / "schema" / "schema.pbtxt"
    # In this process: Beam's default would fetch a runner binary first. And without the name of an image, TFX
    # packs itself up for workers elsewhere, at every component; those need an image that has this project, too.
    beam_arguments: tuple[str, ...] = ("--runner=FnApiRunner", "--sdk_container_image=none")
    beam_files: str = ""

    def __post_init__(self) -> None:
        """Looks for what cannot work before the run begins.

        Raises:
            ValueError: the dataset does not fit the model or the training, a number cannot be, or a path would
                be read as a pattern.
            FileNotFoundError: nothing is where the warm start is said to be.
        """
        for name in ("run", "beam_files"):
            place = str(getattr(self, name))
            signs = " ".join(sorted(set(place) & set(_OF_PATTERNS)))
            if signs:
                raise ValueError(
                    f"{name}={place!r} (ENFORMER_{name.upper()}) holds {signs}, which TensorFlow and Beam take "
                    "for a pattern of names: give a path without"
                )
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
        organisms = [organism.name for organism in self.description.organisms]
        for name in ("regions", "variants"):
            unknown = sorted(set(getattr(self, name)) - set(organisms))
            if unknown:
                problems.append(f"{name} are given for {unknown}, but it describes {', '.join(organisms)}")
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
        _ = self.warm_start_fingerprint  # raises where nothing is there
        _ = self.region_files  # raises for a line that is wrong
        _ = self.variant_files  # raises where there is no variant

    @functools.cached_property
    def description(self) -> DataDescription:
        """What the dataset's YAML file and its tables of tracks say."""
        return describe_data(self.dataset)

    @functools.cached_property
    def region_files(self) -> dict[str, RegionFile]:
        """Organism -> its regions, read once to see that they can be."""
        aliases = {organism.name: organism.contig_aliases for organism in self.description.organisms}
        return {organism: RegionFile.open(file, aliases[organism]) for organism, file in self.regions.items()}

    @functools.cached_property
    def variant_files(self) -> dict[str, VariantFile]:
        """Organism -> its variants, of which the first was read."""
        return {organism: VariantFile.open(file) for organism, file in self.variants.items()}

    @functools.cached_property
    def warm_start_fingerprint(self) -> str:
        """Of the files to start from; empty where there are none, or a run finds them."""
        return "" if self.warm_start in ("", LAST_BLESSED) else fingerprint_start(self.warm_start)

    @property
    def averaging(self) -> Averaging:
        """What `serving_averaged` averages over: unless said otherwise, the strands that training showed."""
        return self.test_time_averaging or Averaging(strands=self.training.reverse_complement)

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
    def kept_scores(self) -> Path:
        """Folder of the last models' scores of variants, with which those of a new one are compared."""
        return self.run / "variant_scores"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, from which a killed run goes on."""
        return self.run / "checkpoints"

    @property
    def digests(self) -> Path:
        """File that remembers the digests of the data files, so that a second run need not read them."""
        return self.run / "digests.json"


ECOLI = PROJECT / "datasets" / "ecoli" / "dataset.yaml"
# Real ones of its test block, which the demo scores (setup/demo_variants.py).
ECOLI_VARIANTS = ECOLI.with_name("variants.vcf.gz")
RUN = PROJECT / "runs" / "demo"


def small(
    run: Path = RUN,
    dataset: Path = ECOLI,
    steps: int = 600,
    seed: int = 0,
    beam_arguments: Sequence[str] = (),
    beam_files: str = "",
    warm_start: str = "",
    regions: Path | None = None,
    variants: Path | Mapping[str, Path] | None = None,
) -> Settings:
    """A small Enformer, by default on the E. coli genome: two cores and five minutes.

    Args:
        run: output folder.
        dataset: YAML file of the dataset.
        steps: training steps.
        seed: of weights, order and augmentation.
        beam_arguments: added to those that `Settings` has.
        beam_files: see `Settings`.
        warm_start: see `Settings`.
        regions: BED file of regions, across which the model is judged too; for a dataset of one organism.
        variants: organism -> file of variants that a pushed model scores, or the file alone for a dataset of
            one organism; `None`: those that come with the demo's dataset, and none of another one.

    Returns:
        The settings.

    Raises:
        ValueError: regions or variants are given that may be several organisms'.
    """
    organisms = [organism.name for organism in describe_data(dataset).organisms]
    if regions is not None and len(organisms) > 1:
        raise ValueError(
            f"{dataset} describes {', '.join(organisms)}: whose are the regions of {regions}? Give "
            "Settings.regions in pipeline/configs.py, a file for each"
        )
    if variants is None:
        variants = {organisms[0]: ECOLI_VARIANTS} if dataset == ECOLI else {}
    elif isinstance(variants, Path):
        if len(organisms) > 1:
            raise ValueError(
                f"{dataset} describes {', '.join(organisms)}: whose are the variants of {variants}? Give "
                f"VARIANTS={organisms[0]}={variants}, or so for each"
            )
        variants = {organisms[0]: variants}
    return Settings(
        name="-".join(["enformer", *organisms]),
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
        regions={} if regions is None else {organisms[0]: regions},
        variants=variants,
        beam_arguments=(*Settings.beam_arguments, *beam_arguments),
        beam_files=beam_files,
        warm_start=warm_start,
    )


def on_tpu(settings: Settings, chips: int) -> Settings:
    """Settings for TPU chips: their arithmetic, a batch that they divide, steps between which no Python runs.

    Args:
        settings: for any device.
        chips: that train together. A chip may be two replicas (v4 and v5p have two cores).

    Returns:
        The same, with the smallest batch that is not smaller and that all replicas divide.
    """
    training = settings.training
    part, replicas = training.steps_per_part, 2 * chips
    # As TPUs lay arrays out: see benchmarks/README.md, `tpu.py`.
    pieces = math.gcd(8, settings.description.window_length // BIN_SIZE)
    return dataclasses.replace(
        settings,
        model={**settings.model, "dtype": "mixed_bfloat16", "winograd": False, "tower_pieces": pieces},
        training=dataclasses.replace(
            training,
            strategy="tpu",
            jit_compile=False,
            batch_size=-(-training.batch_size // replicas) * replicas,
            steps_per_execution=max(steps for steps in range(1, 21) if part % steps == 0),
        ),
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


CONFIGURATIONS: dict[str, Callable[..., Settings]] = {"small": small, "fine_tuning": fine_tuning}
