"""Names of contigs in files, which may be others than the FASTA file's."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from enformer_keras.formats.errors import first_names

_logger = logging.getLogger(__name__)


class ContigNames:
    """Finds the contig that a name in a file stands for, and counts the lines of all others.

    Args:
        contigs: contigs that are wanted, by the FASTA file's names; `None`: all that come.
        aliases: contig -> other names it has in files.

    Attributes:
        others: name that stands for none of them -> how often it was asked for.
    """

    def __init__(self, contigs: Iterable[str] | None, aliases: Mapping[str, Sequence[str]]) -> None:
        self._takes_all = contigs is None
        named = aliases if contigs is None else contigs
        self._contig_of = {name: contig for contig in named for name in (contig, *aliases.get(contig, ()))}
        self.others: Counter[str] = Counter()

    def find(self, name: str) -> str | None:
        """Returns the contig of a line, None if it is not wanted."""
        contig = self._contig_of.get(name, name if self._takes_all else None)
        if contig is None:
            self.others[name] += 1
        return contig

    def log_others(self, path: Path, bare: Iterable[str] = ()) -> None:
        """Logs how many lines of a file were passed over.

        Args:
            path: the file.
            bare: wanted contigs without a line. Where a name that was passed over seems to be that of one of
                them, this is a warning.
        """
        if not self.others:
            return
        likely = likely_aliases(bare, self.others)
        _logger.log(
            logging.WARNING if likely else logging.INFO,
            "%s: %d lines on contigs not in use: %s%s",
            path,
            self.others.total(),
            first_names(self.others),
            f"; if they are the FASTA file's, name them in {advise(likely)}" if likely else "",
        )


def likely_aliases(contigs: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Finds the names that seem to be those of contigs, written in the way of another archive.

    UCSC's chr1 and chrM are Ensembl's 1 and MT; NCBI's NC_000913.3 stands without its version in some files.

    Args:
        contigs: by the FASTA file's names.
        names: by a file's.

    Returns:
        Contig -> name, the first one of each.
    """
    spelled: dict[str, str] = {}
    unversioned: dict[str, str] = {}
    for contig in contigs:
        exact, stem = _spellings(contig)
        spelled.setdefault(exact, contig)
        unversioned.setdefault(stem, contig)
    likely: dict[str, str] = {}
    for name in names:
        exact, stem = _spellings(name)
        # Not by stem alone: two versions are two contigs.
        meant = spelled.get(exact) or unversioned.get(exact) or spelled.get(stem)
        if meant is not None:
            likely.setdefault(meant, name)
    return likely


def _spellings(name: str) -> tuple[str, str]:
    """Returns a name without case, `chr` and stray blanks, and that without a version, too."""
    plain = name.strip(" \ufeff").casefold().removeprefix("chr")
    plain = "mt" if plain == "m" else plain
    return plain, re.sub(r"\.\d+$", "", plain)


def advise(likely: Mapping[str, str]) -> str:
    """Writes the field of a description that `likely_aliases` suggests, or its name alone."""
    pairs = first_names(f'"{contig}": ["{name}"]' for contig, name in likely.items())
    return f"contig_aliases: {{{pairs}}}" if likely else "contig_aliases"
