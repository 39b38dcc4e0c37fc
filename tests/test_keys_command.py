"""``dpjax keys``: keys are made and shown, files get another one, and every mistake is a sentence."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dpjax.cli import main
from dpjax.encryption.errors import UnknownKeyError
from dpjax.encryption.keys import keys_from, new_key
from dpjax.encryption.reader import is_sealed, read_sealed
from dpjax.encryption.writer import write_sealed
from tests.sealing import ring
from tests.softhsm import NEEDS_SOFTHSM, make_token


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    """Runs the command line in this process: (status, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.delenv("DPJAX_KEYS", raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return stop.value.code, out, err

    return run


@pytest.mark.parametrize(
    "words",
    [["keys"], *(["keys", each] for each in ("new", "show", "rotate", "open")), ["ledger", "export"]],
    ids=" ".join,
)
def test_every_command_shows_a_worked_example(call, words):
    status, out, _ = call(*words, "--help")
    assert status == 0
    assert f"dpjax {' '.join(words)} " in out.split("Usage")[1].split("\n", 1)[1]
    assert "Example" in out


def test_a_printed_key_is_one_line_and_never_the_same(call):
    lines = [call("keys", "new")[1] for _ in range(2)]
    assert lines[0] != lines[1]
    assert len(ring(*(line.strip() for line in lines)).ids) == 2


def test_a_key_is_made_shown_and_put_on_top(call, tmp_path, monkeypatch):
    source = f"file:{tmp_path}/keys"
    first = call("keys", "new", "--to", source)
    assert first[0] == 0
    assert "which holds 1 key; the new one seals" in first[1]
    assert "holds 2 keys" in call("keys", "new", "--to", source)[1]
    monkeypatch.setenv("DPJAX_KEYS", source)
    ids = [key_id.hex() for key_id in keys_from(source).ids]
    status, out, _ = call("keys", "show")
    assert status == 0
    assert out.splitlines() == [f"{source}: 2 keys", f"  {ids[0]}  seals and opens", f"  {ids[1]}  opens"]
    for line in (tmp_path / "keys").read_text().split():
        assert line not in first[1] + out
    assert call("keys", "show", "--keys", source)[1] == out


def test_where_no_key_is_named_the_fix_is_said(call, tmp_path):
    for words in (["show"], ["rotate", tmp_path], ["open", tmp_path / "a"]):
        status, _, err = call("keys", *words)
        assert status == 1
        assert err.startswith(
            "error: no key is named; set DPJAX_KEYS to where yours lie, or make the first with `dpjax keys new"
        )
    assert call("keys", "new", "--to", "env:MINE")[2].startswith(
        "error: env: can't be written by a program; print a key"
    )


@pytest.fixture
def files(tmp_path):
    """Sealed files in a folder, among others."""
    old = new_key()
    (tmp_path / "results/deep").mkdir(parents=True)
    made = [tmp_path / "results" / name for name in ("a", "b.sealed", "deep/c")]
    for path in made:
        write_sealed(path, path.name.encode(), ring(old), purpose="results")
    (tmp_path / "results/plain.json").write_text("{}")
    (tmp_path / "results/empty").touch()
    (tmp_path / "results/.d.7.tmp").write_bytes(made[0].read_bytes())  # being written
    (tmp_path / "results/loop").symlink_to(tmp_path / "results", target_is_directory=True)
    (tmp_path / "keys").write_text(f"{new_key()}\n{old}\n")
    (tmp_path / "keys").chmod(0o600)
    return made


def test_every_sealed_file_gets_the_new_key_once(call, files, tmp_path):
    source = f"file:{tmp_path}/keys"
    newest = keys_from(source).ids[0].hex()[:8]
    words = ("keys", "rotate", tmp_path / "results", files[0], "--keys", source)
    assert call(*words) == (0, f"3 sealed files: 3 given key {newest}…, 0 had it\n", "")
    assert call(*words) == (0, f"3 sealed files: 0 given key {newest}…, 3 had it\n", "")
    new = ring((tmp_path / "keys").read_text().split()[0])
    for path in files:
        assert read_sealed(path, new, purpose="results") == path.name.encode()
    assert not is_sealed(tmp_path / "results/plain.json")


def test_what_could_not_be_given_the_key_is_said_and_the_rest_is_done(call, files, tmp_path):
    source = f"file:{tmp_path}/keys"
    write_sealed(files[1], b"of another", ring(), purpose="results")
    changed = bytearray(files[2].read_bytes())
    changed[600] ^= 1
    files[2].write_bytes(changed)
    status, out, err = call("keys", "rotate", tmp_path / "results", "--keys", source)
    assert status == 1
    assert out.startswith("3 sealed files: 1 given key ")
    assert "b.sealed was sealed with key" in err
    assert "deep/c was changed after it was sealed" in err
    assert err.splitlines()[-1].startswith("error: 2 paths could not be given key ")
    assert (
        "nowhere is not there; name a sealed file" in call("keys", "rotate", tmp_path / "nowhere", "--keys", source)[2]
    )


def test_a_folder_that_can_not_be_read_is_said_and_the_old_key_is_to_be_kept(call, files, tmp_path, monkeypatch):
    scan = os.scandir

    def refused(path="."):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    status, out, err = call("keys", "rotate", tmp_path / "results", "--keys", f"file:{tmp_path}/keys")
    assert (status, out[:22]) == (1, "2 sealed files: 2 give")
    assert "deep can't be read (Permission denied); let its owner give you the right to." in err
    assert "keep the old key until all have it" in err


def test_files_move_to_keys_of_another_source(call, files, tmp_path, monkeypatch):
    old, new = f"file:{tmp_path}/keys", new_key()
    monkeypatch.setenv("MINE", new)
    status, _, err = call("keys", "rotate", tmp_path / "results", "--keys", "env:MINE")
    assert (status, "which env:MINE does not hold" in err) == (1, True)
    same = call("keys", "rotate", tmp_path / "results", "--keys", "env:MINE", "--from", "env:MINE")
    assert "which env:MINE does not hold" in same[2]
    words = ("keys", "rotate", tmp_path / "results", "--keys", "env:MINE", "--from", old)
    assert call(*words)[1].startswith("3 sealed files: 3 given key ")
    assert call(*words)[1].endswith("0 given key " + ring(new).ids[0].hex()[:8] + "…, 3 had it\n")
    assert [read_sealed(path, ring(new), purpose="results") for path in files] == [path.name.encode() for path in files]
    with pytest.raises(UnknownKeyError):
        read_sealed(files[0], keys_from(old), purpose="results")
    write_sealed(files[1], b"of another", ring(), purpose="results")
    assert f"which env:MINE and {old} do not hold" in call(*words)[2]


SLOW = """
import sys, time
from dpjax.cli import main
from dpjax.encryption import rotation
write = rotation._write
def slow(*args):
    print("writes", flush=True)
    time.sleep(0.1)
    write(*args)
rotation._write = slow
main(["keys", "rotate", sys.argv[1], "--keys", sys.argv[2]])
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_rotation_that_is_stopped_loses_nothing_and_is_finished_by_the_next(call, files, tmp_path, sign):
    source = f"file:{tmp_path}/keys"
    for writes in (1, 2, 3):
        command = [sys.executable, "-c", SLOW, str(tmp_path / "results"), source]
        working = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert working.stdout is not None
        for _ in range(writes):
            working.stdout.readline()
        time.sleep(0.02)
        working.send_signal(sign)
        _, said = working.communicate(timeout=30)
        if sign == signal.SIGINT and writes == 1:
            assert working.returncode == 130
            assert said.startswith(
                "stopped: every sealed file opens, and those that were given a key keep it; run the same"
            )
        for path in files:
            assert read_sealed(path, keys_from(source), purpose="results") == path.name.encode()
    assert call("keys", "rotate", tmp_path / "results", "--keys", source)[0] == 0
    new = ring((tmp_path / "keys").read_text().split()[0])
    assert [read_sealed(path, new, purpose="results") for path in files] == [path.name.encode() for path in files]


def test_a_ledgers_trail_is_exported_sealed_and_opened(call, tmp_path, monkeypatch):
    source, sealed = f"file:{tmp_path}/keys", tmp_path / "trail.sealed"
    call("keys", "new", "--to", source)
    call("ledger", "init")
    assert call("ledger", "export", tmp_path / "trail.jsonl")[0] == 0
    status, _, err = call("ledger", "export", sealed, "--sealed")
    assert status == 1
    assert "no key is named" in err
    assert not sealed.exists()
    assert "seals nothing without --sealed" in call("ledger", "export", sealed, "--keys", source)[2]
    monkeypatch.setenv("DPJAX_KEYS", source)
    status, out, _ = call("ledger", "export", sealed, "--sealed")
    assert status == 0
    assert out.endswith(f", sealed with key {keys_from().ids[0].hex()[:8]}…\n")
    plain = (tmp_path / "trail.jsonl").read_bytes()
    assert plain
    assert read_sealed(sealed, keys_from(), purpose="ledger export") == plain
    assert call("keys", "open", sealed) == (0, plain.decode(), "")
    status, out, _ = call("keys", "open", sealed, "--to", tmp_path / "opened")
    assert (status, out) == (0, f"wrote {tmp_path}/opened: {len(plain):,} bytes of ledger export\n")
    assert (tmp_path / "opened").read_bytes() == plain
    assert (tmp_path / "opened").stat().st_mode & 0o777 == 0o600


def test_what_is_opened_is_not_written_over_itself(call, tmp_path, monkeypatch):
    key = new_key()
    monkeypatch.setenv("MINE", key)
    path = write_sealed(tmp_path / "a", b"rows", ring(key), purpose="results")
    before = path.read_bytes()
    status, out, err = call("keys", "open", path, "--keys", "env:MINE", "--to", path)
    assert (status, out, err) == (1, "", f"error: {path} is there already; name another file.\n")
    assert path.read_bytes() == before


def test_nothing_is_written_of_a_file_that_was_changed(call, tmp_path, monkeypatch):
    key = new_key()
    monkeypatch.setenv("MINE", key)
    path = write_sealed(tmp_path / "a", os.urandom(3 << 20), ring(key), purpose="results")
    changed = bytearray(path.read_bytes())
    changed[2 << 20] ^= 1
    path.write_bytes(changed)
    for words in ([], ["--to", tmp_path / "out"]):
        status, out, err = call("keys", "open", path, "--keys", "env:MINE", *words)
        assert (status, out) == (1, "")
        assert err == f"error: {path} was changed after it was sealed, or is damaged; restore it from a copy.\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@NEEDS_SOFTHSM
def test_keys_of_a_token_are_made_shown_and_rotated(call, tmp_path, monkeypatch):
    source = make_token(tmp_path / "token", monkeypatch)
    monkeypatch.setenv("DPJAX_KEYS", source)
    assert "holds no AES-256 key" in call("keys", "show")[2]
    for number in (1, 2):
        assert f"which holds {number} key" in call("keys", "new", "--to", source)[1]
        if number == 1:
            write_sealed(tmp_path / "a", b"all of it", keys_from(), purpose="results")
    assert call("keys", "rotate", tmp_path / "a")[1].startswith("1 sealed file: 1 given key ")
    assert call("keys", "open", tmp_path / "a")[1] == "all of it"
    assert len(call("keys", "show")[1].splitlines()) == 3


def test_rows_are_opened_by_the_command_that_asks_the_ledger(call, tmp_path, monkeypatch):
    key = new_key()
    monkeypatch.setenv("MINE", key)
    path = write_sealed(tmp_path / "a.csv.sealed", b"age\n3\n", ring(key), purpose="data")
    status, out, err = call("keys", "open", path, "--keys", "env:MINE")
    assert (status, out) == (1, "")
    assert "holds rows, which `dpjax data open` writes out" in err
