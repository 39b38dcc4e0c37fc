"""A grid of hyper-parameters as lanes of one compiled program."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dpjax.checks import seed_number
from dpjax.lane_devices import Width, over_lanes, placed, width_of
from dpjax.types import HParams


class Lane(NamedTuple):
    """One finished lane.

    Attributes:
      index: position in the sequence of lanes that was asked for.
      output: what the program returned, on the host.
      wall_seconds: its own run time under ``map``; its share of the chunk's under ``vmap``.
    """

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    output: PyTree
    wall_seconds: float


def grid(base: HParams | None = None, **axes: Sequence[float]) -> list[HParams]:
    """The product of the axes, as a list of hyper-parameters.

    Formal guarantees: none of privacy. Each point is a run with an ε of its own; to choose one by what private data say
    of it is paid for by none of them.

    Args:
      base: values of the fields that are no axis.
      **axes: field name → values.

    Returns:
      The points, the last axis changing fastest.

    Raises:
      ValueError: an axis that is no field of ``HParams``.

    Example:
      >>> [(h.clip_norm, h.noise_multiplier) for h in grid(clip_norm=[0.1, 1.0], noise_multiplier=[0.0, 1.0])]
      [(0.1, 0.0), (0.1, 1.0), (1.0, 0.0), (1.0, 1.0)]
    """
    base = base or HParams()
    for name in axes:
        if name not in base._fields:
            raise ValueError(f"axis {name!r} is no hyper-parameter; use one of {', '.join(base._fields)}.")
    return [base._replace(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


def parse_lanes(lanes: str | int) -> int:
    """Lanes that run in one call: 1 for ``map``, k for ``k`` or ``chunk(k)``, 0 (as many as there are) for ``vmap``.

    ``auto`` is ``map`` on CPU, where it is as fast and gives each result at once, and ``vmap`` on accelerators.

    Formal guarantees: none; it changes speed and memory, never a lane's privacy.

    Args:
      lanes: ``auto``, ``map``, ``vmap``, a whole number ≥ 1, or that number as ``k`` or ``chunk(k)``.

    Returns:
      Lanes in one call; 0 for as many as there are.

    Raises:
      ValueError: another word.

    Example:
      >>> parse_lanes(8), parse_lanes("8"), parse_lanes("chunk(8)")
      (8, 8, 8)
    """
    if lanes == "auto":
        lanes = "map" if jax.default_backend() == "cpu" else "vmap"
    if lanes in ("map", "vmap"):
        return 1 if lanes == "map" else 0
    if match := re.fullmatch(r"([1-9][0-9]*)|chunk\(([1-9][0-9]*)\)", str(lanes)):
        return int(match[1] or match[2])
    raise ValueError(f"lanes={lanes!r} is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time.")


_LANEWISE = (False, True, True)
"""Of ``(arrays, hparams, key)``, what every lane has of its own."""


class Program(NamedTuple):
    """A compiled training run, ready for lanes. Made by ``compile_lanes``.

    Attributes:
      call: the compiled ``(arrays, hparams, key) -> output``; of ``width.lanes`` lanes at once where that is above 1.
      arrays: the data of all lanes.
      width: lanes a call, and the devices that share them.
      compile_seconds: what the compilation took, in seconds.
    """

    call: Callable[..., Any]
    arrays: PyTree
    width: Width
    compile_seconds: float


def compile_lanes(
    train: Callable[..., Any],
    arrays: PyTree,
    *,
    num_lanes: int,
    lanes: str | int = "auto",
    hparams: HParams | None = None,
) -> Program:
    """Compile ``train(arrays, hparams, key)`` once, for every lane of a sweep and every device of this process.

    Formal guarantees: those of ``train`` for each lane. Hyper-parameters are traced in it, so that one that is out of
    range gives NaN instead of an error.

    Args:
      train: a pure function; ``arrays`` are its data, shared by all lanes.
      arrays: pytree of arrays.
      num_lanes: how many lanes will be run, so that no chunk is wider.
      lanes: ``auto | map | vmap | k | chunk(k)`` on each device, see ``parse_lanes``.
      hparams: any value of the hyper-parameters, for their structure.

    Returns:
      The program, for ``run_lanes``.

    Raises:
      ValueError: ``lanes`` as for ``parse_lanes``.

    Example:
      >>> train = lambda arrays, h, key: arrays * h.clip_norm
      >>> compile_lanes(train, jnp.float32(2.0), num_lanes=3, lanes="chunk(8)").width.lanes
      3
    """
    width = width_of(parse_lanes(lanes), num_lanes)
    example = jax.tree.map(jnp.float32, hparams if hparams is not None else HParams())
    key = jax.random.key(0)
    if width.lanes > 1:
        example = jax.tree.map(lambda x: jnp.broadcast_to(x, (width.lanes,)), example)
        key = jnp.broadcast_to(key, (width.lanes,))
    started = time.perf_counter()
    arrays = placed(arrays, width, lanewise=False)
    example, key = placed((example, key), width, lanewise=True)
    call = jax.jit(over_lanes(train, _LANEWISE, width)).lower(arrays, example, key).compile()
    return Program(call, arrays, width, time.perf_counter() - started)


def run_lanes(
    program: Program,
    hparams: Sequence[HParams],
    seeds: Sequence[int | jax.Array],
    *,
    workers: int = 1,
    begun: Callable[[Sequence[int]], None] | None = None,
) -> Iterator[Lane]:
    """Run lanes, each one point and one seed, and give each back as soon as it is finished.

    Formal guarantees: a lane's result depends on its point and seed only: not on the other lanes, their order or
    number. Lanes of equal seed draw equal cohorts and noise, so that whoever sees several of them may see less noise
    than each was made with: an ε is of one lane alone.

    Args:
      program: from ``compile_lanes``.
      hparams: one per lane.
      seeds: one per lane, from 0 to 2³² − 1; or a typed key, for noise that nobody can draw again.
      workers: calls under way at once. Two small programs on two cores finish sooner side by side.
      begun: is called with the numbers of lanes before they begin, in the thread that runs them.

    Returns:
      An iterator of ``Lane``, in the order in which they finish.

    Raises:
      ValueError: on the first lane asked for: not as many seeds as points, or a seed out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> train = lambda arrays, h, key: arrays * h.learning_rate
      >>> program = compile_lanes(train, jnp.float32(2.0), num_lanes=2)
      >>> sorted((lane.index, float(lane.output)) for lane in run_lanes(program, grid(learning_rate=[1, 3]), [0, 0]))
      [(0, 2.0), (1, 6.0)]
    """
    if len(hparams) != len(seeds):
        raise ValueError(f"{len(hparams)} hyper-parameters and {len(seeds)} seeds were given; give one seed per lane.")
    keys = [key_of(seed) for seed in seeds]

    def run_chunk(start: int) -> list[Lane]:
        index = range(start, min(start + program.width.lanes, len(hparams)))
        if begun is not None:
            begun(index)
        began = time.perf_counter()
        if program.width.lanes == 1:
            outputs = [_run_one(program, hparams[start], keys[start])]
        else:
            outputs = _run_wide(program, [hparams[i] for i in index], [keys[i] for i in index])
        wall = (time.perf_counter() - began) / len(index)
        return [Lane(i, output, wall) for i, output in zip(index, outputs, strict=True)]

    starts = range(0, len(hparams), program.width.lanes)
    if workers == 1:
        for start in starts:
            yield from run_chunk(start)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(run_chunk, start) for start in starts]
        try:
            for future in as_completed(pending):
                yield from future.result()
        finally:  # an interrupt must not wait for every lane that has not begun
            for future in pending:
                future.cancel()


def key_of(seed: int | jax.Array) -> jax.Array:
    """The key of a lane: of its seed, or the one that was given.

    Formal guarantees: a seed has one key, which everybody can make again; noise that is to hide something wants a key
    that was drawn in secret.

    Args:
      seed: from 0 to 2³² − 1, or a typed key.

    Returns:
      A typed key.

    Raises:
      ValueError: it is neither.

    Example:
      >>> import jax
      >>> key_of(3) == key_of(jax.random.key(3))
      Array(True, dtype=bool)
    """
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed
    return jax.random.key(seed_number("seed", seed))


def _run_one(program: Program, hparams: HParams, key: jax.Array) -> PyTree:
    traced = jax.tree.map(jnp.float32, hparams)
    return jax.device_get(program.call(program.arrays, traced, key))


def _run_wide(program: Program, hparams: Sequence[HParams], lane_keys: Sequence[jax.Array]) -> list[PyTree]:
    # The last chunk is filled up with copies, so that it needs no second compilation.
    missing = program.width.lanes - len(lane_keys)
    points = [*hparams, *[hparams[-1]] * missing]
    stacked = jax.tree.map(lambda *x: jnp.asarray(x, jnp.float32), *points)
    keys = jnp.stack([*lane_keys, *[lane_keys[-1]] * missing])
    stacked, keys = placed((stacked, keys), program.width, lanewise=True)
    outputs = jax.device_get(program.call(program.arrays, stacked, keys))
    return [jax.tree.map(lambda x, i=i: x[i], outputs) for i in range(len(lane_keys))]
