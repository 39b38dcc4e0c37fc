"""Who wrote what into a ledger: signed records, heads that are kept elsewhere, tokens, and ledgers of before."""

import base64
import concurrent.futures
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from dpjax.accounting import epsilon
from dpjax.governance import trail
from dpjax.governance.errors import Denied, LedgerError
from dpjax.governance.heads import read_head
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.migrations import upgrade_ledger
from dpjax.governance.signing import Author, new_signing_key, signing_key
from dpjax.governance.tables import VERSION, metadata, tokens
from dpjax.governance.tokens import audience, issue_token, read_token
from tests.databases import fresh_database, postgresql
from tests.ledgers import DELTA, mechanism, request, rows, set_budget
from tests.policies import grant, section

BEFORE = Path(__file__).parent / "golden/ledger_version_1.sql"
ANA, BOB, MALLORY, ISSUER = (new_signing_key() for _ in range(4))


@pytest.fixture
def place(tmp_path):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="ana", key=ANA)
    set_budget(ledger)
    [run] = ledger.reserve("clinic", [request("a", noise_multiplier=9.0, steps=3)])
    ledger.close({run: 2})
    return str(tmp_path / "ledger.db")


def _forged(place, change):
    """The whole trail from a changed record on, written anew by somebody who has the database but nobody's key."""
    records = [dict(each) for each in _rows(place)]
    change(records)
    before = trail.START
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        connection.execute(trail.trail.delete())
        for each in records:
            each["hash"] = before = trail.hash_of(before, each)
            connection.execute(trail.trail.insert().values(**each))


def _rows(place):
    with sa.create_engine(f"sqlite:///{place}").connect() as connection:
        return connection.execute(sa.select(trail.trail).order_by(trail.trail.c.sequence)).mappings().all()


def test_hashes_that_were_computed_anew_do_not_pass_for_a_signature(place):
    Ledger(place).verify()

    def edit(records):
        records[-1]["detail"] = records[-1]["detail"].replace('"steps":2', '"steps":1')

    _forged(place, edit)
    with sqlite3.connect(place) as connection:
        connection.execute("update spend set steps = 1")
    with pytest.raises(LedgerError, match=r"record 4 \(close\): its signature is not ana's"):
        Ledger(place).verify()


def test_nor_does_the_signature_of_somebody_else(place):
    def sign_anew(records):
        records[-1]["signer"] = MALLORY.id
        records[-1]["signature"] = MALLORY.sign("trail", trail.hash_of(records[-2]["hash"], records[-1]))

    _forged(place, sign_anew)
    with pytest.raises(LedgerError, match="it is signed by no key of ana"):
        Ledger(place).verify()


def test_nor_no_signature_at_all(place):
    def unsign(records):
        for each in records[1:]:
            each["signer"] = each["signature"] = ""

    _forged(place, unsign)
    with pytest.raises(LedgerError, match="it is signed by no key of ana"):
        Ledger(place).verify()


def test_a_policy_that_names_a_persons_keys_binds_them_to_these(place):
    ledger = Ledger(place, who="ana", key=ANA)
    ledger.set_policy(grant(["ana"], "owner", ["*"]) + section("keys", ana=[ANA.public]))
    set_budget(Ledger(place, who="ana", key=ANA), epsilon=7.0)
    with pytest.raises(LedgerError, match=r"ana signs with key .*, which is none of those that the policy names"):
        set_budget(Ledger(place, who="ana", key=MALLORY), epsilon=6.0)
    ledger.verify()
    # Written past dpjax, it is found.
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        budget = ledger.account("clinic").data_set.budget() | {"epsilon": 99.0}
        trail.append(connection, Author("ana", MALLORY), "budget", "clinic", budget)
    with pytest.raises(LedgerError, match="none of those that the policy names"):
        ledger.verify()


def test_a_head_kept_elsewhere_tells_of_an_end_that_was_cut_off(place, tmp_path):
    head = read_head(Ledger(place, who="bob", key=BOB).head().as_json())
    assert (head.sequence, head.who) == (4, "bob")
    ledger = Ledger(place, who="ana", key=ANA)
    ledger.verify(head)
    ledger.reserve("clinic", [request("b", noise_multiplier=9.0, steps=3)])
    assert ledger.verify(head)[0] == 5
    # The last two records are cut off, with all that they did.
    with sqlite3.connect(place) as connection:
        connection.execute("delete from trail where sequence >= 4")
        connection.execute("delete from spend where key = 'b'")
        connection.execute("update spend set steps = 0, state = 'open', updated = created")
        connection.execute("update data_set set revision = 3")
    assert ledger.verify()[0] == 3
    with pytest.raises(LedgerError, match=r"record 4 was there on .* and is not now; the end was cut off"):
        ledger.verify(head)
    other = create_ledger(str(tmp_path / "other.db"), who="ana", key=ANA)
    with pytest.raises(LedgerError, match="head is of the ledger"):
        other.verify(head)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"ledger": 3}', "null", '{"ledger":"a","sequence":"1","hash":"","time":"","who":"","public":""}'],
)
def test_what_is_no_head_is_told(text):
    with pytest.raises(LedgerError, match="is none; take a file that"):
        read_head(text)


def test_any_change_of_a_head_is_found(place):
    head = Ledger(place, who="bob", key=BOB).head()
    for field, value in head._asdict().items():
        changed = value + 1 if isinstance(value, int) else ("0" if value[0] != "0" else "1") + value[1:]
        with pytest.raises(LedgerError):
            read_head(head._replace(**{field: changed}).as_json())


def test_a_key_of_ones_own_is_made_once_and_kept_from_others(tmp_path):
    path = tmp_path / "new" / "signing.pem"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: signing_key(path).public, range(32)))) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["signing.pem"]
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="can be read by others; run chmod 600"):
        signing_key(path)
    for content in (b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(LedgerError, match="is no PEM file"):
            signing_key(path)
    with pytest.raises(LedgerError, match="can't be used"):
        signing_key(tmp_path)


# Tokens


@pytest.fixture
def hospital(place, monkeypatch):
    ledger = Ledger(place, who="ana", key=ANA)
    set_budget(ledger, sensitive=True)
    grants = grant(["ana"], "owner", ["*"]) + grant(["bob"], "analyst", ["*"])
    monkeypatch.setenv("DPJAX_TOKEN", issue_token(ISSUER, issuer="hospital", who="ana", ledger=ledger.name))
    ledger.set_policy(grants + section("issuers", hospital=ISSUER.public))
    monkeypatch.delenv("DPJAX_TOKEN")
    return ledger


def _use(monkeypatch, text, place, key=BOB):
    monkeypatch.setenv("DPJAX_TOKEN", text)
    return Ledger(place, key=key)


def _reserve(ledger, key="t"):
    return ledger.reserve("clinic", [request(key, noise_multiplier=90.0, steps=1)])


def _claims(text):
    head, body, signature = text.split(".")
    return head, json.loads(base64.urlsafe_b64decode(body + "==")), signature


def _body(claims):
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def test_a_token_says_who_somebody_is(hospital, place, monkeypatch):
    text = issue_token(ISSUER, issuer="hospital", who="bob", ledger=hospital.name, holder=BOB.id)
    bob = _use(monkeypatch, text, place)
    assert bob.who == "bob"
    _reserve(bob)
    _reserve(bob, "again")  # by its holder as often as they like, until it expires
    assert [run.who for run in bob.account("clinic").runs[-2:]] == ["bob", "bob"]
    monkeypatch.delenv("DPJAX_TOKEN")
    with pytest.raises(LedgerError, match="the policy wants a token, and DPJAX_TOKEN is not set"):
        _reserve(Ledger(place, who="ana", key=ANA))


def test_a_token_that_was_forged_is_refused(hospital, place, monkeypatch):
    forged = issue_token(MALLORY, issuer="hospital", who="ana", ledger=hospital.name)
    with pytest.raises(LedgerError, match="token is not signed by whom it says"):
        _reserve(_use(monkeypatch, forged, place, MALLORY))
    true = issue_token(ISSUER, issuer="hospital", who="bob", ledger=hospital.name)
    head, claims, signature = _claims(true)
    edited = f"{head}.{_body(claims | {'sub': 'ana'})}.{signature}"
    with pytest.raises(LedgerError, match="token is not signed by whom it says"):
        _reserve(_use(monkeypatch, edited, place, MALLORY))
    for alg in ("none", "HS256"):
        header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "typ": "JWT"}).encode()).decode().rstrip("=")
        with pytest.raises(LedgerError, match="token"):
            _reserve(_use(monkeypatch, f"{header}.{_body(claims)}.", place, MALLORY))
    with pytest.raises(LedgerError, match="issued by 'ward', which the policy does not name; there is hospital"):
        _use(monkeypatch, issue_token(ISSUER, issuer="ward", who="bob", ledger=hospital.name), place).account("clinic")


def test_a_token_that_expired_is_refused_and_so_is_what_it_began_nothing_new(hospital, place, monkeypatch):
    text = issue_token(ISSUER, issuer="hospital", who="bob", ledger=hospital.name, hours=1.2 / 3600)
    bob = _use(monkeypatch, text, place)
    [run] = bob.reserve("clinic", [request("t", noise_multiplier=90.0, steps=3)])
    time.sleep(2.1)
    with pytest.raises(LedgerError, match="token has expired; have a new one issued"):
        _reserve(_use(monkeypatch, text, place))
    with pytest.raises(LedgerError, match="token of bob has expired"):
        _reserve(bob, "more")
    bob.commit({run: 2})  # what was begun in time may end
    bob.record_model(run, {"a": "b"})
    bob.close({run: None})


def test_a_token_for_another_ledger_is_refused(hospital, place, monkeypatch):
    text = issue_token(ISSUER, issuer="hospital", who="bob", ledger="0123456789abcdef")
    with pytest.raises(LedgerError, match="token is for another ledger"):
        _reserve(_use(monkeypatch, text, place))


def test_a_copy_of_somebody_elses_token_is_refused(hospital, place, monkeypatch):
    named = issue_token(ISSUER, issuer="hospital", who="bob", ledger=hospital.name, holder=BOB.id)
    with pytest.raises(LedgerError, match="a copy of somebody else's token is of no use"):
        _reserve(_use(monkeypatch, named, place, MALLORY))
    first = issue_token(ISSUER, issuer="hospital", who="bob", ledger=hospital.name)
    _reserve(_use(monkeypatch, first, place, BOB))
    with pytest.raises(LedgerError, match="was used with another key before, so it is a copy"):
        _reserve(_use(monkeypatch, first, place, MALLORY), "again")
    Ledger(place).verify()
    with sa.create_engine(f"sqlite:///{place}").connect() as connection:
        assert [row.key for row in connection.execute(sa.select(tokens))] == [BOB.id]


@pytest.mark.parametrize(
    "change",
    [
        {"exp": None},
        {"jti": None},
        {"sub": None},
        {"aud": None},
        {"iat": None},
        {"iss": None},
        {"sub": ""},
        {"sub": 5},
        {"jti": "x" * 200},
        {"aud": "both"},
        {"cnf": "me"},
        {"cnf": {"jwk": {}}},
        {"iat": 4e9},
        {"nbf": 4e9},
        {"exp": "tomorrow"},
        {"iss": ["hospital"]},
    ],
)
def test_a_token_that_lacks_something_or_says_too_much_is_refused(change):
    import jwt

    now = int(time.time())
    claims = {"iss": "h", "sub": "bob", "aud": audience("l"), "iat": now, "exp": now + 60, "jti": "1"} | change
    if claims["aud"] == "both":
        claims["aud"] = [audience("l"), audience("m")]
    claims = {name: value for name, value in claims.items() if value is not None}
    try:
        text = jwt.encode(claims, ISSUER.private(), algorithm="EdDSA")
    except TypeError:  # PyJWT itself refuses to write it
        head = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"JWT"}').decode().rstrip("=")
        signed = f"{head}.{_body(claims)}"
        raw = ISSUER.private().sign(signed.encode())
        text = f"{signed}.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"
    with pytest.raises(LedgerError, match="token"):
        read_token(text, {"h": ISSUER.public}, "l")


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "é.é.é", "e30.e30.e30"])
def test_what_is_no_token_is_told(text):
    with pytest.raises(LedgerError, match="token"):
        read_token(text, {"h": ISSUER.public}, "l")


# Ledgers of before


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request, tmp_path):
    if request.param == "sqlite":
        with sqlite3.connect(tmp_path / "old.db") as connection:
            connection.executescript(BEFORE.read_text(encoding="utf-8"))
        yield str(tmp_path / "old.db")
        return
    with postgresql() as server:
        place = fresh_database(server, "old")
        text = BEFORE.read_text(encoding="utf-8")
        tables = [each for each in text.split(";\n") if not each.startswith(("BEGIN", "COMMIT"))]
        order = sorted(tables, key=lambda each: ("spend" in each[:40], "INDEX" in each))
        with sa.create_engine(place.replace("postgresql:", "postgresql+psycopg:")).begin() as connection:
            for each in filter(str.strip, order):
                connection.exec_driver_sql(each.replace("%", "%%"))
        yield place


def test_an_older_ledger_is_brought_here_whole(old):
    with pytest.raises(LedgerError, match="is of an older version"):
        Ledger(old)
    assert upgrade_ledger(old, who="ana", key=ANA) == 1
    ledger = Ledger(old, who="ana", key=ANA)
    number, _ = ledger.verify()
    assert number == 8 + 2
    account = ledger.account("clinic")
    spent = epsilon(mechanism(noise_multiplier=3.0, steps=4), DELTA)
    assert account.spent > spent
    assert [run.steps for run in account.runs] == [4, 1]
    assert not account.data_set.sensitive
    ledger.reserve("clinic", [request("d", noise_multiplier=30.0, steps=1)])
    ledger.verify()
    assert upgrade_ledger(old, who="ana", key=ANA) == VERSION  # nothing to do
    schema = "public" if old.startswith("postgresql") else None
    inspected = sa.inspect(ledger._engine)
    for table in metadata.sorted_tables:
        assert {c["name"] for c in inspected.get_columns(table.name, schema)} == {c.name for c in table.columns}
        assert {c["name"]: c["nullable"] for c in inspected.get_columns(table.name, schema)} == {
            c.name: bool(c.nullable) for c in table.columns
        }


def test_an_older_ledger_that_was_edited_or_can_not_be_brought_here_stays_as_it_was(tmp_path, monkeypatch):
    place = tmp_path / "old.db"
    with sqlite3.connect(place) as connection:
        connection.executescript(BEFORE.read_text(encoding="utf-8"))
        connection.execute("update spend set steps = 0")
    before = place.read_bytes()
    with pytest.raises(LedgerError, match="steps is not what the trail says"):
        upgrade_ledger(str(place), who="ana", key=ANA)
    assert Path(place).read_bytes() == before
    with sqlite3.connect(place) as connection:
        connection.execute("update ledger set version = 99")
    with pytest.raises(LedgerError, match="is of a newer version"):
        upgrade_ledger(str(place), who="ana", key=ANA)
    with pytest.raises(LedgerError):
        upgrade_ledger(str(tmp_path / "none.db"), who="ana", key=ANA)
    assert not os.path.exists(tmp_path / "none.db")


def test_sensitive_data_want_casbin_and_are_never_open_without_it(hospital, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "casbin", None)
    text = issue_token(ISSUER, issuer="hospital", who="bob", ledger=hospital.name)
    monkeypatch.setenv("DPJAX_TOKEN", text)
    ledger = Ledger(str(hospital.url.database), key=BOB)
    with pytest.raises(
        LedgerError, match=r"need casbin, which is not installed; run pip install 'dpjax\[governance\]'"
    ):
        _reserve(ledger)
    monkeypatch.delitem(sys.modules, "casbin")
    with pytest.raises(Denied):
        set_budget(ledger, epsilon=1.0)
    with pytest.raises(Denied, match="data open gets its first budget, or is marked sensitive, in a ledger that has a"):
        set_budget(ledger, "open", rows=rows(30, 7000))
