"""A ledger's database and its trail: who writes into it, what they may, and what was written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import sqlalchemy as sa

from dpjax.governance import trail
from dpjax.governance.accounts import DataSet, data_sets_of
from dpjax.governance.clocks import CLOCK, ahead, clock_denial
from dpjax.governance.database import check_there, check_version, connect, ledger_url, reading, writing
from dpjax.governance.decisions import Request
from dpjax.governance.errors import Denied, LedgerError
from dpjax.governance.heads import Head, check_head, signed_head
from dpjax.governance.identity import Identity, identify
from dpjax.governance.policy import (
    ALL,
    Policy,
    check_key,
    could_be_anybody,
    owners_of_all,
    read_policy,
    second_persons,
)
from dpjax.governance.signing import Author, SigningKey, signing_key
from dpjax.governance.spends import read_spend
from dpjax.governance.tables import ledgers, policies, tokens
from dpjax.governance.tokens import Token, check_holder


class Book:
    """A ledger's database, opened by a person.

    Formal guarantees: nothing is written that its author has not signed. What is done with sensitive data is allowed by
    a grant of the policy that holds at that moment, or denied and written down.

    Args:
      place: of the database, see ``ledger_url``; None: ``DPJAX_LEDGER``, or the user's own.
      who: acts; None: whom the token or the operating system says.
      key: signs; None: the person's own, see ``signing_key``.

    Raises:
      LedgerError: there is none, it is out of reach, or of another version.
    """

    def __init__(self, place: str | None = None, *, who: str | None = None, key: SigningKey | None = None) -> None:
        self.url = ledger_url(place)
        check_there(self.url)
        self._engine, self._said, self._key = connect(self.url), who, key
        self._identity: Identity | None = None
        with reading(self._engine) as connection:
            check_version(connection, self.url)
            self.name: str = connection.execute(sa.select(ledgers.c.name)).scalar_one()

    @property
    def key(self) -> SigningKey:
        """The key that signs what this person writes; made when it is first needed."""
        if self._key is None:
            self._key = signing_key()
        return self._key

    @property
    def who(self) -> str:
        """The person that acts."""
        with reading(self._engine) as connection:
            return self._identify(connection).who

    def identity(self) -> Identity:
        """The person that acts, and who says so."""
        with reading(self._engine) as connection:
            return self._identify(connection)

    def _identify(self, connection: sa.Connection) -> Identity:
        if self._identity is None:
            policy = policy_in(connection)
            found = identify(policy, self.name, self._said)
            if found.token is not None:  # a copy of it is of no use, not even to read
                self._check_token(connection, found.token)
            if policy is not None and found.who in policy.keys:
                check_key(policy, found.who, self.key.public)
            self._identity = found
        return self._identity

    def _check_token(self, connection: sa.Connection, token: Token) -> bool:
        """Raise LedgerError unless a token is this key's; whether it was used before."""
        check_holder(token, self.key.id)
        used = connection.execute(
            sa.select(tokens.c.key).where(tokens.c.id.concat("") == token.id)
        ).scalar_one_or_none()
        if used not in (None, self.key.id):
            raise LedgerError(
                f"token of {token.who} was used with another key before, so it is a copy; have one issued."
            )
        return used is not None

    def policy(self) -> Policy | None:
        """Who may do what with sensitive data; None: nobody has said yet."""
        with reading(self._engine) as connection:
            return policy_in(connection)

    def policy_text(self) -> str:
        """The policy as its file says it; empty: there is none."""
        with reading(self._engine) as connection:
            return policy_text_in(connection)

    def set_policy(self, text: str) -> int | None:
        """Say who may do what with sensitive data.

        Args:
          text: see ``read_policy``.

        Returns:
          The number of the proposal that a second person has to ``approve``, where there is one who may; None: it
          holds.

        Raises:
          LedgerError: it can't be read; or under it this person, with the key and the token that they have now, would
            not own all data, so that nobody might be able to mend it; or it names keys of some who may approve and not
            of all.
          Denied: there is a policy, and this person owns not all data; or there is none, and another made the ledger.
        """
        policy = read_policy(text)
        with reading(self._engine) as connection:
            who, there = self._identify(connection).who, policy_in(connection)
            maker = _maker(connection)
        if there is None and who != maker:
            self._deny(f"the first policy is set by {maker}, who made the ledger, and not by {who}.", "policy", ALL)
        if there is not None:
            self._permit("policy", ALL)
        self._check_continuity(policy, who)
        with writing(self._engine) as connection:
            if policy_in(connection) != there:
                raise LedgerError("the policy was changed by somebody else meanwhile; look at it and set it again.")
            if there is not None and second_persons(there, who, ""):
                old = connection.execute(sa.select(policies.c.text)).scalar_one()
                return self._append(connection, "propose", "", {"from": {"text": old}, "to": {"text": text}})
            self._append(connection, "policy", "", {"text": text})
        self._identity = None  # who somebody is may be another's to say from now on
        return None

    def _check_continuity(self, policy: Policy, who: str) -> None:
        """Raise LedgerError unless this person could set the next policy, once this one holds."""
        try:
            said = identify(policy, self.name, None if policy.issuers else self._said)
            if said.token is not None:
                with reading(self._engine) as connection:
                    self._check_token(connection, said.token)
            check_key(policy, said.who, self.key.public)
        except LedgerError as error:
            wants = ", and it is set with a token of its own issuers" if policy.issuers else ""
            raise LedgerError(f"policy: {who} could do nothing more once it holds{wants}: {error}") from error
        if said.who not in owners_of_all(policy):
            raise LedgerError(
                f"policy: {said.who} would own all data no more, and could mend nothing; let another owner take it "
                "away."
            )
        if policy.keys and (unknown := could_be_anybody(policy)):
            raise LedgerError(
                f"policy: [keys] has no key of {', '.join(unknown)}, who may approve, so that whoever makes a key "
                "could do it in that name; add one of each (`dpjax whoami` prints it)."
            )

    def set_clock(self, reason: str) -> tuple[int, int, str]:
        """Say that the last records have a wrong time, of a machine whose clock was ahead, so that others may write.

        Formal guarantees: no record is changed; where time steps back is a record of who said so and why.

        Args:
          reason: in words.

        Returns:
          Numbers of the first and the last of them, and the last one's time.

        Raises:
          LedgerError: there is no reason, or the last record is not ahead of this machine's clock.
          Denied: this person owns not all data; or there is no policy, and another made the ledger.
        """

        def refusal(connection: sa.Connection) -> str:
            return clock_denial(policy_in(connection), self._identify(connection).who, _maker(connection))

        with reading(self._engine) as connection:
            why = refusal(connection)
        if why:
            try:
                self._deny(why, CLOCK, ALL)
            except LedgerError as error:  # a denial can't be written down either, while a clock is ahead
                raise Denied(why) from error
        with self._guarded(refusal, CLOCK, ALL) as connection:
            detail = ahead(connection, reason)
            self._append(connection, CLOCK, "", detail)
        return detail["first"], detail["last"], detail["was"]

    def check(self, action: str, data: str, requests: Iterable[Request] = (), *, marks: bool = False) -> None:
        """Raise unless this person may do something; nothing is asked for data that are not sensitive.

        Args:
          action: of ``policy.ACTIONS``.
          data: name of a data set; ``*``: all.
          requests: to train: what is to be run.
          marks: whether the data become sensitive by it, for which is asked too where there is a policy.

        Raises:
          Denied: they may not; it is written down.
        """
        self._permit(action, data, requests, marks)

    def note_access(self, action: str, data: str, detail: Mapping[str, Any]) -> None:
        """Write down that this person did something that changes no budget, as reading raw rows.

        Args:
          action: of ``policy.ACTIONS``.
          data: name of a data set; ``*``: it may be any of those that are sensitive, all of which are asked for.
          detail: what JSON holds.

        Raises:
          Denied: they may not; it is written down.
        """
        with self._permitting(action, data) as connection:
            self._append(connection, "access", "" if data == ALL else data, {"action": action, **detail})

    def _permit(self, action: str, data: str, requests: Iterable[Request] = (), marks: bool = False) -> None:
        if why := self._refusal(action, data, requests, marks):
            self._deny(why, action, data)

    def _permitting(
        self, action: str, data: str, requests: Iterable[Request] = (), marks: bool = False
    ) -> AbstractContextManager[sa.Connection]:
        """A transaction in which this person may do something, see ``_guarded``."""
        return self._guarded(
            lambda connection: self._refusal_in(connection, action, data, requests, marks), action, data
        )

    @contextmanager
    def _guarded(self, refusal: Callable[[sa.Connection], str], action: str, data: str) -> Iterator[sa.Connection]:
        """A transaction that begins with whether this is allowed, so that nobody takes the right away in between.

        Args:
          refusal: says why not; empty: it is allowed. Else that is written down, and Denied is raised.
          action, data: that it is about.
        """
        with writing(self._engine) as connection:
            if not (why := refusal(connection)):
                yield connection
                return
        self._deny(why, action, data)

    def _refusal(self, action: str, data: str, requests: Iterable[Request] = (), marks: bool = False) -> str:
        """Why this person may not do something; empty: they may."""
        with reading(self._engine) as connection:
            return self._refusal_in(connection, action, data, requests, marks)

    def _refusal_in(
        self,
        connection: sa.Connection,
        action: str,
        data: str,
        requests: Iterable[Request] = (),
        marks: bool = False,
    ) -> str:
        sensitive = [each for each in data_sets_of(connection) if each.sensitive and data in (ALL, each.name)]
        policy = policy_in(connection)
        marks = marks and not sensitive and policy is not None
        if action != "policy" and not sensitive and not marks:
            return ""
        return _denied(policy, self._identify(connection), action, data, sensitive, list(requests))

    def _refusal_to_go_on(self, connection: sa.Connection, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
        """Why this person may not go on with reserved runs of a data set, rows of ``spends``; empty: they may.

        A token that has ended since is none of the reasons.
        """
        data_set = next(each for each in data_sets_of(connection) if each.name == name)
        if not data_set.sensitive:
            return ""
        requests = [
            Request(row["key"], read_spend(row["spend"]), data_set.unit, data_set.adjacency, row["label"])
            for row in rows
        ]
        who = Identity(self._identify(connection).who)
        return _denied(policy_in(connection), who, "train", data_set.name, [data_set], requests)

    def _deny(self, why: str, action: str, data: str) -> None:
        with writing(self._engine) as connection:
            self._append(connection, "deny", "" if data == ALL else data, {"action": action, "why": why})
        raise Denied(why)

    def _append(self, connection: sa.Connection, action: str, subject: str, detail: Mapping[str, Any]) -> int:
        """Write down what this person does now, and do it; the number of the record."""
        identity = self._identify(connection)
        if action not in ("commit", "continue", "model", "close"):  # a run that was begun in time may end
            identity.check_now()
        author = Author(identity.who, self.key)
        check_key(policy_in(connection), author.who, author.key.public)
        if (token := identity.token) is not None and not self._check_token(connection, token):
            used = {"id": token.id, "expires": token.expires}
            trail.append(connection, author, "token", "", used, sets_clock=action == CLOCK)
        return trail.append(connection, author, action, subject, detail, sets_clock=action == CLOCK)["sequence"]

    def records(self) -> list[dict[str, Any]]:
        """The trail, oldest first.

        Raises:
          Denied: some data are sensitive, and this person may not export what was done with them.
        """
        self._permit("export", ALL)
        return self.history()

    def history(self) -> list[dict[str, Any]]:
        """The trail for what looks something up in it; nothing else of it is to be shown. Nobody is asked."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(trail.trail).order_by(trail.trail.c.sequence)).mappings()
            return [{**row, "detail": json.loads(row["detail"])} for row in rows]

    def verify(self, head: Head | None = None) -> tuple[int, str]:
        """Compare all that it holds with its trail; see ``trail.verify``. Everybody may.

        Args:
          head: that was kept elsewhere, with which an end that was cut off is found too.

        Returns:
          Number and hash of the last record.

        Raises:
          LedgerError: something was edited, taken out, or put in another place.
        """
        with reading(self._engine) as connection:
            found = trail.verify(connection)
            if head is not None:
                at = sa.select(trail.trail.c.hash).where(trail.trail.c.sequence == head.sequence)
                check_head(head, self.name, connection.execute(at).scalar_one_or_none())
        return found

    def head(self) -> Head:
        """The end of the trail as it is now, signed; to be kept where nobody who can write to the ledger can."""
        with reading(self._engine) as connection:
            number, last = trail.verify(connection)
            who = self._identify(connection).who
        return signed_head(self.name, number, last, Author(who, self.key))


def _maker(connection: sa.Connection) -> str:
    """Who wrote the first record."""
    first = sa.select(trail.trail.c.who).order_by(trail.trail.c.sequence).limit(1)
    return str(connection.execute(first).scalar_one())


def policy_text_in(connection: sa.Connection) -> str:
    """The policy that holds, as its file says it; empty: there is none."""
    return connection.execute(sa.select(policies.c.text)).scalar_one_or_none() or ""


def policy_in(connection: sa.Connection) -> Policy | None:
    """The policy that holds; None: nobody has said yet."""
    text = policy_text_in(connection)
    return read_policy(text) if text else None


def _denied(
    policy: Policy | None,
    identity: Identity,
    action: str,
    data: str,
    sensitive: Sequence[DataSet],
    requests: Sequence[Request],
) -> str:
    """Why something is denied; empty: it is allowed."""
    from dpjax.governance.access import Access, denial  # casbin, which data that are not sensitive need not

    identity.check_now()
    who = identity.who
    if policy is None:
        return denial(policy, who, action, data)
    access = Access(policy)
    if action == "train":
        [budget] = sensitive
        for each in requests:
            if not access.allows(who, action, data, request=each, budget=budget):
                called = "this run" if len(requests) == 1 else f"run {each.label}"
                return denial(policy, who, action, data, (called, each, budget))
        return "" if requests else denial(policy, who, action, data)
    if action == "policy":
        return "" if access.allows(who, action, ALL) else denial(policy, who, action, ALL)
    for name in [each.name for each in sensitive] or [data]:  # which becomes so
        if not access.allows(who, action, name):
            return denial(policy, who, action, name, is_open=not sensitive)
    return ""
