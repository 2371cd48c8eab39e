"""Scoring a file of variants, however many they are, into `scores.h5`."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.variant_scorer.files import VariantFile
from enformer_keras.formats.errors import counted
from enformer_keras.formats.fasta import Genome
from enformer_keras.prediction import Predictor
from enformer_keras.prediction.asking import Strands
from enformer_keras.prediction.made_by import made_by
from enformer_keras.prediction.parts import work
from enformer_keras.prediction.score_job import ScoreJob
from enformer_keras.prediction.score_parts import ScoreFiles, parts_of
from enformer_keras.prediction.variant_rows import gather_rows

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
    work_folder: Path,
) -> Counter[str]:
    """Scores all variants of a file by parts of 1,000, and tells every half minute how many are done.

    Args:
        predictor: the model's head of the organism.
        file: of variants.
        genome: what they are variants of.
        aliases: contig of the genome -> other names.
        strands: that predictions are averaged over.
        folder: gets `scores.h5` and `skipped.tsv`, at the end.
        said: what else the file says of how it was made.
        work_folder: outlives the run; the parts that are done lie in its `.parts` until the files are whole, so
            that a run that was killed goes on there.

    Returns:
        Status -> alleles.

    Raises:
        DatasetError: the file has changed, or does not fit the genome, or that is not the model's.
    """
    file.check()
    begun = time.monotonic()
    about = _describe(predictor, file, genome, strands) | dict(said)
    with gather_rows(file.path, work_folder) as rows:
        job = ScoreJob(
            rows,
            genome.path,
            lambda **_: predictor,
            statistics=STATISTICS,
            strands=strands,
            contig_aliases=aliases,
        )
        job.check()
        # Parts of another model are of no use any more.
        with parts_of(job, work_folder, anew=True) as parts:
            done = parts.num_parts - len(parts.missing())
            if done:
                _logger.info("%s: goes on, %d of %d parts are there already", file.path, done, parts.num_parts)
            told = begun
            for index in work(job, parts):
                if time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    done = sum(map(rows.length, range(index + 1)))
                    _logger.info("%s: %d of %d variants scored", file.path, done, rows.count)
            files = ScoreFiles.of(job, ["h5"], about)
            counts = files.write(folder, map(parts.read, range(parts.num_parts)))
            parts.remove()
    _logger.info(
        "%s: %d variants in %.0f s: %s", file.path, rows.count, time.monotonic() - begun, counted(counts)
    )
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
        "made_by": made_by(),
        "fingerprint": predictor.fingerprint,
        "variants": file.path,
        "variants_sha256": file.sha256,
        "genome": str(genome.path),
        "strands": strands,
        **{name: value for name, value in known.items() if value is not None},
    }
