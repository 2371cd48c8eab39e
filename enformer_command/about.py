"""What every file says of itself: how its numbers were made."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from enformer_command.options import AveragingOptions, GenomeOptions, ModelOptions


def about(
    model: ModelOptions,
    genome: GenomeOptions | None = None,
    averaging: AveragingOptions | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Returns name -> value, of text, numbers and what JSON holds.

    Args:
        model: what was asked.
        genome: where the sequences are from.
        averaging: over what.
        more: what else decides the numbers.
    """
    said: dict[str, Any] = {
        "made_by": f"enformer-keras {version('enformer-keras')}",
        "model": str(model.path),
        "head": model.head or "",
    }
    if genome is not None:
        said["genome"] = str(genome.fasta)
    if averaging is not None:
        said |= {"strands": averaging.strands, "shifts": averaging.shifts}
    return said | more
