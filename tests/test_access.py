"""Who may do what with sensitive data: nobody anything that no grant allows."""

import itertools
import math

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dpjax.accounting import epsilon
from dpjax.governance import ledger as ledger_module
from dpjax.governance import trail
from dpjax.governance.access import Access
from dpjax.governance.errors import Denied, LedgerError
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.policy import ACTIONS, ROLES, read_policy
from dpjax.governance.signing import Author, new_signing_key
from tests.ledgers import DELTA, mechanism, request, rows, set_budget
from tests.policies import grant, section

POLICY = (
    section("groups", ward=["ana", "night"], night=["bob"])
    + grant(["olga"], "owner", ["*"])
    + grant(["ward"], "analyst", max_epsilon=2.0, units=["example"], mechanisms=["GaussianDpEvent"])
    + grant(["cleo"], "custodian")
    + grant(["audrey"], "auditor", ["*"])
)
PEOPLE = ("olga", "ana", "bob", "cleo", "audrey", "eve", "ward", "grant 0", "person olga")
KEYS = {who: new_signing_key() for who in PEOPLE}


@pytest.fixture
def place(tmp_path):
    made = create_ledger(str(tmp_path / "ledger.db"), who="olga", key=KEYS["olga"])
    set_budget(made, sensitive=True)
    made.set_policy(POLICY)
    return str(tmp_path / "ledger.db")


def as_(place: str, who: str) -> Ledger:
    return Ledger(place, who=who, key=KEYS[who])


def test_groups_are_taken_apart_and_a_person_is_never_a_group_or_a_grant():
    access = Access(read_policy(POLICY))
    assert [who for who in PEOPLE if access.allows(who, "show", "clinic")] == ["olga", "ana", "bob", "cleo", "audrey"]
    assert [who for who in PEOPLE if access.allows(who, "show", "other")] == ["olga", "audrey"]
    assert [who for who in PEOPLE if access.allows(who, "approve", "clinic")] == ["olga", "cleo"]


def test_an_analyst_runs_within_the_limits_of_the_grant(place):
    ana = as_(place, "ana")
    ana.reserve("clinic", [request("a", noise_multiplier=4.0, steps=2)])
    within = r"ana may run on data clinic within limits \(ε up to 2, for example, of GaussianDpEvent\), and run run "
    for key, options, said in (
        ("larger", {"noise_multiplier": 1.0, "steps": 4}, "its ε is 10 at δ=1e-05, and the limit is 2"),
        (
            "sampled",
            {"noise_multiplier": 8.0, "steps": 4, "rate": 0.1},
            "it is of PoissonSampledDpEvent, and the limit",
        ),
    ):
        with pytest.raises(Denied, match=rf"{within}{key} is beyond them: {said}.*; run it within them, or ask an"):
            ana.reserve("clinic", [request("b", noise_multiplier=9.0, steps=1), request(key, **options)])
    assert len(ana.account("clinic").runs) == 1
    assert [each["action"] for each in as_(place, "audrey").records()].count("deny") == 2


JUST_BELOW = math.floor(epsilon(mechanism(noise_multiplier=4.0, steps=2), DELTA) * 1000) / 1000


@pytest.mark.parametrize(
    ("limits", "options", "said"),
    [
        ("max_epsilon = 1.0", {"noise_multiplier": 4.0, "steps": 2}, "its ε is 1.36 at δ=1e-05, and the limit is 1"),
        (
            f"max_epsilon = {JUST_BELOW}",
            {"noise_multiplier": 4.0, "steps": 2},
            rf"its ε is 1\.36 at δ.*limit is {JUST_BELOW}",
        ),
        ("max_epsilon = 1.0\ndelta = 1e-9", {"noise_multiplier": 9.0, "steps": 10}, "at δ=1e-09, and the limit is 1"),
        ("units = ['user', 'client']", {}, "it is for example, and the limit is user or client"),
        ("mechanisms = ['LaplaceDpEvent']", {}, "it is of GaussianDpEvent, and the limit is LaplaceDpEvent"),
    ],
)
def test_a_denial_says_which_limit_and_by_how_much(tmp_path, limits, options, said):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="olga", key=KEYS["olga"])
    set_budget(ledger, sensitive=True)
    grant = "[[grant]]\nto = ['olga']\nrole = 'owner'\ndata = ['*']\n[[grant]]\nto = ['olga']\nrole = 'analyst'\n"
    ledger.set_policy(f"{grant}data = ['*']\n{limits}\n")
    with pytest.raises(Denied, match=f", and this run is beyond them: .*{said}"):
        ledger.reserve("clinic", [request("a", **options)])
    ledger.verify()


def test_a_policy_that_changes_while_a_run_is_reserved_holds_for_it(place, monkeypatch):
    ana, olga = as_(place, "ana"), as_(place, "olga")
    decide = ledger_module.decide

    def decided(*given):
        number = olga.set_policy(POLICY.replace("max_epsilon = 2.0", "max_epsilon = 0.1"))
        as_(place, "cleo").approve(number)
        return decide(*given)

    monkeypatch.setattr(ledger_module, "decide", decided)
    with pytest.raises(Denied, match=r"its ε is .* and the limit is 0.1"):
        ana.reserve("clinic", [request("a", noise_multiplier=8.0, steps=1)])
    assert ana.account("clinic").runs == ()
    ana.verify()


def test_the_grants_delta_is_the_one_its_epsilon_is_taken_at(tmp_path):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="olga")
    set_budget(ledger, sensitive=True)
    one = request("a", noise_multiplier=4.0, steps=4)
    at_budget = one.spend.claim[0]
    owner = grant(["olga"], "owner", ["*"])
    ledger.set_policy(owner + grant(["olga"], "analyst", max_epsilon=at_budget * 1.01, delta=1e-9))
    with pytest.raises(Denied, match="at δ=1e-09"):
        ledger.reserve("clinic", [one])
    ledger.set_policy(owner + grant(["olga"], "analyst", max_epsilon=at_budget * 1.01, delta=DELTA))
    ledger.reserve("clinic", [one])


def _trials(ledger, number):
    """What each action is, as a person would do it."""
    return {
        "train": lambda: ledger.reserve("clinic", [request(f"r{number}", noise_multiplier=40.0, steps=1)]),
        "budget": lambda: set_budget(ledger, epsilon=7.5),
        "release": lambda: ledger.check("release", "clinic"),
        "raw": lambda: ledger.note_access("raw", "clinic", {}),
        "protect": lambda: ledger.note_access("protect", "clinic", {}),
        "policy": lambda: ledger.set_policy(POLICY + "\n# again"),
        "enter": lambda: ledger.enter("clinic", request("e", noise_multiplier=90.0).spend, tool="other", label=""),
        "show": lambda: ledger.account("clinic"),
        "export": ledger.records,
    }


@pytest.mark.parametrize("action", ["train", "budget", "raw", "protect", "enter"])
def test_a_right_that_is_taken_away_just_before_is_none(place, monkeypatch, action):
    from dpjax.governance import book, ledger

    more = POLICY + grant(["mara"], "owner") + grant(["mara"], "analyst")
    as_(place, "cleo").approve(as_(place, "olga").set_policy(more))
    mara = Ledger(place, who="mara", key=new_signing_key())
    todo = [lambda: as_(place, "cleo").approve(as_(place, "olga").set_policy(POLICY))]

    def late(engine, real=book.writing):
        if engine is mara._engine and todo:
            todo.pop()()
        return real(engine)

    monkeypatch.setattr(book, "writing", late)
    monkeypatch.setattr(ledger, "writing", late)
    with pytest.raises(Denied, match="mara"):
        _trials(mara, 0)[action]()
    assert as_(place, "olga").records()[-1]["action"] == "deny"
    as_(place, "olga").verify()


@pytest.mark.parametrize("who", PEOPLE)
def test_each_does_what_their_role_says_and_no_more(place, who):
    role = {"olga": "owner", "ana": "analyst", "bob": "analyst", "cleo": "custodian", "audrey": "auditor"}.get(who)
    may = ROLES[role] if role else frozenset()
    ledger = as_(place, who)
    for action, trial in _trials(ledger, who).items():
        if action in may:
            trial()
        else:
            with pytest.raises(Denied):
                trial()
    assert Ledger(place).verify()[0] > 3


def test_nothing_is_asked_of_data_that_are_not_sensitive(place):
    set_budget(as_(place, "olga"), "open", rows=rows(50, 9000))
    as_(place, "eve").reserve("open", [request("a")])
    as_(place, "bob").account("open")
    with pytest.raises(Denied):
        as_(place, "eve").records()  # in which the sensitive ones are too
    assert as_(place, "eve").names("show") == ["open"]


def test_who_marks_data_under_a_policy_owns_them(place):
    set_budget(as_(place, "olga"), "open", rows=rows(50, 9000))
    for who in ("ana", "cleo", "eve"):
        with pytest.raises(Denied, match=f"takes the role owner; {who} has no role there"):
            set_budget(as_(place, who), "new", rows=rows(50, 20000), sensitive=True)
        with pytest.raises(Denied, match=f"takes the role owner; {who} has no role there"):
            set_budget(as_(place, who), "open", rows=rows(50, 9000), sensitive=True)
    assert as_(place, "olga").names() == ["clinic", "open"]
    assert set_budget(as_(place, "olga"), "new", rows=rows(50, 20000), sensitive=True) is None
    assert set_budget(as_(place, "olga"), "open", rows=rows(50, 9000), sensitive=True) is None
    assert as_(place, "eve").names("show") == []
    as_(place, "olga").verify()


def test_a_copy_under_another_name_gets_no_budget_of_its_own_by_whoever_asks(place):
    for who in ("ana", "cleo", "eve", "audrey"):
        with pytest.raises(Denied, match=f"takes the role owner; {who} has "):
            set_budget(as_(place, who), "mine", rows=rows(60, 30000), epsilon=1e6)
    assert as_(place, "olga").names() == ["clinic"]
    assert set_budget(as_(place, "olga"), "mine", rows=rows(60, 30000)) is None
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:  # written past dpjax, it is found
        budget = as_(place, "olga").account("mine").data_set.budget()
        trail.append(connection, Author("eve", KEYS["eve"]), "budget", "other", budget)
    with pytest.raises(LedgerError, match="eve had no role that lets them budget there"):
        as_(place, "olga").verify()


def test_without_a_policy_anybody_marks_and_nobody_gets_in(tmp_path):
    create_ledger(str(tmp_path / "ledger.db"), who="olga", key=KEYS["olga"])
    eve = as_(str(tmp_path / "ledger.db"), "eve")
    set_budget(eve, sensitive=True)
    with pytest.raises(Denied, match="has no policy that lets anybody set its budget"):
        set_budget(eve, epsilon=1.0)
    eve.verify()


def test_two_persons_raise_a_budget_and_one_lowers_it(place):
    olga = as_(place, "olga")
    proposal = set_budget(olga, epsilon=9.0)
    assert proposal is not None
    assert proposal.number == olga.proposals()[0].number
    assert olga.account("clinic").data_set.epsilon == 8.0
    with pytest.raises(LedgerError, match="is olga's own; a second person, with a key of theirs"):
        olga.approve(proposal.number)
    with pytest.raises(LedgerError, match="is olga's own"):  # under another name
        Ledger(place, who="cleo", key=KEYS["olga"]).approve(proposal.number)
    for who in ("ana", "audrey", "eve"):
        with pytest.raises(Denied):
            as_(place, who).approve(proposal.number)
        with pytest.raises(Denied):
            as_(place, who).withdraw(proposal.number)
    as_(place, "cleo").approve(proposal.number)
    assert olga.account("clinic").data_set.epsilon == 9.0
    with pytest.raises(LedgerError, match="is not open"):
        as_(place, "cleo").approve(proposal.number)
    assert set_budget(olga, epsilon=5.0) is None
    assert olga.account("clinic").data_set.epsilon == 5.0


@pytest.mark.parametrize(
    "change",
    [
        {"delta": 2e-5},
        {"sensitive": False},
        {"rows": rows(90, 10)},
        {"unit": "user"},
        {"adjacency": "add_or_remove_one"},
        {"epsilon": 8.5},
    ],
)
def test_whatever_protects_less_wants_a_second_person(place, change):
    before = as_(place, "olga").account("clinic").data_set
    proposal = set_budget(as_(place, "olga"), **{"epsilon": 8.0, **change})
    assert proposal is not None
    assert as_(place, "olga").account("clinic").data_set.budget() == before.budget()
    set_budget(as_(place, "olga"), epsilon=7.0)  # meanwhile
    with pytest.raises(LedgerError, match="has changed since proposal"):
        as_(place, "cleo").approve(proposal.number)
    as_(place, "olga").withdraw(proposal.number)
    assert as_(place, "olga").proposals() == []


def test_how_runs_are_added_up_is_not_changed_alone(place):
    to_adaptive = set_budget(as_(place, "olga"), composition="adaptive")
    assert to_adaptive is not None
    as_(place, "cleo").approve(to_adaptive.number)
    assert set_budget(as_(place, "olga"), composition="planned") is not None
    as_(place, "olga").verify()


def test_others_runs_on_sensitive_data_are_neither_spent_nor_closed(place):
    [run] = as_(place, "ana").reserve("clinic", [request("a", noise_multiplier=9.0, steps=3)])
    bob = as_(place, "bob")
    for step in (lambda: bob.commit({run: 1}), lambda: bob.close({run: 3})):
        with pytest.raises(LedgerError, match="is ana's; only they go on with it"):
            step()
    with pytest.raises(Denied, match="takes the role custodian or owner; bob has the role analyst there"):
        bob.close_others("clinic", [run])
    as_(place, "cleo").close_others("clinic", [run])
    assert as_(place, "ana").account("clinic").runs[0].state == "closed"


def test_the_first_policy_is_the_makers_and_none_locks_everybody_out(tmp_path):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="olga", key=KEYS["olga"])
    set_budget(ledger, sensitive=True)
    with pytest.raises(Denied, match="has no policy that lets anybody run on it"):
        ledger.reserve("clinic", [request("a")])
    with pytest.raises(Denied, match="the first policy is set by olga, who made the ledger, and not by eve"):
        as_(str(tmp_path / "ledger.db"), "eve").set_policy(POLICY)
    with pytest.raises(LedgerError, match="olga would own all data no more, and could mend nothing"):
        ledger.set_policy(POLICY.replace('to = ["olga"]', 'to = ["ogla"]'))
    with pytest.raises(LedgerError, match="nobody could ever change it"):
        ledger.set_policy(grant(["ana"], "analyst", ["*"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grant = 3", "each grant below a line of its own"),
        ("[[grant]\n", "policy is no TOML"),
        ("[[grant]]\nto = ['a']\nrole = 'ownr'\ndata = ['*']", r"role='ownr' is unknown; did you mean owner\?"),
        ("[[grant]]\nto = ['a']\nrole = 'god'\ndata = ['*']", "role='god' is unknown; there are owner, analyst"),
        ("[[grant]]\nto = 'a'\nrole = 'owner'\ndata = ['*']", "to='a' must be a list of names"),
        ("[[grant]]\nto = ['a']\nrole = 'owner'", "grant 1 has no data; give one"),
        ("[[grant]]\nto = ['a']\nrole = 'owner'\ndata = ['*']\nmax_epsilon = 1", "limits runs, which role=owner has"),
        ("[[grant]]\nto = ['a']\nrole = 'analyst'\ndata = ['*']\nmax_epsilon = 'x'", "must be a number above 0"),
        ("[[grant]]\nto = ['a']\nrole = 'analyst'\ndata = ['*']\nmax_epsilon = nan", "must be a number above 0"),
        ("[[grant]]\nto = ['a']\nrole = 'analyst'\ndata = ['*']\ndelta = 1", r"must be a number in \(0, 1\)"),
        ("[[grant]]\nto = ['a']\nrole = 'analyst'\ndata = ['*']\nunits = ['row']", "units has 'row'; there are"),
        ("[[grant]]\nto = ['a']\nrole = 'analyst'\ndata = ['*']\nmax_epsilom = 1", "did you mean max_epsilon"),
        ("[groups]\na = ['b']\nb = ['c']\nc = ['a']", "groups go round, a → b → c → a; take one out"),
        ("[groups]\na = ['a']", "groups go round, a → a"),
        ("[issuers]\nh = 'xyz'", "issuers.h: public key must be 64 hexadecimal digits"),
        ("[keys]\nana = ['00']", "public key must be 64 hexadecimal digits"),
        ("[people]\na = 'b'", "'people' is no field"),
    ],
)
def test_a_policy_that_can_not_be_meant_is_told_and_the_old_one_holds(place, text, said):
    before = Ledger(place).policy_text()
    with pytest.raises(LedgerError, match=said):
        as_(place, "olga").set_policy(text)
    assert Ledger(place).policy_text() == before


names = st.sampled_from(["ana", "bob", "cleo", "eve"])
data = st.sampled_from(["clinic", "bank", "*"])
grants = st.lists(
    st.tuples(st.lists(st.sampled_from(["ana", "bob", "cleo", "g", "h"]), min_size=1), st.sampled_from([*ROLES]), data),
    max_size=5,
)
members = st.lists(names, min_size=1)


@settings(max_examples=40, deadline=None)
@given(grants, members, members)
def test_what_is_allowed_is_what_the_grants_say_read_by_hand(drawn, g, h):
    lines = ["[groups]", f"g = {[*g, 'h']}", f"h = {h}", "[[grant]]\nto = ['root']\nrole = 'owner'\ndata = ['*']"]
    lines += [f"[[grant]]\nto = {to}\nrole = '{role}'\ndata = ['{on}']" for to, role, on in drawn]
    access = Access(read_policy("\n".join(lines)))
    for who, action, on in itertools.product(
        ["ana", "bob", "cleo", "eve"], sorted(set(ACTIONS) - {"train"}), ["clinic", "*"]
    ):
        said = False
        for to, role, where in drawn:
            people = {*to} | ({*g, *h} if "g" in to else set()) | ({*h} if "h" in to else set())
            said = said or (who in people and where in ("*", on) and action in ROLES[role])
        assert access.allows(who, action, on) == said


class Clinic(RuleBasedStateMachine):
    """People who do whatever they are let: the budget is never overspent, nor raised by one of them."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.place = f"{self.folder.name}/ledger.db"
        made = create_ledger(self.place, who="olga", key=KEYS["olga"])
        set_budget(made, sensitive=True, epsilon=2.0)
        made.set_policy(POLICY)
        self.proposed: dict[int, str] = {}
        self.epsilon, self.number, self.open = 2.0, 0, []

    def teardown(self):
        self.folder.cleanup()

    @rule(who=st.sampled_from(PEOPLE), steps=st.integers(1, 40), noise=st.sampled_from([4.0, 8.0, 30.0]))
    def reserve(self, who, steps, noise):
        self.number += 1
        try:
            self.open += as_(self.place, who).reserve(
                "clinic", [request(f"{self.number}", noise_multiplier=noise, steps=steps)]
            )
            assert who in ("ana", "bob")
        except LedgerError:
            pass

    @rule(who=st.sampled_from(PEOPLE), epsilon=st.sampled_from([1.0, 2.0, 3.0, 5.0]))
    def budget(self, who, epsilon):
        try:
            proposal = set_budget(as_(self.place, who), epsilon=epsilon)
        except LedgerError:
            return
        assert who == "olga"
        if proposal is None:
            assert epsilon <= self.epsilon
            self.epsilon = epsilon
        else:
            self.proposed[proposal.number] = who

    @rule(who=st.sampled_from(PEOPLE))
    def approve(self, who):
        for number, proposer in list(self.proposed.items()):
            try:
                self.epsilon = as_(self.place, who).approve(number).budget["epsilon"]
            except LedgerError:
                continue
            assert who in ("olga", "cleo")
            assert who != proposer
            del self.proposed[number]

    @rule(who=st.sampled_from(PEOPLE))
    def close(self, who):
        if self.open:
            try:
                as_(self.place, who).close_others("clinic", [self.open[0]])
                self.open.pop(0)
                assert who in ("olga", "cleo", "ana", "bob")
            except LedgerError:
                pass

    @invariant()
    def holds(self):
        account = as_(self.place, "olga").account("clinic")
        assert account.data_set.epsilon == self.epsilon
        assert account.data_set.sensitive


TestClinic = Clinic.TestCase
TestClinic.settings = settings(
    max_examples=5, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_run_that_was_begun_does_not_go_on_once_its_person_may_not(place):
    ana, olga = as_(place, "ana"), as_(place, "olga")
    wanted = request("a", noise_multiplier=4.0, steps=2)
    [run] = ana.reserve("clinic", [wanted])
    ana.commit({run: 1})
    number = olga.set_policy(POLICY.replace('["ana", "night"]', '["zoe"]'))
    as_(place, "cleo").approve(number)
    assert ana.open_runs(["a"]) == {"a": run}
    with pytest.raises(Denied, match="ana"):
        as_(place, "ana").take_over("clinic", [run])
    with pytest.raises(Denied, match="ana"):
        as_(place, "ana").reserve("clinic", [wanted])
    olga.verify()
