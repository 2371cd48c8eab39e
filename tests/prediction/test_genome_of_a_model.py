"""A model refuses another genome than the one that it was trained on."""

import numpy as np
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction import ModelCard, Predictor
from tests.prediction.counting_model import counting_predictor

BASES = "".join(np.random.default_rng(2).choice(list("ACGT"), 2000))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "mine.fa"
    path.write_text(f">1\n{BASES}\n>extra\n{BASES[:700]}\n")
    return Genome(path)


def trained_on(lengths, **options):
    plain = counting_predictor("ACC")
    card = ModelCard("pushed/7", "x", assembly="hg38", contig_lengths=lengths)
    return Predictor(plain.model, plain.frame, plain.tracks, card=card, **options)


def ask(predictor, genome, **options):
    """Asks in both ways; the same bases whatever the genome is called."""
    variant = Variant("1", 1000, BASES[999], "A" if BASES[999] != "A" else "C")
    scores = predictor.score_variants([variant], genome, statistics=["ALT"], **options)
    found = predictor.predict([Interval("1", 900, 1100)], genome, **options)
    assert scores.statuses[0].is_scored
    assert found.sum() > 0


@pytest.mark.parametrize("lengths", [None, {"1": 2000}, {"1": 2000, "other": 5}, {"extra": 700, "2": 1}])
def test_its_own_genome_is_taken_and_so_are_parts_of_it(genome, lengths):
    ask(trained_on(lengths), genome)


@pytest.mark.parametrize(
    ("lengths", "problem"),
    [
        (
            {"1": 2001},
            r"mine\.fa: contig 1 has 2000 bp, but 2001 bp in .* pushed/7 .*hg38.*any_genome",
        ),
        ({"1": 2000, "extra": 70}, "contig extra has 700 bp, but 70 bp"),
        ({"2": 2000}, "has the contigs 1, extra, but the genome .* has 2; use the FASTA"),
        ({"chr1": 2000}, r"has chr1; if they have other names here .*--alias 1=chr1"),
    ],
)
def test_another_genome_is_refused_unless_it_may_be_any(genome, lengths, problem):
    predictor = trained_on(lengths)
    for question in (
        lambda: predictor.score_variants([Variant("1", 5, "A", "C")], genome.path),
        lambda: predictor.predict([Interval("1", 900, 1100)], genome),
        lambda: next(predictor.resolve_variants([], genome, None, {})),
    ):
        with pytest.raises(DatasetError, match=problem):
            question()
    ask(trained_on(lengths, any_genome=True), genome)


def test_aliases_count(genome):
    ask(trained_on({"chr1": 2000}), genome, contig_aliases={"1": ["chr1"]})
    with pytest.raises(DatasetError, match="contig 1 has 2000 bp, but 1999 bp"):
        ask(trained_on({"chr1": 1999}), genome, contig_aliases={"1": ["chr1"]})
    predictor = trained_on(None)
    expected = predictor.predict([Interval("1", 900, 1100)], genome)
    found = predictor.predict([Interval("chr1", 900, 1100)], genome, contig_aliases={"1": ["chr1"]})
    np.testing.assert_array_equal(found, expected)
