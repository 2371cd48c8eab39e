import gzip
import logging

import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.genes import at_each_start, choose_genes, read_genes

LENGTHS = {"c1": 1000, "MT": 300}


def rows(*lines):
    """Lines of contig, type, start, end, strand, attributes."""
    return "".join(
        f"{c}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"
        for c, kind, start, end, strand, attributes in lines
    )


GTF = rows(
    ("c1", "exon", 101, 120, "+", 'gene_id "G1.2"; transcript_id "T1"; gene_name "alpha; beta";'),
    ("c1", "exon", 111, 150, "+", 'gene_id "G1.2"; transcript_id "T2"; gene_name "alpha; beta";'),
    ("c1", "exon", 301, 320, "+", 'gene_id "G1.2"; transcript_id "T1"; gene_name "alpha; beta";'),
    ("MT", "gene", 11, 60, "-", 'gene_id "G3"; gene_type "tRNA"'),
    ("c1", "gene", 51, 400, "-", 'gene_id "G2"; gene "two"; gene_biotype "protein_coding";'),
    ("c1", "transcript", 51, 380, "-", 'gene_id "G2"; transcript_id "T3"; tag "a"; tag "b";'),
    ("c1", "transcript", 61, 400, "-", 'gene_id "G2"; transcript_id "T4";'),
    ("c1", "transcript", 71, 400, "-", 'gene_id "G2"; transcript_id "T5";'),
    ("c1", "CDS", 71, 90, "-", 'gene_id "G2"; transcript_id "T5";'),
    ("c1", "start_codon", 88, 90, "-", ""),
    ("c1", "gene", 501, 600, ".", 'gene_id "G4";'),
    ("c9", "gene", 1, 2, "+", 'gene_id "G5";'),
)
GFF3 = "##gff-version 3\n" + rows(
    ("c1", "exon", 111, 150, "+", "Parent=T1,T2"),  # before what it belongs to
    ("c1", "gene", 101, 320, "+", "ID=gene:G1;Name=al%3Bpha;gene_id=G1;biotype=lncRNA"),
    ("c1", "mRNA", 101, 320, "+", "ID=T1;Parent=gene:G1"),
    ("c1", "mRNA", 111, 320, "+", "ID=T2;Parent=gene:G1"),
    ("c1", "exon", 101, 120, "+", "ID=e1;Parent=T1"),
    ("c1", "exon", 301, 320, "+", "ID=e1;Parent=T1"),
    ("c1", "CDS", 115, 118, "+", "ID=p1;Parent=T1"),
    ("c1", "five_prime_UTR", 101, 114, "+", "ID=u1;Parent=gene:G1"),
    ("c1", "gene", 401, 500, "-", "ID=gene-b1;gene=abcD;Name=abcD"),
    ("c1", "CDS", 401, 430, "-", "ID=c1;Parent=gene-b1"),
    ("c1", "CDS", 426, 500, "-", "ID=c1;Parent=gene-b1"),
    ("c1", "ncRNA_gene", 601, 700, "+", "ID=m"),
    ("c1", "pre_miRNA", 601, 700, "+", "ID=m.1;Parent=m"),
    ("c1", "miRNA", 621, 640, "+", "ID=m.2;Parent=m.1"),
    ("c1", "exon", 621, 640, "+", "Parent=m.2"),
    ("c1", "exon", 901, 902, "+", "Parent=nothing"),
    ("c1", "pseudogene", 801, 900, "-", "ID=p"),
    ("c1", "repeat_region", 1, 9, "+", "ID=r"),
)


def read(tmp_path, text, name, lengths=LENGTHS, aliases=None):
    (tmp_path / name).write_text(text)
    return read_genes(tmp_path / name, lengths, aliases)


def test_genes_of_gtf(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        two, one, three = read(tmp_path, GTF, "x.gtf")
    assert (one.gene_id, one.name, one.strand) == ("G1.2", "alpha; beta", "+")
    assert (one.start, one.end, one.tss, one.transcript_starts) == (100, 320, 100, (100, 110))
    assert (one.exons, one.exons_from) == (((100, 150), (300, 320)), "exon")
    # On the minus strand a gene begins at its end.
    assert (two.gene_id, two.name, two.biotype) == ("G2", "two", "protein_coding")
    assert (two.start, two.end, two.tss, two.transcript_starts) == (50, 400, 399, (399, 379))
    assert (two.exons, two.exons_from) == (((70, 90),), "CDS")
    assert (three.chrom, three.name, three.tss, three.transcript_starts) == ("MT", "G3", 59, (59,))
    assert (three.exons, three.exons_from) == (((10, 60),), "gene")
    for said in ("1 genes without a strand", "1 genes whose exons are from CDS", "c9"):
        assert said in caplog.text
    assert [gene.tss for gene in at_each_start([one, two])] == [100, 110, 399, 379]


def test_genes_of_gff3(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        one, bacterial, nested, pseudo = read(tmp_path, GFF3, "x.gff")
    assert (one.gene_id, one.name, one.biotype) == ("G1", "al;pha", "lncRNA")
    assert (one.transcript_starts, one.exons) == ((100, 110), ((100, 150), (300, 320)))
    assert (bacterial.gene_id, bacterial.name, bacterial.tss) == ("gene-b1", "abcD", 499)
    assert (bacterial.exons, bacterial.exons_from) == (((400, 500),), "CDS")
    assert (nested.transcript_starts, nested.exons, nested.exons_from) == ((600,), ((620, 640),), "exon")
    assert (pseudo.exons, pseudo.exons_from) == (((800, 900),), "gene")
    assert "1 exon below no gene" in caplog.text


def test_compressed_and_by_other_names_of_contigs(tmp_path):
    (tmp_path / "x.gtf.gz").write_bytes(gzip.compress(GTF.replace("c1\t", "chr1\t").encode()))
    genes = read_genes(tmp_path / "x.gtf.gz", LENGTHS, {"c1": ("chr1",)})
    assert [gene.chrom for gene in genes] == ["c1", "c1", "MT"]


@pytest.mark.parametrize(("strand", "tss"), [("+", 970), ("-", 19)])
def test_a_gene_across_the_origin_of_a_circle(tmp_path, strand, tss):
    text = rows(
        ("c1", "region", 1, 1000, "+", "ID=c1;Is_circular=true"),
        ("c1", "gene", 971, 1020, strand, "ID=g"),
        ("c1", "CDS", 971, 1020, strand, "ID=p;Parent=g"),
    )
    (gene,) = read(tmp_path, text, "x.gff3")
    assert (gene.start, gene.end, gene.tss) == (970, 1020, tss)
    assert gene.exons == ((0, 20), (970, 1000))
    with pytest.raises(DatasetError, match=r"line 1: gene 971-1020 is not within c1 \(1000 bp\)"):
        read(tmp_path, text.partition("\n")[2], "x.gff3")


def test_the_file_of_a_part_of_a_genome_may_name_its_stretch(tmp_path):
    text = "##sequence-region c1 50 99\n" + rows(("c1", "gene", 51, 60, "+", "ID=g"))
    assert [gene.start for gene in read(tmp_path, text, "x.gff3")] == [50]


def test_an_id_on_two_contigs_is_two_genes(tmp_path):
    text = rows(("c1", "gene", 1, 9, "+", 'gene_id "G"'), ("MT", "gene", 1, 9, "-", 'gene_id "G"'))
    assert [gene.tss for gene in read(tmp_path, text, "x.gtf")] == [0, 8]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "x.gtf",
            rows(("c1", "exon", 1, 9, "+", 'transcript_id "T"')),
            "line 1: exon has no attribute gene_id",
        ),
        ("x.gtf", rows(("c1", "exon", 1, 9, "+", "ID=a")), r"line 1: attributes 'ID=a' .*\.gff3"),
        ("x.gff3", rows(("c1", "gene", 1, 9, "+", 'gene_id "G"')), r"line 1: gene has no attribute ID=.*\.gtf"),
        ("x.gff3", rows(("c1", "gene", 9, 1, "+", "ID=a")), "line 1: start '9' and end '1' are no 1-based"),
        ("x.gff3", rows(("c1", "gene", 1, 9, "x", "ID=a")), "line 1: strand 'x'"),
        ("x.gff3", "c1 gene 1 9\n", "line 1: has 1 fields, GFF3 has 9; separate them by tabs"),
        ("x.gff3", "##sequence-region c1 1 99\n", "line 1: c1 has 99 bp, .* same assembly"),
        ("x.gff3", "##sequence-region c1 50 1001\n", "line 1: c1 has 1001 bp, .* same assembly"),
        (
            "x.gff3",
            rows(("c1", "exon", 1, 9, "+", "ID=a")),
            r"no gene on any contig .*types there are exon \(1\)",
        ),
        (
            "x.gff3",
            rows(("chrM", "gene", 1, 9, "+", "ID=a")),
            r'no gene on any .*; it names chrM: name them in .*"MT": \["chrM"\]',
        ),
        ("x.gtf", rows(("c1", "gene", 1, 9, ".", 'gene_id "G"')), "none of its 1 genes has a strand"),
        ("x.gtf", "", "no gene on any contig of the genome; it is empty"),
        ("x.bed", "", r"is neither GTF nor GFF3 by its name; end it in \.gtf"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, problem):
    with pytest.raises(DatasetError, match=rf"x\.{name[2:]}: {problem}"):
        read(tmp_path, text, name)


def test_a_file_that_is_missing_or_cut_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no\.gtf: no such file"):
        read_genes(tmp_path / "no.gtf", LENGTHS)
    (tmp_path / "x.gtf.gz").write_bytes(gzip.compress(GTF.encode())[:60])
    with pytest.raises(DatasetError, match=r"x\.gtf\.gz: cannot be read"):
        read_genes(tmp_path / "x.gtf.gz", LENGTHS)


def test_genes_are_chosen_by_id_name_and_biotype(tmp_path):
    genes = read(tmp_path, GTF, "x.gtf")
    assert [gene.gene_id for gene in choose_genes(genes, ["two", "G1"])] == ["G2", "G1.2"]
    assert [gene.gene_id for gene in choose_genes(genes, [], ["tRNA"])] == ["G3"]
    with pytest.raises(DatasetError, match=r"G9: the id or name of none of 3 genes"):
        choose_genes(genes, ["two", "G9"])
    with pytest.raises(DatasetError, match="those there are protein_coding, tRNA"):
        choose_genes(genes, [], ["lncRNA"])
