"""The picture's parts are tested with the library; here what is asked for and what comes out."""

import numpy as np
import pytest

from tests.command.test_command import BASES, folder, run  # noqa: F401 (a fixture)

PLOT = ("plot", "{0}/model.keras", "--fasta", "{0}/genome.fa", "--batch-size", "1")


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_variant_and_a_stretch_are_drawn(folder, tmp_path, name):  # noqa: F811
    base = BASES[999]
    variant = f"c1:1000:{base}>{'CGTA'['ACGT'.index(base)]}"
    (tmp_path / "g.gff3").write_text("c1\tx\tgene\t900\t1100\t.\t+\t.\tID=g1;Name=thrA\n")
    result = run(folder, *PLOT, variant, "--gtf", str(tmp_path / "g.gff3"), "--output", str(tmp_path / name))
    assert result.exit_code == 0, result.output
    # The window begins 511 bp before the variant's base, and 256 bp of it are cropped.
    assert result.stdout == f"{tmp_path / name}: c1:745-1256, 3 tracks\n"
    assert (tmp_path / name).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    result = run(folder, *PLOT, "c1:2,900-3,000", "--tracks", "1", "--output", str(tmp_path / "b.png"))
    assert result.stdout == f"{tmp_path / 'b.png'}: c1:2817-3072, 1 tracks\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "b.png", "g.gff3"])


def test_what_cannot_be_drawn_is_named(folder, tmp_path):  # noqa: F811
    result = run(folder, *PLOT, "c1:1-10", "--output", str(tmp_path / "a.jpg"))
    assert result.exit_code == 2
    assert "must end in .png or .svg" in result.stderr
    result = run(folder, *PLOT, "c1:2,900-3,001", "--output", str(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "ends past the contig's end at 3000" in result.stderr
    wrong = "A" if BASES[999] != "A" else "C"
    result = run(folder, *PLOT, f"c1:1000:{wrong}>T", "--output", str(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "reference_mismatch" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_span_takes_the_bins_about_the_middle():
    from enformer_command.plot import _zoom
    from enformer_keras.formats.intervals import Interval

    whole = Interval("c1", 1000, 1000 + 10 * 128)
    interval, bins = _zoom(whole, 1640, 256, 128)
    assert np.arange(10)[bins].tolist() == [4, 5]
    assert interval == Interval("c1", 1512, 1768)
    assert _zoom(whole, 1640, 10_000, 128) == (whole, slice(0, 10))
