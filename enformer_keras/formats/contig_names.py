"""Names of contigs in text files, which may be others than the FASTA file's."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

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

    def log_others(self, path: Path) -> None:
        """Logs how many lines of a file were passed over."""
        if self.others:
            names = ", ".join(list(self.others)[:8]) + (", ..." if len(self.others) > 8 else "")
            _logger.info("%s: %d lines on contigs not in use: %s", path, self.others.total(), names)
