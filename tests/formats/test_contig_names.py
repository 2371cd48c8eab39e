import pytest

from enformer_keras.formats.contig_names import advise, likely_aliases


@pytest.mark.parametrize(
    ("contigs", "names", "likely"),
    [
        (["1", "X", "MT"], ["chrX", "chr1", "chrM", "chr2"], {"X": "chrX", "1": "chr1", "MT": "chrM"}),
        (["chr1", "chrM"], ["1", "MT", "2"], {"chr1": "1", "chrM": "MT"}),
        (["chrI"], ["CHRI", "chr1"], {"chrI": "CHRI"}),
        (["NC_1.3"], ["NC_1"], {"NC_1.3": "NC_1"}),
        (["NC_1"], ["NC_1.3"], {"NC_1": "NC_1.3"}),
        (["NC_1.3", ".5"], ["NC_1.4", ".7"], {}),
        (["a"], ["a ", "\ufeffa"], {"a": "a "}),
    ],
)
def test_names_of_other_archives(contigs, names, likely):
    assert likely_aliases(contigs, names) == likely


def test_advice():
    assert advise({"1": "chr1"}) == 'contig_aliases: {"1": ["chr1"]}'
    assert advise({}) == "contig_aliases"
