"""Charts drawn side by side are those drawn one by one, errors and lost processes included."""

import multiprocessing
import os
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path

import pytest

from experiments.figures import processes
from experiments.figures.processes import FEWEST, side_by_side


def where(chart: int) -> tuple[int, int]:
    """A chart and the process that drew it."""
    return chart, os.getpid()


def waited_for(chart: Path) -> int:
    """A chart that another process puts down, and the first one waits for."""
    if multiprocessing.parent_process() is not None:
        chart.touch()
    for _ in range(600):
        if chart.exists():
            break
        time.sleep(0.1)
    return os.getpid()


def test_charts_come_in_their_order():
    charts = list(range(3 * FEWEST))
    assert [chart for chart, _ in side_by_side(where, charts, processes=2)] == charts


def test_another_process_draws_the_first_while_this_one_draws_the_last(tmp_path):
    drawn = side_by_side(waited_for, [tmp_path / "chart"] * FEWEST, processes=2)
    assert drawn[0] != os.getpid() == drawn[-1]


def test_few_charts_start_no_process(monkeypatch):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", None)
    charts = list(range(FEWEST - 1))
    assert side_by_side(where, charts, processes=2) == [where(chart) for chart in charts]
    assert side_by_side(where, [*charts, 9], processes=1) == [where(chart) for chart in [*charts, 9]]


def test_an_error_is_that_of_the_chart():
    with pytest.raises(ValueError, match="invalid literal for int"):
        side_by_side(int, ["no number", *"12345678"], processes=2)


@pytest.mark.parametrize("error", [BrokenExecutor(), OSError("no answer")])
def test_what_a_lost_process_was_drawing_is_drawn_here(error):
    lost: Future[int] = Future()
    lost.set_running_or_notify_cancel()
    lost.set_exception(error)
    assert processes._drawn(abs, -3, lost) == 3


def test_where_no_process_can_be_started_this_one_draws_all(monkeypatch):
    class Refused(ProcessPoolExecutor):
        def submit(self, *_):
            raise OSError("no more processes")

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Refused)
    charts = list(range(FEWEST))
    assert side_by_side(where, charts, processes=2) == [where(chart) for chart in charts]
