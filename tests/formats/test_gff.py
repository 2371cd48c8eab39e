import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.gff import read_features

LINE = "c1\tx\texon\t11\t20\t.\t+\t.\t{}\n"


def read(tmp_path, text, kind="GFF3", feature="exon", strand="+"):
    path = tmp_path / "x.gff3"
    path.write_text(text)
    (contig,) = read_features(path, kind, [(feature, strand)], {"c1": 90, "MT": 90}, {})[
        feature, strand
    ].items()
    return contig[0], contig[1][0].tolist(), contig[1][1].tolist()


@pytest.mark.parametrize(
    "attributes", ["g1.t1", 'gene_id  "a"; transcript_id "b";', 'gene-id "a";', "", ".", 'note "a=b"']
)
def test_attributes_of_gtf_are_not_asked_for(tmp_path, attributes):
    assert read(tmp_path, LINE.format(attributes), "GTF") == ("c1", [10], [20])


@pytest.mark.parametrize("end", ["##FASTA\n>c1\nACGT\n", ">c1\nACGT\n", ">c1 x\ty\nACGT\n"])
def test_sequences_end_the_features(tmp_path, end):
    assert read(tmp_path, LINE.format("ID=a") + end) == ("c1", [10], [20])


@pytest.mark.parametrize(
    ("feature", "strand", "words"),
    [
        (
            "CDS",
            ".",
            r"no CDS on strand \. .*the types there are exon \(2\), gene \(1\): correct the feature type",
        ),
        ("CDS", ".", 'or name the contigs not in use, chrM, in contig_aliases: {"MT"'),
        ("exon", "-", r"no exon on strand - .*exon is there on strand \+ \(2\): correct the strand"),
    ],
)
def test_what_is_there_is_named(tmp_path, feature, strand, words):
    text = LINE.replace("exon", "gene") + LINE * 2 + LINE.replace("c1", "chrM")
    with pytest.raises(DatasetError, match=words):
        read(tmp_path, text, feature=feature, strand=strand)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            LINE.replace("c1", "chrM"),
            r"it names chrM: name them in contig_aliases: {\"MT\": \[\"chrM\"\]} or give",
        ),
        ("##gff-version 3\n", "it is empty: give another file"),
    ],
)
def test_files_without_a_line_on_a_used_contig(tmp_path, text, words):
    with pytest.raises(DatasetError, match=rf"x\.gff3: no exon on strand \+ of any used contig; {words}"):
        read(tmp_path, text)
