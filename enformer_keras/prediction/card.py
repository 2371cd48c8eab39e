"""What an opened model says of itself, and whether a genome is the one that it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enformer_keras.formats.contig_names import likely_aliases
from enformer_keras.formats.errors import DatasetError, first_names

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is known of a head of a model; `None` where it does not say.

    Attributes:
        path: where it was opened from: of a run's folder the pushed version.
        head: its name.
        assembly: genome build that it was trained on.
        contig_lengths: contig -> bp of that genome.
        sequence_sha256: digest of that genome (`Genome.sha256`).
        code: `version` of the package that trained it, and `fingerprint` of its sources.
        data_fingerprint: of the dataset's files.
        lineage: `started_from`, `seed` and `step`.
        averaging: `shifts` and `strands` that it is served with.
    """

    path: Path | None = None
    head: str | None = None
    assembly: str | None = None
    contig_lengths: Mapping[str, int] | None = None
    sequence_sha256: str | None = None
    code: Mapping[str, str] | None = None
    data_fingerprint: str | None = None
    lineage: Mapping[str, Any] | None = None
    averaging: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, path: Path, head: str, content: Mapping[str, Any]) -> ModelCard:
        """Takes of a `model.json` what it says of a head.

        Args:
            path: of the pushed version.
            head: one of its heads.
            content: of the file; older ones lack some.
        """
        organism = content.get("organisms", {}).get(head, {})
        return cls(
            path,
            head,
            **{name: organism.get(name) for name in ("assembly", "contig_lengths", "sequence_sha256")},
            **{name: content.get(name) for name in ("code", "data_fingerprint", "lineage", "averaging")},
        )

    def check_genome(self, genome: Genome, aliases: Mapping[str, Sequence[str]]) -> None:
        """Refuses a genome that is not the one that the model was trained on, by the lengths of its contigs.

        Contigs that only one of them has are passed over, as long as there is one in common.

        Args:
            genome: the genome.
            aliases: contig of it -> other names, of which one may be the model's.

        Raises:
            DatasetError: a contig has another length there, or none is there.
        """
        if self.contig_lengths is None:
            return
        whose = f"the genome that {self.path} was trained on"
        if self.assembly:
            whose += f" ({self.assembly})"
        cure = "use the FASTA file of that assembly, or any_genome=True (--any-genome) to ask about another one"
        in_common = 0
        for contig, length in genome.contig_lengths.items():
            for name in (contig, *aliases.get(contig, ())):
                known = self.contig_lengths.get(name)
                in_common += known is not None
                if known not in (None, length):
                    raise DatasetError(
                        f"{genome.path}: contig {contig} has {length} bp, but {known} bp in {whose}; {cure}"
                    )
        if not in_common:
            likely = likely_aliases(genome.contig_lengths, self.contig_lengths)
            if likely:
                options = " ".join(f"--alias {contig}={name}" for contig, name in list(likely.items())[:3])
                cure = f"if they have other names here say so with contig_aliases ({options}), else {cure}"
            raise DatasetError(
                f"{genome.path}: has the contigs {first_names(genome.contig_lengths)}, but {whose} has "
                f"{first_names(self.contig_lengths)}; {cure}"
            )
