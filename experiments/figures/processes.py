"""Charts drawn by several processes: drawing holds the interpreter's lock, so that threads gain nothing."""

import gc
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from queue import Empty, SimpleQueue
from typing import Any

from dpjax.cli.stopping import ASKING

FEWEST = 8
"""Charts that are worth another process, which takes as long to start as three take to draw."""

_WAIT = 0.1
"""Seconds between looks at what other processes have drawn, where this one has nothing left to draw."""


def side_by_side[Chart, Done](
    draw: Callable[[Chart], Done],
    charts: Sequence[Chart],
    processes: int,
    each: Callable[[int, Done], None] = lambda number, done: None,
) -> list[Done]:
    """What ``draw`` gives for each chart, in their order.

    This process begins at the last chart and the others at the first, until they meet. Where no other can be started,
    or one is killed or fails, this one draws all that is left. However this ends, no other process outlives it.

    Args:
      draw: a function of a module, so that another process finds it.
      charts: what it is called with; fewer than ``FEWEST`` are drawn in this process.
      processes: at most so many, this one among them.
      each: told the number of a chart and what ``draw`` gave, once it is drawn; of all that are drawn, after an
        exception too.

    Raises:
      Exception: what ``draw`` raises.

    Example:
      >>> side_by_side(abs, [-1, 2], processes=2)
      [1, 2]
    """
    results: dict[int, Done] = {}

    def add(number: int, result: Done) -> None:
        results[number] = result
        each(number, result)

    todo = deque(range(len(charts)))
    arrived: SimpleQueue[tuple[int, Done]] = SimpleQueue()
    workers: list[SpawnProcess] = []
    threads: list[threading.Thread] = []
    try:
        if len(charts) >= FEWEST:
            for _ in range(processes - 1):
                connection = _start(draw, workers)
                if connection is None:
                    break
                thread = threading.Thread(target=_feed, args=(connection, charts, todo, arrived), daemon=True)
                threads.append(thread)
                thread.start()
        while len(results) < len(charts):
            while not arrived.empty():
                add(*arrived.get())
            with suppress(IndexError):
                number = todo.pop()
                add(number, draw(charts[number]))
                continue
            with suppress(Empty):
                add(*arrived.get(timeout=_WAIT))
    finally:
        with _interrupts_held():
            for worker in workers:
                worker.kill()
            while not arrived.empty():
                add(*arrived.get())
    return [results[number] for number in range(len(charts))]


@contextmanager
def uncollected() -> Iterator[None]:
    """Within it nothing is searched for cycles: of a chart, all lives until it is drawn, and looking took a seventh.

    >>> with uncollected():
    ...     gc.isenabled()
    False
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _start(draw: Callable[..., Any], workers: list[SpawnProcess]) -> Any:
    """Starts a process that draws what it is sent, and adds it; the end to send to, None where none can be started."""
    # Spawned: a fork would copy JAX's locks, but not the threads that hold them.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_serve, args=(draw, theirs), daemon=True)
    try:
        with _interrupts_held():
            worker.start()
            workers.append(worker)
    except OSError:
        ours.close()
        return None
    finally:
        theirs.close()  # so that a process that is gone is heard of
    return ours


def _serve(draw: Callable[[Any], Any], connection: Any) -> None:
    """What another process does until nobody sends it anything."""
    with suppress(Exception):  # whatever goes wrong goes wrong again where it is drawn instead, and is raised there
        while True:
            connection.send(draw(connection.recv()))


def _feed(connection: Any, charts: Sequence[Any], todo: deque[int], arrived: SimpleQueue[tuple[int, Any]]) -> None:
    """Has another process draw from the front; a chart that it does not draw goes back to be drawn in this one."""
    with connection, suppress(IndexError):
        while True:
            number = todo.popleft()
            try:
                connection.send(charts[number])
                arrived.put((number, connection.recv()))
            except Exception:
                return todo.append(number)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """What asks this process to end waits for the end of the block; Ctrl-C never reaches a process started within.

    A terminal sends it to all of them: the first one answers, and ends the others.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    came: list[int] = []
    # Its start unblocks the signal; once it runs, the next process starts with it blocked.
    resource_tracker.ensure_running()
    asking = (signal.SIGINT, *ASKING)
    before: dict[int, Any] = {
        n: signal.getsignal(n) for n in asking if n == signal.SIGINT or callable(signal.getsignal(n))
    }
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    blocked = _block({signal.SIGINT})
    try:
        yield
    finally:
        _block(blocked, only=True)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _block(signals: "set[Any]", *, only: bool = False) -> "set[Any]":
    """Blocks signals in this thread; those that were blocked before. Nothing where no signal can be blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        return set()
    return signal.pthread_sigmask(signal.SIG_SETMASK if only else signal.SIG_BLOCK, signals)
