"""Scores of alleles from what is predicted of their windows: in compiled steps, or plainly by full passes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant, read_variants
from enformer_keras.prediction.allele_steps import AlleleSteps, AskedAllele, ScoredAllele
from enformer_keras.prediction.alleles import Allele, ReferencePolicy, Status
from enformer_keras.prediction.asking import (
    ALLELES_AT_ONCE,
    ALLELES_PER_WINDOW,
    Answering,
    Strands,
    VariantPrediction,
    VariantScores,
    batched,
    check_averaging,
    opened_genome,
    strands_of,
)
from enformer_keras.prediction.recent import RecentPredictions
from enformer_keras.prediction.reuse import TowerReuse
from enformer_keras.prediction.statistics import check_statistics, score
from enformer_keras.prediction.windows import (
    Center,
    Frame,
    StrandView,
    cell_of,
    middle_of,
    window_of,
    windows_of,
)

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome


def score_in_parts(
    predictor: Answering,
    reuse: TowerReuse | None,
    variants: Iterable[Variant] | str | Path,
    genome: Genome | str | Path,
    *,
    statistics: Sequence[str],
    tracks: Sequence[int] | None,
    width: int | None,
    strands: Strands,
    shifts: Sequence[int],
    reference_policy: ReferencePolicy | str,
    contig_aliases: Mapping[str, Sequence[str]] | None,
    centers: Iterable[Center | None] | None,
    keep_predictions: bool,
    share_windows: int | None,
    check_references: bool,
) -> Iterator[VariantScores]:
    """Scores alleles as `Predictor.score_in_parts` does, which says what the arguments are.

    They are predicted by `reuse` of the predictor's tower; by full passes where that is `None`.

    Yields:
        The next alleles.
    """
    columns = predictor.columns(tracks)
    check_statistics(statistics)
    check_averaging(strands, shifts)
    frame = predictor.frame
    frame.central_bins(width)  # refuses a width that cannot be before anything is predicted
    _check_sharing(frame, share_windows, centers)
    policy = ReferencePolicy(reference_policy)
    if isinstance(variants, str | Path):
        variants = read_variants(variants)
    with opened_genome(genome) as opened:
        views = [StrandView(opened, reverse=reverse) for reverse in strands_of(strands)]
        resolved = predictor.resolve_variants(
            variants, opened, policy, contig_aliases or {}, check_references=check_references
        )
        laid = _with_centers(resolved, centers, share_windows)
        # Alleles whose window is laid about something else mostly share it.
        shared = centers is not None or share_windows is not None
        kept_tracks = tuple(predictor.tracks[column] for column in columns)
        find = (
            _by_full_passes(predictor, views, shifts, columns, statistics, keep_predictions, shared=shared)
            if reuse is None
            else AlleleSteps(
                reuse,
                frame,
                views,
                shifts,
                columns,
                [track.strand_pair for track in kept_tracks],
                statistics,
                keep_predictions=keep_predictions,
                one_by_one=shared,
                along=share_windows is not None and share_windows % frame.bin_size == 0,
            ).score
        )
        # Predictions take much room; where they stay on the device, more alleles fill more steps.
        stay = reuse is not None and not keep_predictions
        together = (ALLELES_AT_ONCE if stay else ALLELES_PER_WINDOW) * predictor.batch_size
        for centered in batched(laid, together):
            part = [
                (variant, status, allele, center)
                if allele is None or predictor.holds(allele, center, views, shifts)
                else (variant, Status.OUTSIDE_WINDOW, None, center)
                for (variant, status, allele), center in centered
            ]
            found = {name: np.full((len(part), len(columns)), np.nan, dtype=np.float32) for name in statistics}
            predictions: list[VariantPrediction | None] = [None] * len(part)
            rows = [row for row, (_, _, allele, _) in enumerate(part) if allele is not None]
            asked = [
                AskedAllele(
                    allele,
                    center,
                    status is Status.SWAPPED,
                    _bins(frame, allele, center, width, about_allele=share_windows is not None),
                )
                for _, status, allele, center in part
                if allele is not None
            ]
            for number, scored in find(asked):
                row = rows[number]
                for name, values in scored.statistics.items():
                    found[name][row] = values
                if scored.reference is not None and scored.alternate is not None:
                    predictions[row] = VariantPrediction(
                        _target(frame, asked[number].allele, asked[number].center),
                        scored.reference,
                        scored.alternate,
                        kept_tracks,
                    )
            yield VariantScores(
                tuple(variant for variant, *_ in part),
                tuple(status for _, status, *_ in part),
                found,
                kept_tracks,
                predictions=tuple(predictions) if keep_predictions else (),
            )


def predict_variant(
    predictor: Answering,
    variant: Variant,
    genome: Genome | str | Path,
    *,
    tracks: Sequence[int] | None,
    strands: Strands,
    shifts: Sequence[int],
    contig_aliases: Mapping[str, Sequence[str]] | None,
) -> VariantPrediction:
    """Predicts both alleles of one variant as `Predictor.predict_variant` does.

    Raises:
        DatasetError: the variant cannot be scored; its status is named.
        ValueError: an argument cannot be.
    """
    columns = predictor.columns(tracks)
    check_averaging(strands, shifts)
    with opened_genome(genome) as opened:
        aliases = contig_aliases or {}
        ((_, status, allele),) = predictor.resolve_variants([variant], opened, ReferencePolicy.SKIP, aliases)
        if allele is None:
            raise DatasetError(f"{variant}: {status}, so there is nothing to predict; correct the variant")
        views = [StrandView(opened, reverse=reverse) for reverse in strands_of(strands)]
        pair = next(predictor.predict_alleles([allele], views, shifts, columns))
    assert pair is not None
    interval = _target(predictor.frame, allele, None)
    return VariantPrediction(interval, *pair, tuple(predictor.tracks[column] for column in columns))


def predict_alleles(
    predictor: Answering,
    alleles: Sequence[Allele | None],
    views: Sequence[StrandView],
    shifts: Sequence[int],
    columns: Sequence[int],
    centers: Sequence[Center | None] | None = None,
    kept: RecentPredictions | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
    """Predicts reference and alternative of alleles as `Predictor.predict_alleles` does.

    Yields:
        For each allele R and A, float32 [bins, tracks], or `None`.
    """
    laid_out = [
        []
        if allele is None
        else [
            (windows_of(view.allele(allele), view, predictor.frame, shift, center), view.reverse)
            for view in views
            for shift in shifts
        ]
        for allele, center in zip(alleles, centers or [None] * len(alleles), strict=True)
    ]
    # Each window, with the one that it is like, of which it is predicted: alternatives are like references.
    asked: dict[tuple[str, bool], str | None] = {}
    for windows, reverse in itertools.chain.from_iterable(laid_out):
        asked[windows.reference, reverse] = None
        asked.setdefault((windows.left, reverse), windows.reference)
        asked.setdefault((windows.right, reverse), windows.reference)
    shared, kept = kept is not None, RecentPredictions(0) if kept is None else kept
    predicted = {key: bins for key in asked if (bins := kept.get(key)) is not None}
    new = {key: like for key, like in asked.items() if key not in predicted}
    found = predictor.predict_strands(new, columns, list(new.values()), shared=shared)
    predicted.update(zip(new, found, strict=True))
    for windows, reverse in itertools.chain.from_iterable(laid_out):
        kept.put((windows.reference, reverse), predicted[windows.reference, reverse])
    for layouts in laid_out:
        if not layouts:
            yield None
            continue
        reference = np.zeros((predictor.frame.target_length, len(columns)), dtype=np.float32)
        alternate = np.zeros_like(reference)
        for windows, reverse in layouts:
            # Predictions have been turned back to the forward strand; so must be what their bins are.
            turned = dataclasses.replace(windows, side=windows.side[::-1]) if reverse else windows
            left, right = predicted[windows.left, reverse], predicted[windows.right, reverse]
            reference += predicted[windows.reference, reverse] / len(layouts)
            alternate += turned.align(left, right) / len(layouts)
        yield reference, alternate


def _by_full_passes(
    predictor: Answering,
    views: Sequence[StrandView],
    shifts: Sequence[int],
    columns: Sequence[int],
    statistics: Sequence[str],
    keep_predictions: bool,
    *,
    shared: bool,
) -> Callable[[Sequence[AskedAllele]], Iterator[tuple[int, ScoredAllele]]]:
    """Returns what scores alleles without reuse, as `AlleleSteps.score` does with it."""
    recent = RecentPredictions() if shared else None

    def plainly(asked: Sequence[AskedAllele]) -> Iterator[tuple[int, ScoredAllele]]:
        alleles, centers = [each.allele for each in asked], [each.center for each in asked]
        pairs = predictor.predict_alleles(alleles, views, shifts, columns, centers, recent)
        for number, (each, pair) in enumerate(zip(asked, pairs, strict=True)):
            assert pair is not None
            reference, alternate = pair[::-1] if each.swapped else pair
            found = score(reference[each.bins], alternate[each.bins], statistics)
            kept = (reference, alternate) if keep_predictions else ()
            yield number, ScoredAllele(found, *kept)

    return plainly


def _check_sharing(frame: Frame, share_windows: int | None, centers: Iterable[Center | None] | None) -> None:
    if share_windows is None:
        return
    most = frame.target_length * frame.bin_size // 2
    if centers is not None:
        raise ValueError("centers and share_windows both say where windows lie: give one")
    if not 1 <= share_windows <= most:
        raise ValueError(f"share_windows={share_windows} must be from 1 to half of the target, {most} bp")


def _bins(
    frame: Frame, allele: Allele, center: Center | None, width: int | None, *, about_allele: bool
) -> slice:
    """Returns the bins that count: about the window's centre, or about the allele wherever it stands."""
    if not about_allele:
        return frame.central_bins(width)
    start = _forward_window(frame, allele, center).start
    return frame.bins_about(middle_of(allele.low, allele.high) - start, width)


def _target(frame: Frame, allele: Allele, center: Center | None) -> Interval:
    """Returns what the bins cover, along the forward strand."""
    window = _forward_window(frame, allele, center)
    return Interval(window.chrom, window.start + frame.crop, window.end - frame.crop)


def _forward_window(frame: Frame, allele: Allele, center: Center | None) -> Interval:
    """Returns the window along the forward strand, whose bins predictions lie on."""
    if isinstance(center, Interval):
        center = middle_of(center.start, center.end)
    return window_of(allele, frame, center=center)


def _with_centers(
    items: Iterable[tuple[Variant, Status, Allele | None]],
    centers: Iterable[Center | None] | None,
    share_windows: int | None,
) -> Iterator[tuple[tuple[Variant, Status, Allele | None], Center | None]]:
    """Gives each allele with what its window lies about; of those that share windows the cell of the grid."""
    if share_windows is None:
        yield from zip(
            items, itertools.repeat(None) if centers is None else centers, strict=centers is not None
        )
        return
    for variant, status, allele in items:
        cell = (
            None if allele is None else cell_of(allele.chrom, middle_of(allele.low, allele.high), share_windows)
        )
        yield (variant, status, allele), cell
