"""Copies of a component's folders where Beam's workers see them, for the time that they work."""

import concurrent.futures
import contextlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from tfx.dsl.io import fileio

# Files that are copied at a time: an object store answers late, but answers many at once.
_AT_A_TIME = 16


@contextlib.contextmanager
def handed_over(inputs: Iterable[str], outputs: Iterable[str], place: str) -> Iterator[dict[str, str]]:
    """Puts inputs and outputs where Beam's workers elsewhere see them, for the time that they work.

    What is in the folders of the outputs at the end is copied back: each appears whole, instead of what was
    there, and none does if anything fails before. JSON files that name a folder at the place, such as the
    Evaluator's, then name the one that it stood for.

    Args:
        inputs: folders that are read; one that does not exist is not made.
        outputs: folders that are written, on a local file system.
        place: folder or URI that the workers read and write under the same name.

    Yields:
        Folder -> the one at the place that stands for it. The latter are removed at the end.

    Raises:
        FileNotFoundError: there are outputs, and all of them are empty.
    """
    inputs, outputs = set(inputs), set(outputs)
    folder = f"{place.rstrip('/')}/{uuid.uuid4().hex}"
    folders = {path: f"{folder}/{index}" for index, path in enumerate(sorted(inputs | outputs))}
    try:
        for path in inputs:
            if fileio.exists(path):
                _copy_folder(path, folders[path])
        for path in outputs:
            fileio.makedirs(folders[path])
        yield folders
        if outputs and not any(_files_in(folders[path]) for path in outputs):
            # Workers that do not see the place write it anew where they are, and say nothing.
            raise FileNotFoundError(
                f"nothing was written to {place}: do Beam's workers see it under this name?"
            )
        _take_back({path: folders[path] for path in outputs}, {copy: path for path, copy in folders.items()})
    finally:
        _remove(folder)


def rename_all(text: str, new: Mapping[str, str]) -> str:
    """Puts other names of folders into a text.

    Args:
        text: names folders, or what is in them.
        new: folder -> its other name.

    Returns:
        The text with the other names. Where it is JSON, a name may be written with JSON's escapes, and so is
        the one that takes its place.
    """
    if not new:
        return text
    # Twice: a JSON text may hold another one, as the Evaluator's settings hold those of its metrics.
    for _ in range(2):
        new = {**_as_in_json(new, ensure_ascii=True), **_as_in_json(new, ensure_ascii=False), **new}
    longest_first = sorted(new, key=len, reverse=True)
    # No name stands for one that merely begins as it does.
    names = re.compile(f"({'|'.join(map(re.escape, longest_first))})(?![\\w.-])")
    return names.sub(lambda found: new[found[0]], text)


def _as_in_json(new: Mapping[str, str], *, ensure_ascii: bool) -> dict[str, str]:
    return {
        json.dumps(path, ensure_ascii=ensure_ascii)[1:-1]: json.dumps(name, ensure_ascii=ensure_ascii)[1:-1]
        for path, name in new.items()
    }


def _take_back(outputs: Mapping[str, str], new: Mapping[str, str]) -> None:
    whole = {path: f"{path.rstrip('/')}.{uuid.uuid4().hex}" for path in outputs}
    try:
        for path, copy in outputs.items():
            _copy_folder(copy, whole[path])
            _rename_in_json(whole[path], new)
        for path in outputs:
            _remove(path)
            fileio.rename(whole[path], path)
    finally:
        for path in whole.values():
            _remove(path)


def _copy_folder(source: str, target: str) -> None:
    files = _files_in(source)
    for inner in {"", *(file.rpartition("/")[0] for file in files)}:
        fileio.makedirs(f"{target}/{inner}")
    with concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as threads:
        for copied in [threads.submit(fileio.copy, f"{source}/{file}", f"{target}/{file}") for file in files]:
            copied.result()


def _files_in(folder: str) -> list[str]:
    """Names all files, relative to the folder."""
    return [
        str(PurePosixPath(inner, name).relative_to(PurePosixPath(folder)))
        for inner, _, names in fileio.walk(folder)
        for name in names
    ]


def _rename_in_json(folder: str, new: Mapping[str, str]) -> None:
    for file in (f"{folder}/{inner}" for inner in _files_in(folder) if inner.endswith(".json")):
        with fileio.open(file) as content:
            text = content.read()
        renamed = rename_all(text, new)
        if renamed != text:
            with fileio.open(file, "w") as content:
                content.write(renamed)


def _remove(folder: str) -> None:
    if fileio.exists(folder):
        fileio.rmtree(folder)
