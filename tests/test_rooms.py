"""Which room of the library may import which, and that none needs what it is not for."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import enformer_keras

LIBRARY = Path(enformer_keras.__file__).parent
# Room -> the rooms that it knows.
KNOWS = {
    "formats": set(),
    "datasets": {"formats"},
    "model": set(),
    "training": {"model", "datasets", "formats"},
    "checkpoints": {"model"},
    "prediction": {"model", "checkpoints", "formats"},
}


def imported(path):
    """Modules of the library that a module names, also where it imports them late."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_every_folder_is_a_room_or_a_name_that_was():
    folders = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert folders == KNOWS.keys() | {"genome"}


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_knows_only_these(room):
    for path in (LIBRARY / room).rglob("*.py"):
        parts = [name.split(".") for name in imported(path) if name.startswith("enformer_keras")]
        known = {part[1] if len(part) > 1 else "enformer_keras" for part in parts}
        assert known - {room, "extras"} <= KNOWS[room], path


def test_no_circle():
    modules = {
        ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts): path
        for path in LIBRARY.rglob("*.py")
        if path.name != "__init__.py"
    }
    needs = {name: {other for other in imported(path) if other in modules} for name, path in modules.items()}
    while needs:
        free = {name for name, others in needs.items() if not others & needs.keys()}
        assert free, f"a circle among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


def test_rooms_need_no_package_that_they_are_not_for():
    """Extras may be missing, and the other backends."""
    code = (
        "import sys, keras\n"
        "absent = {'tensorflow', 'jax', 'torch', 'pysam', 'pyBigWig', 'pydantic', 'yaml'}\n"
        "absent |= {'matplotlib', 'pyarrow'}\n"
        "sys.modules.update(dict.fromkeys(absent - {keras.backend.backend()}))\n"
        "import enformer_keras.formats.bed, enformer_keras.formats.gff, enformer_keras.prediction\n"
        "del sys.modules['pysam']\n"
        "import enformer_keras.formats.fasta\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_names_that_were_public_before_the_rooms_are_there():
    from enformer_keras.genome import Interval, WindowBatches, load_dataset  # noqa: F401
    from enformer_keras.genome.intervals import Window  # noqa: F401
    from enformer_keras.genome.tracks import Genome, Track, TrackReader, read_track_table  # noqa: F401
    from enformer_keras.layers import RelativeMultiHeadAttention, SoftmaxPooling1D, gelu  # noqa: F401


@pytest.mark.parametrize(
    ("absent", "module", "extra"),
    [
        ("pysam", "enformer_keras.formats.fasta", "genome"),
        ("pyBigWig", "enformer_keras.formats.bigwig", "genome"),
        ("yaml", "enformer_keras.datasets.dataset", "genome"),
        ("click", "enformer_command.main", "command"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(absent, module, extra):
    code = f"import sys; sys.modules[{absent!r}] = None; import {module}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"{absent} is needed here" in result.stderr
    assert f"pip install 'enformer-keras[{extra}]'" in result.stderr.splitlines()[-1]


def test_every_extra_that_is_named_is_one():
    extras = tomllib.loads((LIBRARY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = "".join(
        path.read_text()
        for folder in ("enformer_keras", "enformer_command")
        for path in (LIBRARY.parent / folder).rglob("*.py")
    )
    named = set(re.findall(r'from_extra\("(\w+)"\)', code)) | set(re.findall(r"enformer-keras\[(\w+)\]", code))
    assert {"genome", "command", "tensorflow", "beam"} <= named <= extras.keys()
