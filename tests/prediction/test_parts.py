"""Parts: functions of a question and a number, which are there whole or not at all."""

import contextlib
import dataclasses
import functools
import pickle
import resource

import keras
import numpy as np
import pytest

from enformer_keras import Enformer, open_model
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.alleles import Status
from enformer_keras.prediction.asking import PredictedTrack, VariantScores
from enformer_keras.prediction.genes import GENE_COLUMNS
from enformer_keras.prediction.parts import PARTS, PartsFolder, work
from enformer_keras.prediction.score_job import ScoreJob, arrays_of, scores_of
from enformer_keras.prediction.score_parts import ScoreFiles, parts_of
from enformer_keras.prediction.variant_rows import gather_rows

BASES = "".join(np.random.default_rng(3).choice(list("ACGT"), 3000))


@dataclasses.dataclass
class Squares:
    """A job: the squares of numbers."""

    question: dict
    num_parts: int = 7

    @contextlib.contextmanager
    def open(self):
        yield self

    def part(self, index):
        return {"squares": np.arange(index, index + 3) ** 2}


JOB = Squares({"power": 2, "what": "numbers"})


def folder_of(job, path, **options):
    return PartsFolder(path, job.question, job.num_parts, **options)


def test_shards_do_each_part_once_in_any_order(tmp_path):
    parts = folder_of(JOB, tmp_path)
    assert list(work(JOB, parts, (3, 3))) == [2, 5]
    assert list(work(JOB, parts, (1, 3))) == [0, 3, 6]
    assert parts.missing() == [1, 4]
    assert list(work(JOB, folder_of(JOB, tmp_path))) == [1, 4]
    for index in range(7):
        np.testing.assert_array_equal(parts.read(index)["squares"], np.arange(index, index + 3) ** 2)
    parts.remove()
    assert list(tmp_path.parent.glob(f"{tmp_path.name}*")) == []


def test_another_question_is_named_and_its_parts_stay(tmp_path):
    list(work(JOB, folder_of(JOB, tmp_path), (1, 7)))
    other = Squares({"power": 3, "what": "x" * 99})
    with pytest.raises(DatasetError, match=r"1 parts .* with power=2, not 3, what=\"numbers\", not \"xxx"):
        folder_of(other, tmp_path)
    with pytest.raises(DatasetError, match="parts=7, not 8"):
        folder_of(Squares(JOB.question, 8), tmp_path)
    assert folder_of(JOB, tmp_path).missing() == [1, 2, 3, 4, 5, 6]
    anew = folder_of(other, tmp_path, anew=True)
    assert len(anew.missing()) == 7
    folder_of(JOB, tmp_path)  # nothing is done, so nothing is in the way


def test_parts_that_were_damaged_or_are_of_another_run_are_found(tmp_path):
    parts = folder_of(JOB, tmp_path / "x")
    list(work(JOB, parts))
    cut, turned, foreign = (parts.path(index) for index in (1, 3, 5))
    cut.write_bytes(cut.read_bytes()[:-1])
    content = bytearray(turned.read_bytes())
    content[content.rindex(b"\x93NUMPY") + 128] ^= 1
    turned.write_bytes(content)
    other = folder_of(Squares({}), tmp_path / "y")
    other.write(5, {})
    other.path(5).replace(foreign)
    for index in (1, 3, 5):
        with pytest.raises(DatasetError, match=f"part-00000{index}.npz: .*; remove it, and run again"):
            parts.read(index)
    assert parts.check() == parts.missing() == [1, 3, 5]


def test_a_part_without_room_is_an_error_that_names_it(tmp_path):
    parts = folder_of(JOB, tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(DatasetError, match=r"part-000002.npz: cannot be written \(.*\); make room"):
            parts.write(2, JOB.part(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in tmp_path.iterdir()} == {"question.json"}


def test_one_run_of_the_whole_or_several_shards_at_a_time(tmp_path):
    parts = folder_of(JOB, tmp_path)
    with parts.held((1, 2)), parts.held((2, 2)):
        for shard in ((1, 2), (1, 1)):
            with pytest.raises(DatasetError, match="another run is at work"), parts.held(shard):
                pass
    with parts.held(), pytest.raises(DatasetError, match="another run"), parts.held((1, 2)):
        pass


def test_scores_are_the_same_as_arrays():
    tracks = [PredictedTrack(n, str(n), "", n) for n in range(2)]
    variants = (Variant("c 1", 5, "A", "C" * 20_000, "näme\t\r\n"), Variant("c2", 7, "A", "<DEL>"))
    further = {
        name: np.array(["ä", ""] if kind is str else [1, np.nan] if kind is not np.uint32 else [1, 0])
        for name, kind in GENE_COLUMNS.items()
    }
    further = {
        name: column.astype(object if GENE_COLUMNS[name] is str else GENE_COLUMNS[name])
        for name, column in further.items()
    }
    values = np.array([[1, 2], [np.nan, np.nan]], np.float32)
    statuses = (Status.SCORED, Status.NOT_ACGT)
    scores = VariantScores(variants, statuses, {"JSD": values, "SAD": -values}, tuple(tracks), further)
    found = scores_of(arrays_of(scores), tracks)
    assert (found.variants, found.statuses, found.tracks) == (variants, statuses, scores.tracks)
    for here, there in ((found.statistics, scores.statistics), (found.further, further)):
        assert list(here) == list(there)
        for name, column in there.items():
            assert here[name].dtype == column.dtype
            np.testing.assert_array_equal(here[name], column)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    keras.utils.set_random_seed(1)
    sizes = {
        "channels": 12,
        "num_heads": 1,
        "num_transformer_layers": 1,
        "key_size": 4,
        "filters_divisible_by": 4,
    }
    Enformer(heads={"x": 3}, sequence_length=1024, target_length=4, **sizes).save(folder / "model.keras")
    (folder / "genome.fa").write_text(f">c1\n{BASES}\n")
    rows = [f"c1\t{at}\t{BASES[at - 1]}\t{BASES[at - 1]}T" for at in range(900, 1900, 90)]
    (folder / "x.tsv").write_text("\n".join(["chrom\tpos\tref\talt", *rows]) + "\n")
    return folder


def test_parts_of_a_job_are_the_scores_whoever_computes_them(folder, tmp_path):
    """Also a copy in another process, which opens the model itself, and in any order."""
    opener = functools.partial(open_model, folder / "model.keras")
    with gather_rows(folder / "x.tsv", tmp_path, size=5) as rows:
        job = ScoreJob(rows, folder / "genome.fa", opener, tracks=[2, 0], statistics=("SAD", "JSD"))
        job.check()
        with parts_of(job, tmp_path) as parts:
            copy = pickle.loads(pickle.dumps(job))
            assert "predictor" not in vars(copy)
            assert copy.question == job.question
            with job.open() as one, copy.open() as other:
                found = {index: one.part(index) for index in (2, 0, 1)}
                for index in (0, 2, 1):
                    again = other.part(index)
                    assert {name: a.tobytes() for name, a in again.items()} == {
                        name: a.tobytes() for name, a in found[index].items()
                    }
            expected = job.predictor.score_variants(
                folder / "x.tsv", folder / "genome.fa", tracks=[2, 0], statistics=("SAD", "JSD")
            )
            whole = VariantScores.join(
                (job.scores(found[index]) for index in range(3)), job.statistics, job.tracks
            )
            assert whole.variants == expected.variants
            for name, values in expected.statistics.items():
                np.testing.assert_allclose(whole.statistics[name], values, rtol=1e-5, atol=1e-6)
            for index, arrays in found.items():
                parts.write(index, arrays)
            counts = ScoreFiles.of(job, ("tsv",), {}).write(tmp_path, map(parts.read, range(3)))
            assert counts == {"scored": 12}
            parts.remove()
    assert {path.name for path in tmp_path.iterdir()} == {"scores.tsv", "skipped.tsv"}


def test_a_worker_with_another_model_is_refused(folder, tmp_path):
    with gather_rows(folder / "x.tsv", tmp_path) as rows:
        job = ScoreJob(rows, folder / "genome.fa", functools.partial(open_model, folder / "model.keras"))
        copy = pickle.loads(pickle.dumps(job))
    copy.open_model = functools.partial(open_model, folder / "model.keras", batch_size=2)
    with pytest.raises(DatasetError, match="batch_size=4, not 2"), copy.open():
        pass


def test_another_file_than_was_scored_is_no_source_of_records(folder, tmp_path):
    head = "##fileformat=VCFv4.3\n##contig=<ID=c1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    lines = [f"c1\t{at}\t.\t{BASES[at - 1]}\t{BASES[at - 1]}T\t.\t.\t.\n" for at in (900, 1000)]
    (tmp_path / "x.vcf").write_text(head + "".join(lines))
    with gather_rows(tmp_path / "x.vcf", tmp_path / "out") as rows:
        job = ScoreJob(rows, folder / "genome.fa", functools.partial(open_model, folder / "model.keras"))
        with parts_of(job, tmp_path / "out") as parts:
            list(work(job, parts))
            files = ScoreFiles.of(job, ("vcf",), {})
            for other in (lines[:1], [*lines, lines[0]], lines[::-1]):
                (tmp_path / "x.vcf").write_text(head + "".join(other))
                with pytest.raises(DatasetError, match=r"x.vcf: has other alleles than were scored"):
                    files.write(tmp_path / "new", [parts.read(0)])
    assert list((tmp_path / "new").iterdir()) == []
    assert (tmp_path / "out" / PARTS).exists()
