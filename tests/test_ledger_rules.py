"""Somebody with the whole database and a key of their own writes what no ledger writes: each is found."""

import json

import pytest
import sqlalchemy as sa

from dpjax.accounting import Mechanism, Release
from dpjax.accounting.samplings import SAMPLINGS, sampling_of
from dpjax.governance import ledger as ledger_module
from dpjax.governance import limits, trail
from dpjax.governance.errors import Denied, LedgerError
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.limits import false_claim
from dpjax.governance.signing import Author, new_signing_key
from dpjax.governance.spends import spend_of
from dpjax.governance.tables import ledgers, signers, spends
from tests.ledgers import DELTA, mechanism, request, rows, set_budget
from tests.policies import grant, section

OLGA, ANA, CLEO, EVE = (new_signing_key() for _ in range(4))
POLICY = (
    section("keys", olga=[OLGA.public], ana=[ANA.public], cleo=[CLEO.public])
    + grant(["olga"], "owner", ["*"])
    + grant(["ana"], "analyst")
    + grant(["cleo"], "custodian")
)


@pytest.fixture
def place(tmp_path):
    olga = create_ledger(str(tmp_path / "ledger.db"), who="olga", key=OLGA)
    set_budget(olga, sensitive=True, epsilon=4.0)
    set_budget(olga, "open", rows=rows(50, 4000))
    olga.set_policy(POLICY)
    ana = Ledger(str(tmp_path / "ledger.db"), who="ana", key=ANA)
    [ended, going] = ana.reserve("clinic", [request(key, noise_multiplier=9.0, steps=6) for key in ("ended", "going")])
    ana.commit({ended: 4, going: 3})
    ana.close({ended: None})
    return str(tmp_path / "ledger.db")


def runs(place):
    account = Ledger(place, who="olga", key=OLGA).account("clinic")
    return {run.key: run.id for run in account.runs}


WHO = {"a stranger": Author("zed", EVE), "an analyst": Author("ana", ANA), "an owner": Author("olga", OLGA)}


def _budget(place, **change):
    return Ledger(place, who="olga", key=OLGA).account("clinic").data_set.budget() | change


FORGED = {
    "fewer steps": lambda p: ("commit", "clinic", {"runs": [{"id": runs(p)["going"], "steps": 0}]}),
    "an end with fewer steps": lambda p: (
        "close",
        "clinic",
        {"runs": [{"id": runs(p)["going"], "steps": 0, "state": "closed"}]},
    ),
    "steps below none": lambda p: (
        "close",
        "clinic",
        {"runs": [{"id": runs(p)["going"], "steps": -1, "state": "closed"}]},
    ),
    "half a step": lambda p: ("commit", "clinic", {"runs": [{"id": runs(p)["going"], "steps": 3.5}]}),
    "more than was reserved": lambda p: ("commit", "clinic", {"runs": [{"id": runs(p)["going"], "steps": 7}]}),
    "a run that had ended": lambda p: ("commit", "clinic", {"runs": [{"id": runs(p)["ended"], "steps": 5}]}),
    "another cost": lambda p: (
        "continue",
        "clinic",
        {
            "runs": [
                {"id": runs(p)["ended"], "state": "open", "spend": request("x", noise_multiplier=99.0).spend.as_json()}
            ]
        },
    ),
    "other data": lambda p: ("continue", "clinic", {"runs": [{"id": runs(p)["ended"], "data_set": "open"}]}),
    "another's": lambda p: ("continue", "clinic", {"runs": [{"id": runs(p)["ended"], "state": "open", "who": "bob"}]}),
    "by way of other data": lambda p: ("close", "open", {"runs": [{"id": runs(p)["going"], "state": "closed"}]}),
    "a larger budget": lambda p: ("budget", "clinic", _budget(p, epsilon=1000.0)),
    "no mark": lambda p: ("budget", "clinic", _budget(p, sensitive=False)),
    "a policy": lambda p: ("policy", "", {"text": POLICY.replace('"olga"]', '"olga", "zed"]')}),
    "a model": lambda p: ("model", "clinic", {"run": runs(p)["ended"], "files": {}}),
}


FORGED |= {
    "no process": lambda p: ("continue", "clinic", {"runs": [{"id": runs(p)["going"], "process": ""}]}),
    "another process that is not said": lambda p: ("continue", "clinic", {"runs": [{"id": runs(p)["going"]}]}),
    "a reservation without a key": lambda p: ("reserve", "open", {"runs": [_reservation(key="")]}),
    "a reservation without a process": lambda p: ("reserve", "open", {"runs": [_reservation(process="")]}),
    "a model of other data": lambda p: ("model", "open", {"run": runs(p)["going"], "files": {}}),
}


def _reservation(**change):
    run = {"id": "f" * 32, "key": "k", "tool": "dpjax", "label": "", "process": "p", "steps": 0, "state": "open"}
    return run | {"spend": request("x").spend.as_json()} | change


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("what", FORGED)
def test_what_no_ledger_writes_is_found_whoever_signs_it(place, what, who):
    head = Ledger(place, who="olga", key=OLGA).head()
    action, subject, detail = FORGED[what](place)
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, WHO[who], action, subject, detail)
    with pytest.raises(LedgerError, match=r"is none that a ledger writes|none of those that the policy names"):
        Ledger(place).verify(head)


@pytest.mark.parametrize("what", ["release", "reserve", "enter", "propose", "budget"])
def test_nor_is_what_no_role_of_theirs_allows(place, what):
    run = {"id": "f" * 32, "key": "", "tool": "t", "label": "", "process": "", "spend": request("x").spend.as_json()}
    detail = {
        "release": {"run": "none", "files": {}, "folder": "f"},
        "reserve": {"runs": [run | {"key": "k", "process": "p", "steps": 0, "state": "open"}]},
        "enter": {"runs": [run | {"steps": 10, "state": "closed"}]},
        "propose": {"from": _budget(place), "to": _budget(place, epsilon=9.0)},
        "budget": _budget(place, epsilon=0.5),
    }[what]
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, WHO["a stranger"], what, "clinic", detail)
    with pytest.raises(LedgerError, match="zed had no role that lets them"):
        Ledger(place).verify()
    with pytest.raises(Denied):
        Ledger(place, who="zed", key=EVE).record_release("clinic", lambda account, head: {})


LIMITS = {
    "ε": ("max_epsilon = 1.0", {"noise_multiplier": 3.0}, "its ε is .* at δ=1e-05, and the limit is 1"),
    "δ": ("max_epsilon = 0.2\ndelta = 1e-9", {"noise_multiplier": 30.0}, "at δ=1e-09, and the limit is 0.2"),
    "units": ("units = ['user']", {"noise_multiplier": 30.0}, "it is for example, and the limit is user"),
    "mechanisms": ("mechanisms = ['LaplaceDpEvent']", {"noise_multiplier": 30.0}, "it is of GaussianDpEvent"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_reservation_beyond_its_authors_grant_is_found(place, monkeypatch, limit):
    said_limits, options, said = LIMITS[limit]
    olga = Ledger(place, who="olga", key=OLGA)
    number = olga.set_policy(POLICY.replace('role = "analyst"', f'role = "analyst"\n{said_limits}'))
    Ledger(place, who="cleo", key=CLEO).approve(number)
    olga.verify()
    ana = Ledger(place, who="ana", key=ANA)
    with pytest.raises(Denied):
        ana.reserve("clinic", [request("a", steps=2, **options)])
    monkeypatch.setattr(Ledger, "_refusal_in", lambda *given: "")  # as who edits the code
    ana.reserve("clinic", [request("a", steps=2, **options)])
    with pytest.raises(LedgerError, match=f"it has a run beyond the limits that ana had: .*{said}"):
        olga.verify()


@pytest.mark.parametrize("claim", [(0.01, DELTA), (0.0, 0.0), (0.9, 0.5), "of one step"])
@pytest.mark.parametrize("data", ["sensitive", "others"])
def test_a_reservation_that_claims_less_than_its_steps_come_to_is_found(place, monkeypatch, claim, data):
    name = {"sensitive": "clinic", "others": "others"}[data]
    if data == "others":
        set_budget(Ledger(place, who="olga", key=OLGA), "others", rows=rows(start=1000))
    honest = request("a", noise_multiplier=9.0, rate=0.5, steps=4)
    if claim == "of one step":
        claim = request("a", noise_multiplier=9.0, rate=0.5, steps=1).spend.claim
    wanted = [honest._replace(spend=honest.spend._replace(claim=claim))]
    ana = Ledger(place, who="ana", key=ANA)
    if claim[1] == 0.5:  # at such a δ it may
        ana.reserve(name, wanted)
        Ledger(place).verify()
        return
    if data == "sensitive":
        with pytest.raises(LedgerError, match=r"is none: it claims ε=.*; give it the claim of `spend_of`"):
            ana.reserve(name, wanted)
        monkeypatch.setattr(ledger_module, "_refuse_false_claims", lambda *given: None)  # as who edits the code
    ana.reserve(name, wanted)
    with pytest.raises(LedgerError, match=r"it has a run that is none: it claims ε=.*, and does what comes to"):
        Ledger(place).verify()


@pytest.mark.parametrize(
    ("rate", "noise", "steps"),
    [(0.003, 40.0, 3000), (0.001, 200.0, 100_000), (0.001, 200.0, 500), (0.003, 1000.0, 30_000)],
)
def test_an_honest_claim_of_very_little_is_no_false_one(rate, noise, steps):
    for delta in (1e-5, 1e-9):
        run = mechanism(rate=rate, noise_multiplier=noise, steps=steps)
        assert false_claim(spend_of(run, delta), "zero_out") == ""


@pytest.mark.parametrize("adjacency", ["zero_out", "add_or_remove_one", "replace_one"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_no_honest_claim_is_taken_for_a_false_one(sampling, adjacency):
    rate = 1.0 if sampling == "full" else 0.05
    checked = 0
    for change in (
        {},
        {"num_steps": 3, "noise_multiplier": 30.0},
        {"overflow_probability": 1e-12},
        {"released": Release(noise_multiplier=8.0, delta=1e-7)},
        {"unit": "user", "records_per_unit": 3},
    ):
        given = {"unit": "example", "noise_multiplier": 2.0, "num_steps": 200} | change
        try:
            spend = spend_of(Mechanism(adjacency=adjacency, sampling=sampling_of(sampling, rate, 1000), **given), DELTA)
        except ValueError:  # nothing accounts for it
            continue
        assert false_claim(spend, adjacency) == ""
        checked += 1
        if sampling == "poisson":
            epsilon, delta = spend.claim
            assert false_claim(spend._replace(claim=(epsilon * 0.9, delta)), adjacency)
    if not checked:
        pytest.skip(f"nothing accounts for {sampling} under {adjacency}")


def test_runs_of_one_mechanism_are_computed_once(place, monkeypatch):
    ana, counted = Ledger(place, who="ana", key=ANA), []
    for i in range(6):
        [id] = ana.reserve("clinic", [request(f"r{i}", noise_multiplier=40.0 + i % 2, steps=1)])
        ana.close({id: 1})
    compose = limits.compose
    monkeypatch.setattr(limits, "compose", lambda *given: counted.append(1) or compose(*given))
    limits._epsilon.cache_clear()
    ana.verify()
    assert len(counted) == 3  # two mechanisms, and that of the runs which were there


@pytest.mark.parametrize("name", ["new", "open"])
def test_a_mark_by_somebody_who_does_not_own_the_data_is_found(place, name):
    given = {"rows": rows(50, 4000 if name == "open" else 9000), "sensitive": True}
    with pytest.raises(Denied):
        set_budget(Ledger(place, who="ana", key=ANA), name, **given)
    budget = _budget(place) | {"sensitive": True}
    budget["fingerprint"] = Ledger(place, who="olga", key=OLGA).account("open").data_set.fingerprint_id
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, WHO["an analyst"], "budget", name, budget)
    with pytest.raises(LedgerError, match="ana had no role that lets them budget there"):
        Ledger(place).verify()


def test_one_person_with_two_keys_is_one_person(place):
    olga = Ledger(place, who="olga", key=OLGA)
    proposal = set_budget(olga, epsilon=900.0)
    budget = dict(olga.proposals()[0].budget)
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, WHO["an owner"], "settle", "clinic", {"id": proposal.number, "state": "approved"})
        trail.append(connection, WHO["an owner"], "budget", "clinic", budget)
    with pytest.raises(LedgerError, match="it approves what the same person, or key, had proposed"):
        olga.verify()


def test_an_owner_names_no_second_person_alone(place):
    olga = Ledger(place, who="olga", key=OLGA)
    more = POLICY.replace("[keys]\n", f'[keys]\nhugo = ["{EVE.public}"]\n') + grant(["hugo"], "custodian", ["*"])
    with pytest.raises(LedgerError, match=r"\[keys\] has no key of hugo, who may approve"):
        olga.set_policy(POLICY + grant(["hugo"], "custodian", ["*"]))
    number = olga.set_policy(more)
    assert number is not None
    assert olga.policy_text() == POLICY
    with pytest.raises(LedgerError, match="is olga's own; a second person"):
        olga.approve(number)
    for who, key in {"ana": ANA, "hugo": EVE}.items():
        with pytest.raises(Denied, match="may approve no policy"):
            Ledger(place, who=who, key=key).approve(number)
    Ledger(place, who="cleo", key=CLEO).approve(number)
    assert Ledger(place, who="olga", key=OLGA).policy_text() == more
    Ledger(place).verify()
    # Withdrawn ones, and those that another change overtook, come to nothing.
    first, second = olga.set_policy(POLICY), olga.set_policy(more + "\n# again")
    olga.withdraw(first)
    Ledger(place, who="cleo", key=CLEO).approve(second)
    third = olga.set_policy(POLICY)
    fourth = olga.set_policy(more)
    Ledger(place, who="cleo", key=CLEO).approve(fourth)
    with pytest.raises(LedgerError, match="the policy has changed since proposal"):
        Ledger(place, who="cleo", key=CLEO).approve(third)
    Ledger(place).verify()


def _forge(place, who, action, detail, subject="clinic"):
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, WHO[who], action, subject, detail)


@pytest.mark.parametrize("who", ["a stranger", "an owner"])
def test_nobody_goes_on_with_a_run_who_may_not_train(place, who):
    _forge(place, who, "continue", {"runs": [{"id": runs(place)["going"], "process": "p", "who": WHO[who].who}]})
    with pytest.raises(LedgerError, match="had no role that lets them train there"):
        Ledger(place).verify()


@pytest.mark.parametrize("limits", ["", "max_epsilon = 0.01"])
def test_nor_who_may_not_any_more_or_not_so_much(place, limits):
    olga, ana, going = Ledger(place, who="olga", key=OLGA), Ledger(place, who="ana", key=ANA), runs(place)["going"]
    less = 'role = "analyst"\n' + limits if limits else 'role = "auditor"'
    Ledger(place, who="cleo", key=CLEO).approve(olga.set_policy(POLICY.replace('role = "analyst"', less)))
    with sa.create_engine(f"sqlite:///{place}").begin() as connection, pytest.raises(Denied, match="ana "):
        ana._change_in(connection, "continue", {going: {"process": "another"}})
    ana.commit({going: 4})  # what was begun in time may end
    olga.verify()
    _forge(place, "an analyst", "continue", {"runs": [{"id": going, "process": "another"}]})
    with pytest.raises(LedgerError, match="limits that ana had" if limits else "no role that lets them train"):
        olga.verify()


def test_a_process_is_changed_by_the_runs_own_person(place):
    ana = Ledger(place, who="ana", key=ANA)
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        ana._change_in(connection, "continue", {runs(place)["going"]: {"process": "another"}})
    ana.verify()


def test_nobody_says_what_the_run_of_another_has_made(place):
    going = runs(place)["going"]
    for who, key in {"olga": OLGA, "cleo": CLEO, "zed": EVE}.items():
        with pytest.raises(LedgerError, match="is ana's; only they say what it has made"):
            Ledger(place, who=who, key=key).record_model(going, {"a": "b"})
    Ledger(place, who="ana", key=ANA).record_model(going, {"a": "b"})
    Ledger(place).verify()
    _forge(place, "an owner", "model", {"run": going, "files": {"a": "c"}})
    with pytest.raises(LedgerError, match="it says what a run of ana has made"):
        Ledger(place).verify()


def test_a_run_without_a_key_is_not_reserved(place):
    with pytest.raises(LedgerError, match="has no key"):
        Ledger(place, who="ana", key=ANA).reserve("clinic", [request("", noise_multiplier=30.0)])


def test_a_trail_without_signatures_is_none_of_a_ledger_that_signs(place):
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        records = [dict(each) for each in connection.execute(sa.select(trail.trail)).mappings()]
        connection.execute(trail.trail.delete())
        connection.execute(signers.delete())
        before = trail.START
        for number, each in enumerate((r for r in records if r["action"] != "signer"), start=1):
            detail = {name: value for name, value in json.loads(each["detail"]).items() if name != "public"}
            each |= {"signer": "", "signature": "", "sequence": number, "detail": trail.canonical(detail)}
            each["hash"] = before = trail.hash_of(before, each)
            connection.execute(trail.trail.insert().values(**each))
    with pytest.raises(LedgerError, match=r"record 1 \(init\): it is not signed"):
        Ledger(place).verify()


def test_what_is_written_by_the_rules_passes(place):
    ana = Ledger(place, who="ana", key=ANA)
    ids = runs(place)
    again = ana.reserve("clinic", [request("ended", noise_multiplier=9.0, steps=6)])
    assert again == [ids["ended"]]  # it goes on
    ana.commit({ids["ended"]: 6})
    ana.record_model(ids["ended"], {"a": "b"})
    ana.close({ids["ended"]: 6})
    Ledger(place, who="cleo", key=CLEO).close_others("clinic", [ids["going"]])
    Ledger(place, who="olga", key=OLGA).record_release("clinic", lambda account, head: {"run": ids["ended"]})
    Ledger(place, who="olga", key=OLGA).enter("clinic", request("e").spend, tool="other", label="")
    assert set_budget(Ledger(place, who="olga", key=OLGA), epsilon=3.5) is None
    with sa.create_engine(f"sqlite:///{place}").connect() as connection:
        assert connection.execute(sa.select(spends.c.state)).scalars().all() == ["closed"] * 3
        assert connection.execute(sa.select(ledgers.c.version)).scalar_one() == 2
    Ledger(place).verify()
