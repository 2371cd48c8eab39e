"""The alleles of a file in parts: a file beside the parts' own, of which any part is read at once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
import sys
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.variants import STDIN, Variant, read_variants
from enformer_keras.prediction.asking import batched
from enformer_keras.prediction.parts import PARTS, remove_if_empty

# Alleles of a part: lost at most when a run is killed, and few enough files of millions.
ALLELES_PER_PART = 1000


class VariantRows:
    """Alleles by parts.

    Args:
        path: the file (`gather_rows`).
        source: the file of variants that they are from, `None` where there is none.
        count: of the alleles.
        sha256: of the alleles, as the file of variants spells them.
        contigs: their contigs' names.
        size: alleles of a part.
    """

    def __init__(
        self, path: Path, source: Path | None, count: int, sha256: str, contigs: frozenset[str], size: int
    ) -> None:
        self.path, self.source, self.count, self.sha256 = path, source, count, sha256
        self.contigs, self.size = contigs, size

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return -(-self.count // self.size)

    def length(self, index: int) -> int:
        """Returns how many alleles a part has."""
        return min(self.size, self.count - index * self.size)

    def part(self, index: int) -> list[Variant]:
        """Reads the alleles of a part.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        try:
            with zipfile.ZipFile(self.path) as file:
                return spelled(file.read(_name(index)))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DatasetError(f"{self.path}: cannot be read ({error}); remove it, and run again") from error

    def first(self, count: int) -> Iterator[Variant]:
        """Reads so many alleles from the first on."""
        parts = map(self.part, range(self.num_parts))
        return itertools.islice(itertools.chain.from_iterable(parts), count)

    def settle(self) -> None:
        """Gives the files the names under which the next run of the same question finds its own."""
        folder = self.path.parent
        self.path = self.path.replace(folder / "rows.zip")
        if self.source is not None and self.source.parent == folder:
            self.source = self.source.replace(folder / "stdin")


def spelled(lines: bytes) -> list[Variant]:
    """Reads what `spell` wrote."""
    return [Variant(*json.loads(line)) for line in lines.splitlines()]


def spell(variants: Iterable[Variant]) -> bytes:
    """Writes alleles, a line of JSON for each, whatever their names hold."""
    rows = ((v.chrom, v.position, v.reference, v.alternate, v.name) for v in variants)
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@contextlib.contextmanager
def gather_rows(
    variants: str | Path | Iterable[Variant], folder: Path, size: int | None = None
) -> Iterator[VariantRows]:
    """Reads a file of variants once, which finds its faults, and lays its alleles down by parts.

    Args:
        variants: alleles, a file of them (`variants.read_variants`), or `-`: the standard input, which is
            copied.
        folder: of the results; the rows' file is in its `.parts`. Where that has no part at the end, it is
            removed.
        size: alleles of a part; `None`: `ALLELES_PER_PART`.

    Yields:
        The alleles.

    Raises:
        DatasetError: the file cannot be read, or holds no variant; or there is no room.
    """
    made = not folder.exists()
    parts = folder / PARTS
    partial = parts / f".partial-{uuid.uuid4().hex[:12]}-rows.zip"
    copy = partial.with_name(partial.name.replace("rows.zip", "stdin"))
    try:
        try:
            parts.mkdir(parents=True, exist_ok=True)
            source = Path(variants) if isinstance(variants, str | Path) else None
            if str(variants) == STDIN:
                with copy.open("wb") as file:
                    shutil.copyfileobj(sys.stdin.buffer, file)
                source = copy
            given = variants if source is None else read_variants(source)
            assert not isinstance(given, str | Path)
            rows = _lay_down(given, partial, source, ALLELES_PER_PART if size is None else size)
        except OSError as error:
            raise DatasetError(
                f"{parts}: the variants cannot be laid down ({error.strerror or error}); make room, or give "
                "another --output"
            ) from error
        except DatasetError as error:
            # Who gave a pipe does not know the copy.
            raise DatasetError(str(error).replace(str(copy), "the standard input")) from error
        if not rows.count:
            raise DatasetError(f"{variants}: holds no variant; give another file")
        yield rows
    finally:
        partial.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
        remove_if_empty(parts)
        if made:
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()


def _name(index: int) -> str:
    return f"{index:06}.jsonl"


def _lay_down(variants: Iterable[Variant], path: Path, source: Path | None, size: int) -> VariantRows:
    digest, count, contigs = hashlib.sha256(), 0, set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for index, rows in enumerate(batched(variants, size)):
            lines = spell(rows)
            digest.update(lines)
            count += len(rows)
            contigs |= {row.chrom for row in rows}
            file.writestr(_name(index), lines)
    return VariantRows(path, source, count, digest.hexdigest(), frozenset(contigs), size)
