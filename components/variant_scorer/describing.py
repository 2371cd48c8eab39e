"""What the report says of an organism's scores: the strongest variants with genes and pictures, the change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from components.evaluation_report.pictures import DPI, WIDTH
from components.track_plot.draw import encode_png
from components.variant_scorer.comparison import compare, find_last
from components.variant_scorer.files import VariantFile
from components.variant_scorer.page import Drawn, Scored
from components.variant_scorer.reading import RANKED_BY, Strong, summarize
from components.variant_scorer.scoring import SCORES_FILE
from enformer_keras.formats.contig_names import ContigNames
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.genes import Gene
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction import Predictor, plot_locus
from enformer_keras.prediction.asking import Strands

# Tracks of a picture: those that a variant changes most.
_MOST_TRACKS = 3


@dataclasses.dataclass(frozen=True)
class Question:
    """Who is asked about an organism's variants, and what is known of its genome.

    Attributes:
        name: of the organism.
        predictor: the model's head of it.
        genome: its sequence.
        contig_aliases: contig -> other names.
        strands: that predictions are averaged over.
        genes: for the report; may be none.
    """

    name: str
    predictor: Predictor
    genome: Genome
    contig_aliases: Mapping[str, Sequence[str]]
    strands: Strands
    genes: Sequence[Gene]


def describe(
    question: Question,
    file: VariantFile,
    folder: Path,
    kept: Path,
    version: str,
    most_listed: int,
    most_drawn: int,
) -> Scored:
    """Reads what was scored, compares it, and draws the strongest.

    Args:
        question: who was asked.
        file: of variants.
        folder: of their `scores.h5`.
        kept: folder of earlier models' scores.
        version: that the model was pushed as.
        most_listed: strongest variants, and as many of those whose scores changed.
        most_drawn: of the strongest, how many are drawn.

    Returns:
        What the page says.
    """
    scores = folder / SCORES_FILE
    with h5py.File(scores) as opened:
        summary = summarize(opened, most_listed)
        drawn = [
            Drawn(strong, _draw(question, strong, opened[RANKED_BY][strong.row]))
            for strong in summary.strongest[:most_drawn]
        ]
    last, reason = find_last(scores, kept, version)
    return Scored(
        name=question.name,
        file=file.path,
        strands=question.strands,
        summary=summary,
        genes={strong.row: _nearest_gene(question, strong) for strong in summary.strongest}
        if question.genes
        else {},
        drawn=drawn,
        comparison=None if last is None else compare(scores, last, most_listed),
        reason=reason,
    )


def shorten(scored: Scored) -> dict[str, Any]:
    """Makes the summary of an organism, for programs."""
    compared = scored.comparison
    pictures = dict(enumerate(scored.pictures))
    return {
        "variants": scored.file,
        "statuses": dict(scored.summary.statuses),
        "strongest": [
            {
                "variant": str(strong.variant),
                "name": strong.variant.name,
                "gene": scored.genes.get(strong.row, ""),
                "track": scored.summary.tracks[strong.track].identifier,
                "picture": pictures.get(number, ""),
                **strong.scores,
            }
            for number, strong in enumerate(scored.summary.strongest)
        ],
        "compared_with": None if compared is None else compared.version,
        "not_compared_because": scored.reason,
        "rank_correlations": None
        if compared is None
        else [None if np.isnan(value) else float(value) for value in compared.correlations],
    }


def _draw(question: Question, strong: Strong, scores: np.ndarray) -> bytes:
    """Draws both alleles in the tracks that change most."""
    chosen = [int(track) for track in np.argsort(-np.abs(scores), kind="stable")[:_MOST_TRACKS]]
    predictor, variant = question.predictor, strong.variant
    both = predictor.predict_variant(
        variant,
        question.genome,
        tracks=chosen,
        strands=question.strands,
        contig_aliases=question.contig_aliases,
    )
    figure = plot_locus(
        both.interval,
        [f"{track.identifier} {track.description}" for track in both.tracks],
        both.reference,
        both.alternate,
        marked=Interval(both.interval.chrom, variant.start, variant.start + len(variant.reference)),
        genes=question.genes,
        width=WIDTH,
    )
    return encode_png(figure, DPI)


def _nearest_gene(question: Question, strong: Strong) -> str:
    """Names the gene in whose span a variant begins, or how far the nearest one is."""
    variant = strong.variant
    contig = ContigNames(question.genome.contig_lengths, question.contig_aliases).find(variant.chrom)
    distances = [
        (max(gene.start - variant.start, variant.start - (gene.end - 1), 0), gene.name)
        for gene in question.genes
        if gene.chrom == contig
    ]
    if not distances:
        return "none on this contig"
    distance, name = min(distances)
    return f"{name}, {distance:,} bp away" if distance else name
