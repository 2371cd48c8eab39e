"""Features of GFF3 and GTF files: where they lie, and on which strand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from enformer_keras.formats.contig_names import ContigNames, advise, likely_aliases
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, counted, first_names
from enformer_keras.formats.text_file import UNREADABLE, open_text

# Feature type and strand, `.` for all strands.
Feature = tuple[str, str]

# `ID=g1;Parent=...`: GTF has `gene_id "G1";`, and what annotators write in its place, such as a bare name.
_GFF3_ATTRIBUTE = re.compile(r"\s*[\w-]+=")


def read_features(
    path: Path,
    kind: str,
    features: Sequence[Feature],
    contig_lengths: Mapping[str, int],
    aliases: Mapping[str, Sequence[str]],
) -> dict[Feature, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Reads features of one GFF3 or GTF file in one pass.

    Both have nine columns and coordinates 1-based and closed; lines may stand in any order. In GFF3, a
    feature of a circular contig that lies across the origin ends past the contig's end (specification,
    version 1.26, "Circular Genomes") and is wrapped. The file ends where its sequences begin: at `##FASTA` or a
    line that begins with `>`. Attributes are not read.

    Args:
        path: the file, plain or gzip.
        kind: `GFF3` or `GTF`.
        features: which types, on which strand.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig -> other names it has in the file.

    Returns:
        Feature -> contig -> int64 starts [n] and ends [n], 0-based half-open, in the order of the file; what
        lies across an origin is two. Contigs without are left out.

    Raises:
        DatasetError: malformed lines (the first ones), another assembly, or a feature that never occurs.
    """
    names = ContigNames(contig_lengths, aliases)
    types = {feature for feature, _ in features}
    occurring: Counter[str] = Counter()
    found: dict[tuple[str, str], dict[str, list[tuple[int, int, int]]]] = {}
    circular: set[str] = set()
    problems: list[str] = []
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if len(problems) == MOST_PROBLEMS:
                    break
                where = f"{path}: line {number}"
                if line.startswith(("##FASTA", ">")):
                    break
                if line.startswith("##sequence-region"):
                    words = line.split()
                    contig = names.find(words[1]) if len(words) == 4 else None
                    if contig and words[3] != str(contig_lengths[contig]):
                        problems.append(
                            f"{where}: {words[1]} has {words[3]} bp, the FASTA file's {contig} has "
                            f"{contig_lengths[contig]}; use files of the same assembly"
                        )
                if line.startswith("#") or not line.strip():
                    continue
                fields = line.rstrip("\n").split("\t")
                if len(fields) != 9:
                    problems.append(f"{where}: has {len(fields)} fields, {kind} has 9; separate them by tabs")
                    continue
                contig = names.find(fields[0])
                if contig is None:
                    continue
                if "Is_circular=true" in fields[8]:
                    circular.add(contig)
                occurring[fields[2]] += 1
                if fields[2] not in types:
                    continue
                if not (
                    fields[3].isdecimal() and fields[4].isdecimal() and 1 <= int(fields[3]) <= int(fields[4])
                ):
                    problems.append(
                        f"{where}: start {fields[3]!r} and end {fields[4]!r} are no 1-based interval; "
                        "correct them"
                    )
                    continue
                if kind == "GTF" and _GFF3_ATTRIBUTE.match(fields[8]):
                    problems.append(
                        f"{where}: attributes {fields[8][:40]!r} are not GTF's `key \"value\";`; a GFF3 file's "
                        "name must end in .gff3"
                    )
                    continue
                if fields[6] not in ("+", "-", ".", "?"):
                    problems.append(f"{where}: strand {fields[6]!r} is not among + - . ?; correct it")
                    continue
                place = found.setdefault((fields[2], fields[6]), {}).setdefault(contig, [])
                place.append((int(fields[3]) - 1, int(fields[4]), number))
    except UNREADABLE as error:
        raise DatasetError(
            f"{path}: cannot be read ({error}); give a {kind} text file, plain or gzip"
        ) from error

    everywhere: dict[Feature, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for feature, strand in dict.fromkeys(features):
        covered: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for contig, length in contig_lengths.items():
            places = [
                place
                for (found_feature, found_strand), by_contig in found.items()
                if found_feature == feature and strand in (".", found_strand)
                for place in by_contig.get(contig, ())
            ]
            if not places:
                continue
            starts, ends, lines = np.array(places, dtype=np.int64).T
            past = ends > length
            # Across the origin of a circle, but not more than once around.
            around = (starts >= length) | (ends - starts > length)
            wrong = np.flatnonzero(past & around if contig in circular else past)
            if wrong.size:
                at = wrong[0]
                problems.append(
                    f"{path}: line {lines[at]}: {feature} {starts[at] + 1}-{ends[at]} is not within {contig} "
                    f"({length} bp{', circular' if contig in circular else ''}); use files of the same assembly"
                )
                continue
            starts = np.concatenate([starts, np.zeros(past.sum(), dtype=np.int64)])
            ends = np.concatenate([np.minimum(ends, length), ends[past] - length])
            covered[contig] = (starts, ends)
        if not covered and not problems:
            strands = Counter({s: sum(map(len, by.values())) for (f, s), by in found.items() if f == feature})
            problems.append(
                f"{path}: no {feature} on strand {strand} of any used contig; "
                + _what_is_there(feature, strands, occurring, names, contig_lengths)
            )
        everywhere[feature, strand] = covered
    if problems:
        raise DatasetError(dict.fromkeys(problems))
    covered_contigs = {contig for by_contig in everywhere.values() for contig in by_contig}
    names.log_others(path, [contig for contig in contig_lengths if contig not in covered_contigs])
    return everywhere


def _what_is_there(
    feature: str, strands: Counter[str], types: Counter[str], names: ContigNames, contigs: Mapping[str, int]
) -> str:
    """Says what a file has in place of a feature that it has not, and the cure."""
    if strands:
        return f"{feature} is there on strand {counted(strands)}: correct the strand"
    cure = advise(likely_aliases(contigs, names.others))
    if types and not names.others:
        return f"the types there are {counted(types)}: correct the feature type (upper and lower case differ)"
    if types:
        return (
            f"the types there are {counted(types)}: correct the feature type (upper and lower case differ), or "
            f"name the contigs not in use, {first_names(names.others)}, in {cure}"
        )
    if names.others:
        return f"it names {first_names(names.others)}: name them in {cure} or give another file"
    return "it is empty: give another file"
