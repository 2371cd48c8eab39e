"""Variants of a genome from VCF, BCF and tab-separated files, an allele at a time."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.text_file import (
    UNREADABLE,
    check_last_block,
    find_foreign_layout,
    is_in_blocks,
    is_packed,
    open_text,
    suffix_of,
)

# What stands for the standard input, as in samtools and bcftools.
STDIN = "-"
# VCF's sign for an allele that is missing (specification 4.5, section 1.6.1).
MISSING = "."
_SPELLED = re.compile(
    r"(?P<chrom>[^\s>]+):(?P<position>\d[\d,]*):(?P<reference>[^\s:>]+)[>:](?P<alternate>\S+)"
)
# Field -> the names that its column goes by.
_COLUMNS = {
    "chrom": ("chrom", "chr", "chromosome", "contig", "#chrom"),
    "position": ("pos", "position"),
    "reference": ("ref", "reference", "ref_allele"),
    "alternate": ("alt", "alternate", "alt_allele"),
    "name": ("id", "name", "snp", "rsid", "variant_id"),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One alternative allele, as a file spells it; nothing is held against a genome.

    Attributes:
        chrom: contig name.
        position: 1-based position of the reference's first base (VCF).
        reference: bases that the genome should have there.
        alternate: what stands there instead; `.` where the file names none. May be no bases at all, such as
            `<DEL>`, `*` or a breakend.
        name: the file's identifier; empty where there is none.
    """

    chrom: str
    position: int
    reference: str
    alternate: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.chrom}:{self.position}:{self.reference}>{self.alternate}"

    @property
    def start(self) -> int:
        """0-based position of the reference's first base."""
        return self.position - 1

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Reads `chr1:12345:A>C` (or `chr1:12345:A:C`); the position is 1-based, commas in it do not count.

        Raises:
            DatasetError: the text is no variant.
        """
        match = _SPELLED.fullmatch(text.strip())
        if match is None:
            raise DatasetError(f"{text!r} is no variant; write contig:position:REF>ALT, such as chr1:12345:A>C")
        return cls(
            match["chrom"], int(match["position"].replace(",", "")), match["reference"], match["alternate"]
        )


class VcfRecords:
    """The alleles of a VCF or BCF, and its records for one who writes them once more.

    Args:
        source: the file, or `-` for the standard input.

    Attributes:
        header: the header's lines, as text; empty before the first allele was read.
        waiting: what was read, the oldest first: a record's line, as text, and how many alleles it gave. Who
            writes takes them away, so that no more of them wait than alleles.

    Raises:
        DatasetError: there is no such file, or it is a table.
    """

    def __init__(self, source: str | Path) -> None:
        self._source = source if str(source) == STDIN else Path(source)
        if isinstance(self._source, Path):
            _check_is_there(self._source)
            if _is_table(self._source):
                raise DatasetError(f"{source}: is a table; records are those of VCF or BCF files")
        self.header = ""
        self.waiting: collections.deque[tuple[str, int]] = collections.deque()

    def __iter__(self) -> Iterator[Variant]:
        """Yields every allele, as `read_variants` does."""
        return _read_vcf(self._source, self)


def read_variants(source: str | Path) -> Iterator[Variant]:
    """Reads variants, a row of the file after the other, and of a row one allele after the other.

    Args:
        source: VCF (plain or compressed by bgzip) or BCF; a table, tab separated, whose name ends in `.tsv`,
            `.txt` or `.tab` (also `.gz`) and whose header names the columns `chrom`, `pos`, `ref`, `alt` and,
            if there are names, `id`; or `-` for VCF or BCF from the standard input.

    Yields:
        Every allele. A row without alternative alleles gives one, whose alternate is `.`.

    Raises:
        DatasetError: the file is missing, or cannot be read, with the line and what is wrong there. What comes
            before that line has been given then.
    """
    if str(source) == STDIN:
        yield from _read_vcf(STDIN)
        return
    path = Path(source)
    _check_is_there(path)
    yield from _read_table(path) if _is_table(path) else _read_vcf(path)


def _check_is_there(path: Path) -> None:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file of variants; correct the path")


def _is_table(path: Path) -> bool:
    return suffix_of(path) in (".tsv", ".txt", ".tab")


def _read_vcf(source: str | Path, kept: VcfRecords | None = None) -> Iterator[Variant]:
    if isinstance(source, Path):
        check_last_block(source)
    with from_extra("genome"):
        import pysam  # where it is used: variants of a table, or spelled out, need none

    number = 0
    with quiet_htslib():
        try:
            with pysam.VariantFile(str(source)) as file:
                if kept is not None:
                    kept.header = str(file.header)
                for record in file:
                    number += 1
                    alternates = record.alts or (MISSING,)
                    if kept is not None:
                        kept.waiting.append((str(record).rstrip("\n"), len(alternates)))
                    for alternate in alternates:
                        yield Variant(
                            record.chrom, record.pos, record.ref or MISSING, alternate, record.id or ""
                        )
        # NotImplementedError: of files compressed by gzip.
        except (OSError, ValueError, NotImplementedError) as error:
            name = "the standard input" if source == STDIN else str(source)
            fault = _find_fault(source, number) if isinstance(source, Path) else None
            raise DatasetError(
                f"{name}: {fault}"
                if fault
                else f"{name}: cannot be read after {number} records ({error}); give a VCF or BCF file "
                "(`bcftools view` says what is wrong)"
            ) from error


@contextlib.contextmanager
def quiet_htslib() -> Iterator[None]:
    """Keeps htslib from telling, for every contig, that a header does not name it; nothing here needs that."""
    with from_extra("genome"):
        import pysam

    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


def _find_fault(path: Path, read: int) -> str | None:
    """Looks into a text VCF for the first record that htslib did not read; None where nothing is found."""
    try:
        if is_packed(path) and not is_in_blocks(path):
            return "is compressed by gzip; compress it by bgzip instead (`zcat | bgzip`)"
        layout = find_foreign_layout(path)
        if layout is not None:
            return layout
        with open_text(path) as file:
            number, seen, has_header = 0, 0, False
            for number, line in enumerate(file, start=1):
                if line.startswith("##"):
                    continue
                if line.startswith("#CHROM"):
                    has_header = True
                    continue
                if not has_header:
                    return f"line {number}: comes before a line `#CHROM...`; give a VCF file with its header"
                seen += 1
                if seen <= read:
                    continue
                cells = line.rstrip("\r\n").split("\t")
                if not line.strip():
                    return f"line {number}: is empty; remove it"
                if len(cells) < 8:
                    return f"line {number}: has {len(cells)} fields, VCF has at least 8; separate them by tabs"
                if not cells[1].isdecimal():
                    return f"line {number}: position {cells[1]!r} is no number; correct it"
                return f"line {number}: is no VCF record; `bcftools view` says what is wrong"
            if not number:
                return "is empty; fetch it again"
            return None if has_header else "has no header line `#CHROM...`; give a VCF file with its header"
    except UNREADABLE:
        return None


def _read_table(path: Path) -> Iterator[Variant]:
    try:
        with open_text(path) as file:
            header = next(file, "").rstrip("\r\n").split("\t")
            known = {name: at for at, name in enumerate(cell.strip().lower() for cell in header)}
            at = {
                field: next((known[name] for name in names if name in known), None)
                for field, names in _COLUMNS.items()
            }
            missing = [_COLUMNS[field][0] for field in _COLUMNS if field != "name" and at[field] is None]
            if missing:
                raise DatasetError(
                    f"{path}: line 1: the header names no column {', '.join(missing)}; name the columns chrom, "
                    "pos, ref and alt, separated by tabs"
                )
            for number, line in enumerate(file, start=2):
                cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
                if cells == [""]:
                    continue
                if len(cells) != len(header):
                    raise DatasetError(
                        f"{path}: line {number}: has {len(cells)} fields, the header {len(header)}; separate "
                        "them by tabs"
                    )
                fields = {field: "" if place is None else cells[place] for field, place in at.items()}
                position = fields.pop("position")
                if not position.isdecimal():
                    raise DatasetError(f"{path}: line {number}: position {position!r} is no number; correct it")
                for alternate in (fields.pop("alternate") or MISSING).split(","):
                    yield Variant(
                        fields["chrom"],
                        int(position),
                        fields["reference"] or MISSING,
                        alternate,
                        fields["name"],
                    )
    except UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a text table, plain or gzip") from error
