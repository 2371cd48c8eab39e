"""What a run on Kubeflow begins with. The data's part is `pipeline.data`'s, and the proof's."""

import dataclasses
import json
import os
import sys

import pytest

from components.evaluator.regions import RegionFile
from components.trainer.training import TRAINABLE_MODEL
from components.trainer.warm_start import fingerprint_start
from components.variant_scorer.files import VariantFile
from kubeflow import first_look
from tests.pipeline.conftest import write_genome


@pytest.fixture
def pushed(tmp_path):
    """A pushed model, as far as its fingerprint goes."""
    file = tmp_path / "pushed" / "10" / TRAINABLE_MODEL
    file.parent.mkdir(parents=True)
    file.write_text("weights")
    return str(tmp_path / "pushed" / "10")


def look(monkeypatch, folder, warm_start, dataset="none.yaml", regions="{}", variants="{}", **more):
    """The two answers, for data that need not be looked at."""
    files = [folder / "answers" / name for name in "ab"]
    flags = {"dataset": dataset, "digests": "none.json", "data_fingerprint": "f", "warm_start": warm_start}
    flags |= {"regions": regions, "variants": variants, **more}
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    monkeypatch.setattr(sys, "argv", ["first_look.py", *arguments, *map(str, files)])
    first_look.main()
    return [file.read_text() for file in files]


def test_a_model_that_is_named(monkeypatch, tmp_path, pushed):
    assert look(monkeypatch, tmp_path, pushed) == ["f", fingerprint_start(pushed)]


def test_nobody_else_may_change_what_it_writes(monkeypatch, tmp_path):
    """Argo runs containers with a umask of 0."""
    before = os.umask(0)
    try:
        look(monkeypatch, tmp_path, "")
    finally:
        os.umask(before)
    assert (tmp_path / "answers").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "answers" / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("warm_start", ["", "last_blessed"])
def test_fresh_weights_and_those_that_the_trainer_finds(monkeypatch, tmp_path, warm_start):
    assert look(monkeypatch, tmp_path, warm_start) == ["f", ""]


def test_workers_that_do_not_come(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"this run cannot begin:\nno worker pool .* nowhere\.invalid:1"):
        look(monkeypatch, tmp_path, "", workers="nowhere.invalid:1")


def test_a_model_that_is_not_there(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="this run cannot begin:\nno model to start from at /none"):
        look(monkeypatch, tmp_path, "/none")


def test_regions_that_do_not_fit_the_data_or_have_changed_since_compiling(monkeypatch, tmp_path):
    dataset = write_genome(tmp_path)
    bed = tmp_path / "regions.bed"
    bed.write_text("chrom\t35000\t35001\n")

    def look_at(file):
        fields = json.dumps({"tiny": dataclasses.asdict(file)})
        return look(monkeypatch, tmp_path, "", dataset, fields)

    known = RegionFile.open(bed, {})
    assert look_at(known) == ["f", ""]
    bed.write_text("chrom\t0\t1\n")
    with pytest.raises(SystemExit, match=r"this run cannot begin:\n.*regions\.bed: has changed since"):
        look_at(known)
    with pytest.raises(SystemExit, match="none of its 1 regions has its middle in a target of split test"):
        look_at(RegionFile.open(bed, {}))


def test_variants_that_do_not_fit_the_data_or_have_changed_since_compiling(monkeypatch, tmp_path):
    dataset = write_genome(tmp_path)
    path = tmp_path / "variants.vcf"

    def look_at(file):
        fields = json.dumps({"tiny": dataclasses.asdict(file)})
        return look(monkeypatch, tmp_path, "", dataset, variants=fields)

    known = VariantFile.open(path)
    assert look_at(known) == ["f", ""]
    path.write_text(path.read_text().replace("000\t.", "001\t."))
    with pytest.raises(SystemExit, match=r"this run cannot begin:\n.*variants\.vcf: has changed since"):
        look_at(known)
    with pytest.raises(SystemExit, match=r"of the first 21 variants have another REF than .*genome\.fa"):
        look_at(VariantFile.open(path))
