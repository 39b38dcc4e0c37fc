"""Charts drawn by several processes: drawing holds the interpreter's lock, so that threads gain nothing."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress

FEWEST = 8
"""Charts that are worth another process, which takes as long to start as three take to draw."""


def side_by_side[Chart, Done](draw: Callable[[Chart], Done], charts: Sequence[Chart], processes: int) -> list[Done]:
    """What ``draw`` gives for each chart, in their order.

    This process begins at the last chart and the others at the first, until they meet. Where no other can be started,
    or one is killed, this one draws all that is left.

    Args:
      draw: a function of a module, so that another process finds it.
      charts: what it is called with; fewer than ``FEWEST`` are drawn in this process.
      processes: at most so many, this one among them.

    Raises:
      Exception: what ``draw`` raises.

    Example:
      >>> side_by_side(abs, [-1, 2], processes=2)
      [1, 2]
    """
    if processes < 2 or len(charts) < FEWEST:
        return [draw(chart) for chart in charts]
    # Spawned: a fork would copy JAX's locks, but not the threads that hold them.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes - 1, mp_context=context, initializer=_leave_interrupts)
    futures: list[Future[Done]] = []
    try:
        with suppress(OSError):  # no process can be started: what has no future is drawn here
            futures.extend(pool.submit(draw, chart) for chart in charts)
        shared = [*futures, *[None] * (len(charts) - len(futures))]
        return [_drawn(draw, *pair) for pair in zip(reversed(charts), reversed(shared), strict=True)][::-1]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _drawn[Chart, Done](draw: Callable[[Chart], Done], chart: Chart, future: "Future[Done] | None") -> Done:
    if future is None or future.cancel():
        return draw(chart)
    try:
        return future.result()
    except (BrokenExecutor, OSError):
        return draw(chart)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal: the first one answers it, and the others then have nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
