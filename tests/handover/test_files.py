"""Folders handed over to a place and back. TensorFlow's file system in memory stands for an object store."""

import json
from pathlib import Path

import pytest
from tfx.dsl.io import fileio

from components.handover.files import handed_over, rename_all


@pytest.fixture(params=["folder", "store"])
def place(request, tmp_path):
    return {"folder": str(tmp_path / "plätze"), "store": f"ram://{tmp_path.name}/place"}[request.param]


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "in" / "Split-train").mkdir(parents=True)
    (tmp_path / "in" / "Split-train" / "file").write_bytes(b"\x00x")
    (tmp_path / "out").mkdir()  # as TFX makes it
    return str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "none")


def work(paths, place, fault=None):
    source, target, absent = paths
    with handed_over([source, absent], [target], place) as folders:
        assert all(folder.startswith(place) for folder in folders.values())
        assert not fileio.exists(folders[absent])
        with fileio.open(f"{folders[source]}/Split-train/file", "rb") as content:
            copied = content.read()
        fileio.makedirs(f"{folders[target]}/Split-train")
        with fileio.open(f"{folders[target]}/Split-train/file", "wb") as content:
            content.write(copied * 2)
        with fileio.open(f"{folders[target]}/said.json", "w") as content:
            content.write(json.dumps({"read": f"{folders[source]}/Split-train", "wrote": folders[target]}))
        if fault:
            raise fault


def test_outputs_come_back_and_nothing_stays(paths, place):
    work(paths, place)
    source, target, _ = paths
    assert Path(target, "Split-train", "file").read_bytes() == b"\x00x\x00x"
    said = json.loads(Path(target, "said.json").read_text())
    assert said == {"read": f"{source}/Split-train", "wrote": target}
    assert not fileio.listdir(place)
    assert {one.name for one in Path(target).parent.iterdir()} <= {"in", "out", "plätze"}


def test_nothing_comes_back_from_workers_that_died(paths, place):
    with pytest.raises(OSError, match="a worker died"):
        work(paths, place, OSError("a worker died"))
    assert not list(Path(paths[1]).iterdir())
    assert not fileio.listdir(place)


def test_nothing_comes_back_if_the_way_back_breaks_off(paths, place, monkeypatch):
    copy = fileio.copy

    def breaking(source, target):
        if source.endswith("said.json"):
            raise OSError("no space left")
        copy(source, target)

    monkeypatch.setattr(fileio, "copy", breaking)
    with pytest.raises(OSError, match="no space left"):
        work(paths, place)
    assert not list(Path(paths[1]).iterdir())
    assert {one.name for one in Path(paths[1]).parent.iterdir()} <= {"in", "out", "plätze"}


def test_workers_that_do_not_see_the_place_are_found_out(paths, place):
    with (
        pytest.raises(FileNotFoundError, match=r"nothing was written to .*: do Beam's workers see it"),
        handed_over(paths[:1], paths[1:2], place),
    ):
        pass


def test_names_beyond_ascii_are_found_in_json_and_in_json_in_json():
    new = {'/hand/über "x"/1': "/läuft/hier", "/plain/2": "/größe"}
    said = {"read": '/hand/über "x"/1/Split-train', "config": json.dumps({"folder": '/hand/über "x"/1'})}
    for ascii_only in (True, False):
        renamed = json.loads(rename_all(json.dumps([said, "/plain/2/x"], ensure_ascii=ascii_only), new))
        assert renamed[0]["read"] == "/läuft/hier/Split-train"
        assert json.loads(renamed[0]["config"]) == {"folder": "/läuft/hier"}
        assert renamed[1] == "/größe/x"


def test_a_name_that_begins_as_another_is_another():
    new = {"/p/1": "/a", "/p/12": "/b"}
    assert rename_all("/p/1 /p/12/x '/p/123' /p/1.gz", new) == "/a /b/x '/p/123' /p/1.gz"
