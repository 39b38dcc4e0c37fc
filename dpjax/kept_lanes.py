"""Lanes of a sweep that are kept on their way, each by itself, and go on where a kill found them."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dpjax.checkpoints import CheckpointError, Checkpoints
from dpjax.lane_devices import Width, over_lanes, placed, width_of
from dpjax.sweeps import Lane, key_of, parse_lanes
from dpjax.types import HParams


class InStretches(NamedTuple):
    """A run in stretches, with its data as an argument; see ``dpjax.stretches.Train``.

    Attributes:
      begin: ``(arrays, hparams, key) → progress``.
      advance: ``(arrays, progress, start, stop, hparams, key) → progress``.
      finish: ``(arrays, progress, hparams, key) → output``.
      num_steps: steps of the run.
    """

    begin: Callable[..., Any]
    advance: Callable[..., Any]
    finish: Callable[..., Any]
    num_steps: int


class KeptProgram(NamedTuple):
    """A compiled run in stretches, ready for lanes. Made by ``compile_kept_lanes``.

    Attributes:
      run: compiled, of ``width.lanes`` lanes at once where that is above 1.
      like: shapes and dtypes of one lane's progress.
      arrays: the data of all lanes.
      width: lanes a call, and the devices that share them.
      compile_seconds: what the compilation took.
    """

    run: InStretches
    like: PyTree[jax.ShapeDtypeStruct]
    arrays: PyTree
    width: Width
    compile_seconds: float


def compile_kept_lanes(
    run: InStretches, arrays: PyTree, *, num_lanes: int, lanes: str | int = "auto", hparams: HParams | None = None
) -> KeptProgram:
    """Compile a run in stretches once, for every lane of a sweep and every length of a stretch.

    Formal guarantees: those of the run for each lane.

    Args:
      run: pure functions.
      arrays: pytree of arrays, shared by all lanes.
      num_lanes: how many lanes will be run.
      lanes: see ``dpjax.sweeps.parse_lanes``.
      hparams: any value of the hyper-parameters, for their structure.

    Raises:
      ValueError: ``lanes`` as for ``parse_lanes``.

    Example:
      >>> def advance(arrays, x, start, stop, h, key):
      ...     return x + (stop - start).astype("float32") * h.learning_rate
      >>> count = InStretches(lambda arrays, h, key: arrays * 0, advance, lambda arrays, x, h, key: x + arrays, 5)
      >>> program = compile_kept_lanes(count, jnp.float32(2.0), num_lanes=1)
      >>> float(next(run_kept_lanes(program, [HParams(learning_rate=1.0)], [0], [None], seconds=60)).output)
      7.0
    """
    width = width_of(parse_lanes(lanes), num_lanes)
    point = jax.tree.map(jnp.float32, hparams if hparams is not None else HParams())
    key, number = jax.random.key(0), jnp.int32(0)
    like = jax.eval_shape(run.begin, arrays, point, key)
    begin = over_lanes(run.begin, (False, True, True), width)
    advance = over_lanes(run.advance, (False, True, False, False, True, True), width)
    finish = over_lanes(run.finish, (False, True, True, True), width)
    if width.lanes > 1:
        point = jax.tree.map(lambda x: jnp.broadcast_to(x, (width.lanes,)), point)
        key = jnp.broadcast_to(key, (width.lanes,))
    started = time.perf_counter()
    arrays = placed(arrays, width, lanewise=False)
    point, key = placed((point, key), width, lanewise=True)
    began = jax.jit(begin).lower(arrays, point, key).compile()
    progress = jax.eval_shape(begin, arrays, point, key)
    if width.devices > 1:
        progress = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), progress, began.output_shardings
        )
        number = placed(number, width, lanewise=False)
    compiled = InStretches(
        began,
        jax.jit(advance).lower(arrays, progress, number, number, point, key).compile(),
        jax.jit(finish).lower(arrays, progress, point, key).compile(),
        run.num_steps,
    )
    return KeptProgram(compiled, like, arrays, width, time.perf_counter() - started)


def run_kept_lanes(
    program: KeptProgram,
    hparams: Sequence[HParams],
    seeds: Sequence[int | jax.Array],
    kept: Sequence[Checkpoints | None],
    *,
    seconds: float,
    workers: int = 1,
    tell: Callable[[Sequence[int]], None] | None = None,
    begun: Callable[[Sequence[int], int], None] | None = None,
) -> Iterator[Lane]:
    """Run lanes, keep each about every so many seconds, and give it back as soon as it is finished.

    Formal guarantees: as ``dpjax.sweeps.run_lanes``; and a lane that goes on from what was kept ends in the same bits
    as one that was never stopped, on the same machine, as steps draw by their number.

    Args:
      program: from ``compile_kept_lanes``.
      hparams, seeds: one per lane, as of ``run_lanes``.
      kept: where each lane is kept; None: nowhere.
      seconds: between two states that are kept.
      workers: calls under way at once.
      tell: is called with the step of each lane before any goes on; 0: it begins.
      begun: is called with the numbers of lanes and the step that they will have reached, before they take any step up
        to that one, in the thread that runs them.

    Raises:
      ValueError: not one seed and one place per point, or a seed out of range.
      CheckpointError: what was kept is of another run, or can't be written.
    """
    if not len(hparams) == len(seeds) == len(kept):
        raise ValueError(
            f"{len(hparams)} hyper-parameters, {len(seeds)} seeds and {len(kept)} places were given; give one each."
        )
    keys = [key_of(seed) for seed in seeds]
    like, stop = (program.like, jax.ShapeDtypeStruct((), jnp.float32)), threading.Event()
    with ExitStack() as places:  # closed whatever happens: nobody else is to read what is being written
        for place in kept:
            if place is not None:
                places.callback(_closed, place)
        found = [None if place is None else place.restore(like) for place in kept]
        if tell is not None:
            tell([_start(back) for back in found])
        # Lanes of one call do the same steps: those that were stopped elsewhere go in calls of their own.
        order = sorted(range(len(hparams)), key=lambda i: 0 if (back := found[i]) is None else back[0])
        chunks: list[list[int]] = []
        for i in order:
            alike = (
                chunks and len(chunks[-1]) < program.width.lanes and _start(found[chunks[-1][0]]) == _start(found[i])
            )
            chunks[-1].append(i) if alike else chunks.append([i])

        def run_chunk(chunk: Sequence[int]) -> list[Lane]:
            began = time.perf_counter()
            full = [*chunk, *[chunk[-1]] * (program.width.lanes - len(chunk))]  # copies: nothing is compiled anew
            tell_begun = None if begun is None else partial(begun, chunk)
            outputs = _run(program, [hparams[i] for i in full], [keys[i] for i in full], [found[i] for i in full],
                           [kept[i] for i in chunk], seconds, stop, tell_begun)  # fmt: skip
            wall = (time.perf_counter() - began) / len(chunk)
            return [Lane(i, output, wall + _before(found[i])) for i, output in zip(chunk, outputs, strict=False)]

        if workers == 1:
            for chunk in chunks:
                yield from run_chunk(chunk)
            return
        with ThreadPoolExecutor(workers) as pool:
            pending = [pool.submit(run_chunk, chunk) for chunk in chunks]
            try:
                for future in as_completed(pending):
                    yield from future.result()
            finally:  # whoever asked for an end is not to wait for that of the run
                stop.set()
                for future in pending:
                    future.cancel()


def _closed(place: Checkpoints) -> None:
    """After a lane that ended well there is nothing left to close, and of one that did not the first error is said."""
    with suppress(CheckpointError):
        place.close()


def _start(found: tuple[int, PyTree] | None) -> int:
    return 0 if found is None else found[0]


def _before(found: tuple[int, PyTree] | None) -> float:
    """Seconds that a lane took before it was stopped."""
    return 0.0 if found is None else float(found[1][1])


def _run(
    program: KeptProgram,
    hparams: Sequence[HParams],
    keys: Sequence[jax.Array],
    found: Sequence[tuple[int, PyTree] | None],
    kept: Sequence[Checkpoints | None],
    seconds: float,
    stopped: threading.Event,
    begun: Callable[[int], None] | None,
) -> list[PyTree]:
    """Outputs of lanes that begin at the same step; none once they are stopped, which are kept as far as they came."""
    run, width = program.run, program.width
    wide = width.lanes > 1
    points = [jax.tree.map(jnp.float32, each) for each in hparams]
    point = jax.tree.map(lambda *x: jnp.stack(x), *points) if wide else points[0]
    key = jnp.stack(keys) if wide else keys[0]
    point, key = placed((point, key), width, lanewise=True)
    entered, before = time.perf_counter(), [_before(each) for each in found]
    start, states = _start(found[0]), [each[1][0] for each in found if each is not None]
    if states:
        progress = jax.tree.map(lambda *x: jnp.stack(x), *states) if wide else states[0]
        progress = placed(progress, width, lanewise=True)
    else:
        progress = run.begin(program.arrays, point, key)
    saved, steps = time.perf_counter(), 1
    while start < run.num_steps:
        began = time.perf_counter()
        stop = min(start + steps, run.num_steps)
        if begun is not None:
            begun(stop)
        ends = placed((jnp.int32(start), jnp.int32(stop)), width, lanewise=False)
        progress = run.advance(program.arrays, progress, *ends, point, key)
        progress, start = jax.block_until_ready(progress), stop
        now = time.perf_counter()
        # Twice as many steps each time, until so many take as long as is to lie between two states.
        steps = max(1, min(2 * steps, int(steps * seconds / max(now - began, 1e-9))))
        ends_here = stopped.is_set() and start < run.num_steps
        if now - saved >= seconds / 2 or ends_here:
            for lane, place in enumerate(kept):
                if place is not None:
                    own = jax.tree.map(lambda x, lane=lane: x[lane], progress) if wide else progress
                    place.save(start, (own, jnp.float32(before[lane] + (now - entered) / len(kept))))
            saved = time.perf_counter()
        if ends_here:
            return []
    output = jax.device_get(run.finish(program.arrays, progress, point, key))
    for place in kept:
        if place is not None:
            place.close()
    return [jax.tree.map(lambda x, i=i: x[i], output) for i in range(len(kept))] if wide else [output]
