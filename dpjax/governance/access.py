"""Whether a person may do something with sensitive data: decided by casbin, denied unless a grant says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpjax.checks import brief, nearest
from dpjax.governance.accounts import DataSet
from dpjax.governance.errors import LedgerError
from dpjax.governance.limits import broken_limit
from dpjax.governance.policy import ACTIONS, ALL, ROLES, Grant, Policy
from dpjax.governance.signing import key_id

if TYPE_CHECKING:
    from dpjax.governance.decisions import Request

_MODEL = """
[request_definition]
r = person, data, action, run

[policy_definition]
p = person, data, action, limits

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.person, p.person) && r.action == p.action && (p.data == "*" || p.data == r.data) && within(r.run, p.limits)
"""


class Access:
    """What a policy's grants allow.

    Formal guarantees: what no grant allows is denied; a person's name is never taken for that of a group or a grant.

    Args:
      policy: whose grants.

    Raises:
      LedgerError: casbin is not installed.

    Example:
      >>> from dpjax.governance.policy import read_policy
      >>> access = Access(read_policy("grant = [{to = ['olga'], role = 'owner', data = ['*']}]"))
      >>> access.allows("olga", "budget", "clinic"), access.allows("ana", "budget", "clinic")
      (True, False)
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        rules, members = set[tuple[str, ...]](), set[tuple[str, ...]]()
        for number, grant in enumerate(policy.grants):
            # Prefixed: casbin takes a person who is called as a role is for all who have it.
            members |= {(f"person {name}", f"grant {number}") for name in policy.members(grant.to)}
            allowed = ROLES[grant.role]
            rules |= {(f"grant {number}", data, action, str(number)) for data in grant.data for action in allowed}
        self._enforcer = _enforcer()
        self._enforcer.add_function("within", self._within)
        if rules:  # casbin refuses an empty list
            self._enforcer.add_policies([list(each) for each in sorted(rules)])
            self._enforcer.add_grouping_policies([list(each) for each in sorted(members)])

    def allows(
        self, who: str, action: str, data: str, *, request: Request | None = None, budget: DataSet | None = None
    ) -> bool:
        """Whether a grant allows something.

        Args:
          who: a person.
          action: of ``policy.ACTIONS``.
          data: name of a data set; ``*``: all.
          request: to train: what is to be run.
          budget: to train: of the data.

        Raises:
          LedgerError: there is no such action, or what is to be run is not said.
        """
        if action not in ACTIONS:
            raise LedgerError(f"action={action!r} is none; there are {', '.join(ACTIONS)}.")
        run = None
        if action == "train":
            if request is None or budget is None:
                raise LedgerError("to train is allowed within limits; say what is to be run.")
            run = (request, budget)
        return bool(self._enforcer.enforce(f"person {who}", data, action, run))

    def _within(self, run: tuple[Request, DataSet] | None, limits: str) -> bool:
        if run is None:
            return True
        request, budget = run
        return not broken_limit(request.spend, request.unit, budget, self._policy.grants[int(limits)])


def grants_of(policy: Policy, who: str) -> list[Grant]:
    """The grants that a person has.

    Args:
      policy: whose grants.
      who: a person.
    """
    return [grant for grant in policy.grants if who in policy.members(grant.to)]


def denial(
    policy: Policy | None,
    who: str,
    action: str,
    data: str,
    beyond: tuple[str, Request, DataSet] | None = None,
    *,
    is_open: bool = False,
) -> str:
    """Why a person may not do something, in a sentence.

    Args:
      policy: that says so; None: there is none.
      who: a person.
      action: of ``policy.ACTIONS``.
      data: name of a data set; ``*``: all.
      beyond: to train: how the run is called that is beyond the limits, the run, and the budget.
      is_open: whether the data are not sensitive, and get their first budget, or become sensitive.
    """
    what = "this ledger" if data == ALL else f"data {data}"
    closed = "this ledger has sensitive data" if data == ALL else f"{what} is sensitive"
    if is_open:
        closed = f"{what} gets its first budget, or is marked sensitive, in a ledger that has a policy"
    done = ACTIONS[action].partition(",")[0].partition(";")[0]  # the rest of it says how
    if policy is None:
        return (
            f"{closed}, and {'no' if data == ALL else 'the ledger has no'} policy that lets anybody {done}; set one "
            "with `dpjax policy set FILE`."
        )
    may = sorted(role for role, allowed in ROLES.items() if action in allowed)
    has = sorted({grant.role for grant in grants_of(policy, who) if data in grant.data or ALL in grant.data})
    if beyond is not None and "analyst" in has:
        called, request, budget = beyond
        there = [each for each in grants_of(policy, who) if each.role == "analyst" and {data, ALL} & {*each.data}]
        broken = [broken_limit(request.spend, request.unit, budget, each) for each in there]
        return (
            f"{who} may run on {what} within limits ({'; or '.join(map(limits_of, there))}), and {called} is beyond "
            f"them: {'; or '.join(broken)}; run it within them, or ask an owner."
        )
    roles = f"{who} has the role {' and '.join(has)} there" if has else f"{who} has no role there"
    return f"{closed}, and to {done} takes the role {' or '.join(may)}; {roles}: ask an owner."


def limits_of(grant: Grant) -> str:
    """What a grant limits runs to, in words; empty: to nothing."""
    at = "" if grant.delta is None else f" at δ={grant.delta:g}"
    said = [] if grant.max_epsilon == float("inf") else [f"ε up to {grant.max_epsilon:g}{at}"]
    said += [f"for {' or '.join(grant.units)}"] if grant.units else []
    said += [f"of {', '.join(grant.mechanisms)}"] if grant.mechanisms else []
    return ", ".join(said)


def faults_of_token(policy: Policy, issuer: str, public: str, who: str) -> list[str]:
    """Why a token would be of no use under the policy that holds, in words; empty: it is of use.

    Args:
      policy: that holds.
      issuer: whom the token names as its issuer.
      public: key that signs it.
      who: the person.
    """
    wrong = []
    if not policy.issuers:
        wrong.append("the policy that holds names no issuers, so that no token counts yet")
    elif issuer not in policy.issuers:
        near = nearest(issuer, sorted(policy.issuers))
        fix = f"did you mean {near}?" if near else f"there is {', '.join(sorted(policy.issuers))}"
        wrong.append(f"issuer={brief(issuer)} is none of the policy's, so that the token is refused; {fix}")
    elif policy.issuers[issuer] != public:
        wrong.append(
            f"the policy knows {issuer} by the key {key_id(policy.issuers[issuer])}, and this one is {key_id(public)}, "
            "so that the token is refused"
        )
    if not grants_of(policy, who):
        wrong.append(f"{brief(who)} is in no grant of the policy")
    return wrong


def _enforcer() -> Any:
    try:
        import casbin
    except ImportError as error:
        raise LedgerError(
            "sensitive data need casbin, which is not installed; run pip install 'dpjax[governance]'."
        ) from error
    model = casbin.Model()
    model.load_model_from_text(_MODEL)
    return casbin.Enforcer(model)
