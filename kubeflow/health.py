"""Says whether an image, or any environment, has all that the tasks import, in the locked versions.

`python kubeflow/health.py`
"""

import importlib
import importlib.metadata
import pkgutil
import platform
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("enformer_keras", "components", "pipeline")


# TensorFlow's build for TPUs, whose lock then stands above the other, and the build whose folder it has.
FOR_TPU, IN_ITS_PLACE = "tensorflow-tpu", "tensorflow"


def locks(root: Path) -> list[Path]:
    """Finds the locks by which an environment was built: the ordinary one, and that for TPUs if it is for them.

    Args:
        root: of the repository.

    Returns:
        Requirements files of pinned packages; of what stands in two, the later counts.
    """
    ordinary = root / "requirements.lock"
    return [ordinary] if _version(FOR_TPU) is None else [ordinary, root / "setup/tpu.lock"]


def wrong_versions(*locks: Path) -> list[str]:
    """Compares what is installed with locks.

    Args:
        *locks: as `locks` gives them.

    Returns:
        A line for each package that is missing or of another version, or there beside what takes its place.
    """
    wanted: dict[str, tuple[str | None, str]] = {}
    for lock in locks:
        pins = re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
        wanted |= {name: (version, lock.name) for name, version in pins}
    if FOR_TPU in wanted:
        wanted[IN_ITS_PLACE] = (None, wanted[FOR_TPU][1])
    problems = []
    for name, (version, lock_name) in wanted.items():
        found = _version(name)
        if found != version:
            problems.append(
                f"{name} is {found or 'missing'}, {lock_name} has {version or FOR_TPU + ' instead'}"
            )
    return problems


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def import_all() -> int:
    """Imports every module of the project.

    Returns:
        How many they are.

    Raises:
        ImportError: one of them, or what it needs, cannot be imported.
    """
    count = 0
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("_runner"):  # which runs the pipeline
                importlib.import_module(module.name)
                count += 1
    return count


def main() -> int:
    """Checks, and prints what was found.

    Returns:
        The exit status: 1 where a version is another.
    """
    problems = wrong_versions(*locks(ROOT))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    modules = import_all()
    import tensorflow as tf

    devices = ", ".join(device.device_type for device in tf.config.list_physical_devices())
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    print(f"healthy: {versions}, {modules} modules of this project; devices: {devices}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
