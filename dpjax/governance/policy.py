"""Who may do what with sensitive data: a file of grants, and what it says of one person."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from dpjax.accounting.mechanism import UNITS
from dpjax.checks import brief, nearest
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import event_types
from dpjax.governance.signing import key_id
from dpjax.governance.tokens import checked_issuers

ROLES: Mapping[str, frozenset[str]] = {
    "owner": frozenset(
        {"budget", "approve", "release", "raw", "protect", "policy", "enter", "retract", "close", "show", "export"}
    ),
    "analyst": frozenset({"train", "show"}),
    "auditor": frozenset({"show", "export"}),
    "custodian": frozenset({"approve", "protect", "enter", "close", "show"}),
}
"""What each role may do with the data of its grant."""

ACTIONS: Mapping[str, str] = {
    "train": "run on it, within the grant's limits",
    "budget": "set its budget; a larger one when a second person approves",
    "approve": "approve what another person proposed",
    "release": "export a model with its statement",
    "raw": "read its rows",
    "protect": "encrypt its rows",
    "policy": "change this policy, with all data",
    "enter": "enter what other tools spent",
    "retract": "take back what was entered by mistake, when a second person approves",
    "close": "end reservations of others",
    "show": "see its budget and runs",
    "export": "write the trail to a file",
}
"""What can be done with sensitive data."""

ALL = "*"
"""Of a grant for all data."""


class Grant(NamedTuple):
    """A role for people, on data, within limits.

    Attributes:
      to: persons and groups.
      role: of ``ROLES``.
      data: names in the ledger; ``*``: all.
      max_epsilon: of one run; inf: whatever its budget has left.
      delta: at which that is taken; None: the budget's.
      units: that a run may protect; (): any.
      mechanisms: types of events that a run may be made of; (): any.
    """

    to: tuple[str, ...]
    role: str
    data: tuple[str, ...]
    max_epsilon: float
    delta: float | None
    units: tuple[str, ...]
    mechanisms: tuple[str, ...]


class Policy(NamedTuple):
    """Grants, and who says who somebody is.

    Attributes:
      grants: all of them; what none of them allows is denied.
      groups: name → persons and groups.
      issuers: of tokens, name → public key; empty: the operating system says who somebody is.
      keys: person → public keys that they sign with; who is not named signs with any.
    """

    grants: tuple[Grant, ...]
    groups: Mapping[str, tuple[str, ...]]
    issuers: Mapping[str, str]
    keys: Mapping[str, tuple[str, ...]]

    def members(self, names: tuple[str, ...]) -> set[str]:
        """The persons of a grant, groups taken apart."""
        found, seen, waiting = set[str](), set[str](), list(names)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                if name in self.groups:
                    waiting += self.groups[name]
                else:
                    found.add(name)
        return found


_NONE = float("inf")
_LIMITS = {"max_epsilon", "delta", "units", "mechanisms"}


def owners_of_all(policy: Policy) -> set[str]:
    """The persons who own all data, and may change a policy.

    Args:
      policy: that says so.
    """
    grants = [each for each in policy.grants if each.role == "owner" and ALL in each.data]
    return {who for each in grants for who in policy.members(each.to)}


def second_persons(policy: Policy | None, who: str, data: str) -> list[str]:
    """Who may approve what a person proposes; where it is nobody, there is no second person, and it holds at once.

    The one place that says when two persons are needed, of budgets, entries that are taken back and policies alike.

    Args:
      policy: that holds; None: there is none.
      who: proposes.
      data: name of a data set; empty: it is a policy, which all approve who may approve anything.

    Example:
      >>> policy = read_policy('''
      ... grant = [{to = ["olga"], role = "owner", data = ["*"]}, {to = ["cleo"], role = "custodian", data = ["a"]}]
      ... ''')
      >>> second_persons(policy, "olga", "a"), second_persons(policy, "olga", "b")
      (['cleo'], [])
    """
    grants = () if policy is None else policy.grants
    there = [each for each in grants if not data or {ALL, data} & {*each.data}]
    may = {
        one for each in there if "approve" in ROLES[each.role] for one in (policy.members(each.to) if policy else ())
    }
    return sorted(may - {who})


def check_is_bound(policy: Policy | None, who: str) -> None:
    """Raise LedgerError where others are known by keys of the policy, and this person, who approves, by none.

    Args:
      policy: that holds.
      who: would approve.
    """
    if policy is not None and policy.keys and not policy.issuers and who not in policy.keys:
        raise LedgerError(
            f"{who} is known by no key of the policy's [keys], so anybody could be {who}; have an owner name one there "
            "(`dpjax whoami` prints it)."
        )


def could_be_anybody(policy: Policy) -> list[str]:
    """Who may approve and is bound to no key, by ``keys`` or a token: whoever makes a key may approve in their name.

    Args:
      policy: to be looked at.
    """
    return [] if policy.issuers else [each for each in second_persons(policy, "", "") if each not in policy.keys]


def check_key(policy: Policy | None, who: str, public: str) -> None:
    """Raise LedgerError where a policy says that a person signs with other keys.

    Args:
      policy: that may say so; None: there is none.
      who: a person.
      public: key that they sign with.
    """
    if policy is not None and who in policy.keys and public not in policy.keys[who]:
        raise LedgerError(
            f"{who} signs with key {key_id(public)}, which is none of those that the policy names for them; use one of "
            "those, or have an owner add this one."
        )


def read_policy(text: str) -> Policy:
    """A policy from TOML.

    Args:
      text: with tables ``groups``, ``issuers`` and ``keys``, and ``[[grant]]`` with ``to``, ``role`` and ``data``.

    Raises:
      LedgerError: it is no TOML, a field, role, unit or mechanism is unknown, groups go round in a loop, or nobody
        could ever change it.

    Example:
      >>> policy = read_policy('''
      ... [groups]
      ... ward = ["ana", "bob"]
      ... [[grant]]
      ... to = ["olga"]
      ... role = "owner"
      ... data = ["*"]
      ... [[grant]]
      ... to = ["ward"]
      ... role = "analyst"
      ... data = ["clinic"]
      ... max_epsilon = 2.0
      ... ''')
      >>> sorted(policy.members(policy.grants[1].to)), policy.grants[1].max_epsilon
      (['ana', 'bob'], 2.0)
    """
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LedgerError(f"policy is no TOML ({error}); see `dpjax policy --help`.") from error
    _known("policy", found, {"groups", "issuers", "keys", "grant"})
    groups = found.get("groups", {})
    if not isinstance(groups, dict):
        raise LedgerError('policy: groups must be a table of name = ["person", ...].')
    groups = {name: _names(f"groups.{name}", members) for name, members in groups.items()}
    _no_loops(groups)
    grants = found.get("grant", [])
    if not isinstance(grants, list):
        raise LedgerError("policy: write each grant below a line of its own, [[grant]].")
    read = tuple(_grant(i, each) for i, each in enumerate(grants, start=1))
    policy = Policy(read, groups, checked_issuers(found.get("issuers", {})), _keys(found.get("keys", {})))
    if not owners_of_all(policy):
        raise LedgerError('policy: nobody could ever change it; grant one person role = "owner" with data = ["*"].')
    return policy


def _known(where: str, found: Mapping[str, Any], fields: set[str]) -> None:
    for name in found:
        if name not in fields:
            near = nearest(name, sorted(fields))
            fix = f"did you mean {near}?" if near else f"there are {', '.join(sorted(fields))}."
            raise LedgerError(f"{where}: {brief(name)} is no field; {fix}")


def _names(where: str, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each.strip() for each in found):
        raise LedgerError(f"policy: {where}={brief(found)} must be a list of names.")
    return tuple(found)


def _keys(found: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        raise LedgerError('policy: keys must be a table of person = ["public key", ...].')
    read = {name: _names(f"keys.{name}", given) for name, given in found.items()}
    for public in (each for given in read.values() for each in given):
        key_id(public)
    return read


def _no_loops(groups: Mapping[str, tuple[str, ...]]) -> None:
    try:
        TopologicalSorter(groups).prepare()
    except CycleError as error:
        around = " → ".join(reversed(error.args[1]))
        raise LedgerError(f"policy: groups go round, {around}; take one out.") from error


def _grant(number: int, found: Any) -> Grant:
    where = f"grant {number}"
    if not isinstance(found, dict):
        raise LedgerError(f"policy: {where} must be a table below [[grant]].")
    _known(f"policy: {where}", found, {"to", "role", "data"} | _LIMITS)
    for field in ("to", "role", "data"):
        if field not in found:
            raise LedgerError(f"policy: {where} has no {field}; give one.")
    role = found["role"]
    if not isinstance(role, str) or role not in ROLES:
        near = nearest(str(role), list(ROLES))
        raise LedgerError(
            f"policy: {where}: role={brief(role)} is unknown; {f'did you mean {near}?' if near else 'there are '}"
            f"{'' if near else ', '.join(ROLES) + '.'}"
        )
    if "train" not in ROLES[role] and (limits := sorted(found.keys() & _LIMITS)):
        raise LedgerError(f"policy: {where}: {limits[0]} limits runs, which role={role} has none of; leave it out.")
    units = _names(f"{where}: units", found["units"]) if "units" in found else ()
    mechanisms = _names(f"{where}: mechanisms", found["mechanisms"]) if "mechanisms" in found else ()
    for field, given, there in (("units", units, UNITS), ("mechanisms", mechanisms, event_types())):
        for each in given:
            if each not in there:
                raise LedgerError(f"policy: {where}: {field} has {brief(each)}; there are {', '.join(there)}.")
    epsilon, delta = found.get("max_epsilon", _NONE), found.get("delta")
    if (
        isinstance(epsilon, bool)
        or not isinstance(epsilon, int | float)
        or not (0 < epsilon < 1e300 or epsilon == _NONE)
    ):
        raise LedgerError(f"policy: {where}: max_epsilon={brief(epsilon)} must be a number above 0.")
    if delta is not None and (isinstance(delta, bool) or not isinstance(delta, int | float) or not 0 < delta < 1):
        raise LedgerError(f"policy: {where}: delta={brief(delta)} must be a number in (0, 1).")
    to, data = _names(f"{where}: to", found["to"]), _names(f"{where}: data", found["data"])
    return Grant(to, role, data, float(epsilon), None if delta is None else float(delta), units, mechanisms)
