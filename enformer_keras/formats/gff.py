"""Features of GFF3 and GTF files: where they lie, and on which strand.

Both have nine columns and coordinates 1-based and closed; lines may stand in any order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from enformer_keras.formats.contig_names import ContigNames, advise, likely_aliases
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, counted, first_names
from enformer_keras.formats.text_file import UNREADABLE, open_text

# Feature type and strand, `.` for all strands.
Feature = tuple[str, str]

# `ID=g1;Parent=...`: GTF has `gene_id "G1";`, and what annotators write in its place, such as a bare name.
_GFF3_ATTRIBUTE = re.compile(r"\s*[\w-]+=")


class FeatureLine(NamedTuple):
    """One feature.

    Attributes:
        number: of its line, from 1.
        contig: by the FASTA file's name.
        feature: its type.
        start: 0-based.
        end: past the contig's end where it lies across the origin of a circle.
        strand: `+`, `-`, `.` or `?`.
        attributes: the ninth column, as it stands.
    """

    number: int
    contig: str
    feature: str
    start: int
    end: int
    strand: str
    attributes: str


class FeatureFile:
    """Reads the lines of a GFF3 or GTF file, and keeps what is wrong with them.

    Args:
        path: the file, plain or gzip.
        kind: `GFF3` or `GTF`.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig -> other names it has in the file.

    Attributes:
        names: of the contigs; those that are passed over are counted there.
        occurring: how often each type occurs on the contigs.
        problems: what is wrong, by line.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        contig_lengths: Mapping[str, int],
        aliases: Mapping[str, Sequence[str]],
    ) -> None:
        self.path = path
        self.kind = kind
        self.contig_lengths = contig_lengths
        self.names = ContigNames(contig_lengths, aliases)
        self.occurring: Counter[str] = Counter()
        self.problems: list[str] = []
        self._circular: set[str] = set()

    def lines(self, types: Container[str] | None = None) -> Iterator[FeatureLine]:
        """Reads the file up to its sequences, which begin at `##FASTA` or a line that begins with `>`.

        Gives up after a number of `problems`.

        Args:
            types: features that are wanted; the others' places are not looked at. `None`: all.

        Yields:
            Features on the contigs, in the order of the file.

        Raises:
            DatasetError: the file cannot be read.
        """
        try:
            with open_text(self.path) as file:
                for number, line in enumerate(file, start=1):
                    if len(self.problems) >= MOST_PROBLEMS or line.startswith(("##FASTA", ">")):
                        break
                    if line.startswith("##sequence-region"):
                        self._check_region(number, line)
                    if line.startswith("#") or not line.strip():
                        continue
                    found = self._parse(number, line, types)
                    if found is not None:
                        yield found
        except UNREADABLE as error:
            raise DatasetError(
                f"{self.path}: cannot be read ({error}); give a {self.kind} text file, plain or gzip"
            ) from error

    def _check_region(self, number: int, line: str) -> None:
        words = line.split()
        contig = self.names.find(words[1]) if len(words) == 4 else None
        if contig is None:
            return
        # Files of a part of a genome name the stretch that they are of.
        length, whole = self.contig_lengths[contig], words[2] == "1"
        ends_past = words[3].isdecimal() and int(words[3]) > length
        if ends_past or (whole and words[3] != str(length)):
            self.add_problem(
                number,
                f"{words[1]} has {words[3]} bp, the FASTA file's {contig} has {self.contig_lengths[contig]}; "
                "use files of the same assembly",
            )

    def _parse(self, number: int, line: str, types: Container[str] | None) -> FeatureLine | None:
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 9:
            self.add_problem(number, f"has {len(fields)} fields, {self.kind} has 9; separate them by tabs")
            return None
        name, _, feature, start, end, _, strand, _, attributes = fields
        contig = self.names.find(name)
        if contig is None:
            return None
        if "Is_circular=true" in attributes:
            self._circular.add(contig)
        self.occurring[feature] += 1
        if types is not None and feature not in types:
            return None
        if not (start.isdecimal() and end.isdecimal() and 1 <= int(start) <= int(end)):
            self.add_problem(number, f"start {start!r} and end {end!r} are no 1-based interval; correct them")
        elif self.kind == "GTF" and _GFF3_ATTRIBUTE.match(attributes):
            self.add_problem(
                number,
                f"attributes {attributes[:40]!r} are not GTF's `key \"value\";`; a GFF3 file's name must end "
                "in .gff3",
            )
        elif strand not in ("+", "-", ".", "?"):
            self.add_problem(number, f"strand {strand!r} is not among + - . ?; correct it")
        else:
            return FeatureLine(number, contig, feature, int(start) - 1, int(end), strand, attributes)
        return None

    def add_problem(self, number: int, problem: str) -> None:
        """Notes what is wrong with a line, and the cure."""
        self.problems.append(f"{self.path}: line {number}: {problem}")

    def is_within(self, contig: str, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Says what lies within a contig, or across the origin of a circle, but not more than once around.

        The whole file must have been read: it says somewhere which contigs are circles.

        Args:
            contig: by the FASTA file's name.
            starts: int64 [n], 0-based.
            ends: int64 [n].

        Returns:
            bool [n].
        """
        length = self.contig_lengths[contig]
        if contig not in self._circular:
            return np.asarray(ends <= length)
        return np.asarray((ends <= length) | ((starts < length) & (ends - starts <= length)))

    def outside(self, feature: str, contig: str, start: int, end: int) -> str:
        """Writes that a feature is not within its contig, and the cure."""
        circular = ", circular" if contig in self._circular else ""
        return (
            f"{feature} {start + 1}-{end} is not within {contig} ({self.contig_lengths[contig]} bp{circular}); "
            "use files of the same assembly"
        )

    def what_is_there(self, wanted: str) -> str:
        """Says what the file has in place of what is wanted, and the cure."""
        others = self.names.others
        cure = advise(likely_aliases(self.contig_lengths, others))
        if self.occurring:
            types = f"the types there are {counted(self.occurring)}: {wanted}"
            return (
                f"{types}, or name the contigs not in use, {first_names(others)}, in {cure}"
                if others
                else types
            )
        if others:
            return f"it names {first_names(others)}: name them in {cure} or give another file"
        return "it is empty: give another file"


def read_features(
    path: Path,
    kind: str,
    features: Sequence[Feature],
    contig_lengths: Mapping[str, int],
    aliases: Mapping[str, Sequence[str]],
) -> dict[Feature, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Reads features of one GFF3 or GTF file in one pass.

    In GFF3, a feature of a circular contig that lies across the origin ends past the contig's end
    (specification, version 1.26, "Circular Genomes") and is wrapped. Attributes are not read.

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
    file = FeatureFile(path, kind, contig_lengths, aliases)
    problems = file.problems
    found: dict[tuple[str, str], dict[str, list[tuple[int, int, int]]]] = {}
    for line in file.lines({feature for feature, _ in features}):
        place = found.setdefault((line.feature, line.strand), {}).setdefault(line.contig, [])
        place.append((line.start, line.end, line.number))

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
            wrong = np.flatnonzero(~file.is_within(contig, starts, ends))
            if wrong.size:
                at = wrong[0]
                file.add_problem(lines[at], file.outside(feature, contig, starts[at], ends[at]))
                continue
            past = ends > length
            starts = np.concatenate([starts, np.zeros(past.sum(), dtype=np.int64)])
            ends = np.concatenate([np.minimum(ends, length), ends[past] - length])
            covered[contig] = (starts, ends)
        if not covered and not problems:
            strands = Counter({s: sum(map(len, by.values())) for (f, s), by in found.items() if f == feature})
            there = (
                f"{feature} is there on strand {counted(strands)}: correct the strand"
                if strands
                else file.what_is_there("correct the feature type (upper and lower case differ)")
            )
            problems.append(f"{path}: no {feature} on strand {strand} of any used contig; {there}")
        everywhere[feature, strand] = covered
    if problems:
        raise DatasetError(dict.fromkeys(problems))
    covered_contigs = {contig for by_contig in everywhere.values() for contig in by_contig}
    file.names.log_others(path, [contig for contig in contig_lengths if contig not in covered_contigs])
    return everywhere
