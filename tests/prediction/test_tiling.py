"""Tiles of contigs against one count along the whole string."""

import random

import numpy as np
import pytest

from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.tiling import centred_tiles, grid_tiles, predict_tiles
from enformer_keras.prediction.windows import Frame
from tests.prediction.counting_model import counting_predictor, other_strand

KMER = "ACC"
LENGTH, BINS, BIN = 512, 8, 32
SPAN = BINS * BIN
FRAME = Frame(LENGTH, BINS, BIN)
_random = random.Random(7)
# Ends inside a bin; at the end of a bin; at the end of a tile; less than a bin.
CONTIGS = {
    name: "".join(_random.choices("ACGT", k=length))
    for name, length in (("z", 3 * SPAN + 45), ("a", SPAN + 2 * BIN), ("m", 2 * SPAN), ("tiny", 9))
}
LENGTHS = {name: len(bases) for name, bases in CONTIGS.items()}


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in CONTIGS.items()))
    return Genome(path)


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor(KMER, LENGTH, BINS, BIN)


def counted(contig):
    """[bins, 2] along a whole contig, in one go."""
    bases = CONTIGS[contig]
    found = np.zeros((-(-len(bases) // BIN), 2))
    for at in range(len(bases)):
        found[at // BIN, 0] += bases.startswith(KMER, at)
        found[at // BIN, 1] += bases[: at + 1].endswith(other_strand(KMER))
    return found


def along(predictor, genome, regions, **options):
    """(contig, number of the bin on the contig) -> values; no bin may come twice."""
    found = {}
    before = None
    for tile, bins in predict_tiles(predictor, grid_tiles(regions, LENGTHS, FRAME), genome, **options):
        for interval, run in tile.stretches(BIN):
            place = (list(CONTIGS).index(interval.chrom), interval.start)
            assert before is None or before < place
            before = place
            assert interval.start % BIN == 0
            assert interval.end == min(interval.start + BIN * len(bins[run]), LENGTHS[interval.chrom])
            for number, values in enumerate(bins[run], interval.start // BIN):
                assert (interval.chrom, number) not in found
                found[interval.chrom, number] = values
    return found


@pytest.mark.parametrize("strands", ["forward", "both"])
def test_tiles_of_whole_contigs_are_one_count_along_the_string(genome, predictor, strands):
    whole = [Interval(name, 0, length) for name, length in sorted(LENGTHS.items())]
    found = along(predictor, genome, whole, strands=strands)
    for contig in CONTIGS:
        expected = counted(contig)
        values = np.stack([found.pop((contig, number)) for number in range(len(expected))])
        assert expected.any() or contig == "tiny"
        np.testing.assert_array_equal(values, expected)
    assert not found


def test_a_bin_does_not_depend_on_which_regions_are_asked_for(genome, predictor):
    whole = along(predictor, genome, [Interval(name, 0, length) for name, length in LENGTHS.items()])
    regions = [
        Interval("m", 31, 33),  # two bins
        Interval("z", 700, 801),
        Interval("z", 250, 260),  # over a seam
        Interval("z", 255, 300),  # shares a bin with the one before
        Interval("z", 700, 701),
        Interval("z", LENGTHS["z"] - 1, LENGTHS["z"]),
        Interval("a", 40, 40),  # nothing
    ]
    some = along(predictor, genome, regions)
    expected = {("m", 0), ("m", 1), *(("z", number) for number in (7, 8, 9, 21, 22, 23, 24, 25))}
    assert some.keys() == expected
    for place, values in some.items():
        np.testing.assert_array_equal(values, whole[place])


def test_only_tiles_with_a_region_are_predicted_each_once():
    regions = [Interval("z", 0, 1), Interval("z", 200, 201), Interval("z", 3 * SPAN, 3 * SPAN + 1)]
    tiles = list(grid_tiles(regions, LENGTHS, FRAME))
    assert [tile.target.start for tile in tiles] == [0, 3 * SPAN]
    assert [tile.runs for tile in tiles] == [((0, 1), (6, 7)), ((0, 1),)]
    assert tiles[0].window == Interval("z", -128, 384)
    assert tiles[1].target.end == LENGTHS["z"]


def test_centred_tiles_are_what_predict_says(genome, predictor):
    regions = [Interval("z", 500, 501), Interval("a", 0, 7), Interval("z", 500, 501)]
    tiles = list(centred_tiles(regions, FRAME))
    assert tiles[0].window.start + LENGTH // 2 == 500
    assert tiles[0].target == Interval("z", 500 - SPAN // 2, 500 + SPAN // 2)
    found = [bins for _, bins in predict_tiles(predictor, iter(tiles), genome, shifts=[0, 2])]
    np.testing.assert_array_equal(found, predictor.predict(regions, genome, shifts=[0, 2]))


def test_predictions_that_are_no_numbers_are_refused(genome):
    predictor = counting_predictor(KMER, LENGTH, BINS, BIN)
    for layer in predictor.model.layers:
        layer.set_weights([weights * np.nan for weights in layer.get_weights()])
    with pytest.raises(ValueError, match="z:-128-384: the model predicts values that are no numbers"):
        along(predictor, genome, [Interval("z", 0, 1)])
