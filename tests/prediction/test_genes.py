"""Genes, of a model that counts, against strings."""

import dataclasses

import numpy as np
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.genes import Gene
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction import genes
from enformer_keras.prediction.alleles import Status
from enformer_keras.prediction.gene_windows import GeneWindow
from enformer_keras.prediction.recent import RecentPredictions
from tests.prediction.counting_model import count, counting_predictor, other_strand
from tests.prediction.test_scores import BIN, BINS, CONTIGS, KMER, LENGTH, spell, write_genome

BASES = CONTIGS["c1"]
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}
CROP = (LENGTH - BINS * BIN) // 2


def gene(gene_id, start, end, strand, exons=None, chrom="c1"):
    tss = start if strand == "+" else end - 1
    return Gene(
        gene_id, gene_id.lower(), chrom, strand, start, end, tss, (tss,), exons or ((start, end),), "exon"
    )


PLUS = gene("PLUS", 1000, 1100, "+", ((1000, 1010), (1060, 1100)))
MINUS = gene("MINUS", 900, 1050, "-", ((900, 920), (1040, 1050)))
LONG = gene("LONG", 1900, 2600, "+", ((1900, 1950), (2500, 2600)))
GENES = [PLUS, MINUS, LONG]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor(KMER, LENGTH, BINS, BIN)


def snv(at):
    return Variant("c1", at + 1, BASES[at], OTHER[BASES[at]])


def windows(bases, of):
    """Bins of both strands, along the forward one, and where each begins: the TSS is in the middle of a bin.

    On the gene's own strand that is the bin that ends in the middle of the window.
    """
    found = []
    for turned in (False, True):
        along = other_strand(bases) if turned else bases
        tss = len(bases) - 1 - of.tss if turned else of.tss
        # Bases of the window before the TSS: half a bin less, or more, than the middle one has.
        before = LENGTH // 2 - 1 + (BIN // 2 if turned == (of.strand == "+") else -BIN // 2)
        start = tss - before
        bins = count(along[start : start + LENGTH], KMER, BINS, BIN)
        first = len(bases) - (start + LENGTH) + CROP if turned else start + CROP
        found.append((first, bins[::-1, ::-1] if turned else bins))
    return found


def expected(bases, of, part):
    """Which bins count, by going over all their bp; and the mean of the strands' sums."""
    layouts = windows(bases, of)

    def holds(number, places):
        return any(
            any(low <= first + number * BIN + n < high for n in range(BIN))
            for low, high in places
            for first, _ in layouts
        )

    if part == "tss":
        middle = [n for n in range(BINS) if holds(n, [(of.tss, of.tss + 1)])]
        assert len(middle) == 1
        numbers = [middle[0] - 1, middle[0], middle[0] + 1]
    else:
        places = of.exons if part == "exons" else [(of.start, of.end)]
        numbers = [n for n in range(BINS) if holds(n, places)]
    return sum(bins[numbers].sum(0) for _, bins in layouts) / 2


@pytest.mark.parametrize("part", ["tss", "exons", "span"])
def test_expression_is_what_strings_say(genome, predictor, part):
    found = predictor.predict_genes(genome, GENES, part=part)
    assert found.genes == tuple(GENES)
    for row, of in zip(found.sums, GENES, strict=True):
        np.testing.assert_allclose(row, expected(BASES, of, part), atol=1e-5)
    assert found.sums.max() > 0


def test_the_share_that_is_covered(genome, predictor):
    def covered(of, part, **options):
        window = GeneWindow.of(of, predictor.frame, len(CONTIGS[of.chrom]), part, **options)
        return window.covered

    assert covered(PLUS, "exons") == 1
    # The target reaches to 145 bp from the TSS, 1 bp less far where the other strand is predicted.
    assert covered(LONG, "span", strands="forward") == 145 / 700
    assert covered(LONG, "span") == pytest.approx((145 + 144) / 2 / 700)
    assert covered(LONG, "exons", strands="forward") == 50 / 150
    first = gene("FIRST", 0, 10, "+", chrom="short")
    assert covered(first, "tss", strands="forward") == (3 * BIN - (BIN + BIN // 2 - 1)) / (3 * BIN)
    beyond = dataclasses.replace(PLUS, exons=((2000, 2010),))
    assert covered(beyond, "exons") == 0
    sums = predictor.predict_genes(genome, [beyond, PLUS], part="exons").sums
    assert np.isnan(sums[0]).all()
    np.testing.assert_allclose(sums[1], expected(BASES, PLUS, "exons"), atol=1e-5)


@pytest.mark.parametrize("part", ["tss", "exons"])
@pytest.mark.parametrize("at", [960, 1000, 1049, 1062])
def test_effects_are_what_strings_say(genome, predictor, part, at):
    changed = BASES[:at] + OTHER[BASES[at]] + BASES[at + 1 :]
    scores = predictor.score_genes([snv(at)], genome, GENES, part=part, statistics=["SADR", "REF", "ALT"])
    assert scores.further["gene_id"].tolist() == ["PLUS", "MINUS"]
    for row, of in enumerate((PLUS, MINUS)):
        r, a = expected(BASES, of, part), expected(changed, of, part)
        np.testing.assert_allclose(scores.statistics["REF"][row], r, atol=1e-5)
        np.testing.assert_allclose(scores.statistics["ALT"][row], a, atol=1e-5)
        np.testing.assert_allclose(scores.statistics["SADR"][row], np.log2((1 + a) / (1 + r)), atol=1e-5)


def test_the_same_as_variants_scored_about_the_same_center(genome, predictor):
    whole = gene("WHOLE", 700, 1400, "-")
    variants = [snv(1380), spell("c1", 1350, 1382, ""), spell("c1", 1300, 1300, "ACCACC")]
    center = GeneWindow.of(whole, predictor.frame, 3000).center
    statistics = ["SAD", "D2", "REF"]
    # Bins left of the TSS, which the whole target would not all be.
    whole = dataclasses.replace(whole, exons=((700, 1600),))
    here = predictor.score_genes(variants, genome, [whole], part="exons", statistics=statistics)
    there = predictor.score_variants(variants, genome, statistics=statistics, centers=[center] * 3)
    assert here.statuses == there.statuses == (Status.SCORED,) * 3
    for name in statistics:
        np.testing.assert_array_equal(here.statistics[name], there.statistics[name])


def test_rows_come_by_alleles_then_genes_and_none_is_lost(genome, predictor):
    variants = [
        snv(2000),
        snv(1000),
        Variant("c1", 1001, BASES[1000], "<DEL>"),
        snv(100),
        spell("c1", 1120, 1125, ""),
    ]
    scores = predictor.score_genes(variants, genome, GENES)
    rows = [
        (0, "LONG", 100, Status.SCORED),
        (1, "PLUS", 0, Status.SCORED),
        (1, "MINUS", 49, Status.SCORED),
        (2, "", None, Status.NOT_ACGT),
        (3, "", None, Status.NO_GENE),
        (4, "PLUS", 120, Status.SCORED),
        (4, "MINUS", -71, Status.SCORED),
    ]
    assert scores.variants == tuple(variants[number] for number, *_ in rows)
    assert scores.statuses == tuple(status for *_, status in rows)
    assert scores.further["gene_id"].tolist() == [name for _, name, *_ in rows]
    distances = [np.nan if far is None else far for _, _, far, _ in rows]
    np.testing.assert_array_equal(scores.further["tss_distance"], distances)
    tss = {"PLUS": 1001, "MINUS": 1050, "LONG": 1901, "": 0}
    assert scores.further["gene_tss"].tolist() == [tss[name] for _, name, *_ in rows]
    assert np.isnan(scores.statistics["SADR"][[3, 4]]).all()
    assert np.isfinite(scores.statistics["SADR"][[0, 1, 2, 5, 6]]).all()


@pytest.mark.parametrize(("distance", "found"), [(19, ["PLUS"]), (29, ["PLUS"]), (30, ["PLUS", "MINUS"])])
def test_genes_within_a_distance(genome, predictor, distance, found):
    scores = predictor.score_genes([snv(1019)], genome, GENES, distance=distance)
    assert scores.further["gene_id"].tolist() == found
    none = predictor.score_genes([snv(1019)], genome, GENES, distance=18)
    assert none.statuses == (Status.NO_GENE,)


def test_a_gene_that_is_near_but_not_seen_has_its_status(genome, predictor):
    scores = predictor.score_genes([snv(1400), snv(1010)], genome, [PLUS], distance=1000)
    assert scores.statuses == (Status.OUTSIDE_WINDOW, Status.SCORED)
    beyond = dataclasses.replace(PLUS, exons=((2000, 2010),))
    scores = predictor.score_genes([snv(1010)], genome, [beyond], part="exons")
    assert scores.statuses == (Status.NO_BINS,)
    assert scores.further["covered"].tolist() == [0]


@pytest.mark.parametrize("part", ["tss", "exons", "span"])
def test_the_other_strand_of_genome_genes_and_variants_swaps_strand_pairs(genome, predictor, tmp_path, part):
    turned_genome = write_genome(tmp_path, {name: other_strand(bases) for name, bases in CONTIGS.items()})
    end = len(BASES)
    turned_genes = [
        gene(
            g.gene_id,
            end - g.end,
            end - g.start,
            "-" if g.strand == "+" else "+",
            tuple((end - high, end - low) for low, high in g.exons[::-1]),
        )
        for g in GENES
    ]
    variants = [snv(at) for at in range(880, 1130, 7)]
    variants += [spell("c1", 990, 1015, ""), spell("c1", 1003, 1003, "ACCACCTT")]
    turned = [
        Variant(
            "c1", end - v.start - len(v.reference) + 1, other_strand(v.reference), other_strand(v.alternate)
        )
        for v in variants
    ]
    for sense in (False, True):
        options = {"statistics": ["SADR", "D1"], "part": part, "sense": sense, "shifts": [0, 3]}
        here = predictor.score_genes(variants, genome, GENES, **options)
        there = predictor.score_genes(turned, turned_genome, turned_genes, **options)
        assert (here.further["gene_id"] == there.further["gene_id"]).all()
        np.testing.assert_array_equal(here.further["tss_distance"], there.further["tss_distance"])
        np.testing.assert_allclose(here.further["covered"], there.further["covered"])
        step = 1 if sense else -1
        for name in ("SADR", "D1"):
            assert np.nanmax(np.abs(here.statistics[name])) > 0
            np.testing.assert_allclose(here.statistics[name], there.statistics[name][:, ::step], atol=1e-5)


def test_sense_is_the_track_of_the_genes_own_strand(genome, predictor):
    plain = predictor.predict_genes(genome, GENES).sums
    for tracks in (None, [0]):
        sense = predictor.predict_genes(genome, GENES, sense=True, tracks=tracks).sums
        wanted = np.array([plain[0], plain[1, ::-1], plain[2]])
        np.testing.assert_array_equal(sense, wanted if tracks is None else wanted[:, :1])


def test_each_start_has_rows_of_its_own(genome, predictor):
    two = dataclasses.replace(MINUS, transcript_starts=(1049, 1020))
    found = predictor.predict_genes(genome, [two], each_start=True)
    assert [g.tss for g in found.genes] == [1049, 1020]
    for row, of in zip(found.sums, found.genes, strict=True):
        np.testing.assert_allclose(row, expected(BASES, of, "tss"), atol=1e-5)


def test_a_gene_has_one_reference_and_no_score_depends_on_its_neighbours(genome):
    variants = [snv(at) for at in range(960, 1100, 4)]
    predictor = counting_predictor(KMER, LENGTH, BINS, BIN, batch_size=2)
    asked = []
    predict = predictor.predict_strands
    predictor.predict_strands = lambda windows, columns, like, shared: predict(
        [asked.append(w) or w for w in windows], columns, like, shared=shared
    )
    scores = predictor.score_genes(variants, genome, [PLUS])
    assert len(asked) == 2 * (1 + len(variants))
    assert len(set(asked)) == len(asked)
    backwards = counting_predictor(KMER, LENGTH, BINS, BIN, batch_size=7).score_genes(
        variants[::-1], genome, GENES
    )
    mine = backwards.further["gene_id"] == "PLUS"
    np.testing.assert_array_equal(backwards.statistics["SADR"][mine][::-1], scores.statistics["SADR"])


def test_references_that_were_not_kept_are_predicted_again(genome, predictor, monkeypatch):
    variants = [snv(at) for at in range(960, 1100, 4)]
    scores = predictor.score_genes(variants, genome, GENES)
    monkeypatch.setattr(genes, "RecentPredictions", lambda: RecentPredictions(0))
    again = predictor.score_genes(variants, genome, GENES)
    np.testing.assert_array_equal(again.statistics["SADR"], scores.statistics["SADR"])


def test_the_last_used_predictions_are_kept_the_longest():
    """Of long windows and few numbers the bases count."""
    bins = np.zeros((4, 2), np.float32)
    a, c, g = ("A" * 10_000, False), ("C" * 10_000, False), ("G" * 10_000, True)
    kept = RecentPredictions(25_000)
    kept.put(a, bins)
    kept.put(c, bins)
    assert kept.get(a) is bins
    kept.put(g, bins)
    assert kept.get(a) is kept.get(g) is bins
    assert kept.get(c) is kept.get((g[0], False)) is None


def test_files_of_genes_are_read(genome, predictor, tmp_path):
    (tmp_path / "x.gtf").write_text('chr1\tx\texon\t901\t1050\t.\t-\t.\tgene_id "MINUS";\n')
    aliases = {"c1": ("chr1",)}
    found = predictor.predict_genes(genome.path, tmp_path / "x.gtf", contig_aliases=aliases)
    np.testing.assert_array_equal(found.sums, predictor.predict_genes(genome, [MINUS]).sums)
    with pytest.raises(DatasetError, match=r"x\.gtf: no gene on any contig of the genome; it names chr1"):
        predictor.score_genes([snv(1)], genome, tmp_path / "x.gtf")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"part": "cds"}, "tss, exons, span"),
        ({"shifts": [16]}, "half of a bin of 32 bp"),
        ({"distance": -1}, "distance=-1"),
        ({"statistics": ["SUM"]}, "SADR"),
    ],
)
def test_what_cannot_be_is_said(genome, predictor, options, problem):
    with pytest.raises(ValueError, match=problem):
        predictor.score_genes([snv(1000)], genome, GENES, **options)
