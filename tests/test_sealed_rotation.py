"""Another key for a file that is there: cut off anywhere, it opens by one of the two and a second call finishes."""

import multiprocessing
import os

import pytest

from dpjax.encryption import rotation
from dpjax.encryption.errors import ChangedError, EncryptionError, UnknownKeyError
from dpjax.encryption.header import HEADER_BYTES, SLOT_BYTES, SLOTS
from dpjax.encryption.keys import new_key
from dpjax.encryption.reader import SealedReader, read_sealed
from dpjax.encryption.rotation import rewrap
from dpjax.encryption.writer import write_sealed
from tests.sealing import ring

OLD, NEW, NEWER = new_key(), new_key(), new_key()
BOTH = ring(NEW, OLD)
WRITE = rotation._write


class Killed(BaseException):
    """In the middle of a write."""


@pytest.fixture
def file(tmp_path):
    return write_sealed(tmp_path / "a", b"all of it", ring(OLD), purpose="results")


def opens(path, keys):
    return read_sealed(path, keys, purpose="results") == b"all of it"


def test_only_the_header_changes_and_the_old_key_opens_it_no_more(file):
    before = file.read_bytes()
    assert rewrap(file, BOTH)
    after = file.read_bytes()
    assert after[: SLOTS[0]] == before[: SLOTS[0]]
    assert after[HEADER_BYTES:] == before[HEADER_BYTES:]
    assert after[SLOTS[0] : SLOTS[0] + SLOT_BYTES] == bytes(SLOT_BYTES)
    assert opens(file, ring(NEW))
    with pytest.raises(UnknownKeyError):
        opens(file, ring(OLD))
    assert not rewrap(file, BOTH)
    assert file.read_bytes() == after
    assert rewrap(file, ring(NEWER, NEW))  # back into the slot that was cleared
    assert opens(file, ring(NEWER))
    assert file.stat().st_size == len(before)


def test_a_kill_after_any_byte_of_any_write_leaves_a_file_that_opens(file, monkeypatch):
    before = file.read_bytes()
    writes = []
    monkeypatch.setattr(rotation, "_write", lambda out, at, data: (writes.append((at, data)), WRITE(out, at, data)))
    rewrap(file, BOTH)
    assert [len(data) for _, data in writes] == [SLOT_BYTES, SLOT_BYTES]
    for number in range(len(writes)):
        for upto in range(SLOT_BYTES + 1):
            torn = bytearray(before)
            for at, data in writes[:number]:
                torn[at : at + len(data)] = data
            at, data = writes[number]
            torn[at : at + upto] = data[:upto]
            file.write_bytes(torn)
            assert opens(file, BOTH)
            if upto % 97 == 0 or upto == SLOT_BYTES:
                rewrap(file, BOTH)
                assert opens(file, ring(NEW))
                with pytest.raises(UnknownKeyError):
                    opens(file, ring(OLD))


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("upto", [0, 1, 20, 700, SLOT_BYTES])
def test_a_rotation_that_ends_in_a_write_is_finished_by_the_next(file, monkeypatch, nth, upto):
    count = iter(range(9))

    def killed(out, at, data):
        if next(count) == nth:
            WRITE(out, at, data[:upto])
            raise Killed
        WRITE(out, at, data)

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_write", killed)
        with pytest.raises(Killed):
            rewrap(file, BOTH)
    assert opens(file, BOTH)
    if nth == 0 and upto < SLOT_BYTES:
        assert opens(file, ring(OLD))
    else:
        assert opens(file, ring(NEW))
    rewrap(file, BOTH)
    assert opens(file, ring(NEW))
    with pytest.raises(UnknownKeyError):
        opens(file, ring(OLD))
    raw = file.read_bytes()
    assert [any(raw[at : at + SLOT_BYTES]) for at in SLOTS].count(True) == 1  # nor is a part of the old wrap there


def test_every_write_is_on_the_disk_before_the_next(file, monkeypatch):
    said = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (said.append("sync"), sync(handle))[1])
    monkeypatch.setattr(rotation, "_write", lambda out, at, data: (said.append("write"), WRITE(out, at, data))[1])
    rewrap(file, BOTH)
    assert said == ["write", "sync", "write", "sync"]


def test_a_wrap_that_did_not_reach_the_file_leaves_the_old_one(file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(rotation, "_write", lambda out, at, data: None)
    with pytest.raises(EncryptionError, match="gives back another wrap than was written; look at the disk"):
        rewrap(file, BOTH)
    assert file.read_bytes() == before


def test_who_holds_no_key_of_it_or_has_a_damaged_header_changes_nothing(file):
    with pytest.raises(UnknownKeyError, match="which the test does not hold"):
        rewrap(file, ring(NEW))
    changed = bytearray(file.read_bytes())
    changed[30] ^= 1
    file.write_bytes(changed)
    with pytest.raises(ChangedError):
        rewrap(file, BOTH)
    assert file.read_bytes() == changed


def test_a_file_that_is_open_goes_on_being_read(file):
    with SealedReader(file, ring(OLD), purpose="results") as stream:
        rewrap(file, BOTH)
        assert stream.read() == b"all of it"


def _rewrap_often(path, keys, times):
    for _ in range(times):
        for order in (keys, keys[::-1]):
            rewrap(path, ring(*order))


def test_two_processes_that_rotate_at_once_lose_nothing(file):
    spawn = multiprocessing.get_context("spawn")
    racing = [spawn.Process(target=_rewrap_often, args=(file, [OLD, NEW], 150)) for _ in range(2)]
    for each in racing:
        each.start()
    while any(each.is_alive() for each in racing):
        assert opens(file, BOTH)
    for each in racing:
        each.join()
        assert each.exitcode == 0
    assert opens(file, BOTH)
