"""What a ledger remembers of models: what a run has made, what left, and what was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance import trail
from dpjax.governance.accounts import Account, data_set_of, runs_of
from dpjax.governance.budget_book import BudgetBook, account_of
from dpjax.governance.database import writing
from dpjax.governance.errors import LedgerError
from dpjax.governance.retractions import reasons_of
from dpjax.governance.tables import spends


class ReleaseBook(BudgetBook):
    """A ledger's models.

    Formal guarantees: what is written down of a release was looked at in the same transaction, beside which nobody
    spends, sets a budget or takes a right away.

    Args:
      place, who, key: as of ``Book``.
    """

    def record_model(self, id: str, files: Mapping[str, str]) -> None:
        """Write down what a run has made, before it ends.

        Formal guarantees: nothing is written down of a run that has ended, so that a model of another one can't be
        passed off as its own afterwards; nor by anybody but the run's own person.

        Args:
          id: of the run.
          files: name → SHA-256, see ``files.hashes_of``.

        Raises:
          LedgerError: the run has ended, is another person's, or is not in this ledger.
        """
        with writing(self._engine) as connection:
            chosen = sa.select(spends.c.data_set, spends.c.state, spends.c.who, spends.c.label).where(spends.c.id == id)
            row = connection.execute(chosen).first()
            if row is None or row.state != "open":
                raise LedgerError(f"run {id[:40]} has ended, or is not in this ledger; run it again to have its model.")
            if row.who != self._identify(connection).who:
                raise LedgerError(f"run {row.label} is {row.who}'s; only they say what it has made.")
            self._append(connection, "model", row.data_set, {"run": id, "files": dict(files)})

    def record_release(
        self,
        name: str,
        make: Callable[[Account, tuple[int, str]], Mapping[str, Any]],
        *,
        seen: tuple[Account, tuple[int, str]] | None = None,
    ) -> None:
        """Write down what leaves, if it still may.

        Args:
          name: of the data set that it was trained on.
          make: looks at where the budget stands and at the last record, and gives what JSON holds: run, files and
            folder. What it raises leaves nothing behind; it writes nothing into the ledger.
          seen: account and last record of a moment before; what has not changed since is not added up again.

        Raises:
          Denied: the data are sensitive, and this person may not release what was made of them.
          LedgerError: the ledger was edited since it was seen.
        """
        with self._permitting("release", name) as connection:
            account, head = seen or (None, None)
            data_set = data_set_of(connection, name)
            if account is None or account.data_set != data_set:
                account = account_of(data_set, runs_of(connection, name), reasons_of(connection, name))
            chosen = sa.select(trail.trail.c.sequence, trail.trail.c.hash).order_by(trail.trail.c.sequence.desc())
            last = connection.execute(chosen.limit(1)).one()
            if head is None or tuple(last) != tuple(head):
                head = trail.verify(connection)
            self._append(connection, "release", name, make(account, head))

    def record_refusal(self, name: str, why: str) -> None:
        """Write down that something was asked for and refused.

        Args:
          name: of the data set; empty: of none that is known.
          why: in words.
        """
        with writing(self._engine) as connection:
            self._append(connection, "refuse", name, {"why": why})
