"""Genes of GTF and GFF3 files: where they begin, on which strand, and where their exons lie."""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, first_names
from enformer_keras.formats.gff import FeatureFile, FeatureLine
from enformer_keras.formats.intervals import merge
from enformer_keras.formats.text_file import suffix_of

_logger = logging.getLogger(__name__)

_KINDS = {".gtf": "GTF", ".gff3": "GFF3", ".gff": "GFF3"}
# Features of a GTF file that name a gene; the others are parts of them.
_OF_GTF = frozenset({"gene", "transcript", "exon", "CDS"})
# Below a gene in GFF3, what is a part of a transcript and no transcript.
_PART = re.compile(r"exon|CDS|UTR|intron|codon", re.IGNORECASE)
# From an exon up to its gene, at most.
_MOST_STEPS = 8


@dataclasses.dataclass(frozen=True)
class Gene:
    """A gene, 0-based and half-open along the forward strand.

    Attributes:
        gene_id: `gene_id`, or GFF3's `ID` where there is none.
        name: `gene_name`, `gene` or `Name`; the id where there is none.
        chrom: contig by the FASTA file's name.
        strand: `+` or `-`.
        start: of its span.
        end: of its span; past the contig's end where it lies across the origin of a circle.
        tss: position of its first transcribed base. On the minus strand this is the last one of its span.
        transcript_starts: such positions of its transcripts, each once, in the direction of transcription;
            that of the gene where the file has no transcripts.
        exons: starts and ends of the union of its exons, within the contig.
        exons_from: what these are: `exon`; `CDS`, where the file has no exons of the gene; or `gene`, its span.
        biotype: `gene_type` or `gene_biotype`; empty where there is none.
    """

    gene_id: str
    name: str
    chrom: str
    strand: str
    start: int
    end: int
    tss: int
    transcript_starts: tuple[int, ...]
    exons: tuple[tuple[int, int], ...]
    exons_from: str
    biotype: str = ""

    @property
    def is_forward(self) -> bool:
        """Whether it lies on the forward strand."""
        return self.strand == "+"


@dataclasses.dataclass
class _Draft:
    """What a file has said of a gene; places are starts and ends."""

    spans: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    transcripts: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    exons: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    coding: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    name: str = ""
    biotype: str = ""

    def add_transcript(self, name: str, start: int, end: int) -> None:
        before = self.transcripts.get(name, (start, end))
        self.transcripts[name] = min(start, before[0]), max(end, before[1])


# Id, contig and strand: an id that comes on several, as those of both sex chromosomes in some files, is as many
# genes.
_Key = tuple[str, str, str]


def read_genes(
    path: str | Path, contig_lengths: Mapping[str, int], aliases: Mapping[str, Sequence[str]] | None = None
) -> tuple[Gene, ...]:
    """Reads the genes of a GTF or GFF3 file.

    In GTF these are all that `gene_id` names. In GFF3 they are the features `gene`, `pseudogene` and those
    whose type ends in `_gene`, where they have no parent; their transcripts are what has them as `Parent`,
    their exons all below them. A gene without exons has its CDS in their place, as the files of bacteria do,
    or its span. A gene without a strand has no start and is left out. How often each happened is logged.

    Args:
        path: the file, plain or gzip; its name ends in `.gtf`, `.gff3` or `.gff` (read as GFF3), or these with
            `.gz`.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig -> other names it has in the file.

    Returns:
        The genes, sorted by contig (in the order of `contig_lengths`), start, end and id.

    Raises:
        DatasetError: the file is missing or cannot be read; malformed lines (the first ones); another assembly;
            or there is no gene on any contig.
    """
    path = Path(path)
    kind = _KINDS.get(suffix_of(path))
    if kind is None:
        raise DatasetError(f"{path}: is neither GTF nor GFF3 by its name; end it in .gtf or .gff3 (also .gz)")
    if not path.is_file():
        raise DatasetError(f"{path}: no such file of genes; correct the path")
    file = FeatureFile(path, kind, contig_lengths, aliases or {})
    counts: Counter[str] = Counter()
    drafts = (_read_gtf if kind == "GTF" else _read_gff3)(file, counts)
    if file.problems:
        raise DatasetError(dict.fromkeys(file.problems))
    if not drafts:
        raise DatasetError(
            f"{path}: no gene on any contig of the genome; "
            + file.what_is_there("give a file with features of the type gene")
        )
    order = {contig: at for at, contig in enumerate(contig_lengths)}
    genes = []
    for (gene_id, contig, strand), draft in drafts.items():
        if strand not in "+-":
            counts["genes without a strand, left out"] += 1
        else:
            gene = _finish(gene_id, contig, strand, draft, contig_lengths[contig])
            counts[f"genes whose exons are from {gene.exons_from}"] += 1
            genes.append(gene)
    if not genes:
        raise DatasetError(f"{path}: none of its {len(drafts)} genes has a strand; give another file")
    _logger.info("%s: %s", path, ", ".join(f"{count} {what}" for what, count in counts.items()))
    found = {gene.chrom for gene in genes}
    file.names.log_others(path, [contig for contig in contig_lengths if contig not in found])
    return tuple(sorted(genes, key=lambda gene: (order[gene.chrom], gene.start, gene.end, gene.gene_id)))


def choose_genes(genes: Sequence[Gene], asked: Sequence[str], biotypes: Sequence[str] = ()) -> list[Gene]:
    """Finds genes by what names them.

    Args:
        genes: all.
        asked: ids (with or without their version, as in `ENSG00000223972.5`), or names; none: all genes.
        biotypes: `Gene.biotype` of those that are wanted; none: any.

    Returns:
        Those, in the order of `genes`.

    Raises:
        DatasetError: a text names no gene, or no gene has such a biotype.
    """
    kept = [gene for gene in genes if not biotypes or gene.biotype in biotypes]
    if not kept:
        there = first_names(sorted({gene.biotype for gene in genes if gene.biotype}))
        raise DatasetError(
            f"no gene has the biotype {' or '.join(biotypes)}; those there are {there or 'none'}: correct it"
        )
    if not asked:
        return kept
    wanted = set(asked)
    chosen, met = [], set()
    for gene in kept:
        names = {gene.gene_id, gene.gene_id.partition(".")[0], gene.name} & wanted
        if names:
            chosen.append(gene)
            met |= names
    if wanted - met:
        raise DatasetError(
            f"{first_names(sorted(wanted - met))}: the id or name of none of {len(kept)} genes; correct it"
        )
    return chosen


def at_each_start(genes: Iterable[Gene]) -> list[Gene]:
    """Returns each gene as often as its transcripts have other starts, with one of these as its `tss`."""
    return [dataclasses.replace(gene, tss=tss) for gene in genes for tss in gene.transcript_starts]


def _finish(gene_id: str, contig: str, strand: str, draft: _Draft, length: int) -> Gene:
    """Makes the gene of all that was said."""
    places = draft.spans or [*draft.transcripts.values(), *draft.exons, *draft.coding]
    start, end = min(start for start, _ in places), max(end for _, end in places)

    def first_base(start: int, end: int) -> int:
        return start if strand == "+" else end - 1

    firsts = {first_base(*place) for place in draft.transcripts.values()} or {first_base(start, end)}
    exons_from = "exon" if draft.exons else "CDS" if draft.coding else "gene"
    return Gene(
        gene_id,
        draft.name or gene_id,
        contig,
        strand,
        start,
        end,
        first_base(start, end) % length,
        tuple(first % length for first in sorted(firsts, reverse=strand == "-")),
        within_contig(draft.exons or draft.coding or {(start, end)}, length),
        exons_from,
        draft.biotype,
    )


def within_contig(places: Iterable[tuple[int, int]], length: int) -> tuple[tuple[int, int], ...]:
    """Returns the union of places; what lies across the origin of a circle is two."""
    pieces = [
        piece
        for start, end in places
        for piece in ((start, min(end, length)), (0, end - length))
        if piece[0] < piece[1]
    ]
    starts, ends = merge(*np.array(pieces, dtype=np.int64).reshape(-1, 2).T)
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))


def _checked(file: FeatureFile, lines: Iterable[FeatureLine]) -> Iterator[FeatureLine]:
    """Passes lines on, and when all are read adds the problems of those that are not within their contig."""
    past = []
    for line in lines:
        if line.end > file.contig_lengths[line.contig]:
            past.append(line)
        yield line
    for line in past:
        if len(file.problems) >= MOST_PROBLEMS:
            return
        if not file.is_within(line.contig, np.array(line.start), np.array(line.end)):
            file.add_problem(line.number, file.outside(line.feature, line.contig, line.start, line.end))


@functools.cache
def _of_gtf(key: str) -> re.Pattern[str]:
    return re.compile(rf'(?:^|;)\s*{key}\s+(?:"([^"]*)"|([^\s;"]+))')


@functools.cache
def _of_gff3(key: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;)\s*{key}=\s*([^;]*[^;\s])()")


def _value(attributes: str, pattern_of: Callable[[str], re.Pattern[str]], *keys: str) -> str:
    """Finds the first key that has a value, and only that: annotations have millions of lines."""
    for key in keys:
        match = pattern_of(key).search(attributes)
        if match and (match[1] or match[2]):
            return match[1] or match[2]
    return ""


def _read_gtf(file: FeatureFile, counts: Counter[str]) -> dict[_Key, _Draft]:
    drafts: dict[_Key, _Draft] = {}
    for line in _checked(file, file.lines(_OF_GTF)):
        gene_id = _value(line.attributes, _of_gtf, "gene_id")
        if not gene_id:
            file.add_problem(line.number, f'{line.feature} has no attribute gene_id "..."; add it')
            continue
        key = (gene_id, line.contig, line.strand)
        draft = drafts.get(key)
        if draft is None or line.feature == "gene":
            draft = drafts.setdefault(key, _Draft())
            draft.name = draft.name or _value(line.attributes, _of_gtf, "gene_name", "gene")
            draft.biotype = draft.biotype or _value(line.attributes, _of_gtf, "gene_type", "gene_biotype")
        place = (line.start, line.end)
        if line.feature == "gene":
            draft.spans.append(place)
        elif line.feature == "CDS":
            draft.coding.add(place)
        else:
            if line.feature == "exon":
                draft.exons.add(place)
            transcript = _value(line.attributes, _of_gtf, "transcript_id")
            if transcript:
                draft.add_transcript(transcript, *place)
    return drafts


def _is_gene(feature: str) -> bool:
    return feature in ("gene", "pseudogene") or feature.endswith("_gene")


def _read_gff3(file: FeatureFile, counts: Counter[str]) -> dict[_Key, _Draft]:
    drafts: dict[_Key, _Draft] = {}
    gene_ids: dict[str, str] = {}  # GFF3's ID of a gene -> what it is called here
    parents: dict[str, str] = {}
    below: list[tuple[FeatureLine, str, str]] = []
    for line in _checked(file, file.lines()):
        above = _value(line.attributes, _of_gff3, "Parent")
        own = unquote(_value(line.attributes, _of_gff3, "ID"))
        if above:
            is_transcript = bool(own) and not _PART.search(line.feature)
            if is_transcript:
                parents.setdefault(own, above)
            if is_transcript or line.feature in ("exon", "CDS"):
                below.append((line._replace(attributes=""), above, own))
        elif _is_gene(line.feature):
            if not own:
                file.add_problem(
                    line.number,
                    f"{line.feature} has no attribute ID=...; add it, or end the name of a GTF file in .gtf",
                )
                continue
            gene_ids[own] = unquote(_value(line.attributes, _of_gff3, "gene_id")) or own
            draft = drafts.setdefault((own, line.contig, line.strand), _Draft())
            draft.spans.append((line.start, line.end))
            name = _value(line.attributes, _of_gff3, "gene_name", "gene", "Name")
            biotype = _value(line.attributes, _of_gff3, "gene_type", "gene_biotype", "biotype")
            draft.name, draft.biotype = draft.name or unquote(name), draft.biotype or unquote(biotype)

    @functools.cache
    def genes_above(above: str, depth: int = 0) -> frozenset[str]:
        """Climbs to the genes; a transcript may lie below another one (miRNA)."""
        names = [unquote(name) for name in above.split(",")]
        found = {name for name in names if name in gene_ids}
        for name in names:
            if name not in gene_ids and name in parents and depth < _MOST_STEPS:
                found |= genes_above(parents[name], depth + 1)
        return frozenset(found)

    for line, above, own in below:
        genes = genes_above(above)
        if not genes:
            counts[f"{line.feature} below no gene, passed over"] += 1
        for gene in genes:
            draft_of = drafts.get((gene, line.contig, line.strand))
            if draft_of is None:
                counts[f"{line.feature} on another contig or strand than its gene, passed over"] += 1
            elif line.feature == "exon":
                draft_of.exons.add((line.start, line.end))
            elif line.feature == "CDS":
                draft_of.coding.add((line.start, line.end))
            elif above == gene or gene in map(unquote, above.split(",")):
                draft_of.add_transcript(own, line.start, line.end)
    named: dict[_Key, _Draft] = {}
    for (own, contig, strand), draft in drafts.items():
        key = (gene_ids[own], contig, strand)
        named[(own, contig, strand) if key in named else key] = draft
    return named
