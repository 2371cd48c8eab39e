"""The command, in this process; what the scores are is tested with the library."""

import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from enformer_command.main import main
from enformer_keras import Enformer, open_model
from enformer_keras.formats.variants import read_variants

BASES = "".join(np.random.default_rng(5).choice(list("ACGT"), 3000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a genome and variants, of which one cannot be scored."""
    folder = tmp_path_factory.mktemp("command")
    keras.utils.set_random_seed(1)
    sizes = {
        "channels": 12,
        "num_heads": 1,
        "num_transformer_layers": 1,
        "key_size": 4,
        "filters_divisible_by": 4,
    }
    Enformer(heads={"ecoli": 3}, sequence_length=1024, target_length=4, **sizes).save(folder / "model.keras")
    (folder / "genome.fa").write_text(f">c1\n{BASES}\n")
    rows = [(1000, "first"), (1500, "."), (2000, ".")]
    lines = [f"c1\t{at}\t{name}\t{BASES[at - 1]}\t{BASES[at - 1]}A\t.\t.\t." for at, name in rows]
    lines.insert(1, f"c1\t1400\t.\t{BASES[1399]}\t<DEL>\t.\t.\t.")
    head = "##fileformat=VCFv4.3\n##contig=<ID=c1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "x.vcf").write_text(head + "\n".join(lines) + "\n")
    return folder


def run(folder, *arguments, **options):
    command = [argument.format(folder) for argument in arguments]
    return CliRunner().invoke(main, command, **options)


SCORE = ("score", "{0}/model.keras", "{0}/x.vcf", "--fasta", "{0}/genome.fa", "--output")


def test_files_hold_what_the_library_says(folder, tmp_path):
    options = (
        "--format",
        "h5",
        "--format",
        "tsv",
        "--statistics",
        "SAD,JSD",
        "--tracks",
        "2",
        "--tracks",
        "re:^0",
    )
    result = run(folder, *SCORE, str(tmp_path / "new" / "scores"), *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == "scored 3, not_acgt 1\n"
    asked = {"statistics": ["SAD", "JSD"], "tracks": [0, 2]}
    expected = open_model(folder / "model.keras").score_variants(
        folder / "x.vcf", folder / "genome.fa", **asked
    )
    assert sorted(path.name for path in (tmp_path / "new" / "scores").iterdir()) == [
        "scores.h5",
        "scores.tsv",
        "skipped.tsv",
    ]
    with h5py.File(tmp_path / "new" / "scores" / "scores.h5") as file:
        for name, values in expected.statistics.items():
            np.testing.assert_array_equal(file[name][:], values)
        assert file["SAD"].attrs["formula"] == "sum(A - R)"
        assert file["pos"].dtype == np.uint32
        assert file["pos"][:].tolist() == [1000, 1400, 1500, 2000]
        assert [text.decode() for text in file["snp"][:2]] == ["first", f"c1:1400:{BASES[1399]}><DEL>"]
        assert file["alt"] == file["alt_allele"]
        assert [text.decode() for text in file["target_ids"][:]] == ["0", "2"]
        assert [text.decode() for text in file["status"][:]] == ["scored", "not_acgt", "scored", "scored"]
        assert file.attrs["strands"] == "both"
    lines = (tmp_path / "new" / "scores" / "scores.tsv").read_text().splitlines()
    header, *rows = [line.split("\t") for line in lines if not line.startswith("##")]
    assert header == ["chrom", "pos", "id", "ref", "alt", "status", "SAD:0", "SAD:2", "JSD:0", "JSD:2"]
    assert rows[1][5:] == ["not_acgt", "", "", "", ""]
    values = np.array([rows[n][6:] for n in (0, 2, 3)], np.float32)
    np.testing.assert_array_equal(values, np.concatenate(list(expected.statistics.values()), axis=1)[[0, 2, 3]])
    assert (tmp_path / "new" / "scores" / "skipped.tsv").read_text().splitlines()[1:] == [
        f"c1\t1400\t\t{BASES[1399]}\t<DEL>\tnot_acgt"
    ]


def test_scores_that_are_there_stay_unless_they_may_go(folder, tmp_path):
    assert run(folder, *SCORE, str(tmp_path)).exit_code == 0
    before = (tmp_path / "scores.h5").read_bytes()
    refused = run(folder, *SCORE, str(tmp_path))
    assert refused.exit_code == 2
    assert "scores.h5: is there" in refused.stderr
    assert (tmp_path / "scores.h5").read_bytes() == before
    assert run(folder, *SCORE, str(tmp_path), "--overwrite").exit_code == 0


def test_an_error_halfway_leaves_no_file(folder, tmp_path):
    variants = folder / "wrong.vcf"
    wrong = "A" if BASES[2499] != "A" else "C"
    variants.write_text((folder / "x.vcf").read_text() + f"c1\t2500\t.\t{wrong}\tG\t.\t.\t.\n")
    command = [argument.replace("x.vcf", "wrong.vcf") for argument in SCORE]
    result = run(folder, *command, str(tmp_path), "--reference", "fail", "--batch-size", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"enformer: c1:2500:{wrong}>G")
    assert list(tmp_path.iterdir()) == []


def test_variants_come_from_the_command_line_too(folder, tmp_path):
    spelled = [str(variant) for variant in read_variants(folder / "x.vcf")]
    command = ["score", "{0}/model.keras", "--fasta", "{0}/genome.fa", "--output", str(tmp_path)]
    result = run(folder, *command, *(part for text in spelled for part in ("--variant", text)))
    assert result.exit_code == 0
    assert result.stdout == "scored 3, not_acgt 1\n"


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        (("--statistics", "SUM"), 2, "SADR"),
        (("--tracks", "chip"), 2, "--tracks chip: no track"),
        (("--shifts", "a"), 2, "--shifts a"),
        (("--alias", "chr1"), 2, "CONTIG=NAME"),
        (("--width", "513"), 1, "512 bp"),
        (("--head", "human"), 1, "['ecoli']"),
        (("--fasta", "{0}/no.fa"), 1, "no.fa: no such FASTA file"),
        (("--variant", "c1:5:A>C"), 2, "a file of variants, or --variant"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(folder, tmp_path, change, status, problem):
    result = run(folder, *SCORE, str(tmp_path), *change)
    assert result.exit_code == status
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_info_lists_tracks(folder):
    result = run(folder, "info", "{0}/model.keras", "--json", "--tracks", "1")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["window_length"], found["bin_size"], found["lineage"]) == (1024, 128, None)
    (head,) = found["heads"].values()
    assert (head["target_length"], head["num_tracks"], head["assembly"]) == (4, 3, None)
    known = {"index": 1, "identifier": "1", "description": "", "strand_pair": 1}
    assert head["tracks"] == [known | dict.fromkeys(("scale", "sum_stat", "clip_soft", "clip"))]
    assert "1024 bp" in run(folder, "info", "{0}/model.keras").stdout


def test_help_imports_neither_keras_nor_numpy():
    code = "import sys, enformer_command.main as m; m.main(['score', '--help'], standalone_mode=False); "
    code += "assert not {'keras', 'numpy', 'pysam', 'enformer_keras'} & sys.modules.keys()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "sum(A - R)" in result.stdout


def test_a_dry_run_counts_and_writes_nothing(folder, tmp_path):
    result = run(folder, *SCORE, str(tmp_path / "scores"), "--dry-run")
    assert result.exit_code == 0, result.output
    counts, cost = result.stdout.splitlines()
    assert counts == "scored 3, not_acgt 1"
    assert cost.startswith("18 windows, ")  # three insertions, on two strands
    assert not (tmp_path / "scores").exists()


def test_a_background_adds_quantiles_and_other_options_are_refused(folder, tmp_path):
    rows = [(at, BASES[at - 1], "CGTA"["ACGT".index(BASES[at - 1])]) for at in range(1000, 1120)]
    table = "chrom\tpos\tref\talt\n" + "".join(f"c1\t{at}\t{ref}\t{alt}\n" for at, ref, alt in rows)
    (tmp_path / "common.tsv").write_text(table)
    common = (
        "score",
        "{0}/model.keras",
        str(tmp_path / "common.tsv"),
        "--fasta",
        "{0}/genome.fa",
        "--tracks",
        "1",
    )
    assert run(folder, *common, "--output", str(tmp_path / "common")).exit_code == 0
    background = str(tmp_path / "background.h5")
    result = run(folder, "calibrate", str(tmp_path / "common"), "--output", background)
    assert result.stdout == f"{background}: 120 scores of 1 tracks, SAD\n"
    again = (*common, "--background", background, "--format", "h5", "--format", "tsv")
    assert run(folder, *again, "--output", str(tmp_path / "again")).exit_code == 0
    with h5py.File(tmp_path / "again" / "scores.h5") as file:
        scores, quantiles = file["SAD"][:, 0], file["SAD_quantile"][:, 0]
    order = np.abs(scores).argsort()
    np.testing.assert_allclose(np.abs(quantiles[order]), (np.arange(120) + 0.5) / 120, atol=0.005)
    np.testing.assert_array_equal(np.sign(quantiles), np.sign(scores))
    header = next(line for line in (tmp_path / "again" / "scores.tsv").open() if not line.startswith("##"))
    assert header.rstrip().endswith("\tSAD:1\tSAD_quantile:1")
    result = run(folder, *again, "--output", str(tmp_path / "other"), "--strands", "forward")
    assert result.exit_code == 1
    assert "strands='both', but these have 'forward'" in result.stderr


def test_a_fault_at_the_end_of_the_file_is_found_before_the_model_is_loaded(folder, tmp_path):
    """Also where the model is none: it was not looked at."""
    cut = (folder / "x.vcf").read_text() + "c1\tno number\t.\tA\tC\t.\t.\t.\n"
    (tmp_path / "cut.vcf").write_text(cut)
    command = (
        "score",
        "no model",
        str(tmp_path / "cut.vcf"),
        "--fasta",
        "{0}/genome.fa",
        "--output",
        "{0}/none",
    )
    result = run(folder, *command)
    assert result.exit_code == 1
    assert "cut.vcf" in result.stderr
    assert "no model" not in result.stderr
    assert not (folder / "none").exists()


def test_strand_pairs_are_added_up_where_that_is_asked_for(folder, tmp_path):
    (tmp_path / "targets.txt").write_text(
        "index\tidentifier\tdescription\tstrand_pair\n0\ta+\tA\t1\n1\ta-\tA\t0\n2\tb\tB\t2\n"
    )
    table = ("--tracks-table", str(tmp_path / "targets.txt"))
    result = run(folder, *SCORE, str(tmp_path), *table, "--sum-strand-pairs", "--statistics", "REF")
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "scores.h5") as file:
        assert file["target_ids"].asstr()[:].tolist() == ["a++a-", "b"]
        summed = file["REF"][0]
    result = run(folder, *SCORE, str(tmp_path), *table, "--overwrite", "--statistics", "REF")
    with h5py.File(tmp_path / "scores.h5") as file:
        kept = file["REF"][0]
    np.testing.assert_allclose(summed, [kept[0] + kept[1], kept[2]], rtol=1e-5)
