import pytest

from enformer_keras.formats.bed import read_bed
from enformer_keras.formats.errors import DatasetError

LENGTHS = {"1": 900, "2": 900, "MT": 90, "KI1.1": 90}


def read(tmp_path, text, **options):
    path = tmp_path / "x.bed"
    path.write_text(text)
    lines = read_bed(path, LENGTHS, {}, **options)
    return {
        contig: list(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True))
        for contig, rows in lines.items()
    }


@pytest.mark.parametrize(
    "line", ["track", "track\tname=x", "track name=x", "browser", "browser\thide all", "#1\t2\t3", "  ", "\t\t"]
)
def test_lines_without_an_interval(tmp_path, line):
    assert read(tmp_path, f"{line}\n1\t2\t3\n{line}\n") == {"1": [(2, 3)]}


def test_a_contig_may_begin_as_a_header_does(tmp_path):
    assert read_bed_of_all(tmp_path, "track1\t2\t3\n") == ["track1"]


def read_bed_of_all(tmp_path, text):
    path = tmp_path / "x.bed"
    path.write_text(text)
    return list(read_bed(path, None, {}))


def test_intervals_without_a_bp_are_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    assert read(tmp_path, "1\t0\t0\n1\t9\t9\n1\t2\t3\n1\t900\t900\n") == {"1": [(2, 3)]}
    assert "x.bed: 3 lines passed over whose start is their end" in caplog.text
    with pytest.raises(DatasetError, match=r"line 1: 1:901-901 ends past"):
        read(tmp_path, "1\t901\t901\n")
    with pytest.raises(
        DatasetError, match=r"no line lies on a used contig .*the start of each of its 2 intervals"
    ):
        read(tmp_path, "1\t0\t0\n1\t9\t9\n")
    with pytest.raises(DatasetError, match="holds no interval"):
        read_bed_of_all(tmp_path, "1\t0\t0\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "chr1\t0\t9\nKI1.1\t0\t9\nchrM\t0\t9\n",
            r"no line lies on a used contig \(1, 2, MT\); it names chr1, chrM, KI1.1: name them in "
            r'contig_aliases: {"1": \["chr1"\], "MT": \["chrM"\]} or give another file',
        ),
        ("alt\t0\t9\nKI1.1\t0\t9\n", r"it names alt, KI1.1: name them in contig_aliases or give another file"),
    ],
)
def test_other_names_are_refused(tmp_path, text, problem):
    with pytest.raises(DatasetError, match=rf"x\.bed: .*{problem}"):
        read(tmp_path, text, used=["1", "2", "MT"])


def test_a_file_of_contigs_not_in_use_is_warned_of(tmp_path, caplog):
    assert read(tmp_path, "KI1.1\t0\t9\n", used=["1", "2"]) == {"KI1.1": [(0, 9)]}
    assert "x.bed: no line lies on a used contig (1, 2); it names KI1.1: leave the file out" in caplog.text


@pytest.mark.parametrize(("name", "warns"), [("chrM", True), ("chr1", False), ("alt", False)])
def test_a_likely_name_of_a_contig_without_a_line_is_warned_of(tmp_path, caplog, name, warns):
    read(tmp_path, f"1\t0\t9\n2\t0\t9\n{name}\t0\t9\n")
    warning = (
        "x.bed: 1 lines on contigs not in use: chrM; if they are the FASTA file's, name them in contig_aliases"
    )
    assert (warning in caplog.text) == warns
