"""A file that is kept is there whole or as it was, whoever writes it at the same time."""

import os
import threading
from pathlib import Path

import pytest

from dpjax import caches, keeping
from dpjax.fetching.folders import MODELS, workspace_in
from dpjax.fetching.sources import DatasetError


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = keeping.write_whole(tmp_path / "a.json", b"old")

    def fail(*_):
        raise error

    for name in ("replace", "fsync"):
        with monkeypatch.context() as broken:
            broken.setattr(keeping.os, name, fail)
            with pytest.raises(type(error)):
                keeping.write_whole(path, b"new", durable=True)
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.json": b"old"}


def test_two_threads_do_not_write_to_one_temporary_file(tmp_path):
    parts, both = [], threading.Barrier(2)

    def write():
        with keeping.whole_file(tmp_path / "a.json") as part:
            parts.append(part)
            part.write_text("whole")
            both.wait()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(parts)) == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_leftovers_are_known_by_the_names_that_writers_give(tmp_path, monkeypatch):
    with keeping.whole_file(tmp_path / "a.json") as part:
        part.write_text("")
        assert keeping.discard_leftovers(tmp_path) == []
    part.write_text("")
    monkeypatch.setattr(keeping, "_lives", lambda process: process != os.getpid())
    assert keeping.discard_leftovers(tmp_path) == [part]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_variable_that_names_a_folder_is_the_one_of_what_is_fetched(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DatasetError, match="set DPJAX_MODELS_DIR to a folder"),
        workspace_in(tmp_path / "file", "a", MODELS),
    ):
        pass


def test_an_empty_variable_names_no_folder(monkeypatch):
    monkeypatch.setenv("DPJAX_CACHE_DIR", "")
    monkeypatch.setenv("DPJAX_DATA_DIR", "")
    assert caches.cache_folder("calibration").parent == keeping.user_folder("datasets", "DPJAX_DATA_DIR").parent
    monkeypatch.setenv("DPJAX_CACHE_DIR", "there")
    monkeypatch.setenv("DPJAX_DATA_DIR", "there")
    assert caches.cache_folder("calibration").parts == ("there", "calibration")
    assert keeping.user_folder("datasets", "DPJAX_DATA_DIR").parts == ("there",)
    monkeypatch.setenv("DPJAX_CACHE_DIR", "~/there")
    assert caches.cache_folder("calibration") == Path.home() / "there" / "calibration"
