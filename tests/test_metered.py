"""When runs are written down in the ledger: before they begin, one by one where they are long, else together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from experiments import governed
from experiments.governed import Metered

CORES = 2


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Book:
    """A ledger that remembers what it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.commits, self.closed = clock, [], []

    def commit(self, steps: dict[str, int]) -> None:
        self.commits.append((self.clock.now, steps))

    def close(self, steps: dict[str, None]) -> None:
        self.closed.append(list(steps))

    def release(self, ids: list[str]) -> None:
        self.closed.append(["released", *ids])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = Clock()
    monkeypatch.setattr(governed, "time", clock)
    monkeypatch.setattr(governed.os, "cpu_count", lambda: CORES)

    def make(jobs: int, seeds: int = 1) -> Any:
        book = Book(clock)
        cfg = SimpleNamespace(seed=0, num_seeds=seeds, optimizer=SimpleNamespace(num_steps=5))
        all_ = [SimpleNamespace(cfg=cfg, number=i) for i in range(jobs)]
        lanes = [(job, seed) for job in all_ for seed in range(seeds)]
        ids = {(id(job), seed): f"{job.number}-{seed}" for job, seed in lanes}
        return SimpleNamespace(clock=clock, book=book, jobs=all_, lanes=lanes, meter=Metered(book, ids, stride=2))  # type: ignore[arg-type]

    return make


def _run(it: Any, seconds: float) -> list[int]:
    """Each lane begins when one of two workers is free; how many were written down as each began."""
    written = []
    for i in range(len(it.lanes)):
        it.meter.spends(it.lanes, [i])
        known = {id for _, commit in it.book.commits for id in commit}
        assert it.meter.id_of(*it.lanes[i]) in known, "it began unwritten"
        written.append(len(known))
        it.clock.now += seconds * (i % CORES)
    return written


def test_long_runs_are_written_down_one_by_one(made):
    it = made(12)
    assert _run(it, seconds=30.0) == list(range(1, 13))
    assert all(steps == {id: 10} for _, commit in it.book.commits for id, steps in [(next(iter(commit)), commit)])


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.4])
def test_short_runs_are_written_down_for_no_more_than_a_second(made, seconds):
    it = made(200)
    written = _run(it, seconds)
    assert written[-1] == 200
    assert len(it.book.commits) < 2 * CORES + 4 + 200 * seconds  # of one by one it would be 200
    each = [id for _, commit in it.book.commits for id in commit]
    assert len(each) == len(set(each))
    begins = {it.meter.id_of(*lane): 100.0 + seconds * (i // CORES) for i, lane in enumerate(it.lanes)}
    assert max(begins[id] - at for at, commit in it.book.commits for id in commit) <= 1.5


def test_runs_that_get_longer_are_written_down_one_by_one_again(made):
    it = made(60)
    for i in range(60):
        it.meter.spends(it.lanes, [i])
        it.clock.now += 0.1 if i < 30 else 100.0
    assert [len(commit) for _, commit in it.book.commits[-8:]] == [1] * 8


def test_what_could_not_be_written_down_does_not_begin(made):
    it = made(40)
    for i in range(5):
        it.meter.spends(it.lanes, [i])
        it.clock.now += 0.01
    commit, it.book.commit = it.book.commit, lambda steps: 1 / 0
    for i in range(5, 9):
        with pytest.raises(ZeroDivisionError):
            it.meter.spends(it.lanes, [i])
    it.book.commit = commit
    it.meter.spends(it.lanes, [8])
    assert "8-0" in it.book.commits[-1][1]
    assert len(it.book.commits[-1][1]) > 1


def test_steps_of_checkpoints_are_written_down_each_time(made):
    it = made(2)
    for step in (1, 3, 5):
        it.meter.spends(it.lanes, [0, 1], step)
    assert [commit for _, commit in it.book.commits] == [{"0-0": 2 * step, "1-0": 2 * step} for step in (1, 3, 5)]


def test_what_has_ended_is_closed_within_a_second_and_at_the_end(made):
    it = made(5, seeds=2)
    it.clock.now += 10
    it.meter.ended(it.jobs[0])
    it.meter.ended(it.jobs[1])
    it.meter.ended(it.jobs[2])
    assert it.book.closed == [["0-0", "0-1"]]
    it.clock.now += 1.1
    it.meter.ended(it.jobs[3])
    assert it.book.closed[1:] == [["1-0", "1-1", "2-0", "2-1", "3-0", "3-1"]]
    it.meter.close()
    assert it.book.closed[2:] == [["released", "4-0", "4-1"]]


def test_runs_that_were_begun_and_interrupted_stay_open_for_the_same_command(made):
    it = made(3, seeds=2)
    it.meter.spends(it.lanes, [0])
    it.meter.spends(it.lanes, [2], 1)  # a stretch of a run with checkpoints, which goes on though it was closed
    it.meter.close()
    assert it.book.closed == [["released", "0-1", "1-0", "1-1", "2-0", "2-1"]]
