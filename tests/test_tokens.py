"""Keys in a token, on SoftHSM: what it wraps opens, its keys stay in it, and what goes wrong is a sentence."""

import os
import threading

import pytest

from dpjax.encryption.errors import ChangedError, EncryptionError, UnknownKeyError
from dpjax.encryption.key_sources.tokens import TokenKeys
from dpjax.encryption.keys import Keys, add_key, keys_from
from dpjax.encryption.reader import read_sealed
from dpjax.encryption.rotation import rewrap
from dpjax.encryption.writer import write_sealed
from tests.softhsm import MODULE, NEEDS_SOFTHSM, PIN, make_token

pytestmark = NEEDS_SOFTHSM


@pytest.fixture
def source(tmp_path, monkeypatch):
    return make_token(tmp_path, monkeypatch)


def test_a_file_is_sealed_opened_and_given_another_key(source, tmp_path):
    first = add_key(source).ids
    path = write_sealed(tmp_path / "a", b"all of it", keys_from(source), purpose="results")
    assert read_sealed(path, keys_from(source), purpose="results") == b"all of it"
    second = add_key(source)
    assert isinstance(second, Keys)
    assert second.ids[1:] == first
    assert rewrap(path, keys_from(source))
    assert not rewrap(path, keys_from(source))
    assert read_sealed(path, keys_from(source), purpose="results") == b"all of it"


def test_the_newest_key_seals_and_all_open(source):
    context, made = b"context", []
    for _ in range(3):
        keys = add_key(source)
        made.append(keys.wrap(b"k" * 32, context))
    assert [key_id for key_id, _ in reversed(made)] == list(keys.ids)
    assert [keys.unwrap(*each, context) for each in made] == [b"k" * 32] * 3


@pytest.mark.parametrize("key_wrap", [False, True], ids=["AES-GCM", "key wrap"])
def test_a_wrap_opens_as_it_was_made_and_in_no_other_way(source, key_wrap):
    keys = TokenKeys("clinic", "dpjax", MODULE, key_wrap=key_wrap)
    keys.make_key()
    data_key = os.urandom(32)
    key_id, wrapped = keys.wrap(data_key, b"context")
    assert data_key not in wrapped
    assert TokenKeys("clinic", "dpjax", MODULE).unwrap(key_id, wrapped, b"context") == data_key
    with pytest.raises(ChangedError):
        keys.unwrap(key_id, wrapped, b"another")
    for at in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[at] ^= 1
        with pytest.raises(ChangedError, match="was changed after it was sealed"):
            keys.unwrap(key_id, bytes(changed), b"context")
    for cut in (b"", wrapped[:1], wrapped[:-1], wrapped + b"\0"):
        with pytest.raises(ChangedError):
            keys.unwrap(key_id, cut, b"context")
    with pytest.raises(UnknownKeyError, match=r"key 00000000… is not in pkcs11:clinic/dpjax; name the source"):
        keys.unwrap(bytes(16), wrapped, b"context")


def test_a_key_never_leaves_the_token(source):
    import pkcs11

    add_key(source)
    with pkcs11.lib(MODULE).get_token(token_label="clinic").open(user_pin=PIN) as session:
        (key,) = session.get_objects({pkcs11.Attribute.LABEL: "dpjax"})
        assert key[pkcs11.Attribute.SENSITIVE]
        assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]
        # While other code of the process is logged in, keys are there too.
        assert len(keys_from(source).ids) == 1


def test_nothing_of_a_wrap_stays_in_the_token(source):
    import pkcs11

    keys = TokenKeys("clinic", "dpjax", MODULE, key_wrap=True)
    keys.make_key()
    keys.unwrap(*keys.wrap(bytes(32), b""), b"")
    with pkcs11.lib(MODULE).get_token(token_label="clinic").open(user_pin=PIN) as session:
        assert len(list(session.get_objects({}))) == 1


def test_threads_use_a_token_at_once(source):
    keys, found = add_key(source), []

    def often():
        found.extend(keys.unwrap(*keys.wrap(b"k" * 32, b""), b"") for _ in range(10))

    working = [threading.Thread(target=often) for _ in range(4)]
    for each in working:
        each.start()
    for each in working:
        each.join()
    assert found == [b"k" * 32] * 40


@pytest.mark.parametrize(
    ("source_", "pin", "said"),
    [
        ("pkcs11:clinic/dpjax?module={}", None, "its PIN is not set; set it in the environment variable DPJAX_PKCS11"),
        ("pkcs11:clinic/dpjax?module={}", "999999", "refuses the PIN; set the right one in DPJAX_PKCS11_PIN"),
        ("pkcs11:clinic/dpjax?module={}", "9", "refuses the PIN"),
        (
            "pkcs11:clinic/other?module={}",
            PIN,
            "holds no AES-256 key; make one with `dpjax keys new --to pkcs11:clinic/",
        ),
        ("pkcs11:nowhere/dpjax?module={}", PIN, "is not there; look at its label"),
        ("pkcs11:clinic/dpjax?module=/nowhere.so", PIN, "has a module that can't be loaded"),
    ],
)
def test_what_goes_wrong_is_a_sentence_without_the_pin(source, monkeypatch, source_, pin, said):
    add_key(source)
    if pin is None:
        monkeypatch.delenv("DPJAX_PKCS11_PIN")
    else:
        monkeypatch.setenv("DPJAX_PKCS11_PIN", pin)
    with pytest.raises(EncryptionError, match=said) as caught:
        keys_from(source_.format(MODULE)).wrap(bytes(32), b"")
    assert pin is None or len(pin) == 1 or pin not in str(caught.value)


def test_a_token_that_fails_is_no_change_of_the_file(source, monkeypatch):
    keys = add_key(source)
    key_id, wrapped = keys.wrap(bytes(32), b"")
    from dpjax.encryption.key_sources import tokens

    class Failing:
        def __init__(self, key):
            self.key = key

        def encrypt(self, *args, **kwargs):
            return self.key.encrypt(*args, **kwargs)

        def decrypt(self, *args, **kwargs):
            import pkcs11

            raise pkcs11.GeneralError

    real = tokens.TokenKeys._keys
    monkeypatch.setattr(tokens.TokenKeys, "_keys", lambda *a: {i: Failing(k) for i, k in real(*a).items()})
    with pytest.raises(EncryptionError, match=r"can't be used \(GeneralError\); look at the token") as caught:
        keys.unwrap(key_id, wrapped, b"")
    assert not isinstance(caught.value, ChangedError)
