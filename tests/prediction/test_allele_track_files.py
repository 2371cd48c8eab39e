"""Both alleles' tracks: bins where strings say that the reference's are."""

import json
import random

import h5py
import numpy as np
import pyBigWig
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.allele_track_files import allele_track_names, write_allele_tracks
from tests.prediction.counting_model import counting_predictor

BASES = "".join(random.Random(6).choices("ACGT", k=1100))
LENGTHS = {"b": 50, "c1": len(BASES)}
BINS, BIN = 8, 32


def changed(at, name=""):
    """A substitution of the base at a 0-based position."""
    return Variant("c1", at + 1, BASES[at], "A" if BASES[at] != "A" else "C", name)


VARIANTS = [
    changed(500, "rs1"),
    Variant("c1", 7, "A", "<DEL>"),
    changed(20),
    changed(1099),
    changed(500, "rs1"),
]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">b\n{'ACGTA' * 10}\n>c1\n{BASES}\n")
    return Genome(path)


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor("A", bins=BINS, bin_size=BIN, batch_size=1)


def write(folder, kind, genome, predictor, variants=VARIANTS, strands="forward"):
    files = write_allele_tracks(
        folder, kind, variants, predictor.tracks, predictor.frame, genome.contig_lengths, {"model": "m"}
    )
    options = {"statistics": ["SAD", "REF", "ALT"], "strands": strands, "keep_predictions": True}
    parts = []
    with files as append:
        for part in predictor.score_in_parts(variants, genome, **options):
            append(part)
            parts.append(part)
    return parts


def entries(path):
    with pyBigWig.open(str(path)) as file:
        assert file.chroms() == LENGTHS
        return file.intervals("c1")


def test_bigwigs_hold_each_allele_bin_by_bin(tmp_path, genome, predictor):
    write(tmp_path, "bigwig", genome, predictor)
    labels = {
        500: f"rs1_c1_501_{BASES[500]}_{VARIANTS[0].alternate}_0",
        20: f"c1_21_{BASES[20]}_{VARIANTS[2].alternate}",
        1099: f"c1_1100_{BASES[1099]}_{VARIANTS[3].alternate}",
    }
    names = {path.name for path in (tmp_path / "tracks").iterdir()}
    assert len(names) == 4 * 2 * 2 + 1  # the duplicate has its own, what was not scored none
    for at, label in labels.items():
        alternate = BASES[:at] + changed(at).alternate + BASES[at + 1 :]
        first = at - (BINS * BIN // 2 - 1)  # the variant is the last base of the left central bin
        for allele, bases in (("ref", BASES), ("alt", alternate)):
            expected = [
                (max(start, 0), min(start + BIN, 1100), bases[max(start, 0) : start + BIN].count("A"))
                for start in range(first, first + BINS * BIN, BIN)
                if start + BIN > 0 and start < 1100
            ]
            assert len(expected) == {500: 8, 20: 5, 1099: 4}[at]
            found = entries(tmp_path / "tracks" / f"{label}.plus.{allele}.bw")
            assert list(found) == expected
    said = json.loads((tmp_path / "tracks" / "tracks.json").read_text())
    assert said["model"] == "m"
    assert names - {"tracks.json"} <= set(said["files"])
    assert said["alleles"][1] == "c1:7:A><DEL>"


def test_rows_of_hdf5_are_those_of_the_scores(tmp_path, genome, predictor):
    parts = write(tmp_path, "h5", genome, predictor, strands="both")
    sums = {name: np.concatenate([part.statistics[name] for part in parts]) for name in ("REF", "ALT")}
    with h5py.File(tmp_path / "tracks.h5") as file:
        np.testing.assert_allclose(file["ref_preds"][:].sum(axis=1), sums["REF"], rtol=1e-6)
        np.testing.assert_allclose(file["alt_preds"][:].sum(axis=1), sums["ALT"], rtol=1e-6)
        assert np.isnan(file["ref_preds"][1]).all()
        assert file["start"][:].tolist() == [373, 0, -107, 972, 373]
        assert (file["end"][:] - file["start"][:]).tolist() == [256, 0, 256, 256, 256]
        assert [text.decode() for text in file["status"][:2]] == ["scored", "not_acgt"]
        assert file.attrs["bin_size"] == BIN


def test_a_swapped_variant_has_its_written_alleles(tmp_path, genome, predictor):
    at = next(at for at in range(500, 600) if BASES[at] == "A")
    (part,) = predictor.score_in_parts(
        [Variant("c1", at + 1, "C", "A")], genome, reference_policy="swap", keep_predictions=True
    )
    (prediction,) = part.predictions
    difference = prediction.alternate - prediction.reference
    np.testing.assert_allclose(difference.sum(axis=0), part.statistics["SAD"][0])
    assert difference[:, 0].sum() == 1
    (without,) = predictor.score_in_parts([VARIANTS[0]], genome)
    assert without.predictions == ()


def test_more_than_anyone_looks_at_is_refused_with_the_cure(predictor):
    with pytest.raises(DatasetError, match="at most 100 alleles; choose fewer alleles, or h5"):
        allele_track_names("bigwig", [changed(5)] * 101, None)
    with pytest.raises(
        DatasetError, match="2400 bigWigs, at most 2000 are written; choose fewer alleles or --tr"
    ):
        allele_track_names("bigwig", [changed(5)] * 100, list(predictor.tracks) * 6)
    assert allele_track_names("h5", [changed(5)] * 101, None) == ["tracks.h5"]
    insertion = Variant("c1", 7, "A", "ACGT" * 99)
    assert max(map(len, allele_track_names("bigwig", [insertion], predictor.tracks))) < 100


@pytest.mark.parametrize("kind", ["bigwig", "h5"])
def test_an_error_halfway_leaves_nothing(tmp_path, genome, predictor, kind):
    files = write_allele_tracks(
        tmp_path, kind, VARIANTS, predictor.tracks, predictor.frame, genome.contig_lengths, {}
    )

    def write_half():
        with files as append:
            for part in predictor.score_in_parts(VARIANTS[:2], genome, keep_predictions=True):
                append(part)
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert list(tmp_path.iterdir()) == []
