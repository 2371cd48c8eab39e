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


def wrong_versions(lock: Path) -> list[str]:
    """Compares what is installed with a lock.

    Args:
        lock: a requirements file of pinned packages.

    Returns:
        A line for each package that is missing or of another version.
    """
    problems = []
    for name, wanted in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            problems.append(f"{name} is {found}, {lock.name} has {wanted}")
    return problems


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
    problems = wrong_versions(ROOT / "requirements.lock")
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
