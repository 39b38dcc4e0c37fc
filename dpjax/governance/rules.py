"""What a ledger lets nobody write: the same rules that hold when a record is written, looked at again in its trail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance.accounts import DataSet, data_sets_of, split_composition
from dpjax.governance.budgets import weakens
from dpjax.governance.clocks import CLOCK, check_clock
from dpjax.governance.errors import LedgerError
from dpjax.governance.filters import order_of
from dpjax.governance.limits import broken_limit, false_claim
from dpjax.governance.policy import ALL, ROLES, Grant, Policy, check_is_bound, second_persons
from dpjax.governance.retractions import RETRACTED, check_retraction, is_entered, is_retraction
from dpjax.governance.spends import read_spend
from dpjax.governance.tables import proposals, signers, spends
from dpjax.governance.whose import Whose, check_whose

_RUN = {"id", "key", "tool", "label", "spend", "steps", "state", "process"}
_CHANGES = {
    "commit": {"id", "steps"},
    "close": {"id", "steps", "state"},
    "continue": {"id", "state", "process", "who"},
}
_NEEDS = {
    "reserve": "train",
    "continue": "train",
    "enter": "enter",
    "propose": "budget",
    "release": "release",
    "budget": "budget",
    "retract": "retract",
}
"""What writes a record about sensitive data → what its author may do."""

_SLACK = 1e-3
"""By how much, relatively, an ε may be above a grant's that another version's accountant computed."""


def check_rules(
    connection: sa.Connection,
    record: Mapping[str, Any],
    policy: Policy | None,
    maker: str,
    before: Mapping[str, Any] | None,
) -> None:
    """Raise LedgerError where a record says what no ledger would have written, whoever signed it.

    Formal guarantees: steps of a run only grow, up to those that were reserved; a run that has ended is not changed,
    but for one that goes on; what it costs, whose it is and of which data never change; and only what was entered of
    other tools is taken back. Sensitive data are protected less only by what a second person, with another key,
    approved, and everything about them is written by somebody whose role allows it. A run of sensitive data that is
    reserved, or goes on, is within the limits of a grant that its author had then, and claims no less ε than
    ``false_claim`` lets it, and of a budget per user or client protects the same ones as those before; whether it
    fitted into the budget is not computed again.

    Args:
      connection: to the tables as they were before the record.
      record: of the trail.
      policy: that held then; None: there was none.
      maker: wrote the first record.
      before: the record before; None: there is none.
    """
    action, detail = record["action"], json.loads(record["detail"])
    known = {each.name: each for each in data_sets_of(connection)}
    data_set = known.get(record["subject"])
    if action in ("reserve", "enter"):
        _check_new_runs(action, detail["runs"], data_set)
    elif action in _CHANGES:
        _check_changes(connection, record, detail["runs"], data_set, policy)
    elif action == "retract":
        check_retraction(connection, record["subject"], detail)
    elif action == CLOCK:
        check_clock(record, detail, policy, maker, before)
    elif action == "model":
        row = connection.execute(sa.select(spends).where(spends.c.id == detail["run"])).mappings().first()
        if row is None or row["state"] != "open":
            raise LedgerError("it is about a model of a run that had ended, or was none.")
        if (row["who"], row["data_set"]) != (record["who"], record["subject"]):
            raise LedgerError(f"it says what a run of {row['who']} has made.")
    approved = _approved(connection, record, before)
    alone = approved != detail and (policy is None or bool(second_persons(policy, record["who"], record["subject"])))
    if action == "budget" and data_set is not None and weakens(data_set, detail) and alone:
        raise LedgerError("it protects sensitive data less, and no second person had approved that.")
    if action == "budget":
        _check_order(connection, data_set, detail)
    if action == "retract" and data_set is not None and data_set.sensitive and alone:
        raise LedgerError("it takes back what sensitive data were charged, and no second person had approved that.")
    if action == "settle":
        _check_settled(connection, record, detail, policy)
    if action == "policy":
        _check_policy(record, detail, policy, maker, approved)
    sensitive = data_set is not None and data_set.sensitive
    marks = action == "budget" and policy is not None and (data_set is None or bool(detail.get("sensitive")))
    by_budget = (action == "budget" and approved == detail) or _is_said_with_budget(record, detail, before)
    by_approval = action in ("budget", "retract") and approved == detail
    if (sensitive or marks) and action in _NEEDS and not (by_budget or by_approval):
        needs = "retract" if action == "propose" and is_retraction(detail["to"]) else _NEEDS[action]
        _check_role(policy, record["who"], needs, record["subject"])
    if action == "reserve" and data_set is not None:
        check_whose(data_set, _whose(connection, data_set), [read_spend(run["spend"]).whose for run in detail["runs"]])
        for spend in {run["spend"]: read_spend(run["spend"]) for run in detail["runs"]}.values():
            if fault := false_claim(spend, data_set.adjacency):
                raise LedgerError(f"it has a run that is none: {fault}.")
    if action in ("reserve", "continue") and data_set is not None and sensitive:
        ids = [each["id"] for each in detail["runs"]]
        chosen = sa.select(spends.c.spend).where(spends.c.id.in_(ids))
        runs = detail["runs"] if action == "reserve" else connection.execute(chosen).mappings().all()
        _check_limits(policy, record["who"], data_set, runs)


def _check_order(connection: sa.Connection, data_set: DataSet | None, detail: Mapping[str, Any]) -> None:
    kind, order = split_composition(detail["composition"])
    if data_set is None or (kind, data_set.composition) != ("adaptive", "adaptive"):
        return
    has_runs = connection.execute(sa.select(spends.c.id).where(spends.c.data_set == data_set.name)).first() is not None
    kept = data_set.order or order_of(data_set.epsilon, data_set.delta)
    if has_runs and order not in (None, kept):
        raise LedgerError(f"it counts at order {order} after runs that counted at {kept}.")


def _whose(connection: sa.Connection, data_set: DataSet) -> Whose | None:
    """Who a budget's unit is, as ``whose_of`` has it, without reading all of its runs."""
    if data_set.unit == "example":
        return None
    counts = sa.or_(spends.c.state == "open", sa.and_(spends.c.steps > 0, spends.c.state != RETRACTED))
    chosen = sa.select(spends.c.spend).where(spends.c.data_set == data_set.name, counts)
    chosen = chosen.where(spends.c.spend.contains('"whose":')).order_by(spends.c.created, spends.c.id).limit(1)
    row = connection.execute(chosen).first()
    return None if row is None else read_spend(row.spend).whose


def _is_said_with_budget(
    record: Mapping[str, Any], detail: Mapping[str, Any], before: Mapping[str, Any] | None
) -> bool:
    """Whether it only says who a budget's unit is, beside the record that sets it."""
    if record["action"] != "enter" or before is None or before["action"] != "budget":
        return False
    same = all(record[field] == before[field] for field in ("who", "signer", "subject"))
    return same and all(read_spend(run["spend"]).is_note for run in detail["runs"])


def _check_role(policy: Policy | None, who: str, action: str, data: str) -> None:
    if not _may(policy, who, action, data):
        raise LedgerError(f"{who} had no role that lets them {action} there.")


def _may(policy: Policy | None, who: str, action: str, data: str) -> bool:
    if policy is None:
        return False
    return any(_allows(policy, grant, who, action, data) for grant in policy.grants)


def _allows(policy: Policy, grant: Grant, who: str, action: str, data: str) -> bool:
    there = not data or bool({ALL, data} & {*grant.data})
    return there and action in ROLES[grant.role] and who in policy.members(grant.to)


def _check_new_runs(action: str, runs: Any, data_set: DataSet | None) -> None:
    if data_set is None:
        raise LedgerError("its data set has no budget.")
    for run in runs:
        if set(run) != _RUN:
            raise LedgerError("it has a run of other fields.")
        steps = read_spend(run["spend"]).steps
        wanted = (0, "open") if action == "reserve" else (steps, "closed")
        begun = (run["steps"], run["state"]) == wanted and not isinstance(run["steps"], bool)
        named = bool(run["key"]) and bool(run["process"])
        if not begun or (not is_entered(run) if action == "enter" else not named):
            raise LedgerError("it has a run that has not begun as runs do.")


def _check_limits(policy: Policy | None, who: str, data_set: DataSet, runs: Any) -> None:
    there = (
        [] if policy is None else [each for each in policy.grants if _allows(policy, each, who, "train", data_set.name)]
    )
    for spend in {run["spend"]: read_spend(run["spend"]) for run in runs}.values():
        broken = [broken_limit(spend, data_set.unit, data_set, each, slack=_SLACK) for each in there]
        if all(broken):
            raise LedgerError(f"it has a run beyond the limits that {who} had: {'; or '.join(broken)}.")


def _check_changes(
    connection: sa.Connection, record: Mapping[str, Any], runs: Any, data_set: DataSet | None, policy: Policy | None
) -> None:
    action = record["action"]
    for change in runs:
        if not set(change) <= _CHANGES[action] or "id" not in change:
            raise LedgerError("it changes what is never changed of a run.")
        row = connection.execute(sa.select(spends).where(spends.c.id == change["id"])).mappings().first()
        if row is None or row["data_set"] != record["subject"]:
            raise LedgerError("it is about a run that was not reserved.")
        whole = read_spend(row["spend"]).steps
        steps = change.get("steps", row["steps"])
        if isinstance(steps, bool) or not isinstance(steps, int) or not row["steps"] <= steps <= whole:
            raise LedgerError(f"it lets a run of {row['steps']} steps have {steps} of {whole}.")
        may = {"commit": row["state"] == "open", "close": row["state"] == "open"}
        if not may.get(action, row["state"] == "open" or row["steps"] < whole):
            raise LedgerError("it changes a run that had ended.")
        if change.get("state", "open") != ("closed" if action == "close" else "open"):
            raise LedgerError("it leaves a run in another state than it says.")
        if change.get("who", record["who"]) != record["who"]:
            raise LedgerError("it lets another person go on with a run.")
        if action == "continue" and not (isinstance(change.get("process"), str) and change["process"]):
            raise LedgerError("it goes on with a run and names no process.")
        others = data_set is not None and data_set.sensitive and row["who"] != record["who"]
        if others and (action == "commit" or (action == "continue" and "who" not in change)):
            raise LedgerError(f"it spends what {row['who']} has reserved.")


def _approved(
    connection: sa.Connection, record: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """What was approved in the record before, by the same person: a budget, or a policy."""
    if (
        before is None
        or before["action"] != "settle"
        or (before["who"], before["signer"])
        != (
            record["who"],
            record["signer"],
        )
    ):
        return None
    settled = json.loads(before["detail"])
    if settled["state"] != "approved":
        return None
    row = connection.execute(sa.select(proposals).where(proposals.c.id == settled["id"])).mappings().one()
    return json.loads(row["budget"])["to"] if row["data_set"] == record["subject"] else None


def _check_settled(
    connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any], policy: Policy | None
) -> None:
    row = connection.execute(sa.select(proposals).where(proposals.c.id == detail["id"])).mappings().first()
    if row is None or row["state"] != "open" or row["data_set"] != record["subject"]:
        raise LedgerError("it settles what was not proposed.")
    mine = row["who"] == record["who"] or row["key"] == record["signer"]
    if detail["state"] not in ("approved", "withdrawn") or (mine and detail["state"] == "approved"):
        raise LedgerError("it approves what the same person, or key, had proposed.")
    if not mine:
        _check_role(policy, record["who"], "approve", record["subject"])
    if detail["state"] == "approved":
        check_is_bound(policy, record["who"])
        if shares_key(connection, (record["who"], record["signer"]), (row["who"], row["key"])):
            raise LedgerError("it approves with a key that both persons have signed with.")


def shares_key(connection: sa.Connection, one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether a person has ever signed with the key of another.

    Args:
      connection: to the tables.
      one, other: a person, and the id of the key that they sign with.
    """
    crossed = [
        sa.and_(signers.c.who == who, signers.c.key == key) for (who, _), (_, key) in ((one, other), (other, one))
    ]
    return connection.execute(sa.select(signers.c.key).where(sa.or_(*crossed))).first() is not None


def _check_policy(
    record: Mapping[str, Any],
    detail: Mapping[str, Any],
    policy: Policy | None,
    maker: str,
    approved: Mapping[str, Any] | None,
) -> None:
    if policy is None:
        if record["who"] != maker:
            raise LedgerError(f"the first policy is {maker}'s to set.")
        return
    if approved == detail:
        return
    if not _may(policy, record["who"], "policy", ALL):
        raise LedgerError(f"{record['who']} did not own all data.")
    if second_persons(policy, record["who"], ""):
        raise LedgerError("it is a policy that a second person had to approve.")
