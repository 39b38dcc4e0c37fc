"""Two persons are two: who may approve, by which key they are known, and that no policy locks its owner out."""

import pytest
import sqlalchemy as sa

from dpjax.governance import trail
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import stated
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.policy import could_be_anybody, read_policy
from dpjax.governance.signing import Author, new_signing_key
from dpjax.governance.spends import Spend
from dpjax.governance.tokens import issue_token
from tests.ledgers import set_budget
from tests.policies import grant, section

OLGA, CARA, OTHER, ISSUER = (new_signing_key() for _ in range(4))
OWNER, CUSTODIAN = grant(["olga"], "owner", ["*"]), grant(["cara"], "custodian")
BOTH = section("keys", olga=[OLGA.public], cara=[CARA.public])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("DPJAX_TOKEN", raising=False)
    set_budget(create_ledger(str(tmp_path / "ledger.db"), who="olga", key=OLGA), sensitive=True)
    return str(tmp_path / "ledger.db")


def _olga(place, key=OLGA):
    return Ledger(place, who="olga", key=key)


def _larger(place, keys=BOTH):
    _olga(place).set_policy(keys + OWNER + CUSTODIAN)
    return _proposed(place)


def _proposed(place):
    proposal = set_budget(_olga(place), epsilon=100.0)
    assert proposal is not None
    return proposal


def test_a_key_made_on_the_spot_is_nobody_s_whom_the_policy_knows_by_another(place):
    proposal = _larger(place)
    with pytest.raises(LedgerError, match=r"cara signs with key .*, which is none of those that the policy names"):
        Ledger(place, who="cara", key=OTHER).approve(proposal.number)
    Ledger(place, who="cara", key=CARA).approve(proposal.number)
    _olga(place).verify()


def test_keys_of_some_who_approve_and_not_of_all_are_no_policy(place):
    with pytest.raises(LedgerError, match=r"\[keys\] has no key of cara, who may approve"):
        _olga(place).set_policy(section("keys", olga=[OLGA.public]) + OWNER + CUSTODIAN)
    assert could_be_anybody(read_policy(OWNER + CUSTODIAN)) == ["cara", "olga"]
    assert could_be_anybody(read_policy(BOTH + OWNER + CUSTODIAN)) == []
    assert could_be_anybody(read_policy(section("issuers", h=ISSUER.public) + OWNER + CUSTODIAN)) == []


def test_a_policy_written_past_that_lets_nobody_approve_whom_it_knows_by_no_key(place):
    _olga(place).set_policy(OWNER + CUSTODIAN)
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        text = section("keys", olga=[OLGA.public]) + OWNER + CUSTODIAN
        connection.execute(sa.text("update policy set text = :text"), {"text": text})
    proposal = _proposed(place)
    with pytest.raises(LedgerError, match=r"cara is known by no key of the policy's \[keys\]"):
        Ledger(place, who="cara", key=CARA).approve(proposal.number)
    assert _olga(place).account("clinic").data_set.epsilon == 8.0


@pytest.mark.parametrize("shared", [OLGA, OTHER], ids=["the proposer's", "the approver's"])
def test_whoever_has_signed_with_one_key_is_one_person(place, shared):
    proposal = _larger(place, keys="")
    author = Author("olga" if shared is OTHER else "cara", shared)
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, author, "access", "", {"action": "show"})
    second = OTHER if shared is OTHER else CARA
    with pytest.raises(LedgerError, match="cara and olga have signed with one key"):
        Ledger(place, who="cara", key=second).approve(proposal.number)
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:  # nor past dpjax
        settled = {"id": proposal.number, "state": "approved"}
        trail.append(connection, Author("cara", second), "settle", "clinic", settled)
        trail.append(connection, Author("cara", second), "budget", "clinic", proposal.budget)
    with pytest.raises(LedgerError, match="it approves with a key that both persons have signed with"):
        _olga(place).verify()


@pytest.mark.parametrize("others", ["", grant(["ana"], "analyst"), grant(["cara"], "custodian", ["bank"])])
def test_where_nobody_else_may_approve_an_owner_acts_alone_in_all_of_it(place, others):
    olga = _olga(place)
    olga.set_policy(OWNER + others)
    id = olga.enter("clinic", Spend(stated(0.5, 0), None, 1, claim=(0.5, 0.0)), tool="t", label="")
    assert olga.retract("clinic", id, "a mistake") is None
    assert olga.account("clinic").spent == 0
    assert set_budget(olga, epsilon=9.0) is None
    assert olga.account("clinic").data_set.epsilon == 9.0
    # Of policies whoever may approve anything is a second person.
    assert (olga.set_policy(OWNER) is None) == ("cara" not in others)
    olga.verify()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (section("issuers", hospital=OTHER.public), "set with a token of its own issuers: .*DPJAX_TOKEN is not set"),
        (section("keys", olga=[OTHER.public]), "olga could do nothing more once it holds: olga signs with key"),
    ],
    ids=["issuers", "keys"],
)
def test_no_policy_locks_out_who_sets_it(place, more, said):
    with pytest.raises(LedgerError, match=said):
        _olga(place).set_policy(more + OWNER)
    assert _olga(place).policy() is None
    _olga(place).set_policy(OWNER)
    with pytest.raises(LedgerError, match=said):
        _olga(place).set_policy(more + OWNER)
    _olga(place).set_policy(OWNER + "# and the next")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"issuer": "clinic"}, "issued by 'clinic', which the policy does not name"),
        ({"key": OTHER}, "is not signed by whom it says"),
        ({"holder": OTHER.id}, "is for the holder of key"),
        ({"who": "ana"}, "ana would own all data no more"),
        ({"ledger": "0123456789abcdef"}, "is for another ledger"),
    ],
    ids=["issuer", "key", "holder", "person", "ledger"],
)
def test_a_first_policy_of_tokens_is_set_with_a_token_of_an_owner(tmp_path, monkeypatch, change, said):
    place = str(tmp_path / "ledger.db")
    root = create_ledger(place, who="root", key=OLGA)  # of the machine; olga is who the office says
    policy = section("issuers", hospital=ISSUER.public) + OWNER + grant(["ana"], "analyst")
    given = {"key": ISSUER, "issuer": "hospital", "who": "olga", "ledger": root.name}
    token = {name: value for name, value in (given | change).items() if name != "key"}
    monkeypatch.setenv("DPJAX_TOKEN", issue_token((given | change)["key"], **token))
    with pytest.raises(LedgerError, match=said):
        root.set_policy(policy)
    monkeypatch.setenv("DPJAX_TOKEN", issue_token(ISSUER, **{k: v for k, v in given.items() if k != "key"}))
    assert root.set_policy(policy) is None
    olga = Ledger(place, key=OLGA)
    assert olga.who == "olga"
    assert set_budget(olga, sensitive=True) is None
    olga.set_policy(policy + "# and the next")
    olga.verify()
