"""Haplotypes, of a model that counts, against strings."""

import itertools
import random

import numpy as np
import pysam
import pysam.bcftools
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.gene_windows import GeneWindow
from tests.formats.test_haplotypes import GENOTYPES, random_rows
from tests.prediction.counting_model import count, counting_predictor, other_strand
from tests.prediction.test_genes import MINUS, PLUS, gene
from tests.prediction.test_scores import BIN, BINS, CONTIGS, KMER, LENGTH, write_genome

BASES = CONTIGS["c1"]
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}
REGION = Interval("c1", 950, 1051)
CENTER = 1000
HEADER = (
    "##fileformat=VCFv4.3\n##contig=<ID=c1>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor(KMER, LENGTH, BINS, BIN)


def snv(at, *genotypes):
    return at + 1, BASES[at], OTHER[BASES[at]], genotypes


def deletion(start, end, *genotypes):
    return start, BASES[start - 1 : end], BASES[start - 1], genotypes


def insertion(at, bases, *genotypes):
    return at, BASES[at - 1], BASES[at - 1] + bases, genotypes


def write(folder, rows, name="x"):
    rows = sorted(rows, key=lambda row: row[0])
    samples = [f"s{number}" for number in range(len(rows[0][3]))]
    lines = ["\t".join(("c1", str(at), ".", ref, alt, ".", ".", ".", "GT", *gts)) for at, ref, alt, gts in rows]
    path = folder / f"{name}.vcf"
    path.write_text(HEADER + "\t".join(samples) + "\n" + "\n".join(lines) + "\n")
    pysam.tabix_index(str(path), preset="vcf", force=True)
    return path.with_name(f"{name}.vcf.gz")


def both_strands(bases, center):
    """Mean prediction of the windows whose base `LENGTH / 2 - 1` along each strand is the one at `center`."""
    bases, center = "N" * LENGTH + bases + "N" * LENGTH, center + LENGTH
    start = center - (LENGTH // 2 - 1)
    forward = count(bases[start : start + LENGTH], KMER, BINS, BIN)
    start = (len(bases) - 1 - center) - (LENGTH // 2 - 1)
    reverse = count(other_strand(bases)[start : start + LENGTH], KMER, BINS, BIN)[::-1, ::-1]
    return (forward + reverse) / 2


def bins_of(start, end, center):
    """Bins that hold a base of [start, end) in one of the two windows."""
    first = center - (LENGTH // 2 - 1) + (LENGTH - BINS * BIN) // 2
    return [
        n
        for n in range(BINS)
        if any(start <= f + n * BIN + k < end for f in (first, first - 1) for k in range(BIN))
    ]


def test_haplotypes_are_what_strings_say(genome, predictor, tmp_path):
    """The middle keeps its place; all else moves away from it, or comes nearer."""
    path = write(
        tmp_path,
        [
            snv(990, "0|1", "0|0"),
            deletion(900, 930, "1|0", "0|0"),
            insertion(1020, "ACCACC", "1|0", "0|1"),
            deletion(1200, 1240, "0|0", "0|1"),
        ],
    )
    (found,) = predictor.haplotypes(path, genome, regions=[REGION])
    changed = BASES[:990] + OTHER[BASES[990]] + BASES[991:]
    first = BASES[:900] + BASES[930:1020] + "ACCACC" + BASES[1020:]
    last = BASES[:1020] + "ACCACC" + BASES[1020:1200] + BASES[1240:]
    expected = [
        (BASES, CENTER, bins_of(950, 1051, CENTER), 0),
        (first, CENTER - 30, bins_of(950 - 30, 1051 - 30 + 6, CENTER - 30), 2),
        (changed, CENTER, bins_of(950, 1051, CENTER), 1),
        (last, CENTER, bins_of(950, 1051 + 6, CENTER), 2),
    ]
    assert found.rows.tolist() == [[1, 2], [0, 3]]
    assert found.samples == ("s0", "s1")
    assert found.num_variants.tolist() == [number for *_, number in expected]
    assert found.num_bins.tolist() == [len(bins) for _, _, bins, _ in expected]
    for row, (bases, center, bins, _) in zip(found.sums, expected, strict=True):
        np.testing.assert_allclose(row, both_strands(bases, center)[bins].sum(0), atol=1e-5)


def test_flanks_are_filled_however_much_is_deleted(genome, predictor, tmp_path):
    """More is deleted than is read at first, and what comes in its place has variants too."""
    lost = [deletion(start, start + 59, "1|0") for start in range(1010, 2700, 60)]
    path = write(tmp_path, [*lost, snv(2780, "1|1")])
    bases = BASES[:2780] + OTHER[BASES[2780]] + BASES[2781:]
    for start in range(2690, 1009, -60):
        bases = bases[:start] + bases[start + 59 :]
    of = gene("LONG", CENTER, 2900, "+")
    (found,) = predictor.haplotypes(path, genome, genes=[of], part="span")
    assert found.rows.tolist() == [[1, 0]]
    assert found.num_variants.tolist() == [0, 30]
    # The target ends 145 bp after the start, 1 bp less far where the other strand is predicted.
    np.testing.assert_allclose(found.covered, [144.5 / 1900, 144.5 / 189], rtol=1e-6)
    end = bases.index(BASES[2900:2950])
    assert end == 2900 - 29 * 59
    bins = bins_of(CENTER, end, CENTER + BIN // 2)
    expected = both_strands(bases, CENTER + BIN // 2)[bins].sum(0)
    np.testing.assert_allclose(found.sums[1], expected, atol=1e-5)


@pytest.mark.parametrize("of", [PLUS, MINUS])
def test_the_start_of_a_gene_keeps_its_place(genome, predictor, tmp_path, of):
    upstream = of.tss - 40 if of.strand == "+" else of.tss + 20
    path = write(tmp_path, [deletion(upstream, upstream + 20, "0|1"), snv(of.tss, "0|1")])
    (found,) = predictor.haplotypes(path, genome, genes=[of])
    bases = BASES[: of.tss] + OTHER[BASES[of.tss]] + BASES[of.tss + 1 :]
    bases = bases[:upstream] + bases[upstream + 20 :]
    tss = of.tss - 20 * (of.strand == "+")
    window = GeneWindow.of(of, predictor.frame, 3000)
    center = tss + window.center - of.tss
    assert found.num_bins.tolist() == [3, 3]
    for row, (text, middle) in zip(found.sums, [(BASES, window.center), (bases, center)], strict=True):
        expected = both_strands(text, middle)[window.bins].sum(0)
        np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("of", [PLUS, MINUS])
def test_in_place_of_a_deleted_start_there_is_the_next_base(genome, predictor, tmp_path, of):
    start, end = of.tss - 10, of.tss + 10
    path = write(tmp_path, [deletion(start, end, "1|0")])
    (found,) = predictor.haplotypes(path, genome, genes=[of])
    window = GeneWindow.of(of, predictor.frame, 3000)
    tss = start if of.strand == "+" else start - 1
    expected = both_strands(BASES[:start] + BASES[end:], tss + window.center - of.tss)[window.bins].sum(0)
    np.testing.assert_allclose(found.sums[1], expected, atol=1e-5)


def test_a_substitution_is_as_it_is_scored(genome, predictor, tmp_path):
    ats = range(905, 1100, 31)
    path = write(tmp_path, [snv(at, *("1|0" if n == at else "0|0" for n in ats)) for at in ats])
    (found,) = predictor.haplotypes(path, genome, genes=[PLUS])
    variants = [Variant("c1", at + 1, BASES[at], OTHER[BASES[at]]) for at in ats]
    scores = predictor.score_genes(variants, genome, [PLUS], statistics=["REF", "ALT"])
    np.testing.assert_array_equal(found.rows, [[n + 1, 0] for n in range(len(ats))])
    np.testing.assert_array_equal(found.sums[1:], scores.statistics["ALT"])
    np.testing.assert_array_equal(found.sums[[0] * len(ats)], scores.statistics["REF"])


def test_equal_haplotypes_are_predicted_once_and_loci_share_batches(genome, tmp_path):
    rows = [snv(990, *["0|1", "1|0", "1|1", "0|0"] * 5), snv(2500, *["0|1"] * 20)]
    path = write(tmp_path, rows)
    predictor = counting_predictor(KMER, LENGTH, BINS, BIN, batch_size=5)
    asked, passes = [], []
    predict, full_pass = predictor.predict_strands, predictor._full_pass

    def listen(windows, columns):
        return predict((asked.append(w) or w for w in windows), columns)

    predictor.predict_strands = listen
    predictor._full_pass = lambda sequences: passes.append(len(sequences)) or full_pass(sequences)
    regions = [REGION, Interval("c1", 2400, 2500), Interval("c1", 100, 200)]
    found = list(predictor.haplotypes(path, genome, regions=regions))
    assert [len(locus.sums) for locus in found] == [2, 2, 1]
    assert len(asked) == 2 * (2 + 2 + 1)
    assert passes == [5, 5]
    assert found[0].rows.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0]] * 5
    assert found[2].rows.tolist() == [[0, 0]] * 20
    alone = counting_predictor(KMER, LENGTH, BINS, BIN, batch_size=1)
    for locus, region in zip(found, regions, strict=True):
        (same,) = alone.haplotypes(path, genome, regions=[region])
        np.testing.assert_array_equal(same.sums, locus.sums)


def test_haploid_samples_have_one_haplotype(genome, predictor, tmp_path):
    path = write(tmp_path, [snv(990, "1", "0|1")])
    (found,) = predictor.haplotypes(path, genome, regions=[REGION])
    assert found.rows.tolist() == [[1, -1], [0, 1]]


def test_the_other_strand_of_genome_genes_and_genotypes_swaps_strand_pairs(genome, predictor, tmp_path):
    genotypes = ["0|1", "1|0", "1|1"]
    rows = [
        snv(960, *genotypes),
        deletion(1062, 1075, *genotypes[::-1]),
        insertion(1004, "ACCTACC", *genotypes),
        deletion(1180, 1199, "0|1", "0|0", "1|0"),
    ]
    end = len(BASES)

    def turn(at, ref, alt, gts):
        """The other strand; indels have the base before them, not the one after."""
        high = at - 1 + len(ref)
        if len(ref) == len(alt):
            return end - high + 1, other_strand(ref), other_strand(alt), gts
        ref, alt = ref[1:] + BASES[high], alt[1:] + BASES[high]
        return end - high, other_strand(ref), other_strand(alt), gts

    there = write_genome(tmp_path, {name: other_strand(bases) for name, bases in CONTIGS.items()})
    genes = [PLUS, MINUS]
    turned = [
        gene(
            g.gene_id,
            end - g.end,
            end - g.start,
            "-" if g.strand == "+" else "+",
            tuple((end - high, end - low) for low, high in g.exons[::-1]),
        )
        for g in genes
    ]
    for part in ("tss", "exons", "span"):
        found = predictor.haplotypes(write(tmp_path, rows), genome, genes=genes, part=part)
        mirrored = predictor.haplotypes(
            write(tmp_path, [turn(*row) for row in rows], "y"), there, genes=turned, part=part
        )
        for here, other in zip(found, mirrored, strict=True):
            np.testing.assert_array_equal(here.rows, other.rows)
            assert len(here.sums) > 2
            np.testing.assert_allclose(here.sums, other.sums[:, ::-1], atol=1e-5)


def test_genotypes_without_a_phase(genome, predictor, tmp_path):
    path = write(tmp_path, [snv(990, "0/1", "0|1")])
    with pytest.raises(
        DatasetError, match=r"1 heterozygous genotypes have no phase, the first one c1:991 of s0"
    ):
        list(predictor.haplotypes(path, genome, regions=[REGION]))
    (found,) = predictor.haplotypes(path, genome, regions=[REGION], unphased="skip")
    assert found.rows.tolist() == [[0, 0], [0, 1]]
    with pytest.raises(ValueError, match="refuse, skip"):
        list(predictor.haplotypes(path, genome, regions=[REGION], unphased="iupac"))


@pytest.mark.parametrize("seed", range(4))
def test_windows_of_random_genotypes_are_cut_from_the_sequences_of_bcftools(predictor, tmp_path, seed):
    """The anchor's surroundings have no variants, so that it is found in each sequence."""
    bases = "".join(random.Random(seed).choices("ACGT", k=1400))
    genome = write_genome(tmp_path, {"c1": bases})
    rows = [
        (at, ref, alt, gts)
        for start in (120, 720)
        for at, ref, alt, *gts in random_rows(seed, GENOTYPES, bases[start : start + 560])
        for at in [at + start]
    ]
    path = write(tmp_path, rows)
    of = gene("G", 700, 800, "+")
    (found,) = predictor.haplotypes(path, genome, genes=[of])
    window = GeneWindow.of(of, predictor.frame, len(bases))
    for sample, number in itertools.product(range(2), (1, 2)):
        text = pysam.bcftools.consensus(
            "-f", str(genome.path), "-H", str(number), "-s", f"s{sample}", str(path)
        )
        whole = "".join(text.splitlines()[1:])
        tss = whole.index(bases[685:715]) + 15
        assert tss != 700
        expected = both_strands(whole, tss + window.center - of.tss)[window.bins].sum(0)
        np.testing.assert_allclose(found.sums[found.rows[sample, number - 1]], expected, atol=1e-5)
