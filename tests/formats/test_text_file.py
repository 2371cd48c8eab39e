"""What editors, archives and old systems do to a text file changes nothing of what is read."""

import codecs
import gzip

import numpy as np
import pytest

from enformer_keras.formats.bed import read_bed
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.gff import read_features
from enformer_keras.formats.text_file import read_text
from enformer_keras.formats.yaml_mapping import read_yaml_mapping

CHANGES = {
    "byte-order mark": lambda content: codecs.BOM_UTF8 + content,
    "DOS": lambda content: content.replace(b"\n", b"\r\n"),
    "old Mac": lambda content: content.replace(b"\n", b"\r"),
    "gzip": gzip.compress,
    "all": lambda content: gzip.compress(codecs.BOM_UTF8 + content.replace(b"\n", b"\r")),
}


def read_bed_file(path):
    rows = read_bed(path, {"c1": 90}, {}, columns=(4,))["c1"]
    return rows.starts.tolist(), rows.ends.tolist(), rows.cells, rows.lines.tolist()


def read_gff(path):
    features = read_features(path, "GFF3", [("exon", "+")], {"c1": 90}, {})
    return np.array(features["exon", "+"]["c1"]).tolist()


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_bed_file, b"c1\t1\t5\tname\nc1\t7\t9\tother\n"),
        (read_gff, b"c1\tx\texon\t2\t5\t.\t+\t.\tID=a\nc1\tx\texon\t7\t9\t.\t+\t.\tID=b\n"),
        (read_yaml_mapping, b"fasta: genome.fa\nstride: 4\n"),
        (read_text, b"index\tgenome\n0\tx\n"),
    ],
)
def test_neither_mark_nor_line_ends_nor_name_matter(tmp_path, read, content, change, name):
    plain, changed = tmp_path / "plain", tmp_path / name
    plain.write_bytes(content)
    changed.write_bytes(change(content))
    assert read(changed) == read(plain)


def test_what_is_compressed_and_damaged_is_refused(tmp_path):
    path = tmp_path / "x.bed"
    path.write_bytes(gzip.compress(b"c1\t1\t5\n")[:12])
    for read in (read_bed_file, read_gff, read_text):
        with pytest.raises(DatasetError, match=r"x\.bed: cannot be read .*(plain or gzip|UTF-8 text file)"):
            read(path)
