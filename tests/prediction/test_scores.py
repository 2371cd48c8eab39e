"""Variant effects of a model that counts, against strings; nothing here uses the code under test but to ask."""

import random

import numpy as np
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.alleles import Status
from tests.prediction.counting_model import count, counting_predictor, other_strand

KMER = "ACC"
LENGTH, BINS, BIN = 512, 8, 32
_random = random.Random(3)
CONTIGS = {
    "c1": "".join(_random.choices("ACGT", k=3000)),
    "short": "".join(_random.choices("ACGT", k=700)),
}
# A repeat, in which an indel has many spellings, and a stretch that is not known.
CONTIGS["c1"] = CONTIGS["c1"][:1400] + "GACACACACACT" + "N" * 20 + CONTIGS["c1"][1432:]


def write_genome(folder, contigs=CONTIGS, name="genome.fa"):
    (folder / name).write_text("".join(f">{contig}\n{bases}\n" for contig, bases in contigs.items()))
    return Genome(folder / name)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor(KMER, LENGTH, BINS, BIN)


def spell(contig, start, end, bases, left=1):
    """A variant that replaces [start, end) by bases, with `left` bases in front as VCF has them."""
    before = CONTIGS[contig][start - left : start]
    return Variant(contig, start - left + 1, before + CONTIGS[contig][start:end], before + bases)


def test_a_substitution_is_what_strings_say_bin_by_bin(genome, predictor):
    """Along each strand the variant is the base before the window's middle."""
    at = 1000
    old, new = CONTIGS["c1"][at], "A" if CONTIGS["c1"][at] != "A" else "C"
    changed = CONTIGS["c1"][:at] + new + CONTIGS["c1"][at + 1 :]
    reference, alternate = np.zeros((2, BINS, 2))
    for bases, total in ((CONTIGS["c1"], reference), (changed, alternate)):
        start = at - (LENGTH // 2 - 1)
        total += count(bases[start : start + LENGTH], KMER, BINS, BIN) / 2
        start = (len(bases) - 1 - at) - (LENGTH // 2 - 1)
        total += count(other_strand(bases)[start : start + LENGTH], KMER, BINS, BIN)[::-1, ::-1] / 2
    scores = predictor.score_variants(
        [Variant("c1", at + 1, old, new)], genome, statistics=["SAD", "D1", "SAX", "REF", "ALT"]
    )
    difference = alternate - reference
    assert scores.statuses == (Status.SCORED,)
    np.testing.assert_allclose(scores.statistics["SAD"][0], difference.sum(0), atol=1e-6)
    np.testing.assert_allclose(scores.statistics["D1"][0], np.abs(difference).sum(0), atol=1e-6)
    np.testing.assert_allclose(scores.statistics["REF"][0], reference.sum(0), atol=1e-6)
    np.testing.assert_allclose(scores.statistics["ALT"][0], alternate.sum(0), atol=1e-6)


@pytest.mark.parametrize("at", [0, 1, 100, 255, 256, 699])
def test_beyond_the_ends_of_a_contig_there_is_n(genome, predictor, at):
    bases = CONTIGS["short"]
    new = "G" if bases[at] != "G" else "T"
    start = at - (LENGTH // 2 - 1)
    padded = "N" * LENGTH + bases + "N" * LENGTH
    window = padded[start + LENGTH : start + 2 * LENGTH]
    assert window[LENGTH // 2 - 1] == bases[at]
    changed = window[: LENGTH // 2 - 1] + new + window[LENGTH // 2 :]
    scores = predictor.score_variants(
        [Variant("short", at + 1, bases[at], new)], genome, statistics=["REF", "ALT"], strands="forward"
    )
    np.testing.assert_array_equal(scores.statistics["REF"][0], count(window, KMER, BINS, BIN).sum(0))
    np.testing.assert_array_equal(scores.statistics["ALT"][0], count(changed, KMER, BINS, BIN).sum(0))


@pytest.mark.parametrize("strands", ["forward", "both"])
@pytest.mark.parametrize("length", [1, 5, 31, 32, 33, 60])
def test_without_context_an_indel_differs_in_its_own_bins_alone(genome, strands, length):
    """Letters that nothing but their own place counts: without alignment half of the bins would differ."""
    letters = counting_predictor("A", LENGTH, BINS, BIN)
    start = 2000
    deletion = spell("c1", start, start + length, "")
    insertion = spell("c1", start, start, CONTIGS["c1"][500 : 500 + length])
    scores = letters.score_variants([deletion, insertion], genome, statistics=["D1"], strands=strands)
    aligned = letters.score_variants(
        [deletion, insertion], genome, statistics=["D1"], strands=strands, width=2 * BIN * (1 + length // BIN)
    )
    np.testing.assert_allclose(scores.statistics["D1"], aligned.statistics["D1"], atol=1e-6)
    assert (scores.statistics["D1"] <= 2 * length).all()


@pytest.mark.parametrize("length", [1, 127, 128, 129, 1000])
def test_bins_of_the_published_size_differ_where_the_indel_is_alone(tmp_path, length):
    """Both spellings: the bases before the deletion or after it."""
    contig = "".join(random.Random(length).choices("ACGT", k=20_000))
    genome = write_genome(tmp_path, {"c": contig})
    letters = counting_predictor("A", 8192, 40, 128)
    start, end = 10_000, 10_000 + length
    before = Variant("c", start, contig[start - 1 : end], contig[start - 1])
    after = Variant("c", start + 1, contig[start : end + 1], contig[end])
    whole = letters.score_variants([before, after], genome, statistics=["D1", "SAD"])
    # The bins that hold a deleted base, and those in which it may stand as well.
    near = letters.score_variants([before, after], genome, statistics=["D1"], width=length + 2 * 128)
    assert whole.statistics["D1"].max() > 0 or "A" not in contig[start:end]
    np.testing.assert_allclose(whole.statistics["D1"], near.statistics["D1"], atol=1e-4)
    np.testing.assert_array_equal(whole.statistics["D1"][0], whole.statistics["D1"][1])


def test_a_deletion_is_what_strings_say_bin_by_bin(genome, predictor):
    start, end = 2003, 2050
    bases = CONTIGS["c1"]
    assert bases[start - 1] != bases[end - 1]
    assert bases[start] != bases[end]
    window = (start + end - 1) // 2 - (LENGTH // 2 - 1)
    after = bases[:start] + bases[end:]
    left = count(after[window : window + LENGTH], KMER, BINS, BIN)
    moved = window - (end - start)
    right = count(after[moved : moved + LENGTH], KMER, BINS, BIN)
    first = window + (LENGTH - BINS * BIN) // 2
    expected = [
        left[n]
        if first + (n + 1) * BIN <= start
        else right[n]
        if first + n * BIN >= end
        else (left[n] + right[n]) / 2
        for n in range(BINS)
    ]
    scores = predictor.score_variants(
        [spell("c1", start, end, "")], genome, statistics=["ALT"], strands="forward"
    )
    np.testing.assert_allclose(scores.statistics["ALT"][0], np.sum(expected, axis=0), atol=1e-6)


def variants_of_all_kinds():
    other = {"A": "C", "C": "G", "G": "T", "T": "A"}
    return [
        Variant("c1", 1001, CONTIGS["c1"][1000], other[CONTIGS["c1"][1000]]),
        Variant("c1", 801, CONTIGS["c1"][800:804], "".join(other[base] for base in CONTIGS["c1"][800:804])),
        spell("c1", 1401, 1403, ""),  # in the repeat
        spell("c1", 1405, 1405, "ACAC"),
        spell("c1", 2000, 2033, ""),
        spell("c1", 2100, 2100, "ACCACCTT"),
        spell("c1", 2200, 2207, "GTACC"),
        Variant("short", 3, CONTIGS["short"][2], other[CONTIGS["short"][2]]),
    ]


def test_the_other_strand_of_the_genome_swaps_the_tracks_of_strand_pairs(genome, predictor, tmp_path):
    other = write_genome(tmp_path, {name: other_strand(bases) for name, bases in CONTIGS.items()})
    variants = variants_of_all_kinds()
    turned = [
        Variant(
            v.chrom,
            len(CONTIGS[v.chrom]) - (v.start + len(v.reference)) + 1,
            other_strand(v.reference),
            other_strand(v.alternate),
        )
        for v in variants
    ]
    statistics = ["SAD", "SAR", "D2", "logD1", "JSD"]
    here = predictor.score_variants(variants, genome, statistics=statistics, shifts=[0, 2])
    there = predictor.score_variants(turned, other, statistics=statistics, shifts=[0, 2])
    assert set(here.statuses) == {Status.SCORED}
    for name in statistics:
        assert np.abs(here.statistics[name]).max() > 0
        np.testing.assert_allclose(here.statistics[name], there.statistics[name][:, ::-1], atol=1e-5)


def test_every_spelling_of_an_indel_scores_the_same(genome):
    predictor = counting_predictor("ACA", LENGTH, BINS, BIN)
    deletions = [spell("c1", start, start + 2, "") for start in (1401, 1403, 1408)]
    deletions.append(spell("c1", 1401, 1403, "", left=7))
    insertions = [spell("c1", 1401, 1401, "AC"), spell("c1", 1402, 1402, "CA"), spell("c1", 1411, 1411, "AC")]
    for spellings in (deletions, insertions):
        scores = predictor.score_variants(spellings, genome, statistics=["D1"]).statistics["D1"]
        assert scores[0].max() > 0
        assert (scores == scores[0]).all()


def test_a_score_depends_on_nothing_but_its_variant(genome, predictor):
    variants = variants_of_all_kinds()
    from_files = predictor.score_variants(variants, genome.path).statistics["SAD"]
    together = predictor.score_variants(variants, genome).statistics["SAD"]
    twice = predictor.score_variants([*variants[::-1], *variants], genome).statistics["SAD"]
    np.testing.assert_array_equal(twice, np.concatenate([together[::-1], together]))
    np.testing.assert_array_equal(from_files, together)
    for batch_size in (1, 7):
        other = counting_predictor(KMER, LENGTH, BINS, BIN, batch_size)
        np.testing.assert_array_equal(other.score_variants(variants, genome).statistics["SAD"], together)


def test_each_allele_has_its_row_and_its_status(genome, predictor):
    base = CONTIGS["c1"][999]
    wrong = "A" if base != "A" else "C"
    rows = [
        (Variant("c1", 1000, base, wrong), Status.SCORED),
        (Variant("chr1", 1000, base, wrong), Status.SCORED),
        (Variant("c1", 1000, base.lower(), wrong.lower()), Status.SCORED),
        (Variant("c1", 1000, base, "."), Status.NO_ALTERNATE),
        (Variant("c1", 1000, base, "<DEL>"), Status.NOT_ACGT),
        (Variant("c1", 1000, base, "*"), Status.NOT_ACGT),
        (Variant("c1", 1000, base, f"{base}]c2:5]"), Status.NOT_ACGT),
        (Variant("c1", 1000, base, "R"), Status.NOT_ACGT),
        (Variant("c1", 1000, base, base), Status.SAME_ALLELES),
        (Variant("c9", 1000, base, wrong), Status.UNKNOWN_CONTIG),
        (Variant("c1", 3001, "A", "C"), Status.OUTSIDE_CONTIG),
        (Variant("c1", 0, "A", "C"), Status.OUTSIDE_CONTIG),
        (Variant("c1", 1000, wrong, "ACGT"), Status.REFERENCE_MISMATCH),
        (spell("c1", 2000, 2070, ""), Status.TOO_LONG),
    ]
    scores = predictor.score_variants([v for v, _ in rows], genome, contig_aliases={"c1": ("chr1",)})
    assert scores.variants == tuple(v for v, _ in rows)
    assert scores.statuses == tuple(status for _, status in rows)
    scored = np.isfinite(scores.statistics["SAD"]).all(axis=1)
    assert scored.tolist() == [True] * 3 + [False] * 11
    assert np.isnan(scores.statistics["SAD"][3:]).all()
    assert (scores.statistics["SAD"][:3] == scores.statistics["SAD"][0]).all()
    assert scores.counts()["scored"] == 3


def test_what_happens_where_the_reference_is_not_the_genomes(genome, predictor):
    at = next(n for n in range(1000, 1300) if CONTIGS["c1"][n : n + 3] == KMER)
    as_written = Variant("c1", at + 2, "T", "C")  # the genome has C, which makes ACC
    forwards = Variant("c1", at + 2, "C", "T")

    def ask(variant, policy):
        scores = predictor.score_variants([variant], genome, statistics=["SAD"], reference_policy=policy)
        return scores.statuses[0], scores.statistics["SAD"][0]

    loss = ask(forwards, "skip")[1]
    assert loss[0] <= -1
    assert ask(as_written, "skip")[0] is Status.REFERENCE_MISMATCH
    for policy, status in (("swap", Status.SWAPPED), ("force", Status.FORCED)):
        found, gain = ask(as_written, policy)
        assert found is status
        np.testing.assert_allclose(gain, -loss, atol=1e-6)
    assert ask(Variant("c1", at + 2, "T", "G"), "swap")[0] is Status.REFERENCE_MISMATCH
    with pytest.raises(DatasetError, match=rf"c1:{at + 2}:T>C.*genome.fa"):
        ask(as_written, "fail")


def test_variants_of_another_assembly_are_refused_before_anything_is_predicted(genome, predictor):
    wrong = [Variant("c1", n + 1, "A" if CONTIGS["c1"][n] != "A" else "C", "G") for n in range(0, 90, 3)]
    with pytest.raises(DatasetError, match=r"another REF than .*genome\.fa"):
        next(predictor.score_in_parts(wrong, genome))


def test_predictions_of_intervals_are_those_of_their_sequences(genome, predictor):
    interval = Interval("c1", 700, 800)
    window = interval.resize(LENGTH)
    bases = CONTIGS["c1"][window.start : window.end]
    expected = count(bases, KMER, BINS, BIN)
    for opened in (genome, str(genome.path)):
        np.testing.assert_array_equal(predictor.predict([interval], opened, strands="forward")[0], expected)
    np.testing.assert_array_equal(predictor.predict([bases], strands="forward")[0], expected)
    both = predictor.predict([bases])[0]
    turned = count(other_strand(bases), KMER, BINS, BIN)[::-1, ::-1]
    np.testing.assert_array_equal(both, (expected + turned) / 2)
    np.testing.assert_array_equal(predictor.predict([bases], tracks=[1])[0], both[:, [1]])
    shifted = count(CONTIGS["c1"][window.start + 3 : window.end + 3], KMER, BINS, BIN)
    found = predictor.predict([interval], genome, strands="forward", shifts=[0, 3])[0]
    np.testing.assert_array_equal(found, (expected + shifted) / 2)
    with pytest.raises(ValueError, match="512"):
        predictor.predict(["ACGT"])


def test_the_predictions_behind_a_score_are_given(genome, predictor):
    """The bins lie on the forward strand's window, whose base before the middle is the variant."""
    variants = variants_of_all_kinds()
    sums = predictor.score_variants(variants, genome, statistics=["REF", "ALT"]).statistics
    for row, variant in enumerate(variants):
        found = predictor.predict_variant(variant, genome)
        np.testing.assert_allclose(found.reference.sum(0), sums["REF"][row], rtol=1e-6)
        np.testing.assert_allclose(found.alternate.sum(0), sums["ALT"][row], rtol=1e-6)
    at = 1000
    start = at - (LENGTH // 2 - 1)
    assert found.interval.width == BINS * BIN
    found = predictor.predict_variant(variants[0], genome, strands="forward", tracks=[1])
    assert found.interval == Interval(
        "c1", start + (LENGTH - BINS * BIN) // 2, start + (LENGTH + BINS * BIN) // 2
    )
    window = CONTIGS["c1"][start : start + LENGTH]
    np.testing.assert_array_equal(found.reference, count(window, KMER, BINS, BIN)[:, 1:])
    with pytest.raises(DatasetError, match="no_alternate"):
        predictor.predict_variant(Variant("c1", 5, "A", "."), genome)
