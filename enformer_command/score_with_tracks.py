"""`enformer score --tracks-out`: scores, and the predictions that they are of, in one run without parts."""

from __future__ import annotations

import itertools
from collections import Counter

import click

from enformer_command.options import OutputOptions
from enformer_command.progress import progress
from enformer_command.score_question import ScoreQuestion


def score_with_tracks(asked: ScoreQuestion, output: OutputOptions, tracks_out: str) -> None:
    """Scores, and writes R and A of each allele.

    Args:
        asked: what is scored; alleles, not genes.
        output: where to.
        tracks_out: format of the predictions.
    """
    from enformer_keras.formats.variants import Variant, VcfRecords, read_variants
    from enformer_keras.prediction.allele_track_files import (
        MOST_ALLELES,
        allele_track_names,
        write_allele_tracks,
    )
    from enformer_keras.prediction.background import read_background
    from enformer_keras.prediction.score_files import write_scores
    from enformer_keras.prediction.statistics import quantile_of

    ranks = None if asked.background is None else read_background(asked.background)
    spelled = [Variant.parse(text) for text in asked.spelled]
    # One pass over the file finds its faults now, and how long the work will be; a pipe is read but once.
    source, countable = str(asked.variants), asked.variants not in (None, "-")
    total = sum(1 for _ in read_variants(source)) if countable else len(spelled) or None
    records = VcfRecords(source) if "vcf" in asked.formats else None
    given = iter(spelled) if spelled else read_variants(source)
    alleles = given if records is None else iter(records)
    first = list(itertools.islice(alleles, MOST_ALLELES + 1 if tracks_out == "bigwig" else 1))
    if not first:
        raise ValueError(f"{source}: holds no variant; give another file")
    output.check(allele_track_names(tracks_out, first, None))
    alleles = itertools.chain(first, alleles)
    with asked.genome.open() as opened:
        predictor = asked.model.open(opened, asked.genome.aliases)
        chosen = asked.model.tracks(predictor)
        said = asked.about(predictor, None)
        kept = [predictor.tracks[index] for index in chosen]
        output.check(allele_track_names(tracks_out, first, kept))
        written = list(asked.statistics)
        if ranks is not None:
            ranks.check(said, [track.identifier for track in kept], asked.statistics)
            said["background"] = str(asked.background)
            written += [quantile_of(name) for name in asked.statistics]
        counts: Counter[str] = Counter()
        with (
            progress(alleles, unit="variants", total=total, quiet=output.quiet) as taken,
            write_scores(
                output.folder,
                asked.formats,
                kept,
                written,
                said,
                records=records,
                contig_lengths=opened.contig_lengths,
                contig_aliases=asked.genome.aliases,
            ) as append,
            write_allele_tracks(
                output.folder, tracks_out, first, kept, predictor.frame, opened.contig_lengths, said
            ) as append_tracks,
        ):
            for part in predictor.score_in_parts(
                taken,
                opened,
                statistics=asked.statistics,
                tracks=chosen,
                width=asked.width,
                strands=asked.averaging.strands,
                shifts=asked.averaging.shifts,
                reference_policy=asked.policy,
                contig_aliases=asked.genome.aliases,
                share_windows=asked.share_windows,
                keep_predictions=True,
            ):
                append_tracks(part)
                append(part if ranks is None else ranks.add_to(part))
                counts.update(part.counts())
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))
