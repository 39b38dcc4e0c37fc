"""Sealed files: what was sealed comes back, whole or by pieces; of anything else an error, and never a byte."""

import base64
import gc
import hashlib
import io
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.encryption.chunks import TAG_BYTES, chunks_of
from dpjax.encryption.envelope import context_of
from dpjax.encryption.errors import ChangedError, EncryptionError, UnknownKeyError
from dpjax.encryption.header import HEADER_BYTES, SLOT_BYTES, SLOTS, fixed_part
from dpjax.encryption.reader import SealedReader, is_sealed, read_sealed, unseal
from dpjax.encryption.writer import SealedWriter, seal, write_sealed
from tests.sealing import parts, ring

KEYS = ring()
CHUNK = 16
texts = st.binary(max_size=5 * CHUNK)


def sealed_of(data, purpose="data"):
    return seal(data, KEYS, purpose, chunk_bytes=CHUNK)


@given(data=texts, cuts=st.lists(st.integers(0, 5 * CHUNK), max_size=6))
@settings(deadline=None)
def test_what_is_written_in_any_pieces_is_what_is_read(data, cuts):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sealed")
        with SealedWriter(path, KEYS, purpose="data", chunk_bytes=CHUNK) as stream:
            for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
                stream.write(data[start:end])
            assert stream.tell() >= len(data)
        assert [each.name for each in Path(folder).iterdir()] == ["a.sealed"]
        assert read_sealed(path, KEYS, purpose="data") == data == unseal(path.read_bytes(), KEYS, "data")
        assert len(path.read_bytes()) == len(sealed_of(data))


@given(data=texts, reads=st.lists(st.tuples(st.integers(0, 6 * CHUNK), st.integers(0, 4 * CHUNK)), max_size=8))
@settings(deadline=None)
def test_reading_from_anywhere_is_slicing(data, reads):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sealed")
        path.write_bytes(sealed_of(data))
        with SealedReader(path, KEYS, purpose="data") as raw, io.BufferedReader(raw) as buffered:
            assert raw.size == len(data)
            for start, length in reads:
                for stream in (raw, buffered):
                    stream.seek(start)
                    assert stream.read(length) == data[start : start + length]
            raw.seek(0)
            assert raw.read() == data


def test_large_files_come_back_by_both_ways(tmp_path):
    data = os.urandom((3 << 20) + 5)
    path = write_sealed(tmp_path / "a", memoryview(data), KEYS, purpose="results", durable=True)
    assert read_sealed(path, KEYS, purpose="results") == data == unseal(seal(data, KEYS, "results"), KEYS, "results")
    assert data[:64] not in path.read_bytes()
    assert is_sealed(path)


def with_fixed(sealed, fixed):
    """The first bytes changed by somebody who knows the format."""
    return fixed + hashlib.sha256(fixed).digest() + sealed[len(fixed) + 32 :]


FLIPPED = sealed_of(bytes(range(40)))
EMPTY_SLOT = range(SLOTS[1], SLOTS[1] + SLOT_BYTES)


@pytest.mark.parametrize("start", range(0, HEADER_BYTES, 512))
def test_a_flipped_bit_of_the_header_is_an_error_but_in_the_empty_slot(start):
    for at in range(start, start + 512):
        changed = bytearray(FLIPPED)
        changed[at] ^= 1 << (at % 8)
        if at in EMPTY_SLOT:
            assert unseal(changed, KEYS, "data") == bytes(range(40))
        else:
            with pytest.raises(EncryptionError):
                unseal(changed, KEYS, "data")


ODD = {
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every second": np.arange(6)[::2],
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "objects": np.array([{}, 1], object),
    "objects in fields": np.zeros(2, [("a", "i4"), ("b", object)]),
    "text": "age",
    "a list": [1, 2],
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_plain_buffer_is_told_and_nothing_is_written(tmp_path, name):
    before = write_sealed(tmp_path / "a", b"before", KEYS, purpose="data").read_bytes()
    told = r"has no contiguous buffer of plain numbers .*as array\.tobytes\(\)"
    with pytest.raises(EncryptionError, match=told):
        seal(ODD[name], KEYS, "data")
    with pytest.raises(EncryptionError, match=told):
        write_sealed(tmp_path / "a", ODD[name], KEYS, purpose="data")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [before]


PLAIN = np.arange(6.0).reshape(2, 3), np.array(2.5), np.zeros((0, 3)), np.array(["a"]), np.ones(2, [("O", "i4")])


@pytest.mark.parametrize("array", PLAIN)
def test_an_array_is_sealed_as_its_bytes(array):
    assert unseal(seal(array, KEYS, "data"), KEYS, "data") == array.tobytes()


def test_a_flipped_bit_of_any_chunk_is_an_error():
    for at in range(HEADER_BYTES, len(FLIPPED)):
        for bit in range(8):
            changed = bytearray(FLIPPED)
            changed[at] ^= 1 << bit
            with pytest.raises(ChangedError, match="was changed after it was sealed"):
                unseal(changed, KEYS, "data")


def test_cut_at_any_length_or_longer_is_an_error_on_opening(tmp_path):
    path = tmp_path / "a"
    lengths = [*range(0, HEADER_BYTES, 97), *range(HEADER_BYTES, len(FLIPPED))]
    for cut in [FLIPPED[:length] for length in lengths] + [
        FLIPPED + bytes(n) for n in (1, TAG_BYTES, CHUNK + TAG_BYTES)
    ]:
        path.write_bytes(cut)
        with pytest.raises(EncryptionError):
            SealedReader(path, KEYS, purpose="data")
        with pytest.raises(EncryptionError):
            unseal(cut, KEYS, "data")


@given(data=st.binary(min_size=2 * CHUNK + 1, max_size=5 * CHUNK), draw=st.data())
@settings(deadline=None)
def test_chunks_that_are_swapped_dropped_repeated_or_of_another_file_are_an_error(data, draw):
    header, chunks = parts(sealed_of(data), CHUNK)
    _, others = parts(sealed_of(data), CHUNK)
    order = draw.draw(st.lists(st.integers(0, 2 * len(chunks) - 1), min_size=1, max_size=len(chunks) + 1))
    mixed = header + b"".join((chunks + others)[i] for i in order)
    if order == list(range(len(chunks))):
        assert unseal(mixed, KEYS, "data") == data
    else:
        with pytest.raises(ChangedError):
            unseal(mixed, KEYS, "data")


def test_the_header_of_another_file_of_the_same_key_is_an_error():
    one, other = sealed_of(b"one"), sealed_of(b"two")
    with pytest.raises(ChangedError):
        unseal(one[:HEADER_BYTES] + other[HEADER_BYTES:], KEYS, "data")
    with pytest.raises(ChangedError):  # all but the slots
        unseal(with_fixed(one, other[:88]), KEYS, "data")
    with pytest.raises(ChangedError):  # the slot alone
        unseal(one[: SLOTS[0]] + other[SLOTS[0] : HEADER_BYTES] + one[HEADER_BYTES:], KEYS, "data")


def test_a_file_of_another_purpose_is_refused_also_where_its_header_is_edited():
    sealed = sealed_of(b"all of it", purpose="results")
    with pytest.raises(EncryptionError, match="was sealed as 'results', not as 'data'; name the file that is meant"):
        unseal(sealed, KEYS, "data")
    edited = with_fixed(sealed, sealed[:56] + b"data".ljust(32, b"\0"))
    with pytest.raises(ChangedError):
        unseal(edited, KEYS, "data")
    with pytest.raises(EncryptionError, match="purpose='lunch' is none of checkpoint, results"):
        seal(b"", KEYS, "lunch")


def test_chunks_and_wrap_are_each_bound_to_what_never_changes_of_the_header():
    fixed, other = fixed_part("data"), fixed_part("data")
    key, file_id, chunk = bytes(32), bytes(32), bytearray(4 + TAG_BYTES)
    chunks_of(key, file_id, fixed, 4, "it").seal_into(0, True, b"text", chunk)
    with pytest.raises(ChangedError):
        chunks_of(key, file_id, other, 4, "it").open_into(0, True, chunk, bytearray(4))
    with pytest.raises(ChangedError):
        chunks_of(key, os.urandom(32), fixed, 4, "it").open_into(0, True, chunk, bytearray(4))
    assert context_of(fixed) != context_of(other)


def test_what_another_key_sealed_is_refused_by_its_name(tmp_path):
    path = write_sealed(tmp_path / "a", b"all of it", KEYS, purpose="data")
    with pytest.raises(
        UnknownKeyError, match=f"a was sealed with key {KEYS.ids[0].hex()[:8]}…, which the test does not"
    ):
        read_sealed(path, ring(), purpose="data")


def test_what_is_not_sealed_or_of_another_version_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n" * 1000)
    assert not is_sealed(tmp_path / "a.csv")
    with pytest.raises(EncryptionError, match=r"a\.csv is not sealed; read it as it is"):
        read_sealed(tmp_path / "a.csv", KEYS, purpose="data")
    with pytest.raises(EncryptionError, match=r"of version 2 of sealed files, and this dpjax reads 1; install"):
        unseal(with_fixed(FLIPPED, FLIPPED[:19] + b"\2" + FLIPPED[20:88]), KEYS, "data")


def test_other_libraries_write_to_it_and_read_from_it(tmp_path):
    table = pa.table({"age": list(range(1000)), "name": [f"person {i}" for i in range(1000)]})
    with SealedWriter(tmp_path / "a.npz", KEYS, purpose="data", chunk_bytes=1000) as stream:
        np.savez(stream, a=np.arange(5000), b=np.eye(3))
    with SealedReader(tmp_path / "a.npz", KEYS, purpose="data") as stream, np.load(stream) as loaded:
        assert (loaded["a"] == np.arange(5000)).all()
        assert (loaded["b"] == np.eye(3)).all()
    with SealedWriter(tmp_path / "a.parquet", KEYS, purpose="data", chunk_bytes=1000) as stream:
        pq.write_table(table, stream)
    with SealedReader(tmp_path / "a.parquet", KEYS, purpose="data") as stream:
        assert pq.read_table(stream).equals(table)
    with SealedWriter(tmp_path / "a.csv", KEYS, purpose="data") as stream, io.TextIOWrapper(stream, "utf-8") as text:
        text.write("name\nZoë\n")
    with SealedReader(tmp_path / "a.csv", KEYS, purpose="data") as stream:
        assert pd.read_csv(stream)["name"].tolist() == ["Zoë"]
    with SealedReader(tmp_path / "a.csv", KEYS, purpose="data") as stream:
        assert list(io.TextIOWrapper(io.BufferedReader(stream), "utf-8")) == ["name\n", "Zoë\n"]


def test_a_buffer_has_nothing_of_a_chunk_that_was_changed(tmp_path):
    changed = bytearray(sealed_of(b"A" * CHUNK + b"B" * CHUNK + b"C"))
    changed[HEADER_BYTES + CHUNK + TAG_BYTES] ^= 1
    (tmp_path / "a").write_bytes(changed)
    with SealedReader(tmp_path / "a", KEYS, purpose="data") as stream:
        buffer = bytearray(3 * CHUNK)
        with pytest.raises(ChangedError):
            stream.readinto(buffer)
        assert b"B" not in buffer
        assert stream.tell() == 0
        assert stream.read(CHUNK) == b"A" * CHUNK


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "a"
    for length in (0, HEADER_BYTES + 5, HEADER_BYTES + CHUNK + TAG_BYTES - 1):
        path.write_bytes(FLIPPED)
        with SealedReader(path, KEYS, purpose="data") as stream:
            os.truncate(path, length)
            with pytest.raises(ChangedError):
                stream.read(3)


@pytest.mark.parametrize("how", ["an exception", "discarded", "dropped"])
def test_a_file_that_is_not_closed_leaves_what_was_there(tmp_path, how):
    path = write_sealed(tmp_path / "a", b"before", KEYS, purpose="data")
    if how == "an exception":
        with pytest.raises(EncryptionError), SealedWriter(path, KEYS, purpose="data") as stream:
            stream.write("half")
    else:
        stream = SealedWriter(path, KEYS, purpose="data")
        stream.write(b"half" * (1 << 20))
        if how == "discarded":
            stream.discard()
        del stream
        gc.collect()
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert read_sealed(path, KEYS, purpose="data") == b"before"


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, monkeypatch):
    path = write_sealed(tmp_path / "a", b"before", KEYS, purpose="data")
    stream = SealedWriter(path, KEYS, purpose="data")
    stream.write(b"half")
    with monkeypatch.context() as patch:
        patch.setattr(stream, "_emit", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            stream.close()
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert read_sealed(path, KEYS, purpose="data") == b"before"
    with pytest.raises(ValueError, match="is closed; open another writer"):
        stream.write(b"more")


def test_no_two_files_and_no_two_chunks_look_alike():
    sealed = [sealed_of(bytes(4 * CHUNK)) for _ in range(3)]
    pieces = [chunk for each in sealed for chunk in parts(each, CHUNK)[1]]
    assert len(set(pieces)) == len(pieces) == 12


RECORDED = (
    "eNrrTCnISqxQKE5NzElN4eWSYmBgYARigctxj7osFep+ZokYeL1+fLwm8ujpkKXKjfPms76I2uVTtjwlsSSRAQ84mykfP7VHZF17"
    "V8XGstia7KeHK/7r2gUcu74wm/Gr0b3NDKNgUACmx787PtheuHKxUm5Nnc/7rww2VydfnL1KSGln2IJGubWHvnil/3b8c+nrXs7y"
    "m6c7Y9ftda9LDNNZwTv9hfvuwKMxH2INLVze5kbsVymKPL7OczQ8R8EoGAWjYLCAM4/89xduYpoxK7hA6/zytutvOk95XbhbnRKW"
    "+VehJGmd+GgIjYJRMApGwSgYBSMPJCZISTZeX7d82ep71V/Nj6ul1G8/P1Ng/o6P3bMzGHyz/5VwHplwLVvIVkK0XqCNkekbxybR"
    "bJ+Favx5XPPFOOY/OFJc0XY7wyi0cOOW6ptzfBRjWv49bgMAmdqK3w=="
)


def test_a_file_of_the_first_version_opens_and_is_laid_out_as_the_reference_says():
    key, sealed = bytes(range(32)), zlib.decompress(base64.b64decode(RECORDED))
    plain = b"what was sealed by the first version"
    keys = ring(base64.b64encode(key).decode())
    assert unseal(sealed, keys, "data") == plain
    # By hand, from the description of the format alone.
    fixed, slot = sealed[:88], sealed[512:2048]
    assert slot[:16] == hashlib.sha256(b"dpjax key id: " + key).digest()[:16] == keys.ids[0]
    wrapped = slot[18 : 18 + int.from_bytes(slot[16:18], "big")]
    data_key = AESGCM(key).decrypt(wrapped[:12], wrapped[12:], b"dpjax data key: " + fixed)
    info = b"dpjax sealed file 1: key of the chunks"
    cipher = AESGCM(HKDF(SHA256(), 32, salt=fixed[24:56], info=info).derive(data_key))
    size, body, found = int.from_bytes(fixed[20:24], "big"), sealed[4096:], b""
    for index, at in enumerate(range(0, len(body), size + 16)):
        chunk = body[at : at + size + 16]
        last = at + len(chunk) == len(body)
        found += cipher.decrypt(index.to_bytes(11, "big") + bytes([last]), chunk, fixed)
    assert found == plain
