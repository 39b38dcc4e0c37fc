"""Where keys are kept: what a source gives, what it refuses, and that no message ever holds a key."""

import base64
import os
import pickle
import stat
import threading

import keyring
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.backends.null import Keyring as NullKeyring

from dpjax.encryption.errors import ChangedError, EncryptionError, UnknownKeyError
from dpjax.encryption.keys import Keys, add_key, keys_from, new_key, ring_of
from tests.sealing import ring

KEY, OTHER = new_key(), new_key()


@given(data_key=st.binary(min_size=32, max_size=32), context=st.binary(max_size=40), other=st.binary(max_size=40))
@settings(deadline=None)
def test_a_wrap_opens_with_its_context_and_with_no_other(data_key, context, other):
    keys = ring(KEY, OTHER)
    key_id, wrapped = keys.wrap(data_key, context)
    assert key_id == keys.ids[0] == ring(KEY).ids[0]
    assert ring(OTHER, KEY).unwrap(key_id, wrapped, context) == data_key
    if other != context:
        with pytest.raises(ChangedError):
            keys.unwrap(key_id, wrapped, other)
    with pytest.raises(UnknownKeyError):
        ring(OTHER).unwrap(key_id, wrapped, context)
    for cut in range(0, len(wrapped), 7):
        with pytest.raises(ChangedError):
            keys.unwrap(key_id, wrapped[:cut], context)


def test_the_first_line_seals_and_empty_lines_count_for_nothing():
    assert ring_of(f"\n{KEY}\n\n {OTHER}\n", "it").ids == ring(KEY, OTHER).ids
    assert isinstance(ring(KEY), Keys)
    assert pickle.loads(pickle.dumps(ring(KEY))).ids == ring(KEY).ids


BAD_RINGS = {
    "nothing": ("", "holds no key"),
    "empty lines": ("\n \n", "holds no key"),
    "words": (f"{KEY}\nhunter2", "line 2 is no key"),
    "a short key": (KEY[:40], "line 1 is no key"),
    "bits to spare": (KEY[:-2] + chr(ord(KEY[-2]) + 1) + "=", "line 1 is no key"),
    "the same twice": (f"{KEY}\n{OTHER}\n{KEY}", "line 3 is a key that a line above it has too"),
}


def secrets_of(text):
    return [word for word in text.split() if len(word) > 3]


@pytest.mark.parametrize("name", BAD_RINGS)
def test_a_bad_ring_is_refused_by_its_line_and_never_repeated(name):
    text, said = BAD_RINGS[name]
    with pytest.raises(EncryptionError, match=said) as caught:
        ring_of(text, "env:IT")
    assert not any(secret in str(caught.value) for secret in secrets_of(text))


def test_nothing_that_is_printed_of_keys_is_a_key(backend):
    keys = ring(KEY, OTHER)
    for text in (repr(keys), str(keys), f"{keys}"):
        assert KEY not in text
        assert "keys=" not in text
    backend(NullKeyring())  # which says of any name that it holds nothing
    with_slash = base64.b64encode(b"\xff" * 16 + bytes(16)).decode()
    for key in (KEY, OTHER, with_slash):
        for mistake in (
            key,
            f"env:{key}",
            f"{key}:x",
            f"pkcs11:t/l?module=/m&pin={key}",
            f"keyring:{key}",
            f"file:{key}",
        ):
            with pytest.raises(EncryptionError) as caught:
                keys_from(mistake)
            assert key[:10] not in str(caught.value)


def test_where_no_source_is_named_the_environment_is_asked_and_then_the_fix_is_said(monkeypatch):
    monkeypatch.delenv("DPJAX_KEYS", raising=False)
    with pytest.raises(
        EncryptionError,
        match="no key is named; set DPJAX_KEYS to where yours lie, or make the first with `dpjax keys new",
    ):
        keys_from()
    monkeypatch.setenv("DPJAX_KEYS", "env:MINE")
    with pytest.raises(EncryptionError, match="env:MINE is not set; set MINE to what `dpjax keys new` prints"):
        keys_from()
    monkeypatch.setenv("MINE", KEY)
    assert keys_from().ids == ring(KEY).ids


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("vault:x", "none of its kinds; write env:VARIABLE, file:PATH"),
        ("file:", "file: names none; write file:PATH"),
        ("keyring:alone", "wants a service and a name"),
        ("pkcs11:t/l", "wants a token, a label and a library"),
        ("pkcs11:t?module=/x", "wants a token, a label and a library"),
    ],
)
def test_a_source_that_is_written_wrong_says_how_it_is_written(source, said):
    with pytest.raises(EncryptionError, match=said):
        keys_from(source)
    with pytest.raises(EncryptionError, match=said):
        add_key(source)


def test_a_file_is_made_for_its_owner_alone_and_grows_at_the_top(tmp_path):
    source = f"file:{tmp_path}/keys"
    with pytest.raises(EncryptionError, match="is not there; make it with `dpjax keys new --to file:"):
        keys_from(source)
    first, second = add_key(source), add_key(source)
    assert second.ids[1:] == first.ids
    assert keys_from(source).ids == second.ids
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_keys_that_are_added_at_once_are_all_there(tmp_path):
    source = f"file:{tmp_path}/keys"
    adding = [threading.Thread(target=add_key, args=(source,)) for _ in range(8)]
    for each in adding:
        each.start()
    for each in adding:
        each.join()
    assert len(keys_from(source).ids) == 8


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_that_others_may_open_is_refused_with_the_fix(tmp_path, mode, linked):
    path = tmp_path / "keys"
    path.write_text(KEY)
    path.chmod(mode)
    if linked:
        (tmp_path / "link").symlink_to(path)
    asked = tmp_path / ("link" if linked else "keys")
    with pytest.raises(EncryptionError, match=rf"open to others \(mode {mode:o}\); run chmod 600 {asked}"):
        keys_from(f"file:{asked}")
    with pytest.raises(EncryptionError, match="open to others"):
        add_key(f"file:{asked}")
    assert path.read_text() == KEY
    path.chmod(0o600)
    assert keys_from(f"file:{asked}").ids == ring(KEY).ids
    assert len(add_key(f"file:{asked}").ids) == 2
    assert (tmp_path / "link").is_symlink() == linked


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch):
    add_key(f"file:{tmp_path}/keys")
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "keys").stat().st_uid + 1)
    with pytest.raises(EncryptionError, match="is another user's; copy it to a file of yours"):
        keys_from(f"file:{tmp_path}/keys")


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "bytes", "far too long"])
def test_what_is_no_key_ring_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "keys"
    if kind == "a folder":
        path.mkdir(mode=0o700)
    elif kind == "a pipe":
        os.mkfifo(path, 0o600)
    else:
        path.write_bytes(b"\xff\xfe" if kind == "bytes" else f"{KEY}\n".encode() * 5000)
        path.chmod(0o600)
    with pytest.raises(EncryptionError, match=r"is no (file|key ring)"):
        keys_from(f"file:{path}")


class InMemory(KeyringBackend):
    """A keyring of this process, as keyring has none for tests."""

    priority = -1  # below keyring's own, which would else take it for this machine's

    def __init__(self):
        super().__init__()
        self.held = {}

    def get_password(self, service, username):
        return self.held.get((service, username))

    def set_password(self, service, username, password):
        self.held[service, username] = password


class Broken(InMemory):
    def get_password(self, service, username):
        raise OSError("the bus\nis gone")


@pytest.fixture
def backend():
    before = keyring.get_keyring()
    yield lambda chosen: (keyring.set_keyring(chosen), chosen)[1]
    keyring.set_keyring(before)


def test_the_systems_keyring_holds_a_ring(backend):
    chosen = backend(InMemory())
    with pytest.raises(EncryptionError, match="keyring:dpjax/clinic holds nothing; make a key with"):
        keys_from("keyring:dpjax/clinic")
    first, second = add_key("keyring:dpjax/clinic"), add_key("keyring:dpjax/clinic")
    assert keys_from("keyring:dpjax/clinic").ids == second.ids
    assert second.ids[1:] == first.ids
    chosen.held["dpjax", "clinic"] = "hunter2"
    with pytest.raises(EncryptionError, match="keyring:dpjax/clinic: line 1 is no key"):
        add_key("keyring:dpjax/clinic")
    assert chosen.held["dpjax", "clinic"] == "hunter2"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (NoKeyring, "this machine has none; keep the keys in file:PATH or env:VARIABLE"),
        (NullKeyring, "keyring:dpjax/clinic keeps nothing; choose another backend"),
        (Broken, r"keyring:dpjax/clinic can't be used \(the bus is gone\); unlock it"),
    ],
)
def test_a_keyring_that_keeps_nothing_is_said(backend, chosen, said):
    backend(chosen())
    with pytest.raises(EncryptionError, match=said):
        add_key("keyring:dpjax/clinic")


def test_an_environment_variable_is_not_written(monkeypatch):
    with pytest.raises(EncryptionError, match="can't be written by a program; print a key with `dpjax keys new`"):
        add_key("env:MINE")
