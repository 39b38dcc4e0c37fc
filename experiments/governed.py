"""Runs on data that has a budget: each reserves its whole ε in the ledger, and spends it step by step.

Nothing of the ledger is imported unless ``governance=local``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.admission import (
    columns_of_data,
    fingerprint_of_data,
    refuse_known_noise,
    refuse_no_noise,
    refuse_unbudgeted,
)
from experiments.kept_jobs import identity_of
from experiments.protected_units import whose_of
from experiments.task import Job

if TYPE_CHECKING:
    from dpjax.accounting import Mechanism
    from dpjax.governance.decisions import Request
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.whose import Whose
    from dpjax.types import HParams


_SECOND = 1.0
"""So often at most runs are written down that take less time than writing them down."""


class Planned(NamedTuple):
    """A job that is to be run, with all that decides what it spends.

    Attributes:
      job: one of a group.
      mechanism: of each of its seeds.
      hparams: of each of its seeds.
    """

    job: Job
    mechanism: Mechanism
    hparams: HParams


class Metered:
    """Reservations of a group's lanes, which are spent as their steps begin.

    Formal guarantees: no step is taken that was not written down before; what a job did not spend is given back when it
    ends or within a second, and what it has begun stays spent whatever happens. Of runs that take no second each, those
    that are to begin within the next one are written down with the one that begins, and are spent if it is killed.

    Args:
      ledger: that has them.
      ids: of each lane.
      stride: steps of the mechanism that one step of the run takes: where clients take noisy ones of their own, theirs.
    """

    def __init__(self, ledger: Ledger, ids: Mapping[tuple[int, int], str], stride: int = 1) -> None:
        self._ledger, self._ids, self._stride = ledger, dict(ids), stride
        self._lock = Lock()  # lanes begin in threads
        self._written: dict[int, float] = {}
        self._whole: set[str] = set()
        self._ended: list[str] = []
        self._closed = 0.0

    def id_of(self, job: Job, seed: int) -> str:
        """The reservation of a job's seed."""
        return self._ids[id(job), seed]

    def keys(self, lanes: Sequence[tuple[Job, int]]) -> list[jax.Array]:
        """A key for each lane: drawn for its reservation, as ε is of noise that nobody else has or can draw again."""
        drawn = self._ledger.randomness(self.id_of(*lane) for lane in lanes)
        return [jax.random.wrap_key_data(jnp.asarray(np.frombuffer(each[:8], np.uint32))) for each in drawn]

    def spends(self, lanes: Sequence[tuple[Job, int]], index: Sequence[int], step: int | None = None) -> None:
        """Write down that lanes are about to take steps.

        Args:
          lanes: all.
          index: which of them.
          step: that they will have reached; None: their last.
        """
        with self._lock:
            chosen = index if step is not None else self._unwritten(index, len(lanes))
            reached = {self.id_of(*lanes[i]): step or lanes[i][0].cfg.optimizer.num_steps for i in chosen}
            if reached:
                self._ledger.commit({id: steps * self._stride for id, steps in reached.items()})
            if step is None:  # only now: the commit may have failed
                self._written |= dict.fromkeys(chosen, time.monotonic())
                self._whole |= reached.keys()

    def _unwritten(self, index: Sequence[int], number: int) -> list[int]:
        """Which whole runs are to be written down as these begin: them, and as many more as begin within a second."""
        wanted = [i for i in index if i not in self._written]
        if not wanted:
            return []
        begun, first = len(self._written), next(iter(self._written.values()), 0.0)
        side_by_side = os.cpu_count() or 1  # so many may have begun, and none ended
        pace = (begun - side_by_side) / max(time.monotonic() - first, 1e-3)
        ahead = int(pace * _SECOND) if begun > 2 * side_by_side else 0
        more = range(wanted[-1] + 1, min(wanted[-1] + 1 + ahead, number))
        return wanted + [i for i in more if i not in self._written]

    def columns(self, job: Job, seed: int) -> dict[str, str]:
        """What a row says of who paid for it."""
        return {"ledger": self._ledger.name, "ledger_run": self.id_of(job, seed)}

    def saved(self, job: Job, seed: int, folder: Path) -> None:
        """Write down what files a job's seed has made, by which they are known again."""
        from dpjax.governance.files import hashes_of

        self._ledger.record_model(self.id_of(job, seed), hashes_of(folder))

    def ended(self, job: Job) -> None:
        """Give back what a job did not spend."""
        seeds = range(job.cfg.seed, job.cfg.seed + job.cfg.num_seeds)
        with self._lock:
            self._ended += [self._ids.pop((id(job), seed)) for seed in seeds if (id(job), seed) in self._ids]
        if time.monotonic() - self._closed > _SECOND:
            self._close_ended()

    def _close_ended(self) -> None:
        with self._lock:
            ended, self._ended, self._closed = self._ended, [], time.monotonic()
        if ended:
            self._ledger.close(dict.fromkeys(ended))

    def close(self) -> None:
        """Give back what no run has begun to spend."""
        self._close_ended()
        begun = {id for id in self._ids.values() if id in self._whole}  # the same command goes on with them, unpaid
        ids, self._ids = [id for id in self._ids.values() if id not in begun], {}
        self._ledger.release(ids)


class Reserved(NamedTuple):
    """What a sweep has reserved, for all of its groups.

    Attributes:
      ledger: that has it.
      ids: of all runs, by data set.
    """

    ledger: Ledger
    ids: dict[str, list[str]]

    def close(self) -> None:
        """Give back what no group has taken."""
        for ids in self.ids.values():
            self.ledger.release(ids)


def reserve_groups(groups: Sequence[tuple[Sequence[Planned], dict[str, str]]]) -> Reserved | None:
    """Reserve what all groups of a sweep spend, or nothing.

    Args:
      groups: jobs of one signature each, and what ``inputs`` found of them.

    Returns:
      None: there is nothing to reserve.

    Raises:
      Refused, LedgerError: as ``metered``; nothing is reserved.
    """
    requests: dict[str, list[Request]] = {}
    ledger = None
    for planned, files in groups:
        ledger, name, whose = _budget_of(planned[0])
        if name is not None:
            requests.setdefault(name, []).extend(each for one in planned for each in _requests(one, files, whose))
    if ledger is None or not requests:
        return None
    reserved = Reserved(ledger, {})
    try:
        for name, wanted in requests.items():
            reserved.ids[name] = ledger.reserve(name, wanted)
    except BaseException:
        reserved.close()
        raise
    for name, ids in reserved.ids.items():
        _say(ledger, name, len(ids))
    return reserved


def metered(planned: Sequence[Planned], files: dict[str, str]) -> Metered | None:
    """The reservations of a group's jobs: those that were made before it started, or new ones.

    Args:
      planned: jobs of one signature.
      files: what ``inputs`` found.

    Returns:
      None: its data has no budget and is public.

    Raises:
      Refused: the data is one's own and has no budget, or a run can't be accounted on it.
      LedgerError: there is not enough left, or no ledger.
    """
    first = planned[0].job.cfg
    ledger, name, whose = _budget_of(planned[0])
    if name is None:
        return None
    requests = [each for one in planned for each in _requests(one, files, whose)]
    found = ledger.open_runs(each.key for each in requests)
    if all(each.key in found for each in requests):
        ids = [found[each.key] for each in requests]
        ledger.take_over(name, ids, planned[0].job.launcher)
    else:
        ids = ledger.reserve(name, requests)
        try:
            _say(ledger, name, len(ids))
        except BaseException:  # an interrupt too: nobody else knows of them yet
            ledger.release(ids)
            raise
    lanes = [(id(one.job), one.job.cfg.seed + k) for one in planned for k in range(one.job.cfg.num_seeds)]
    stride = planned[0].mechanism.num_steps // first.optimizer.num_steps
    return Metered(ledger, dict(zip(lanes, ids, strict=True)), stride)


def _say(ledger: Ledger, name: str, number: int) -> None:
    account = ledger.account(name)
    runs = "this run" if number == 1 else f"these {number} runs"
    print(
        f"note: {runs} of {name} may take it to ε={account.reserved:.3g} of {account.data_set.epsilon:g} at "
        f"δ={account.data_set.delta:g}, from {account.spent:.3g}.",
        file=sys.stderr,
    )


def _budget_of(one: Planned) -> tuple[Ledger, str | None, Whose | None]:
    """The ledger, the name that a run's data has in it, and who its unit is; None: it has none, and is public."""
    from dpjax.governance.ledger import Ledger

    cfg = one.job.cfg
    if cfg.governance.seal:
        from dpjax.results.sealing import held_keys

        held_keys()  # says now what is wrong with them, and not when there is something to seal
    ledger = Ledger(cfg.governance.ledger)
    data_set = ledger.find(fingerprint_of_data(cfg.data))
    if data_set is not None:
        refuse_known_noise(cfg)
        unit = one.mechanism.unit
        whose = None if unit == "example" else whose_of(cfg, unit, columns_of_data(cfg.data), data_set.fingerprint_id)
        return ledger, data_set.name, whose
    refuse_unbudgeted(cfg.data)
    return ledger, None, None


def _requests(one: Planned, files: dict[str, str], whose: Whose | None) -> list[Request]:
    from dpjax.governance.decisions import Request
    from dpjax.governance.spends import spend_of

    cfg = one.job.cfg
    refuse_no_noise(cfg)
    spend = spend_of(one.mechanism, cfg.privacy.delta)._replace(whose=whose)
    same = identity_of(one.job, one.hparams, files)
    return [
        Request(
            hashlib.sha256(json.dumps([same, seed, str(one.job.folder.absolute())]).encode()).hexdigest(),
            spend,
            one.mechanism.unit,
            one.mechanism.adjacency,
            f"{one.job.folder.parent.name}/{one.job.folder.name} seed={seed}"[:400],
        )
        for seed in range(cfg.seed, cfg.seed + cfg.num_seeds)
    ]
