"""Fingerprints of source code, for TFX's cache, which sees parameters and no sources."""

import hashlib
from pathlib import Path


def code_fingerprint(*folders: Path) -> str:
    """Hashes the Python modules of some folders, subfolders included.

    Args:
        *folders: packages whose code decides a component's output.

    Returns:
        SHA-256 in hex of the modules' names and sources, without absolute paths: a moved checkout keeps it.
    """
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
