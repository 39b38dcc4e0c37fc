"""Budgets in a ledger: who may set them, and where they stand."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dpjax.fingerprints import Fingerprint
from dpjax.governance.access import denial, grants_of
from dpjax.governance.accounts import Account, DataSet, Run, data_set_of, data_sets_of, runs_of, whose_of
from dpjax.governance.book import policy_in
from dpjax.governance.budgets import Proposal, checked_budget, open_proposal, weakens
from dpjax.governance.database import reading
from dpjax.governance.decisions import Held, spent_of
from dpjax.governance.endless import why_endless
from dpjax.governance.errors import LedgerError
from dpjax.governance.foresight import without_one
from dpjax.governance.known_rows import known_rows
from dpjax.governance.policy import ALL, ROLES
from dpjax.governance.proposal_book import ProposalBook
from dpjax.governance.retractions import reasons_of, retraction_of, state_of
from dpjax.governance.spends import note_of
from dpjax.governance.tables import keep_fingerprint
from dpjax.governance.whose import Whose, check_whose


class BudgetBook(ProposalBook):
    """A ledger's budgets.

    Formal guarantees: of sensitive data, a budget that protects them less than the one before holds once a second
    person, with a key of their own, has approved it, where the policy names one who may. Where there is a policy, the
    first budget of a name takes an owner of it, whatever the data.

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
        whose: Whose | None = None,
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
          whose: who its unit is; None: as it is, or as its first run says.

        Returns:
          Of sensitive data, what a second person has to ``approve``, where it protects them less than before and there
          is one who may; None: it holds.

        Raises:
          LedgerError: an argument is out of range, the rows are another data set's, or are not those of this name, or
            its unit is somebody else already.
          Denied: this person does not own the data, and they are sensitive, or there is a policy and they become so or
            have no budget yet.
        """
        given = {
            "fingerprint": fingerprint,
            "unit": unit,
            "adjacency": adjacency,
            "epsilon": epsilon,
            "delta": delta,
        }

        def refusal(connection: sa.Connection) -> str:
            is_new = name not in {each.name for each in data_sets_of(connection)}
            return self._refusal_in(connection, "budget", name, marks=is_new or bool(sensitive))

        with self._guarded(refusal, "budget", name) as connection:
            known = {each.name: each for each in data_sets_of(connection)}
            old = known.get(name)
            given["composition"] = composition or ("planned" if old is None else old.composition)
            marked = sensitive if sensitive is not None else old is not None and old.sensitive
            runs, rows = runs_of(connection, name), known_rows(connection)
            budget = checked_budget(name, known, runs, rows, sensitive=marked, **given)
            _check_said(old, runs, unit, whose)
            keep_fingerprint(connection, fingerprint.as_json())
            if old is None or not weakens(old, budget) or not self._seconds(connection, name):
                self._append(connection, "budget", name, budget)
                if whose is not None and whose_of(data_set_of(connection, name), runs) is None:
                    self._append(connection, "enter", name, {"runs": [_said(whose)]})
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
          Of sensitive data, what a second person has to ``approve``, where one may; None: it is taken back.

        Raises:
          LedgerError: there is no reason, or no such entry, or it is a run of dpjax, or was taken back already.
          Denied: the data are sensitive, and this person does not own them.
        """
        with self._permitting("retract", name) as connection:
            data_set, detail = data_set_of(connection, name), retraction_of(connection, name, id, reason)
            if not data_set.sensitive or not self._seconds(connection, name):
                self._append(connection, "retract", name, detail)
                return None
            proposed = {"from": state_of(connection, detail), "to": detail}
            return open_proposal(connection, self._append(connection, "propose", name, proposed))

    def entries(self, name: str) -> list[Run]:
        """What a data set was spent on, oldest first, for what looks something up in it. Nobody is asked.

        Args:
          name: of the data set.
        """
        with reading(self._engine) as connection:
            return runs_of(connection, name)

    def budget_of(self, name: str) -> DataSet:
        """The budget that a data set has. Nobody is asked: what was spent of it is not said.

        Args:
          name: of the data set.

        Raises:
          LedgerError: it has none.
        """
        with reading(self._engine) as connection:
            return data_set_of(connection, name)

    def whose(self, name: str) -> Whose | None:
        """Who a budget's unit is; None: one row, or nobody has said it yet.

        Args:
          name: of the data set.
        """
        with reading(self._engine) as connection:
            return whose_of(data_set_of(connection, name), runs_of(connection, name))

    def is_sensitive(self, name: str) -> bool:
        """Whether all that is done with a data set needs a grant.

        Args:
          name: of the data set.
        """
        with reading(self._engine) as connection:
            return data_set_of(connection, name).sensitive

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

    def admit(self, name: str = "") -> None:
        """Raise unless this person may train on a data set, within whatever limits; only sensitive ones are asked for.

        Args:
          name: of the data set; empty: no row was read yet, and it may be any.

        Raises:
          Denied: they may not, or not on any that there is; it is written down.
          LedgerError: there is no such data set.
        """
        with reading(self._engine) as connection:
            about = [data_set_of(connection, name)] if name else data_sets_of(connection)
            if not about or not all(each.sensitive for each in about):
                return
            policy, identity = policy_in(connection), self._identify(connection)
        identity.check_now()
        grants = [] if policy is None else grants_of(policy, identity.who)
        trains = [each for each in grants if "train" in ROLES[each.role]]
        if any({ALL, *(each.name for each in about)} & {*grant.data} for grant in trains):
            return
        data = about[0].name if len(about) == 1 else ALL
        self._deny(denial(policy, identity.who, "train", data), "train", data)

    def may(self, action: str, data: str) -> bool:
        """Whether this person may do something; nothing is written down.

        Args:
          action: of ``policy.ACTIONS``.
          data: name of a data set; ``*``: all that are sensitive.
        """
        return not self._refusal(action, data)

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
        return [each.name for each in found if not action or self.may(action, each.name)]


def _check_said(old: DataSet | None, runs: Sequence[Run], unit: str, whose: Whose | None) -> None:
    if whose is None:
        return
    if unit == "example":
        raise LedgerError(
            f"owners: {whose.name} is of no use to a budget per example; give it unit=user, or leave it out."
        )
    if old is not None:
        check_whose(old, whose_of(old, runs), [whose])


def _said(whose: Whose) -> dict[str, Any]:
    """An entry that spends nothing and says who the unit is."""
    spend = note_of(whose)
    run = {"id": secrets.token_hex(16), "key": "", "tool": "dpjax", "label": f"owners: {whose.name}"}
    return run | {"spend": spend.as_json(), "steps": spend.steps, "state": "closed", "process": ""}


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
    endless = ""
    if max(spent, reserved) == math.inf:
        endless = why_endless(whole, data_set) + without_one(data_set, runs)
    return Account(data_set, tuple(runs), spent, max(spent, reserved), retracted, endless)
