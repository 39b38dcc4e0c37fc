"""A disk that refuses, a file that is none, a key that is not there: one sentence each, and nothing is left behind."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from dpjax.cli.app import run
from dpjax.cli.errors import disk_in_one_line
from dpjax.encryption.keys import add_key, keys_from
from dpjax.encryption.writer import write_sealed

ROWS = b"age,ill\n40,no\n" * 20_000


@pytest.fixture
def place(tmp_path, monkeypatch):
    add_key(f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("DPJAX_LEDGER", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(ROWS)
    write_sealed("b.csv.sealed", ROWS, keys_from(), purpose="data")
    write_sealed("c.sealed", ROWS, keys_from(), purpose="results")
    return tmp_path


@contextmanager
def no_file_above(size):
    """As a disk that is full: what is written past it fails."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(capsys, *command):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(command) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert "[Errno" not in said
    return said.removeprefix("error: ").strip()


LARGE = "can't be written (File too large); raise the limit with `ulimit -f`, or name another disk."


@pytest.mark.parametrize("size", [0, 5000, 100_000])
def test_a_disk_that_takes_no_more_is_said_with_the_file(place, capsys, size):
    with no_file_above(size):
        assert refused(capsys, "data", "protect", "a.csv") == f"a.csv.sealed {LARGE}"
        assert refused(capsys, "data", "open", "b.csv.sealed", "--to", "b.csv") == f"b.csv {LARGE}"
        assert refused(capsys, "keys", "open", "c.sealed", "--to", "c") == f"c {LARGE}"


@pytest.mark.parametrize(
    ("command", "said"),
    {
        "keys open nothing": "nothing is not there; name a file that is.",
        "keys open .": ". is a folder; name a file in it.",
        "keys open c.sealed --to none/c": "the folder none is not there; make it, or name another.",
        "keys open c.sealed --to a.csv": "a.csv is there already; name another file.",
        "keys open a.csv": "a.csv is not sealed; read it as it is, or name the sealed file.",
        "data open b.csv.sealed --to none/b": "the folder none is not there; make it, or name another.",
        "data open b.csv.sealed --to a.csv": "--to a.csv is there already; name another file.",
        "data open b.csv.sealed --to a.csv/b": "the folder a.csv is not there; make it, or name another.",
        "ledger export none/trail": "the folder none is not there; make it, or name another.",
        "ledger export none/trail --sealed": "the folder none is not there; make it, or name another.",
    }.items(),
)
def test_a_file_that_is_not_there_or_is_another_is_said_in_a_sentence(place, capsys, monkeypatch, command, said):
    monkeypatch.setenv("DPJAX_LEDGER", str(place / "ledger.db"))
    if command.startswith("ledger"):
        assert run(["ledger", "init"]) == 0
    else:
        monkeypatch.delenv("DPJAX_LEDGER")
    assert refused(capsys, *command.split()) == said


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="a folder that takes no file of anybody")
def test_a_folder_that_takes_no_file_is_said(place, capsys):
    for command in (("data", "open", "b.csv.sealed"), ("keys", "open", "c.sealed")):
        said = refused(capsys, *command, "--to", "/sys/kernel/open.csv")
        assert said.startswith("/sys/kernel/open.csv can't be written (")
        assert said.endswith("); name a file in a folder that you may write to.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EISDIR])
def test_every_refusal_names_the_file_and_a_fix(number):
    with pytest.raises(ValueError, match=r"^to .*; (make room|name) .*\.$"), disk_in_one_line(Path("from"), Path("to")):
        raise OSError(number, os.strerror(number))
    with (
        pytest.raises(ValueError, match=r"^from .*; (let its owner|name a file) .*\.$"),
        disk_in_one_line(Path("from"), Path("to")),
    ):
        raise OSError(number, os.strerror(number), "from")


def test_a_file_of_nothing_gets_its_first_key_and_others_are_told_how(place, capsys):
    Path("empty").touch(mode=0o600)
    said = refused(capsys, "keys", "show", "--keys", "file:empty")
    assert said == "file:empty holds no key; make one with `dpjax keys new --to file:empty`."
    assert run(["keys", "new", "--to", "file:empty"]) == 0
    assert "holds 1 key" in capsys.readouterr().out
    Path("open").touch()
    Path("open").chmod(0o644)
    assert "is open to others (mode 644); run chmod 600" in refused(capsys, "keys", "new", "--to", "file:open")
