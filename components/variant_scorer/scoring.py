"""Scoring a file of variants, however many they are, into `scores.h5`."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.variant_scorer.files import VariantFile
from enformer_keras.formats.errors import counted
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.variants import read_variants
from enformer_keras.prediction import Predictor
from enformer_keras.prediction.asking import Strands
from enformer_keras.prediction.score_files import write_scores

_logger = logging.getLogger(__name__)

# By the first of them variants are ranked: a ratio, so that strong and weak tracks can be held side by side.
STATISTICS = ("SADR", "SAD", "SAX")
SCORES_FILE = "scores.h5"
_TELL_S = 30.0


def score_file(
    predictor: Predictor,
    file: VariantFile,
    genome: Genome,
    aliases: Mapping[str, Sequence[str]],
    strands: Strands,
    folder: Path,
    said: Mapping[str, Any],
) -> Counter[str]:
    """Scores all variants of a file, and tells every half minute how many are done.

    Args:
        predictor: the model's head of the organism.
        file: of variants.
        genome: what they are variants of.
        aliases: contig of the genome -> other names.
        strands: that predictions are averaged over.
        folder: gets `scores.h5` and `skipped.tsv`, at the end.
        said: what else the file says of how it was made.

    Returns:
        Status -> alleles.

    Raises:
        DatasetError: the file has changed, or does not fit the genome, or that is not the model's.
    """
    file.check()
    total = sum(1 for _ in read_variants(file.path))
    counts: Counter[str] = Counter()
    begun = told = time.monotonic()
    about = _describe(predictor, file, genome, strands) | dict(said)
    with write_scores(folder, ["h5"], predictor.tracks, STATISTICS, about) as append:
        for part in predictor.score_in_parts(
            file.path, genome, statistics=STATISTICS, strands=strands, contig_aliases=aliases
        ):
            append(part)
            counts.update(map(str, part.statuses))
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                _logger.info("%s: %d of %d variants scored", file.path, counts.total(), total)
    _logger.info("%s: %d variants in %.0f s: %s", file.path, total, time.monotonic() - begun, counted(counts))
    return counts


def _describe(predictor: Predictor, file: VariantFile, genome: Genome, strands: Strands) -> dict[str, Any]:
    """Says in the file how its scores were made; what nobody knows is left out."""
    card = predictor.card
    known = {
        "head": card.head,
        "trained_on": card.assembly,
        "trained_on_sha256": card.sequence_sha256,
        "step": (card.lineage or {}).get("step"),
        "data_fingerprint": card.data_fingerprint,
    }
    return {
        "made_by": f"enformer-keras {version('enformer-keras')}",
        "fingerprint": predictor.fingerprint,
        "variants": file.path,
        "variants_sha256": file.sha256,
        "genome": str(genome.path),
        "strands": strands,
        **{name: value for name, value in known.items() if value is not None},
    }
