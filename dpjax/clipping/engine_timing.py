"""Engine and microbatch size chosen by the clock instead of by the cost model, and remembered."""

import json
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import jax
from jaxtyping import Array, Key

from dpjax.caches import cache_file, cache_folder, read_cached
from dpjax.checks import whole_number
from dpjax.clipping.kernel import clipped_sum
from dpjax.clipping.rules import ClippingRule, leaf_groups
from dpjax.contribution import ContributionFn, GradientContribution
from dpjax.keeping import write_whole
from dpjax.types import Cohort, Params


class Choice(NamedTuple):
    """What to hand to ``clipped_sum`` as ``engine=choice.engine, microbatch_size=choice.microbatch_size``.

    Attributes:
      engine: the fastest.
      microbatch_size: its fastest.
      milliseconds: ``"engine/size"`` → median time of one call.
    """

    engine: str
    microbatch_size: int
    milliseconds: dict[str, float]


def autotune(
    contribution_fn: ContributionFn,
    params: Params,
    cohort: Cohort,
    key: Key[Array, ""],
    *,
    rule: ClippingRule | None = None,
    microbatch_sizes: Sequence[int] | None = None,
    rounds: int = 5,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Choice:
    """Time the engines on this model, these shapes and this device; the choice is kept on disk.

    It changes speed only: every engine gives the same numbers. Each candidate is compiled once, so a large model
    takes a while; a second call with the same model, shapes, device and version of JAX reads the choice.

    Formal guarantees: it changes speed only, for every engine gives the same numbers beyond rounding. Times depend on
    shapes; the private data is not needed, and any units of its shape will do.

    Args:
      contribution_fn: as for ``clipped_sum``.
      params: the model's parameters.
      cohort: units like those of the run; their values do not matter.
      key: any key.
      rule: as for ``clipped_sum``.
      microbatch_sizes: candidates; powers of four up to the number of slots if None.
      rounds: timed calls of each candidate, taken in turn.
      cache_dir: folder of remembered choices; ``DPJAX_CACHE_DIR`` or the user's cache folder if None.

    Returns:
      The fastest engine and size, with all times.

    Raises:
      ValueError: ``rounds`` < 1, or no candidates.

    Example:
      >>> import jax, jax.numpy as jnp, tempfile
      >>> from dpjax import Cohort, example_gradient
      >>> from dpjax.clipping import autotune
      >>> contribution = example_gradient(lambda w, x, key: jnp.sum(jnp.tanh(x @ w)))
      >>> cohort = Cohort(jnp.ones((8, 3)), jnp.ones(8, bool))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     choice = autotune(contribution, jnp.ones((3, 2)), cohort, jax.random.key(0), rounds=1, cache_dir=folder)
      >>> choice.engine in ("bookkeeping", "microbatch")
      True
    """
    slots = cohort.mask.shape[0]
    rounds = whole_number("rounds", rounds, fix="it counts timed calls")
    fix = "leave them out to have them chosen"
    given = [whole_number("microbatch_sizes", size, fix=fix) for size in microbatch_sizes or ()]
    sizes = sorted({min(size, slots) for size in given or (*(4**i for i in range(1, 6)), slots)})
    engines = ["bookkeeping"] if isinstance(contribution_fn, GradientContribution) else []
    candidates = {f"{engine}/{size}": (engine, size) for engine in [*engines, "microbatch"] for size in sizes}
    facts = _facts(contribution_fn, params, cohort, key, rule, sorted(candidates))
    path = cache_file(cache_folder("autotune", cache_dir), "autotune", facts)
    times = _load(path, set(candidates))
    if times is None:
        times = _measure(candidates, contribution_fn, params, cohort, key, rule, rounds)
        _store(path, times)
    best = min(times, key=lambda name: times[name])
    return Choice(*candidates[best], times)


def _measure(
    candidates: dict[str, tuple[str, int]],
    contribution_fn: ContributionFn,
    params: Params,
    cohort: Cohort,
    key: Key[Array, ""],
    rule: ClippingRule | None,
    rounds: int,
) -> dict[str, float]:
    steps = {
        name: jax.jit(clipped_sum(contribution_fn, rule=rule, engine=engine, microbatch_size=size))
        for name, (engine, size) in candidates.items()
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        jax.block_until_ready(step(params, cohort, key, 1.0))
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(step(params, cohort, key, 1.0))
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def _facts(
    contribution_fn: ContributionFn,
    params: Params,
    cohort: Cohort,
    key: Key[Array, ""],
    rule: ClippingRule | None,
    candidates: list[str],
) -> str:
    unit = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), cohort.units)
    model = str(jax.make_jaxpr(contribution_fn)(params, unit, key))
    device = jax.devices()[0]
    ruled = rule and (rule.stability, leaf_groups(rule, params))
    facts = (model, cohort.mask.shape[0], repr(ruled), candidates, device.device_kind)
    return repr((*facts, os.cpu_count(), jax.__version__))


def _load(path: Path, candidates: set[str]) -> dict[str, float] | None:
    try:
        times = json.loads(read_cached(path))
    except (OSError, ValueError):
        return None
    sound = isinstance(times, dict) and set(times) == candidates and all(isinstance(t, float) for t in times.values())
    return times if sound else None


def _store(path: Path, times: dict[str, float]) -> None:
    with suppress(OSError):  # a cache that cannot be written costs the next call its time, and nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(times).encode())
