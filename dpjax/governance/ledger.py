"""The ledger: budgets of data sets, and who has spent how much of them."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dpjax.governance import trail
from dpjax.governance.accounts import DataSet, data_set_of, runs_of, whose_of
from dpjax.governance.database import connect, has_trail, ledger_url, reading, sentences, shown, writing
from dpjax.governance.decisions import Decision, Held, Request, being_run, decide, spent_of
from dpjax.governance.errors import Denied, LedgerError, Overspent
from dpjax.governance.identity import user
from dpjax.governance.limits import false_claim
from dpjax.governance.release_book import ReleaseBook
from dpjax.governance.signing import Author, SigningKey, signing_key
from dpjax.governance.spends import Spend, check_spend, read_spend
from dpjax.governance.tables import VERSION, metadata, spends
from dpjax.governance.tables import secrets as secret_table
from dpjax.governance.whose import check_entry
from dpjax.keeping import runs_here, this_process

_TRIES = 3
"""Of a decision beside others; after them the ledger is held while it is made."""


class Ledger(ReleaseBook):
    """Budgets of data sets, shared by all who open the same database.

    Formal guarantees: the runs that it lets through are, all together and whoever runs them, within each data set's
    (ε, δ) for its unit and adjacency: with composition "planned" as long as what a run does was not chosen by looking
    at what earlier runs gave out, with "adaptive" also if it was. A decision and what it reserves are one transaction,
    of which there is one at a time. A run counts whole from its reservation to its end, and after it by the steps that
    were begun. What is written down is on disk when a call returns. What is done with sensitive data is allowed by a
    grant, see ``Book``.

    Args:
      place: of the database, see ``ledger_url``; None: ``DPJAX_LEDGER``, or the user's own.
      who: acts; None: whom a token or the operating system says.
      key: signs; None: the person's own, see ``signing_key``.

    Raises:
      LedgerError: there is none, it is out of reach, or of another version.

    Example:
      >>> import tempfile
      >>> from dpjax.accounting import Mechanism
      >>> from dpjax.fingerprints import fingerprint_of
      >>> from dpjax.governance.spends import spend_of
      >>> from dpjax.governance.signing import new_signing_key
      >>> folder = tempfile.TemporaryDirectory()
      >>> ledger = create_ledger(f"{folder.name}/ledger.db", who="ana", key=new_signing_key())
      >>> rows = fingerprint_of({"age": [40, 51, 62], "ill": ["no", "yes", "no"]})
      >>> ledger.set_budget("clinic", rows, unit="example", adjacency="zero_out", epsilon=1.9, delta=1e-5)
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=4.0, num_steps=2)
      >>> request = Request("run-1", spend_of(run, 1e-5), "example", "zero_out", "first run")
      >>> [first] = ledger.reserve("clinic", [request])
      >>> ledger.close({first: 2})
      >>> round(ledger.account("clinic").spent, 2)
      1.36
      >>> ledger.reserve("clinic", [request._replace(key="run-2")])
      Traceback (most recent call last):
      dpjax.governance.errors.Overspent: data clinic has spent ε=1.36 of 1.9 at δ=1e-05, and this run would make it \
1.99; ε=1.22 would fit, or 1 of its 2 steps.
    """

    def reserve(self, name: str, requests: Sequence[Request]) -> list[str]:
        """Reserve runs, all of them or none.

        Formal guarantees: as of the class. A run that was begun, ended before its last step and is asked for again
        under its key goes on in its own reservation.

        Args:
          name: of the data set.
          requests: what each run will spend.

        Returns:
          The id of each.

        Raises:
          Overspent: they would take more than is left; it is written down.
          Denied: the data are sensitive, and no grant of this person allows them; it is written down.
          LedgerError: another unit or adjacency than the budget's, other units than those of before, or a run that
            another process runs now.
        """
        for each in requests:
            check_spend(each.spend)
        self.check("train", name, requests)
        for _ in range(_TRIES):
            with reading(self._engine) as connection:
                data_set, runs = data_set_of(connection, name), runs_of(connection, name)
            _refuse_false_claims(data_set, requests)
            decision = decide(data_set, runs, requests)
            with self._permitting("train", name, requests) as connection:
                if data_set_of(connection, name) == data_set:
                    ids = self._keep(connection, name, decision)
                    break
        else:
            with self._permitting("train", name, requests) as connection:
                data_set = data_set_of(connection, name)
                decision = decide(data_set, runs_of(connection, name), requests)
                ids = self._keep(connection, name, decision)
        if decision.refused:
            raise Overspent(decision.refused)
        return ids

    def _keep(self, connection: sa.Connection, name: str, decision: Decision) -> list[str]:
        if decision.ended:
            ended = [{"id": id, "state": "closed"} for id in decision.ended]
            self._append(connection, "close", name, {"runs": ended, "why": "its process is gone"})
        if decision.refused:
            self._append(connection, "refuse", name, {"why": decision.refused})
            return []
        if decision.continued:
            who = self._identify(connection).who
            again = [{"id": id, "state": "open", "process": this_process(), "who": who} for id in decision.continued]
            self._append(connection, "continue", name, {"runs": again})
        fresh = [
            {
                "id": secrets.token_hex(16),
                "key": request.key,
                "tool": "dpjax",
                "label": request.label,
                "spend": request.spend.as_json(),
                "steps": 0,
                "state": "open",
                "process": this_process(),
            }
            for request in decision.fresh
        ]
        if fresh:
            self._append(connection, "reserve", name, {"runs": fresh})
        made = iter(each["id"] for each in fresh)
        return [id or next(made) for id in decision.ids]

    def enter(
        self,
        name: str,
        spend: Spend,
        *,
        tool: str,
        label: str,
        unit: str | None = None,
        adjacency: str | None = None,
    ) -> str:
        """Write down what another tool has spent, whether or not it fits: it has happened.

        Args:
          name: of the data set.
          spend: of the whole run.
          tool: that ran it.
          label: in words.
          unit, adjacency: that its numbers are for; None: the budget's, which only a budget of examples takes.

        Returns:
          The id.

        Raises:
          LedgerError: there is no such data, it is for other units or neighbours, or nobody can add up what was spent.
          Denied: the data are sensitive, and this person may not enter anything.
        """
        check_spend(spend)
        run = {"id": secrets.token_hex(16), "key": "", "tool": tool, "label": label, "spend": spend.as_json()}
        with self._permitting("enter", name) as connection:
            data_set = data_set_of(connection, name)
            check_entry(data_set, whose_of(data_set, runs_of(connection, name)), unit, adjacency)
            Held(data_set, spent_of([(spend, spend.steps)])).epsilon()  # what nobody can add up is refused now
            ended = {"steps": spend.steps, "state": "closed", "process": ""}
            self._append(connection, "enter", name, {"runs": [run | ended]})
        return str(run["id"])

    def commit(self, steps: Mapping[str, int]) -> None:
        """Write down that steps are about to be taken: whatever happens then, they are spent.

        Formal guarantees: what was committed only grows; fewer steps than before are of a run that begins anew with the
        same noise, and cost nothing more.

        Args:
          steps: id → all steps of the run until now and with those to come.

        Raises:
          LedgerError: more than were reserved, of a run that has ended, or of another person on sensitive data.
        """
        self._change("commit", {id: {"steps": count} for id, count in steps.items()})

    def close(self, steps: Mapping[str, int | None]) -> None:
        """End runs: what they did not spend is free again.

        Args:
          steps: id → all steps that were begun; None: those that were committed.

        Raises:
          LedgerError: as of ``commit``.
        """
        ended = {id: {"state": "closed"} | ({} if count is None else {"steps": count}) for id, count in steps.items()}
        self._change("close", ended)

    def close_others(self, name: str, ids: Iterable[str]) -> None:
        """End runs of others, whose processes are no more, with the steps that were committed.

        Args:
          name: of their data set.
          ids: of open runs.

        Raises:
          LedgerError: one has ended.
          Denied: the data are sensitive, and this person may not close what is others'.
        """
        ids = list(ids)

        def refusal(connection: sa.Connection) -> str:
            who = self._identify(connection).who
            mine = {run.id for run in runs_of(connection, name) if run.who == who}
            return "" if mine.issuperset(ids) else self._refusal_in(connection, "close", name)

        with self._guarded(refusal, "close", name) as connection:
            self._change_in(connection, "close", {id: {"state": "closed"} for id in ids}, of_others=name)

    def release(self, ids: Iterable[str]) -> None:
        """End those of the runs that are still open, with the steps that were committed.

        Args:
          ids: of one data set.
        """
        ids = list(ids)
        with reading(self._engine) as connection:
            chosen = sa.select(spends.c.id).where(spends.c.state == "open", spends.c.id.in_(ids))
            found = set(connection.execute(chosen).scalars())
        self.close({id: None for id in ids if id in found})

    def _change(self, action: str, changes: Mapping[str, Mapping[str, Any]]) -> None:
        if changes:
            with writing(self._engine) as connection:
                self._change_in(connection, action, changes)

    def _change_in(
        self, connection: sa.Connection, action: str, changes: Mapping[str, Mapping[str, Any]], of_others: str = ""
    ) -> None:
        """Change runs of one data set; on sensitive data also ``of_others``, if that is its name."""
        found = connection.execute(sa.select(spends).where(spends.c.id.in_(list(changes)))).mappings().all()
        rows = {row["id"]: dict[str, Any](row) for row in found}
        names = {row["data_set"] for row in rows.values()}
        if len(rows) != len(changes) or len(names) != 1 or (of_others and names != {of_others}):
            raise LedgerError("a run is in no reservation of this ledger; reserve it first.")
        [name] = names
        theirs = {row["who"] for row in rows.values()} - {self._identify(connection).who}
        if theirs and not of_others and data_set_of(connection, name).sensitive:
            raise LedgerError(f"a run on sensitive data is {min(theirs)}'s; only they go on with it.")
        if action == "continue" and (why := self._refusal_to_go_on(connection, name, rows.values())):
            raise Denied(why)
        done = [each for id, change in changes.items() if (each := _checked(rows[id], change))]
        if done:
            self._append(connection, action, name, {"runs": done})

    def randomness(self, ids: Iterable[str]) -> list[bytes]:
        """What runs' noise is drawn from: 32 bytes of each, always the same of one run and of no two alike.

        Formal guarantees: independent of those of all other runs, as composition wants it, for whoever does not know
        the ledger's secret; which neither the trail nor an export holds.

        Args:
          ids: of the runs.
        """
        with reading(self._engine) as connection:
            secret = connection.execute(sa.select(secret_table.c.value)).scalar_one()
        return [hmac.digest(secret.encode(), id.encode(), "sha256") for id in ids]

    def take_over(self, name: str, ids: Sequence[str], launcher: str = "") -> None:
        """Let this process be the one that runs reserved runs.

        Formal guarantees: of processes that want the same run, one has it; and whoever has lost the right to run on
        sensitive data goes on with none.

        Args:
          name: of their data set.
          ids: of open runs.
          launcher: process that has reserved them for this one, and keeps them.

        Raises:
          Denied: the data are sensitive, and no grant of this person allows them any more; it is written down.
          LedgerError: another process runs one of them, or may: nobody knows of another machine's.
        """
        mine = {this_process(), launcher}

        def refusal(connection: sa.Connection) -> str:
            budget, runs = data_set_of(connection, name), runs_of(connection, name)
            wanted = [
                Request(run.key, run.spend, budget.unit, budget.adjacency, run.label) for run in runs if run.id in ids
            ]
            return self._refusal_in(connection, "train", name, wanted)

        with self._guarded(refusal, "train", name) as connection:
            runs = [run for run in runs_of(connection, name) if run.id in ids and run.process not in mine]
            for run in runs:
                if runs_here(run.process) is not False:
                    raise LedgerError(being_run(run))
            if runs:
                self._change_in(connection, "continue", {run.id: {"process": this_process()} for run in runs})

    def open_runs(self, keys: Iterable[str]) -> dict[str, str]:
        """Reservations that are open: key → id.

        Args:
          keys: of runs.
        """
        chosen = sa.select(spends.c.key, spends.c.id).where(spends.c.state == "open", spends.c.key.in_(list(keys)))
        with reading(self._engine) as connection:
            return {row.key: row.id for row in connection.execute(chosen)}


def _refuse_false_claims(data_set: DataSet, requests: Sequence[Request]) -> None:
    """Of sensitive data, what ``verify`` would find is refused now."""
    for each in requests if data_set.sensitive else ():
        if fault := false_claim(each.spend, data_set.adjacency):
            raise LedgerError(f"run {each.label} is none: {fault}; give it the claim of `spend_of`.")


def _checked(row: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """What a change makes of a run, empty if it is so already; LedgerError where it can't be."""
    if row["state"] != "open":
        raise LedgerError(f"run {row['label']} has ended in the ledger; reserve it again to go on.")
    change = dict(change)
    if "steps" in change:
        if isinstance(change["steps"], bool) or not isinstance(change["steps"], int) or change["steps"] < 0:
            raise LedgerError(f"run {row['label']}: steps={change['steps']} must be a whole number of at least 0.")
        change["steps"] = max(change["steps"], row["steps"])
        if change["steps"] > (most := read_spend(row["spend"]).steps):
            raise LedgerError(
                f"run {row['label']}: steps={change['steps']} are more than the {most} that were reserved."
            )
    is_new = any(row[name] != value for name, value in change.items())
    return {"id": row["id"], **change} if is_new else {}


def create_ledger(place: str | None = None, *, who: str | None = None, key: SigningKey | None = None) -> Ledger:
    """Make a ledger where there is none.

    Args:
      place: of the database, see ``ledger_url``.
      who: makes it; None: the operating system's user.
      key: signs; None: the person's own.

    Raises:
      LedgerError: there is one already, or it can't be made.
    """
    url, key = ledger_url(place), key or signing_key()
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if path.exists():
            raise LedgerError(f"ledger {path} is there already; name another file, or take that one away.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise LedgerError(
                f"ledger {path} can't be made ({error.strerror}); name a file in a folder of yours."
            ) from error
    engine = connect(url)
    with sentences(url), engine.begin() as connection:
        if has_trail(connection):
            raise LedgerError(f"ledger {shown(url)} is there already; name another database.")
        metadata.create_all(connection)
        secret = secrets.token_hex(32)
        connection.execute(secret_table.insert().values(id=1, value=secret))
        hashed = hashlib.sha256(secret.encode()).hexdigest()
        detail = {"version": VERSION, "name": secrets.token_hex(8), "secret_hash": hashed}
        trail.append(connection, Author(who or user(), key), "init", "", detail)
    return Ledger(place, who=who, key=key)
