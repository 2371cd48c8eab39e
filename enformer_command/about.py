"""What every file says of itself: how its numbers were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enformer_command.options import AveragingOptions, GenomeOptions, ModelOptions

if TYPE_CHECKING:
    from enformer_keras.prediction.predictor import Predictor


def about(
    model: ModelOptions,
    predictor: Predictor,
    genome: GenomeOptions | None = None,
    averaging: AveragingOptions | None = None,
    /,
    **more: Any,
) -> dict[str, Any]:
    """Returns name -> value, of text, numbers and what JSON holds.

    Args:
        model: what was asked.
        predictor: as it was opened.
        genome: where the sequences are from.
        averaging: over what.
        more: what else decides the numbers.
    """
    from enformer_keras.prediction.made_by import made_by

    said: dict[str, Any] = {
        "made_by": made_by(),
        "model": str(model.path),
        "head": model.head or "",
        "dtype": model.dtype or "as saved",
        "strand_pairs": "added up" if model.sum_strand_pairs else "kept",
        "values": "in the units of the tracks' files" if model.unscale else "as predicted",
    }
    if model.tracks_table is not None:
        said["tracks_table"] = str(model.tracks_table)
    card = predictor.card
    known = {
        "model": card.path,
        "head": card.head,
        "fingerprint": predictor.fingerprint,
        "trained_on": card.assembly,
        "trained_on_sha256": card.sequence_sha256,
        "trained_by": (card.code or {}).get("version"),
        "trained_by_fingerprint": (card.code or {}).get("fingerprint"),
        "step": (card.lineage or {}).get("step"),
    }
    said |= {
        name: value if isinstance(value, int) else str(value)
        for name, value in known.items()
        if value is not None
    }
    if genome is not None:
        said["genome"] = str(genome.fasta)
    if averaging is not None:
        said |= {"strands": averaging.strands, "shifts": averaging.shifts}
    return said | more
