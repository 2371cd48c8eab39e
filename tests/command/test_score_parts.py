"""`enformer score` by parts: runs that are ended go on, shards are merged; the files are those of one run."""

import functools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import enformer_keras.prediction.variant_rows
from enformer_command.main import main
from enformer_keras import Enformer, open_model
from enformer_keras.prediction.parts import PARTS, WRITTEN, PartsFolder

BASES = "".join(np.random.default_rng(7).choice(list("ACGT"), 3000))
FORMATS = tuple(part for kind in ("h5", "tsv", "parquet", "vcf") for part in ("--format", kind))
SIZE = 6
HEAD = "##fileformat=VCFv4.3\n##contig=<ID=c1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
SIZES = {
    "channels": 12,
    "num_heads": 1,
    "num_transformer_layers": 1,
    "key_size": 4,
    "filters_divisible_by": 4,
}
# Processes begin with all modules imported, and JAX untouched.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.command.test_score_parts"])


def record(at, alternates):
    return f"c1\t{at}\tv{at}\t{BASES[at - 1]}\t{alternates}\t.\t.\t.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a genome, 41 alleles (7 parts; records span two), and what one run gives."""
    folder = tmp_path_factory.mktemp("parts")
    for seed, name in ((1, "model"), (2, "other")):
        keras.utils.set_random_seed(seed)
        model = Enformer(heads={"ecoli": 3}, sequence_length=1024, target_length=4, **SIZES)
        model.save(folder / f"{name}.keras")
    (folder / "genome.fa").write_text(f">c1\n{BASES}\n")
    alternates = {at: "".join(x for x in "ACGT" if x != BASES[at - 1]) for at in range(800, 1600, 40)}
    lines = [record(at, f"{BASES[at - 1]}{bases[0]},{bases[1]}") for at, bases in alternates.items()]
    (folder / "x.vcf").write_text(HEAD + "".join(lines[:10]) + record(1190, "<DEL>") + "".join(lines[10:]))
    (folder / "y.vcf").write_text(HEAD + "".join(lines))
    (folder / "x.gtf").write_text(
        "".join(
            f'c1\tx\t{kind}\t{start}\t1700\t.\t{strand}\t.\tgene_id "G{start}"; transcript_id "T{start}";\n'
            for start, strand in ((900, "+"), (1300, "-"))
            for kind in ("gene", "transcript", "exon")
        )
    )
    result = run(folder, "one")
    assert (result.exit_code, result.stdout) == (0, "scored 40, not_acgt 1\n"), result.output
    return folder


@pytest.fixture(scope="module", autouse=True)
def _small_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enformer_keras.prediction.variant_rows, "ALLELES_PER_PART", SIZE)
        yield


@pytest.fixture(scope="module", autouse=True)
def _opened_once():
    """A model is compiled once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        opened = functools.cache(open_model)
        patch.setattr("enformer_keras.open_model", lambda path, **_: opened(path))
        yield


def command(folder, output, *options, variants="x.vcf", model="model.keras", formats=FORMATS):
    given = "-" if variants == "-" else str(folder / variants)
    return (
        *("score", str(folder / model), given, "--fasta", str(folder / "genome.fa"), "--quiet"),
        *("--output", str(folder / output), *formats, *options),
    )


def run(folder, output, *options, stdin=None, **changes):
    return CliRunner().invoke(main, command(folder, output, *options, **changes), input=stdin)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names_in(folder):
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def score(arguments, size=SIZE, most_bytes=None, told=None):
    """What a process does: the command, with parts of a size, files of so many bytes, its errors in a file."""
    enformer_keras.prediction.variant_rows.ALLELES_PER_PART = size
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    if told is not None:
        os.dup2(os.open(told, os.O_CREAT | os.O_WRONLY), 2)
    main(arguments)


def begin(arguments, **options):
    process = _context.Process(target=score, args=(arguments,), kwargs=options)
    process.start()
    return process


def wait_for_parts(process, folder, count):
    """Waits until so many parts are there; for more than all, until the files are being written."""
    while process.is_alive() and len(list((folder / PARTS).glob("part-*"))) < min(count, 41):
        time.sleep(0.001)
    while process.is_alive() and count > 41 and not (folder / ".partial-scores.h5").exists():
        time.sleep(0.001)


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.full)])
def test_killed_at_random_moments(folder, tmp_path, times, monkeypatch):
    """Parts of one allele, so that there are many; the moments lie in them, and where the files are written."""
    monkeypatch.setattr(enformer_keras.prediction.variant_rows, "ALLELES_PER_PART", 1)
    assert run(folder, tmp_path / "undisturbed").exit_code == 0
    chance = random.Random(times)
    for number in range(times):
        process = begin(command(folder, tmp_path / "x"), size=1)
        wait_for_parts(process, tmp_path / "x", (number + chance.random()) / times * 45)
        time.sleep(chance.uniform(0, 0.04))
        process.kill()
        process.join()
    there = len(list((tmp_path / "x" / PARTS).glob("part-*")))
    last = run(folder, tmp_path / "x")
    if last.exit_code == 2:  # it was done before it was killed
        assert "scores.h5: is there" in last.stderr
    else:
        assert last.exit_code == 0, last.output
        assert f"goes on: {there} of 41 parts" in last.stderr
    assert files(tmp_path / "x") == files(tmp_path / "undisturbed")


def test_damaged_parts_are_computed_again(folder, tmp_path):
    assert run(folder, tmp_path, "--shard", "1/1").exit_code == 0
    parts = sorted((tmp_path / PARTS).glob("part-*"))
    parts[1].write_bytes(parts[1].read_bytes()[:700])
    content = bytearray(parts[2].read_bytes())
    content[content.index(b"\x93NUMPY", 1000) + 130] ^= 1
    parts[2].write_bytes(content)
    parts[3].write_bytes(b"")
    parts[4].unlink()
    result = run(folder, tmp_path)
    assert "goes on: 3 of 7 parts" in result.stderr
    assert files(tmp_path) == files(folder / "one")


@pytest.mark.parametrize(
    ("options", "changes", "problem"),
    [
        (("--width", "256"), {}, "width=null, not 256"),
        (("--statistics", "SAD,JSD"), {}, 'statistics=["SAD"], not ["SAD", "JSD"]'),
        ((), {"model": "other.keras"}, "model_fingerprint="),
        ((), {"variants": "y.vcf"}, "variants_sha256="),
        (("--fasta", "{0}/changed.fa"), {}, "genome_sha256="),
        (("--gtf", "{0}/x.gtf"), {}, "genes_sha256="),
    ],
)
def test_parts_of_another_question_stay_unless_they_may_go(folder, tmp_path, options, changes, problem):
    (folder / "changed.fa").write_text(f">c1\n{BASES[:2000]}{BASES[2000:][::-1]}\n")
    assert run(folder, tmp_path, "--shard", "1/4").exit_code == 0
    before = files(tmp_path / PARTS)
    given = [option.format(folder) for option in options]
    if "--gtf" in options:
        given += ["--statistics", "SAD"]
        changes = {**changes, "formats": ("--format", "h5")}
    refused = run(folder, tmp_path, *given, **changes)
    assert refused.exit_code == 1
    assert f"{tmp_path / PARTS}: has 2 parts of a run with" in refused.stderr
    assert problem in refused.stderr
    after = files(tmp_path / PARTS)
    assert {name: after[name] for name in before if name != "genome.json"} == {
        name: content for name, content in before.items() if name != "genome.json"
    }
    assert set(after) == set(before)
    assert run(folder, tmp_path, *given, "--overwrite", **changes).exit_code == 0
    assert not (tmp_path / PARTS).exists()


@pytest.mark.parametrize("of", ["alleles", "genes"])
def test_shards_are_merged(folder, tmp_path, of):
    options, changes = (), {}
    expected = folder / "one"
    if of == "genes":
        options, changes = ("--gtf", str(folder / "x.gtf")), {"formats": FORMATS[:6]}
        expected = tmp_path / "one"
        assert run(folder, expected, *options, **changes).exit_code == 0
    for shard in (3, 1, 2):
        result = run(folder, tmp_path / str(shard), *options, "--shard", f"{shard}/3", **changes)
        assert result.exit_code == 0, result.output
        assert f"shard {shard}/3 are done" in result.stdout
        assert names_in(tmp_path / str(shard)) == [PARTS]

    def merge(*names, output="merged"):
        asked = ["merge", *(str(tmp_path / name) for name in names), "--output", str(tmp_path / output)]
        return CliRunner().invoke(main, asked)

    merged = merge("1", "2", "3")
    assert merged.exit_code == 0, merged.output
    assert files(tmp_path / "merged") == files(expected)
    refused = merge("1", "3", output="new")
    assert "2 of 7 parts are missing, such as part-000001.npz, of shard 2/3;" in refused.stderr
    shutil.copytree(tmp_path / "1", tmp_path / "again")
    assert "the same part is in" in merge("1", "2", "3", "again", output="new").stderr
    assert merge("1", "2", "3", "1", output="new").exit_code == 0  # the same files are no other ones
    assert "is there" in merge("1", "2", "3").stderr
    if of == "alleles":
        run(folder, tmp_path / "other", "--shard", "2/3", "--width", "128")
        assert "with width=128, not null" in merge("1", "other", "3", output="no").stderr
        assert not (tmp_path / "no").exists()
        # One folder of all machines needs no merge either: what is missing is done, and the files are written.
        assert run(folder, tmp_path / "1").exit_code == 0
        assert files(tmp_path / "1") == files(expected)


def test_a_merge_adds_quantiles_and_takes_files_that_moved(folder, tmp_path):
    lines = [record(at, BASES[at - 1] + "G") for at in range(800, 1450, 6)]
    (tmp_path / "y.vcf").write_text(HEAD + "".join(lines))
    common = run(folder, tmp_path / "common", variants=tmp_path / "y.vcf", formats=("--format", "h5"))
    assert common.exit_code == 0
    calibrated = ("calibrate", str(tmp_path / "common"), "--output", str(tmp_path / "background.h5"))
    assert CliRunner().invoke(main, calibrated).exit_code == 0
    shutil.copy(folder / "x.vcf", tmp_path / "x.vcf")
    ranked = ("--background", str(tmp_path / "background.h5"))
    for output, options in (
        ("one", ranked),
        ("1", (*ranked, "--shard", "1/2")),
        ("2", ("--shard", "2/2")),
    ):
        assert run(folder, tmp_path / output, *options, variants=tmp_path / "x.vcf").exit_code == 0

    def merge(output, *options, first="1", second="2"):
        folders = (str(tmp_path / name) for name in (first, second))
        return CliRunner().invoke(main, ["merge", *folders, "--output", str(tmp_path / output), *options])

    assert merge("as-the-first-says").exit_code == 0
    assert files(tmp_path / "as-the-first-says") == files(tmp_path / "one")
    (tmp_path / "x.vcf").rename(tmp_path / "moved.vcf")
    assert "x.vcf: no such file of variants" in merge("merged").stderr
    options = ("--variants", str(tmp_path / "moved.vcf"), *ranked)
    assert merge("merged", *options, first="2", second="1").exit_code == 0
    assert files(tmp_path / "merged") == files(tmp_path / "one")
    (tmp_path / "background.h5").rename(tmp_path / "moved.h5")
    only = ("--format", "tsv", "--background", str(tmp_path / "moved.h5"))
    assert merge("table", *only).exit_code == 0
    assert {**files(tmp_path / "one"), **files(tmp_path / "table")} == files(tmp_path / "one")
    assert b"SAD_quantile:0" in (tmp_path / "table" / "scores.tsv").read_bytes()
    forward = ("--strands", "forward", "--shard", "1/1")
    assert run(folder, tmp_path / "other", *forward, formats=("--format", "h5")).exit_code == 0
    refused = merge("no", "--background", str(tmp_path / "moved.h5"), first="other", second="other")
    assert "is of scores with strands='both', but these have 'forward'" in refused.stderr


def test_a_pipe_goes_on_as_well(folder, tmp_path):
    piped = (folder / "x.vcf").read_bytes()
    assert run(folder, tmp_path / "one", variants="-", stdin=piped).exit_code == 0
    assert run(folder, tmp_path / "x", "--shard", "1/2", variants="-", stdin=piped).exit_code == 0
    other = run(folder, tmp_path / "x", variants="-", stdin=piped[:-80])
    assert "variants_sha256=" in other.stderr or "the standard input" in other.stderr
    result = run(folder, tmp_path / "x", variants="-", stdin=piped)
    assert "goes on: 4 of 7 parts" in result.stderr
    assert files(tmp_path / "x") == files(tmp_path / "one")


def test_a_full_disk_leaves_no_half_file_and_the_run_goes_on(folder, tmp_path):
    """No file may have more than so many bytes: of the rows, and of the scores."""
    for most_bytes, place, left in ((500, "laid down", []), (30_000, "the files of scores", [PARTS])):
        process = begin(command(folder, tmp_path / "x"), most_bytes=most_bytes, told=tmp_path / "told")
        process.join()
        assert process.exitcode == 1
        told = (tmp_path / "told").read_text()
        assert f"{tmp_path / 'x'}" in told
        assert place in told
        assert "make room" in told
        assert names_in(tmp_path / "x") == left
    result = run(folder, tmp_path / "x")
    assert "goes on: 7 of 7 parts" in result.stderr
    assert files(tmp_path / "x") == files(folder / "one")


def test_a_run_that_is_ended_says_how_to_go_on(folder, tmp_path):
    process = begin(command(folder, tmp_path / "x"), told=tmp_path / "told")
    wait_for_parts(process, tmp_path / "x", 1)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    assert "of 7 parts are done: the same command goes on" in (tmp_path / "told").read_text()
    assert not list((tmp_path / "x" / PARTS).glob(".partial-*"))


def test_ended_while_files_took_their_places(folder, tmp_path):
    assert run(folder, tmp_path, "--shard", "1/1").exit_code == 0
    (tmp_path / "scores.h5").write_text("of an earlier run")
    assert "scores.h5: is there" in run(folder, tmp_path).stderr
    (tmp_path / PARTS / WRITTEN).touch()  # so it is of this one
    (tmp_path / f"{PARTS}-done-1").mkdir()
    assert run(folder, tmp_path).exit_code == 0
    assert files(tmp_path) == files(folder / "one")


def test_one_run_at_a_time(folder, tmp_path):
    process = begin(command(folder, tmp_path / "x"))
    wait_for_parts(process, tmp_path / "x", 1)
    os.kill(process.pid, signal.SIGSTOP)
    assert "another run is at work" in run(folder, tmp_path / "x").stderr
    assert "another run is at work" in run(folder, tmp_path / "x", "--shard", "1/2").stderr
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    assert run(folder, tmp_path / "y", "--shard", "1/1").exit_code == 0
    with PartsFolder.begun(tmp_path / "y" / PARTS).held((1, 2)):
        merged = CliRunner().invoke(main, ["merge", str(tmp_path / "y"), "--output", str(tmp_path / "z")])
    assert "another run is at work" in merged.stderr
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert files(tmp_path / "x") == files(folder / "one")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--shard", "3/2"), "--shard 3/2: write I/N"),
        (("--shard", "1/2", "--tracks-out", "h5"), "leave --shard out"),
        (("--shard", "1/2", "--dry-run"), "leave --shard out"),
    ],
)
def test_shards_that_cannot_be(folder, tmp_path, options, problem):
    result = run(folder, tmp_path / "x", *options)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not (tmp_path / "x").exists()
