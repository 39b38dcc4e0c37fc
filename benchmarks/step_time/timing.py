"""Compiling steps, picking each contestant's best setting, and timing all of them in turns."""

import math
import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.step_time.contestants import Contestant, Variant
from benchmarks.step_time.works import Work

Runner = Callable[[int], float]
"""Takes that many steps and says how many milliseconds one took."""

SHORT = 10.0
"""Milliseconds that one timing should last at least: shorter steps are repeated within it."""

COLD = 200.0
"""Milliseconds below which a turn begins with a step that is not counted: threads asleep and caches full of the last
contestant's data would cost a short step more than the step itself. No training takes one step at a time."""

RATE = 1e-3
"""The learning rate, as on the Opacus side."""

FULL = 2.0**20
"""A learning rate beside which the parameters are rounding: the update it takes is the gradient."""


class Options(NamedTuple):
    """How long to measure.

    Attributes:
      seconds: of rounds for each work.
      least_rounds: also where they take longer.
      most_rounds: also where there is time left.
      candidates: at most, the largest, of a work's microbatches.
      compiles: at most, to take the median of, of the two steps whose compile times are compared.
      tries: calls of each candidate setting before the fastest is picked.
      memory_limit: bytes of temporary memory; a setting that needs more is not run.
    """

    seconds: float = 60.0
    least_rounds: int = 7
    most_rounds: int = 300
    candidates: int = 8
    compiles: int = 3
    tries: int = 5
    memory_limit: float = 6 * 2.0**30


class Built(NamedTuple):
    """A compiled step; ``start(stddev, rate)`` gives the next parameters.

    Attributes:
      start: sets it going; on an accelerator the parameters are there later.
      compile_seconds: tracing and compiling.
      temp_bytes: beside what goes in and comes out.
      whole_bytes: with that.
    """

    start: Callable[[float, float], Any]
    compile_seconds: float
    temp_bytes: int
    whole_bytes: int

    def call(self, stddev: float, rate: float) -> Any:
        """The next parameters, waited for."""
        return jax.block_until_ready(self.start(stddev, rate))


class Picked(NamedTuple):
    """The fastest setting of a contestant, and what was tried."""

    variant: Variant
    run: Runner
    milliseconds: float
    built: Built | None
    candidates: list[dict[str, Any]]


def one_line(error: BaseException, length: int = 200) -> str:
    """What an exception says, for a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= length else text[: length - 1] + "…"


def build(contestant: Contestant, work: Work, variant: Variant, compiles: int = 1) -> Built:
    """Trace and compile from scratch, again while it is quick; the median time counts."""
    key = jax.random.key(11)
    scalars = {x: jnp.float32(x) for x in (0.0, RATE, 1.0, FULL)}
    seconds: list[float] = []
    while True:
        jax.clear_caches()
        step = contestant.step(work, variant)
        started = time.perf_counter()
        compiled = jax.jit(step).lower(work.params, work.frozen, work.units, key, scalars[1.0], scalars[RATE]).compile()
        seconds.append(time.perf_counter() - started)
        if len(seconds) >= compiles or sum(seconds) > 30:
            break

    def start(stddev: float, rate: float) -> Any:
        return compiled(work.params, work.frozen, work.units, key, scalars[stddev], scalars[rate])

    return Built(start, median(seconds), *sizes(compiled))


def sizes(compiled: jax.stages.Compiled) -> tuple[int, int]:
    """Bytes of a program that are temporary, and with what goes in and comes out; 0 where XLA does not say."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0, 0
    kept = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return int(analysis.temp_size_in_bytes), int(analysis.temp_size_in_bytes + kept)


def runner(built: Built) -> Runner:
    """Steps one after the other, each waited for, as in training."""

    def run(inner: int) -> float:
        started = time.perf_counter()
        for _ in range(inner):
            built.call(1.0, RATE)
        return (time.perf_counter() - started) / inner * 1e3

    return run


def pick(contestant: Contestant, work: Work, options: Options) -> Picked:
    """Compile and try every setting of a contestant; keep the fastest.

    Raises:
      RuntimeError: none of them ran, with what the last one said.
    """
    best: Picked | None = None
    tried: list[dict[str, Any]] = []
    for variant in contestant.variants(work):
        entry: dict[str, Any] = {"loss": variant.loss, "microbatch": variant.microbatch}
        tried.append(entry)
        try:
            built = build(contestant, work, variant)
            entry |= {"compile_s": built.compile_seconds, "temp_bytes": built.temp_bytes}
            if built.temp_bytes > options.memory_limit:
                entry["error"] = f"needs {built.temp_bytes / 2**30:.1f} GiB of temporary memory"
                continue
            entry["ms"] = quick_time(runner(built), options.tries)
        except Exception as error:  # whatever a library throws, the others go on
            entry["error"] = one_line(error)
            continue
        if best is None or entry["ms"] < best.milliseconds:
            best = Picked(variant, runner(built), entry["ms"], built, tried)
    if best is None:
        raise RuntimeError(tried[-1]["error"] if tried else "it has no setting for this work")
    return best


def quick_time(run: Runner, tries: int) -> float:
    """Milliseconds of a step at its fastest of a few, after one that is not counted."""
    first = run(1)
    inner = inner_steps(run(1) if first < 500 else first)
    return min(run(inner) for _ in range(tries))


def inner_steps(milliseconds: float) -> int:
    """How many steps one timing takes."""
    return max(1, min(100, math.ceil(SHORT / max(milliseconds, 1e-3))))


def interleave(
    runners: Mapping[str, Runner], milliseconds: Mapping[str, float], options: Options
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Rounds in which every contestant runs once, so that what else the machine does hits all of them.

    Their order is drawn anew each round: what one leaves behind in the caches falls on all of them alike.

    Args:
      runners: contestant → what runs it.
      milliseconds: about what one of its steps takes.
      options: how long.

    Returns:
      Milliseconds per step of every round, and what the contestants that failed said; those stop.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    failed: dict[str, str] = {}
    order, draw = list(runners), random.Random(0)  # nosec B311 # secures nothing
    started, rounds = time.perf_counter(), 0
    while rounds < options.most_rounds and (
        rounds < options.least_rounds or time.perf_counter() - started < options.seconds
    ):
        draw.shuffle(order)
        for name in order:
            run = runners[name]
            if name in failed:
                continue
            try:
                if milliseconds[name] < COLD:
                    run(1)
                times[name].append(run(inner_steps(milliseconds[name])))
            except Exception as error:
                failed[name] = one_line(error)
        rounds += 1
    return times, failed


def gradient(built: Built, work: Work) -> Any:
    """What a step takes from the parameters without noise, in float64 on the host."""
    after = built.call(0.0, FULL)
    return jax.tree.map(lambda p, q: (np.asarray(p, np.float64) - np.asarray(q, np.float64)) / FULL, work.params, after)


def relative_deviation(ours: Any, reference: Any) -> float:
    """L2 distance of two pytrees by the norm of the second."""
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True))
    distance = math.sqrt(sum(float(np.sum((a - b) ** 2)) for a, b in pairs))
    return distance / math.sqrt(sum(float(np.sum(b**2)) for _, b in pairs))
