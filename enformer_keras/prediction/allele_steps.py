"""Scores of alleles, computed where they are predicted: the statistics too are compiled steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from enformer_keras.prediction.alleles import Allele
from enformer_keras.prediction.asking import batched
from enformer_keras.prediction.reuse import Kept, Patch, Place, TowerReuse, arrays_of
from enformer_keras.prediction.step_statistics import score_in_step
from enformer_keras.prediction.windows import Center, Frame, StrandView, windows_of


@dataclasses.dataclass(frozen=True)
class AskedAllele:
    """An allele to be scored.

    Attributes:
        allele: as it reads along the forward strand.
        center: what its windows lie about (`windows_of`).
        swapped: whether reference and alternative change places.
        bins: of the target along the forward strand, those that count.
    """

    allele: Allele
    center: Center | None
    swapped: bool
    bins: slice


@dataclasses.dataclass(frozen=True)
class ScoredAllele:
    """What became of it.

    Attributes:
        statistics: name -> float32 [tracks].
        reference: R, float32 [bins, tracks]; `None` unless it was asked for.
        alternate: A, as well.
    """

    statistics: dict[str, np.ndarray]
    reference: np.ndarray | None = None
    alternate: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Layout:
    """An allele along each strand and shift, ready for a step.

    Attributes:
        number: of the allele, in the order in which they came.
        kept: of each layout's reference.
        left: of each layout, the patch of the alternative whose left end is the reference's.
        right: of the one whose right end is; empty where lengths do not change.
        side: int8 [layouts, bins] along the forward strand (`AlleleWindows.side`).
    """

    number: int
    asked: AskedAllele
    kept: list[Kept]
    left: list[Patch]
    right: list[Patch]
    side: np.ndarray


class AlleleSteps:
    """Scores alleles by reuse of the tower.

    What leaves the device is [alleles, tracks]. A step has one shape for all substitutions, and one for each
    size of patch for what else there is.

    Args:
        reuse: of the model.
        frame: the model's.
        views: the strands of the genome.
        shifts: bp by which windows move to the right along the strand.
        columns: indices of the head's tracks.
        partners: of each its strand pair.
        statistics: of `statistics.FORMULAS`.
        keep_predictions: whether R and A leave the device too.
        one_by_one: whether many alleles share a window, so that whole windows are predicted one at a time.
        along: whether windows' starts lie on one grid of 128 bp, so that the tower is computed once along a
            contig.
    """

    def __init__(
        self,
        reuse: TowerReuse,
        frame: Frame,
        views: Sequence[StrandView],
        shifts: Sequence[int],
        columns: Sequence[int],
        partners: Sequence[int],
        statistics: Sequence[str],
        *,
        keep_predictions: bool,
        one_by_one: bool,
        along: bool,
    ) -> None:
        self._reuse, self._frame = reuse, frame
        self._layouts = [(view, shift) for view in views for shift in shifts]
        needed = set(columns)
        if any(view.reverse for view in views):
            needed |= set(partners)
        self._tracks = tuple(sorted(needed)) if len(needed) < reuse.num_tracks else None
        if self._tracks is not None:
            columns, partners = (
                [self._tracks.index(track) if track in needed else 0 for track in each]
                for each in (columns, partners)
            )
        self._columns, self._partners = list(columns), list(partners)
        self._statistics, self._keep_predictions = tuple(statistics), keep_predictions
        self._one_by_one, self._along = one_by_one, along
        # Alleles of a step: of substitutions, as many as fill a batch.
        self._together = max(1, reuse.batch_size // len(self._layouts))
        key = (
            tuple(view.reverse for view, _ in self._layouts),
            self._tracks,
            tuple(columns),
            tuple(partners),
            self._statistics,
            keep_predictions,
        )
        self._compare = reuse.compiler.compile(self._make_comparison(), key)

    def score(self, alleles: Iterable[AskedAllele]) -> Iterator[tuple[int, ScoredAllele]]:
        """Scores alleles, some later than others: each comes with its number.

        Args:
            alleles: as they come; few are held.

        Yields:
            Number of the allele, from 0, and its scores.
        """
        self._reuse.read_weights()
        queues: dict[tuple[int, int], list[_Layout]] = {}
        running: Iterator[tuple[int, ScoredAllele]] = iter(())
        numbered = enumerate(alleles)
        for batch in batched(numbered, self._together):
            for layout in self._lay_out(batch):
                key = layout.left[0].size, 2 if layout.right else 1
                queue = queues.setdefault(key, [])
                queue.append(layout)
                if len(queue) == self._alleles_of(key):
                    # While the device computes this step, the last one's numbers are taken.
                    begun = self._step(key, queues.pop(key))
                    yield from running
                    running = begun
        yield from running
        for key, queue in queues.items():
            yield from self._step(key, queue)

    def _alleles_of(self, key: tuple[int, int]) -> int:
        """Alleles of a step; one where its patches are large, so that none is computed in vain."""
        return self._together if key == (self._reuse.smallest, 1) else 1

    def _lay_out(self, batch: Sequence[tuple[int, AskedAllele]]) -> Iterator[_Layout]:
        """Lays alleles out, and predicts their references."""
        windows = [
            [
                windows_of(view.allele(asked.allele), view, self._frame, shift, asked.center)
                for view, shift in self._layouts
            ]
            for _, asked in batch
        ]
        references, places = [], []
        for (_, asked), laid in zip(batch, windows, strict=True):
            for (view, _), each in zip(self._layouts, laid, strict=True):
                references.append(each.reference)
                own = self._along and asked.allele.background is None
                places.append(Place(view, each.interval.chrom, each.interval.start) if own else None)
        known = self._reuse.keep(references, places, one_by_one=self._one_by_one, tracks=self._tracks)
        for (number, asked), laid in zip(batch, windows, strict=True):
            left = self._patches([(each.left, each.reference) for each in laid])
            right = []
            if any(each.left != each.right for each in laid):
                right = self._patches([(each.right, each.reference) for each in laid])
                size = max(left[0].size, right[0].size)
                left, right = (
                    self._patches(
                        [(text, each.reference) for text, each in zip(texts, laid, strict=True)], size
                    )
                    for texts in ([each.left for each in laid], [each.right for each in laid])
                )
            side = [
                each.side[::-1] if view.reverse else each.side
                for (view, _), each in zip(self._layouts, laid, strict=True)
            ]
            yield _Layout(number, asked, [known[each.reference] for each in laid], left, right, np.stack(side))

    def _patches(self, pairs: Sequence[tuple[str, str]], least: int = 0) -> list[Patch]:
        """Returns what has to be computed of windows that are like others: patches of one size."""
        sizes = [size for size in self._reuse.sizes if size >= least]
        found = [Patch.between(window, other, sizes, self._reuse.bins) for window, other in pairs]
        smallest = max(least, self._reuse.smallest)
        most = max([patch.size for patch in found if patch is not None], default=smallest)
        if any(patch is not None and patch.size < most for patch in found):
            return self._patches(pairs, most)
        return [Patch.nothing(most) if patch is None else patch for patch in found]

    def _step(self, key: tuple[int, int], layouts: Sequence[_Layout]) -> Iterator[tuple[int, ScoredAllele]]:
        """Begins a step, and gives what came out when it is asked for."""
        missing = self._alleles_of(key) - len(layouts)
        filled = [*layouts, *[layouts[-1]] * missing]
        kept = [each for layout in filled for each in layout.kept]
        counted = np.zeros((len(filled), self._frame.target_length), dtype=np.float32)
        for row, layout in enumerate(filled):
            counted[row, layout.asked.bins] = 1
        sides = [[patch for layout in filled for patch in layout.left]]
        if key[1] == 2:
            sides.append([patch for layout in filled for patch in layout.right])
        towers, run = [each.tower for each in kept], self._reuse.run_patched(self._tracks)
        # Of the device's memory these go on to the comparison, which is the same for all sizes of patches.
        alternatives = [run(towers, *arrays_of(patches)) for patches in sides]
        outputs = self._compare(
            [each.predicted for each in kept],
            alternatives,
            np.stack([layout.side for layout in filled]),
            counted,
            np.array([layout.asked.swapped for layout in filled]),
        )

        def taken() -> Iterator[tuple[int, ScoredAllele]]:
            found = {name: np.asarray(ops.convert_to_numpy(values)) for name, values in outputs.items()}
            predictions = found.pop("reference", None), found.pop("alternate", None)
            for row, layout in enumerate(layouts):
                pair = (None if values is None else values[row] for values in predictions)
                yield layout.number, ScoredAllele({name: found[name][row] for name in found}, *pair)

        return taken()

    def _make_comparison(self) -> Callable[..., dict[str, Any]]:
        reverse = [view.reverse for view, _ in self._layouts]

        def turned(predicted: Any) -> list[Any]:
            """Of [alleles * layouts, bins, tracks] each layout's, [alleles, bins, tracks] as forward."""
            every, found = self._columns == list(range(predicted.shape[2])), []
            for at, other in enumerate(reverse):
                bins = predicted[at :: len(reverse)]
                if other:
                    found.append(ops.take(ops.flip(bins, axis=1), self._partners, axis=2))
                else:
                    found.append(bins if every else ops.take(bins, self._columns, axis=2))
            return found

        def mean(values: Sequence[Any]) -> Any:
            total = values[0] / len(values)
            for value in values[1:]:
                total = total + value / len(values)
            return total

        def compare(
            references: Any, alternatives: Any, side: Any, counted: Any, swapped: Any
        ) -> dict[str, Any]:
            left, right = turned(alternatives[0]), turned(alternatives[-1])
            aligned = []
            for at in range(len(reverse)):
                where = side[:, at, :, None]
                both = left[at] if len(alternatives) == 1 else (left[at] + right[at]) / 2
                aligned.append(ops.where(where < 0, left[at], ops.where(where > 0, right[at], both)))
            r, a = mean(turned(ops.stack(references))), mean(aligned)
            swap = swapped[:, None, None]
            r, a = ops.where(swap, a, r), ops.where(swap, r, a)
            found = score_in_step(r, a, counted, self._statistics)
            return {**found, "reference": r, "alternate": a} if self._keep_predictions else found

        return compare
