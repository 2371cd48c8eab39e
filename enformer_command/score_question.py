"""What `enformer score` was asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enformer_command.about import about
from enformer_command.options import AveragingOptions, GeneOptions, GenomeOptions, ModelOptions

if TYPE_CHECKING:
    from enformer_keras.formats.genes import Gene
    from enformer_keras.formats.variants import Variant
    from enformer_keras.prediction.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class ScoreQuestion:
    """All options that decide what is in the files; see `enformer score --help`."""

    model: ModelOptions
    variants: str | None
    spelled: tuple[str, ...]
    genome: GenomeOptions
    statistics: Sequence[str]
    width: int | None
    genes: GeneOptions
    distance: int | None
    share_windows: int | None
    averaging: AveragingOptions
    policy: str
    background: Path | None
    formats: tuple[str, ...]

    @property
    def given(self) -> str | Iterable[Variant]:
        """The alleles: a file, `-`, or those of the command line."""
        from enformer_keras.formats.variants import Variant

        return str(self.variants) if not self.spelled else [Variant.parse(text) for text in self.spelled]

    def about(self, predictor: Predictor, genes: Sequence[Gene] | None) -> dict[str, Any]:
        """What the files say of how their numbers were made.

        Args:
            predictor: the opened model.
            genes: those that were asked for, if it is about genes.
        """
        of_genes = {}
        if genes is not None:
            distance = "within the target" if self.distance is None else self.distance
            of_genes = self.genes.said(genes) | {"distance": distance}
        return about(
            self.model,
            predictor,
            self.genome,
            self.averaging,
            variants=str(self.variants or ", ".join(self.spelled)),
            width=self.width or 0,
            share_windows=self.share_windows or 0,
            reference_policy=self.policy,
            **of_genes,
        )
