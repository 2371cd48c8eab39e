import gzip

import pysam
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.variants import Variant, read_variants

HEADER = "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
DECLARATIONS = "\n##contig=<ID=1>\n##contig=<ID=2>\n"
ROWS = "1\t5\t.\tA\tC\t.\t.\t.\n2\t7\trs1\tAT\tA,<DEL>,*\t9\tPASS\t.\n2\t9\t.\tG\t.\t.\t.\t.\n"
ALLELES = [
    Variant("1", 5, "A", "C"),
    Variant("2", 7, "AT", "A", "rs1"),
    Variant("2", 7, "AT", "<DEL>", "rs1"),
    Variant("2", 7, "AT", "*", "rs1"),
    Variant("2", 9, "G", "."),
]


def test_every_allele_of_a_vcf_comes_once_whether_or_not_its_header_names_contigs(tmp_path, capfd):
    plain, packed, binary = tmp_path / "x.vcf", tmp_path / "x.vcf.gz", tmp_path / "x.bcf"
    plain.write_text(HEADER + ROWS)
    pysam.tabix_compress(str(plain), str(packed))
    contigs = tmp_path / "contigs.vcf"
    # pysam writes an END for `<DEL>`, which this header does not declare.
    contigs.write_text(HEADER.replace("\n", DECLARATIONS, 1) + ROWS.replace("<DEL>,", ""))
    with (
        pysam.VariantFile(str(contigs)) as read,
        pysam.VariantFile(str(binary), "wb", header=read.header) as file,
    ):
        for record in read:
            file.write(record)
    capfd.readouterr()
    for path in (plain, packed):
        assert list(read_variants(path)) == ALLELES
    assert list(read_variants(binary)) == [*ALLELES[:2], *ALLELES[3:]]
    assert capfd.readouterr().err == ""


def test_a_table_names_its_columns_in_any_order(tmp_path):
    rows = "alt\tid\tCHROM\tpos\tref\nC\t\t1\t5\tA\nA,<DEL>,*\trs1\t2\t7\tAT\n\t\t2\t9\tG\n"
    (tmp_path / "x.tsv").write_text(rows)
    with gzip.open(tmp_path / "x.tsv.gz", "wt") as file:
        file.write(rows)
    (tmp_path / "packed.tsv").write_bytes((tmp_path / "x.tsv.gz").read_bytes())
    (tmp_path / "plain.tsv.gz").write_text(f"\ufeff{rows}")
    for name in ("x.tsv", "x.tsv.gz", "packed.tsv", "plain.tsv.gz"):
        assert list(read_variants(tmp_path / name)) == ALLELES


def test_variants_are_spelled_on_a_command_line():
    assert Variant.parse("chr1:12,345:A>C") == Variant("chr1", 12345, "A", "C")
    assert Variant.parse("HLA:1:7:AT:A") == Variant("HLA:1", 7, "AT", "A")
    for text in ("1:5:A>C", "1:5:A><DEL>", "1:5:A>A]2:7]"):
        assert str(Variant.parse(f" {text} ")) == text
    with pytest.raises(DatasetError, match="chr1:12345:A>C"):
        Variant.parse("chr1:5 A>C")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEADER + ROWS + "1\tx\t.\tA\tC\t.\t.\t.\n", r"x\.vcf: line 6: position 'x'"),
        (HEADER + ROWS + "1\t6\t.\tA\n" + ROWS, r"x\.vcf: line 6: has 4 fields"),
        (HEADER + "1 5 . A C . . .\n", r"x\.vcf: line 3: has 1 fields"),
        (HEADER + ROWS + "\n" + ROWS, r"x\.vcf: line 6: is empty"),
        (ROWS, r"x\.vcf: line 1: comes before a line `#CHROM"),
        ("", r"x\.vcf: is empty"),
    ],
)
def test_what_is_wrong_in_a_vcf_is_said_with_its_line(tmp_path, text, problem):
    (tmp_path / "x.vcf").write_text(text)
    with pytest.raises(DatasetError, match=problem):
        list(read_variants(tmp_path / "x.vcf"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chrom\tpos\tref\n1\t5\tA\n", "names no column alt"),
        ("chrom\tpos\tref\talt\n1\t5\tA\n", "line 2: has 3 fields"),
        ("chrom\tpos\tref\talt\n1\t5.0\tA\tC\n", r"line 2: position '5\.0'"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_line(tmp_path, text, problem):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(DatasetError, match=problem):
        list(read_variants(tmp_path / "x.tsv"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda vcf: b"\xef\xbb\xbf" + vcf, "line 1: begins with a byte-order mark; remove it"),
        (
            lambda vcf: vcf.replace(b"\n", b"\r"),
            "line 1: ends in CR alone, as on old Macs; write the file with LF",
        ),
        (gzip.compress, "is compressed by gzip; compress it by bgzip instead"),
    ],
)
def test_a_vcf_that_htslib_does_not_read_says_why(tmp_path, change, problem):
    path = tmp_path / "x.vcf"
    path.write_bytes(change((HEADER + ROWS).encode()))
    with pytest.raises(DatasetError, match=rf"x\.vcf: {problem}"):
        list(read_variants(path))


def test_a_file_that_is_cut_or_missing_is_named(tmp_path):
    plain, packed = tmp_path / "x.vcf", tmp_path / "x.vcf.gz"
    plain.write_text(HEADER + ROWS * 1000)
    pysam.tabix_compress(str(plain), str(packed))
    packed.write_bytes(packed.read_bytes()[:-28])
    with pytest.raises(DatasetError, match=r"x\.vcf\.gz: is cut"):
        list(read_variants(packed))
    with pytest.raises(DatasetError, match=r"no\.vcf: no such file"):
        list(read_variants(tmp_path / "no.vcf"))
