"""Budgets in a ledger: who may set them, and where they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dpjax.fingerprints import Fingerprint
from dpjax.governance.accounts import Account, DataSet, Run, data_set_of, data_sets_of, runs_of
from dpjax.governance.book import Book, policy_in
from dpjax.governance.budgets import Proposal, action_of, checked_budget, open_proposal, proposals_of, weakens
from dpjax.governance.database import reading
from dpjax.governance.decisions import Held, spent_of
from dpjax.governance.endless import why_endless
from dpjax.governance.errors import LedgerError
from dpjax.governance.known_rows import known_rows
from dpjax.governance.policy import ALL, ROLES
from dpjax.governance.retractions import is_retraction, reasons_of, retraction_of, state_of
from dpjax.governance.tables import keep_fingerprint, policies


class BudgetBook(Book):
    """A ledger's budgets.

    Formal guarantees: of sensitive data, a budget that protects them less than the one before holds once a second
    person, with a key of their own, has approved it.

    Args:
      place, who, key: as of ``Book``.
    """

    def set_budget(
        self,
        name: str,
        fingerprint: Fingerprint,
        *,
        unit: str,
        adjacency: str,
        epsilon: float,
        delta: float,
        composition: str | None = None,
        sensitive: bool | None = None,
    ) -> Proposal | None:
        """Give a data set a budget, or another one.

        Args:
          name: in the ledger.
          fingerprint: of its rows.
          unit, adjacency: as of a ``Mechanism``; what has runs keeps them.
          epsilon, delta: of all that may ever be computed from it; finite.
          composition: "planned", of privacy losses, tight, for runs that are not chosen by what earlier ones gave out;
            or "adaptive", of Rényi divergences, for runs that are; None: as it is, "planned" of what is new.
          sensitive: whether all that is done with it needs a grant; None: as it is.

        Returns:
          Of sensitive data, what a second person has to ``approve``, where it protects them less than before; None: it
          holds.

        Raises:
          LedgerError: an argument is out of range, the rows are another data set's, or are not those of this name.
          Denied: the data are sensitive, or become so where there is a policy, and this person does not own them.
        """
        given = {
            "fingerprint": fingerprint,
            "unit": unit,
            "adjacency": adjacency,
            "epsilon": epsilon,
            "delta": delta,
        }
        with self._permitting("budget", name, marks=bool(sensitive)) as connection:
            known = {each.name: each for each in data_sets_of(connection)}
            old = known.get(name)
            given["composition"] = composition or ("planned" if old is None else old.composition)
            marked = sensitive if sensitive is not None else old is not None and old.sensitive
            runs, rows = runs_of(connection, name), known_rows(connection)
            budget = checked_budget(name, known, runs, rows, sensitive=marked, **given)
            keep_fingerprint(connection, fingerprint.as_json())
            if old is None or not weakens(old, budget):
                self._append(connection, "budget", name, budget)
                return None
            number = self._append(connection, "propose", name, {"from": old.budget(), "to": budget})
            return open_proposal(connection, number)

    def retract(self, name: str, id: str, reason: str) -> Proposal | None:
        """Take back what was entered of another tool by mistake: it counts no more, and stays written down.

        Formal guarantees: what dpjax reserved is never taken back. Of sensitive data an entry counts until a second
        person, with a key of their own, has approved.

        Args:
          name: of the data set.
          id: of the entry.
          reason: in words.

        Returns:
          Of sensitive data, what a second person has to ``approve``; None: it is taken back.

        Raises:
          LedgerError: there is no reason, or no such entry, or it is a run of dpjax, or was taken back already.
          Denied: the data are sensitive, and this person does not own them.
        """
        with self._permitting("retract", name) as connection:
            data_set, detail = data_set_of(connection, name), retraction_of(connection, name, id, reason)
            if not data_set.sensitive:
                self._append(connection, "retract", name, detail)
                return None
            proposed = {"from": state_of(connection, detail), "to": detail}
            return open_proposal(connection, self._append(connection, "propose", name, proposed))

    def _no_approval(self, connection: sa.Connection, proposal: Proposal) -> str:
        """Why this person may not settle what somebody else has proposed; empty: they may."""
        who = self._identify(connection).who
        if who == proposal.who or self.key.id == proposal.key:
            return ""
        if proposal.data_set:
            return self._refusal_in(connection, "approve", proposal.data_set)
        policy = policy_in(connection)
        approves = policy is not None and any(
            "approve" in ROLES[grant.role] and who in policy.members(grant.to) for grant in policy.grants
        )
        return "" if approves else f"{who} may approve no policy; ask an owner or a custodian."

    @staticmethod
    def _as_it_is(connection: sa.Connection, proposal: Proposal) -> Mapping[str, Any]:
        if is_retraction(proposal.budget):
            return state_of(connection, proposal.budget)
        if proposal.data_set:
            return data_set_of(connection, proposal.data_set).budget()
        return {"text": connection.execute(sa.select(policies.c.text)).scalar_one_or_none()}

    def proposals(self) -> list[Proposal]:
        """What waits for a second person, oldest first."""
        with reading(self._engine) as connection:
            return proposals_of(connection)

    def outdated(self) -> list[Proposal]:
        """Those that wait for nothing any more, as what they would change has changed since."""
        with reading(self._engine) as connection:
            return [each for each in proposals_of(connection) if self._as_it_is(connection, each) != each.before]

    def composition(self, name: str) -> str:
        """How a data set's runs are added up: planned or adaptive.

        Args:
          name: of the data set.
        """
        with reading(self._engine) as connection:
            return data_set_of(connection, name).composition

    def approve(self, number: int) -> Proposal:
        """Let hold what another person has proposed: a budget, a policy, or that an entry is taken back.

        Args:
          number: of the proposal.

        Raises:
          LedgerError: it is not open, what it changes has changed since, or this person has proposed it.
          Denied: this person may not approve.
        """
        return self._settle(number, "approved")

    def withdraw(self, number: int) -> Proposal:
        """Let a proposal be forgotten; who made it may, and who could approve it.

        Args:
          number: of the proposal.

        Raises:
          LedgerError: it is not open.
          Denied: this person may not.
        """
        return self._settle(number, "withdrawn")

    def _settle(self, number: int, state: str) -> Proposal:
        with reading(self._engine) as connection:
            proposal, who = open_proposal(connection, number), self._identify(connection).who
        mine = who == proposal.who or self.key.id == proposal.key
        if state == "approved" and mine:
            raise LedgerError(
                f"proposal {number} is {proposal.who}'s own; a second person, with a key of theirs, approves it."
            )
        about = ("approve", proposal.data_set or ALL)
        with self._guarded(lambda connection: self._no_approval(connection, proposal), *about) as connection:
            proposal = open_proposal(connection, number)
            now = self._as_it_is(connection, proposal)
            self._append(connection, "settle", proposal.data_set, {"id": number, "state": state})
            if state == "approved":
                action = action_of(proposal)
                if now != proposal.before:
                    what = {"budget": f"the budget of {proposal.data_set}", "policy": "the policy"}.get(action)
                    raise LedgerError(
                        f"{what} has changed since proposal {number}; propose it anew, and let this one be forgotten "
                        f"with `dpjax ledger approve {number} --withdraw`."
                        if what
                        else f"proposal {number} takes back what was taken back already; let it be forgotten with "
                        f"`dpjax ledger approve {number} --withdraw`."
                    )
                self._append(connection, action, proposal.data_set, proposal.budget)
        self._identity = None
        return proposal

    def find(self, fingerprint: Fingerprint) -> DataSet | None:
        """The data set that has these rows, under whatever name; None: none has any of them.

        Formal guarantees: rows that a name had before its budget was set again are its own still.

        Args:
          fingerprint: of the rows.

        Raises:
          LedgerError: only some of the rows are of one that has a budget.
        """
        with reading(self._engine) as connection:
            found, rows = data_sets_of(connection), known_rows(connection)
        for each in found:
            if any(map(fingerprint.same, rows.tables.get(each.name, ()))):
                return each
        for each in found:
            if share := rows.share(each.name, fingerprint):
                raise LedgerError(
                    f"data {each.name} was changed after its budget was set, or this is a part of it: about "
                    f"{share:.0%} of the rows are in both; take the rows that it has, or have its budget set for these "
                    f"with `dpjax ledger budget {each.name}`."
                )
        return None

    def of_older_kind(self) -> frozenset[str]:
        """Names whose rows are known by a fingerprint of an older kind, so that parts of them may not be found."""
        with reading(self._engine) as connection:
            return known_rows(connection).older

    def account(self, name: str) -> Account:
        """Where a budget stands.

        Args:
          name: of the data set.

        Raises:
          LedgerError: it has none.
          Denied: it is sensitive, and this person may not see it.
        """
        self.check("show", name)
        with reading(self._engine) as connection:
            data_set, runs = data_set_of(connection, name), runs_of(connection, name)
            retracted = reasons_of(connection, name)
        return account_of(data_set, runs, retracted)

    def names(self, action: str = "") -> list[str]:
        """The data sets that have a budget.

        Args:
          action: of ``policy.ACTIONS``; only those of which this person may do it. Nothing is written down.
        """
        with reading(self._engine) as connection:
            found = data_sets_of(connection)
        return [each.name for each in found if not (action and self._refusal(action, each.name))]


def account_of(data_set: DataSet, runs: Sequence[Run], retracted: Mapping[str, str]) -> Account:
    """Where a budget stands, added up.

    Args:
      data_set: with its budget.
      runs: all of them.
      retracted: of ``reasons_of``.
    """
    closed = spent_of([(each.spend, each.counted) for each in runs])
    whole = spent_of([(each.spend, each.held) for each in runs])
    spent = Held(data_set, closed).epsilon()
    reserved = spent if closed == whole else Held(data_set, whole).epsilon()
    endless = why_endless(whole, data_set) if max(spent, reserved) == math.inf else ""
    return Account(data_set, tuple(runs), spent, max(spent, reserved), retracted, endless)
