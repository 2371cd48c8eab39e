"""Blocks of the genome: bounded, and the same however the windows were dealt to workers."""

import functools
import zlib

import numpy as np
import pytest

from components.evaluator.blocks import MAX_BLOCKS, MIN_CONTIGS, OTHER_CONTIGS, BlockMoments
from components.evaluator.moments import TrackMoments

WINDOW = 14_336


def windows(contigs, each):
    """One window's moments each; a window starts before its contig."""
    rng = np.random.default_rng(0)
    return [
        BlockMoments.of_window(
            f"chr{contig}", index * WINDOW - 8_192, TrackMoments.from_arrays(*rng.normal(size=(2, 4, 3)))
        )
        for contig in range(contigs)
        for index in range(each)
    ]


def merge(shards):
    return functools.reduce(BlockMoments.merge, shards)


@pytest.mark.parametrize(
    ("contigs", "each", "blocks", "units"),
    [
        (1, MAX_BLOCKS, MAX_BLOCKS, MAX_BLOCKS),  # a bacterium: each window
        (1, 300, range(MAX_BLOCKS // 2, MAX_BLOCKS + 1), None),  # more windows than blocks: neighbours
        (MIN_CONTIGS - 1, 3, 3 * MIN_CONTIGS - 3, 3 * MIN_CONTIGS - 3),
        (MIN_CONTIGS, 3, 3 * MIN_CONTIGS, MIN_CONTIGS),
        (MAX_BLOCKS, 2, MAX_BLOCKS, MAX_BLOCKS),  # never two contigs in a block
    ],
)
def test_blocks_are_windows_while_they_are_few_and_contigs_are_drawn_where_there_are_enough(
    contigs, each, blocks, units
):
    shards = windows(contigs, each)
    merged = merge(shards)
    assert len(merged.blocks) in (blocks if isinstance(blocks, range) else [blocks])
    assert len(merged.units()) == (len(merged.blocks) if units is None else units)
    # No window is lost, and none counts twice.
    assert sum(unit.count for unit in merged.units()) == 4 * len(shards)
    assert {name: part.count for name, part in merged.by_contig().items()} == {
        f"chr{contig}": 4 * each for contig in range(contigs)
    }


def test_blocks_do_not_depend_on_the_order_of_merges():
    shards = windows(2, 100)
    expected = merge(shards)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(shards))
        halves = [merge([shards[index] for index in half]) for half in np.array_split(order, 7)]
        found = merge(halves)
        assert found.blocks.keys() == expected.blocks.keys()
        for key, moments in expected.blocks.items():
            np.testing.assert_allclose(found.blocks[key].pearson_r(), moments.pearson_r(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_of_many_contigs_the_last_by_name_are_one_figure_whatever_the_order(seed):
    shards = windows(100, 2)
    names = sorted(f"chr{contig}" for contig in range(100))
    order = np.random.default_rng(seed).permutation(len(shards))
    merged = merge([merge([shards[index] for index in part]) for part in np.array_split(order, 1 + 9 * seed)])
    assert len(merged.blocks) <= MAX_BLOCKS
    expected = dict.fromkeys(names[: MAX_BLOCKS // 2], 8) | {OTHER_CONTIGS: 8 * (100 - MAX_BLOCKS // 2)}
    found = merged.by_contig()
    assert {name: moments.count for name, moments in found.items()} == expected
    others = [shard for shard in shards if next(iter(shard.blocks))[0] not in expected]
    joined = functools.reduce(TrackMoments.merge, [one for shard in others for one in shard.blocks.values()])
    np.testing.assert_allclose(found[OTHER_CONTIGS].pearson_r(), joined.pearson_r(), rtol=0, atol=1e-12)
    # What a bootstrap draws from are groups of all contigs, none far larger than the others.
    sizes = np.bincount([zlib.crc32(name.encode()) % 16 for name in names]) * 8
    assert [unit.count for unit in merged.units()] == sizes.tolist()
    assert sizes.max() < 0.15 * sizes.sum()


def test_a_block_holds_neighbours():
    merged = merge(windows(1, 300))
    width = 2**merged.log2_width
    starts = np.maximum(np.arange(300) * WINDOW - 8_192, 0)
    expected = {("chr0", index): 4 * count for index, count in enumerate(np.bincount(starts // width))}
    assert {key: moments.count for key, moments in merged.blocks.items()} == expected
