"""What a second person has to approve, and how it comes to hold or is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance.accounts import data_set_of
from dpjax.governance.book import Book, policy_in
from dpjax.governance.budgets import Proposal, action_of, open_proposal, proposals_of
from dpjax.governance.database import reading
from dpjax.governance.errors import LedgerError
from dpjax.governance.policy import ALL, ROLES, check_is_bound, second_persons
from dpjax.governance.retractions import is_retraction, state_of
from dpjax.governance.rules import shares_key
from dpjax.governance.tables import policies


class ProposalBook(Book):
    """The part of a ledger that is about proposals; see ``Ledger``."""

    def _seconds(self, connection: sa.Connection, data: str) -> list[str]:
        return second_persons(policy_in(connection), self._identify(connection).who, data)

    def second_persons(self, proposal: Proposal) -> list[str]:
        """Who may approve what was proposed.

        Args:
          proposal: that waits.
        """
        return second_persons(self.policy(), proposal.who, proposal.data_set)

    def proposal(self, number: int) -> Proposal:
        """What waits for a second person.

        Args:
          number: of the proposal.

        Raises:
          LedgerError: it is not open.
        """
        with reading(self._engine) as connection:
            return open_proposal(connection, number)

    def may_see(self, proposal: Proposal) -> bool:
        """Whether this person made it, or may approve it, or see the data that it is about; policies all may see.

        Args:
          proposal: that waits.
        """
        if not proposal.data_set or self.who == proposal.who or self.who in self.second_persons(proposal):
            return True
        return not self._refusal("show", proposal.data_set)

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

    def approve(self, number: int) -> Proposal:
        """Let hold what another person has proposed: a budget, a policy, or that an entry is taken back.

        Args:
          number: of the proposal.

        Raises:
          LedgerError: it is not open, what it changes has changed since, this person has proposed it, they and who did
            have signed with one key, or the policy knows others by their keys and this person by none.
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
            if state == "approved":
                me = self._identify(connection).who
                check_is_bound(policy_in(connection), me)
                if shares_key(connection, (me, self.key.id), (proposal.who, proposal.key)):
                    raise LedgerError(
                        f"proposal {number} is {proposal.who}'s, and {me} and {proposal.who} have signed with one key; "
                        "a second person, with a key of theirs alone, approves it."
                    )
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
