"""What `config.yaml` may say: what the pipeline trains on a cluster, and what each of its tasks needs there."""

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.yaml_mapping import read_yaml_mapping

CONFIG = Path(__file__).with_name("config.yaml")

# Kubernetes' way to write an amount, such as 500m, 4 or 16Gi; YAML makes a number of the second.
_Quantity = Annotated[
    str, pydantic.Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTP]i?)?$", coerce_numbers_to_str=True)
]
_MountPath = Annotated[str, pydantic.Field(pattern=r"^/\S*$")]


class ConfigError(ValueError):
    """The configuration cannot be used; a line for each field that is wrong."""


class _Fields(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# The resource of Kubernetes that TPU chips are, and the labels by which GKE finds nodes with a slice of them.
TPU = "google.com/tpu"
TPU_KIND, TPU_TOPOLOGY = "cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"


class Accelerator(_Fields):
    """Devices of a task.

    Attributes:
        type: Kubernetes' name of the resource: `nvidia.com/gpu`, `google.com/tpu`.
        count: how many; of TPU chips, all of a slice that one host has.
    """

    type: str
    count: pydantic.PositiveInt

    @property
    def is_tpu(self) -> bool:
        """Whether they are TPU chips."""
        return self.type == TPU


class Toleration(_Fields):
    """A taint that a task's node may have, with Kubernetes' fields."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Secret(_Fields):
    """A Kubernetes secret that a task gets, as variables, as files, or both.

    Attributes:
        name: of the secret.
        env: environment variable -> key of the secret.
        mount: folder of the container in which its keys are files.
    """

    name: str
    env: dict[str, str] = {}
    mount: _MountPath | None = None


class Volume(_Fields):
    """A PersistentVolumeClaim, mounted by all tasks.

    Attributes:
        claim: its name.
        mount: folder of the container.
    """

    claim: str
    mount: _MountPath


class Retries(_Fields):
    """How often a task is run again that failed, and after how long.

    What counts as a failure, a process that ended with an error or a pod that was deleted, is not a task's to
    say: the installation decides (docs/kubeflow.md, "What is retried").

    Attributes:
        count: runs after the first; 0 for none.
        wait_s: seconds before the second run.
        factor: by which the wait grows; a whole number, as Argo takes no other.
        deadline_s: seconds from the start of the first run after which no other is begun; so it must be longer
            than the longest training.
    """

    count: pydantic.NonNegativeInt = 0
    wait_s: pydantic.PositiveInt = 60
    factor: pydantic.PositiveInt = 2
    deadline_s: pydantic.PositiveInt = 30 * 24 * 3600

    @pydantic.model_validator(mode="after")
    def _waits_end_before_the_deadline(self) -> "Retries":
        waits = sum(self.wait_s * self.factor**run for run in range(self.count))
        if waits >= self.deadline_s:
            raise ValueError(f"the waits alone, {waits} s, reach deadline_s ({self.deadline_s} s)")
        return self


class Task(_Fields):
    """What a task needs and how it is run.

    Attributes:
        cpu: reserved cores, as Kubernetes writes quantities; also the limit if `cpu_limit` is not given.
        memory: the same of memory.
        cpu_limit: the most cores.
        memory_limit: the most memory, beyond which Kubernetes kills the task.
        accelerator: GPUs or TPU chips.
        node_selector: labels of the nodes it may run on.
        tolerations: taints that it bears.
        secrets: secrets that it sees.
        env: environment variables.
        retries: what happens when it fails.
        cache: whether the outputs of an equal task are taken instead of running it.
    """

    cpu: _Quantity = "1"
    memory: _Quantity = "4Gi"
    cpu_limit: _Quantity | None = None
    memory_limit: _Quantity | None = None
    accelerator: Accelerator | None = None
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    secrets: tuple[Secret, ...] = ()
    env: dict[str, str] = {}
    retries: Retries = Retries()
    cache: bool = True


class Beam(_Fields):
    """Where the tasks run that are written for Apache Beam, and how its workers come to their files.

    Attributes:
        flags: a line of Beam's flags, quoted as for a shell, after those that `Settings` has.
        files: where the workers read and write: in the task's `pod`, if they are in it; on a `volume` that
            they mount as the task does (Flink or Spark in the same cluster); or in the `storage` of the
            pipeline root, by its URIs (Dataflow).
    """

    flags: str = ""
    files: Literal["pod", "volume", "storage"] = "pod"

    @pydantic.field_validator("flags")
    @classmethod
    def _is_a_line(cls, flags: str) -> str:
        shlex.split(flags)
        return flags

    @property
    def arguments(self) -> list[str]:
        """The flags, one by one."""
        return shlex.split(self.flags)


class PipelineRun(_Fields):
    """What is trained, as `pipeline.configs.small` takes it; relative paths are relative to the repository.

    Attributes:
        dataset: YAML file of the dataset, which the image has at the same place.
        run: folder of the pushed models and the checkpoints; on a volume.
        steps: training steps, unless a run says otherwise.
        warm_start: whose weights to begin with, unless a run says otherwise; see `Settings`. A path is one of
            the container.
        seed: of weights, order and augmentation.
        regions: BED file of regions to judge by too, for a dataset of one organism. `make kubeflow` reads it,
            and the tasks find it at the same place, in the image or on a volume, with the same content.
        variants: file of variants that a pushed model scores, for a dataset of one organism, else organism ->
            file; read and found as that of the regions is.
    """

    dataset: Path
    run: Path
    steps: pydantic.PositiveInt
    warm_start: str = ""
    seed: pydantic.NonNegativeInt = 0
    regions: Path | None = None
    variants: Path | dict[str, Path] | None = None


class Config(_Fields):
    """The file as it stands.

    Attributes:
        image: of all tasks; with a tag that is never given twice, because Kubeflow's cache goes by it.
        image_pull_secrets: names of the secrets that the registry asks for.
        pipeline_root: URI under which Kubeflow keeps the tasks' outputs; None for the installation's. run.py
            and schedule.py give it to the runs, as Kubeflow does not read it in pipeline.yaml.
        pipeline: what is trained.
        beam: where Beam runs.
        volumes: claims that all tasks mount.
        defaults: what a task needs if `components` does not say otherwise.
        components: id of a TFX component -> the fields in which its task differs.
        schedule: the recurring run, which `schedule.py` reads.
    """

    image: Annotated[str, pydantic.Field(pattern=r"^\S+(:\S+|@sha256:[0-9a-f]{64})$")]
    image_pull_secrets: tuple[str, ...] = ()
    pipeline_root: Annotated[str, pydantic.Field(pattern=r"^(s3|gs|minio)://")] | None = None
    pipeline: PipelineRun
    beam: Beam = Beam()
    volumes: tuple[Volume, ...] = ()
    defaults: Task = Task()
    components: dict[str, Task] = {}
    schedule: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _chips_are_those_of_a_host(self) -> "Config":
        for name in self.components:
            task = self.task(name)
            if task.accelerator and task.accelerator.is_tpu:
                _check_slice(name, task.accelerator.count, task.node_selector)
        return self

    def task(self, component: str) -> Task:
        """Returns what a component's task needs: the fields given for it, and the defaults of the others."""
        own = self.components.get(component, Task())
        return self.defaults.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _check_slice(name: str, count: int, labels: Mapping[str, str]) -> None:
    """Raises ValueError unless a task gets all chips of a slice."""
    missing = [label for label in (TPU_KIND, TPU_TOPOLOGY) if label not in labels]
    if missing:
        raise ValueError(
            f"components.{name}.node_selector: {TPU} wants {' and '.join(missing)} too, such as "
            f"{{{TPU_KIND}: tpu-v5-lite-podslice, {TPU_TOPOLOGY}: 2x2}}"
        )
    topology = labels[TPU_TOPOLOGY]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology):
        raise ValueError(
            f"components.{name}.node_selector.{TPU_TOPOLOGY}: {topology!r} is not like 2x4 or 2x2x1"
        )
    chips = math.prod(map(int, topology.split("x")))
    if chips != count:
        raise ValueError(
            f"components.{name}.accelerator.count: a slice of {topology} has {chips} chips, and {count} are "
            "asked for. A task of Kubeflow is one pod, so it takes all chips of a slice that one host has; for "
            "a slice of several hosts give the task no chips and env.TPU_NAME (docs/kubeflow.md)"
        )


def load_config(path: Path = CONFIG) -> Config:
    """Reads the configuration.

    Args:
        path: the YAML file.

    Returns:
        What it says.

    Raises:
        ConfigError: the file cannot be read, or fields are wrong.
    """
    try:
        return Config.model_validate(read_yaml_mapping(path))
    except DatasetError as error:
        raise ConfigError(str(error)) from error
    except pydantic.ValidationError as error:
        raise ConfigError(
            "\n".join(
                f"{path}: {'.'.join(map(str, detail['loc']))}: {detail['msg']} (got {detail['input']!r})"
                for detail in error.errors()
            )
        ) from error
