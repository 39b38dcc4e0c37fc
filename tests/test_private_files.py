"""Plaintext that a command writes for its owner: killed at any moment, nothing of it is left, by whatever name."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dpjax import private_files
from dpjax.encryption.keys import add_key, keys_from
from dpjax.encryption.writer import write_sealed
from dpjax.keeping import MACHINE
from dpjax.private_files import private_file

SECRET = b"name,illness\nAda,measles\n"
HALF_WAY = """
import sys, time
from dpjax import private_files
from dpjax.encryption.reader import SealedReader
read, times = SealedReader.readinto, []
def slowly(self, buffer):
    times.append(1)
    if len(times) == 3:
        print("half-way", flush=True)
        time.sleep(60)
    return read(self, memoryview(buffer)[:1 << 16])
SealedReader.readinto = slowly
if sys.argv[1] == "named":
    private_files._unnamed = lambda folder: None
from dpjax.cli.app import run
sys.exit(run(sys.argv[2:]))
"""
"""A command that is in the middle of a file: two pieces of it are written."""
needs_unnamed = pytest.mark.skipif(
    not hasattr(os, "O_TMPFILE") or not os.path.exists("/proc/self/fd"), reason="files without a name are Linux's"
)


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    add_key(f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("DPJAX_LEDGER", raising=False)
    (tmp_path / "out").mkdir()
    content = SECRET * 20_000
    write_sealed(tmp_path / "rows.csv.sealed", content, keys_from(), purpose="data")
    write_sealed(tmp_path / "results.sealed", content, keys_from(), purpose="results")
    return tmp_path


def stopped(folder, how, command, number):
    """The command, asked to end when it is half-way: its status, and what was open of it just before."""
    process = subprocess.Popen([sys.executable, "-c", HALF_WAY, how, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half-way\n"
    there = [path.read_bytes() for path in Path(folder).iterdir()]
    process.send_signal(number)
    process.communicate()
    return process.returncode, there


COMMANDS = {"rows": ("data", "open", "rows.csv.sealed"), "results": ("keys", "open", "results.sealed")}


@needs_unnamed
@pytest.mark.parametrize("what", COMMANDS)
def test_a_kill_half_way_leaves_nothing_and_there_was_nothing_to_be_seen(sealed, what):
    *words, name = COMMANDS[what]
    command = [*words, str(sealed / name), "--to", str(sealed / "out/open.csv")]
    status, there = stopped(sealed / "out", "unnamed", command, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert there == []
    assert list((sealed / "out").iterdir()) == []
    for path in sealed.rglob("*"):
        assert path.is_dir() or SECRET not in path.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_where_every_file_has_a_name_it_is_for_its_owner_alone_and_goes_when_asked_to_end(sealed, number):
    command = ["data", "open", str(sealed / "rows.csv.sealed"), "--to", str(sealed / "out/open.csv")]
    status, there = stopped(sealed / "out", "named", command, number)
    assert status == 128 + number
    assert len(there) == 1
    assert list((sealed / "out").iterdir()) == []


def test_where_every_file_has_a_name_what_a_kill_left_goes_with_the_next_call(sealed, monkeypatch):
    command = ["data", "open", str(sealed / "rows.csv.sealed"), "--to", str(sealed / "out/open.csv")]
    assert stopped(sealed / "out", "named", command, signal.SIGKILL)[0] == -signal.SIGKILL
    [left] = (sealed / "out").iterdir()
    assert left.stat().st_mode & 0o777 == 0o600
    other = sealed / "out" / f".open.csv.2.csv.7.{MACHINE}.{2**22 + 1}.tmp"  # of another file
    other.write_bytes(b"")
    with private_file(sealed / "out/open.csv") as stream:
        stream.write(SECRET)
    assert sorted(path.name for path in (sealed / "out").iterdir()) == sorted([other.name, "open.csv"])


@pytest.mark.parametrize("how", [pytest.param("unnamed", marks=needs_unnamed), "named"])
def test_what_is_there_stays_unless_it_may_go_and_an_error_leaves_nothing(tmp_path, monkeypatch, how):
    if how == "named":
        monkeypatch.setattr(private_files, "_unnamed", lambda folder: None)
    path, umask = tmp_path / "a", os.umask(0)
    try:
        with private_file(path) as stream:
            stream.write(b"first")
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError), private_file(path) as stream:
        raise AssertionError
    with pytest.raises(FileExistsError), private_file(tmp_path / "b"):
        (tmp_path / "b").write_bytes(b"of another process")
    assert (tmp_path / "b").read_bytes() == b"of another process"
    with private_file(path, replace=True) as stream:
        stream.write(b"second")
        assert path.read_bytes() == b"first"
    with pytest.raises(ZeroDivisionError), private_file(path, replace=True) as stream:
        _fail(stream)
    assert path.read_bytes() == b"second"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), private_file(tmp_path / "link"):
        raise AssertionError
    with pytest.raises(FileNotFoundError), private_file(tmp_path / "none/a"):
        raise AssertionError
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b", "link"]


def _fail(stream):
    stream.write(b"third")
    raise ZeroDivisionError


def test_what_a_killed_protect_left_is_taken_away_and_the_rest_done(sealed, capsys):
    from dpjax.cli.app import run

    rows = sealed / "more.csv"
    rows.write_bytes(SECRET)
    part = sealed / f".more.csv.sealed.7.{MACHINE}.{2**22 + 1}.tmp"
    part.write_bytes(b"half")
    assert run(["data", "protect", str(rows)]) == 0
    assert f"took {part} away, which a command that was killed had left" in capsys.readouterr().err
    assert not part.exists()
    before = (sealed / "more.csv.sealed").read_bytes()
    assert run(["data", "protect", str(rows), "--remove"]) == 0  # as after a kill before the open file went
    assert "more.csv.sealed holds more.csv already" in capsys.readouterr().out
    assert not rows.exists()
    assert (sealed / "more.csv.sealed").read_bytes() == before
