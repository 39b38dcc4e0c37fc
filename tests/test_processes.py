"""Charts drawn side by side are those drawn one by one, errors and lost processes included."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
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
    monkeypatch.setattr(processes, "_start", None)
    charts = list(range(FEWEST - 1))
    assert side_by_side(where, charts, processes=2) == [where(chart) for chart in charts]
    assert side_by_side(where, [*charts, 9], processes=1) == [where(chart) for chart in [*charts, 9]]


def test_an_error_is_that_of_the_chart():
    with pytest.raises(ValueError, match="invalid literal for int"):
        side_by_side(int, ["no number", *"12345678"], processes=2)


def killed_elsewhere(chart: int) -> int:
    """The process of a chart, unless another process than the first one is to draw it."""
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return os.getpid()


def test_what_a_lost_process_was_drawing_is_drawn_here():
    assert side_by_side(killed_elsewhere, range(4 * FEWEST), processes=2) == [os.getpid()] * 4 * FEWEST


def test_where_no_process_can_be_started_this_one_draws_all(monkeypatch):
    def refused(process):
        raise OSError("no more processes")

    monkeypatch.setattr(processes.SpawnProcess, "start", refused)
    charts = list(range(FEWEST))
    assert side_by_side(where, charts, processes=2) == [where(chart) for chart in charts]


def test_each_chart_is_told_of_once_it_is_drawn():
    told = {}
    drawn = side_by_side(where, list(range(FEWEST)), 2, told.__setitem__)
    assert [told[number] for number in range(FEWEST)] == drawn
    assert len(told) == FEWEST


def test_what_is_drawn_is_told_of_before_an_error():
    told = {}
    with pytest.raises(ValueError, match="invalid literal"):
        side_by_side(int, ["no number", *"1234567"], 1, told.__setitem__)
    assert told == {number: number for number in range(1, 8)}


INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
from experiments.figures.processes import side_by_side

FOLDER = Path(sys.argv[1])

def draw(chart):
    (FOLDER / str(os.getpid())).touch()
    time.sleep(0.5)

if __name__ == "__main__":
    try:
        side_by_side(draw, range(200), 3)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(130)
"""


@pytest.mark.parametrize(("begun", "signals"), [(1, 1), (3, 1), (3, 2)], ids=["starting", "drawing", "twice"])
def test_an_interrupt_ends_every_process_at_once(tmp_path, begun, signals):
    script, pids = tmp_path / "interrupted.py", tmp_path / "pids"
    script.write_text(INTERRUPTED)
    pids.mkdir()
    run = subprocess.Popen(
        [sys.executable, str(script), str(pids)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit "ignore"
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    for _ in range(600):
        if len(list(pids.iterdir())) >= begun:
            break
        time.sleep(0.1)
    for _ in range(signals):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.01)
    _, errors = run.communicate(timeout=20)  # until nobody has its standard error
    assert (run.returncode, errors) == (130, "")
    for _ in range(50):  # what is killed takes a moment to be gone
        if not _lives(run.pid):
            break
        time.sleep(0.1)
    assert not _lives(run.pid)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_nothing_is_searched_for_cycles_while_a_chart_is_drawn_and_afterwards_as_before():
    def draw() -> None:
        with processes.uncollected():
            raise ValueError(f"enabled: {gc.isenabled()}")

    with pytest.raises(ValueError, match="enabled: False"):
        draw()
    assert gc.isenabled()
