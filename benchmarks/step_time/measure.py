"""One work: every contestant picked, checked against the reference engine, and timed in turns."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.step_time.catalogue import WORKS
from benchmarks.step_time.contestants import CLIPPED, CONTESTANTS, Variant
from benchmarks.step_time.peers import PEERS, Worker
from benchmarks.step_time.report import METHOD
from benchmarks.step_time.timing import (
    Options,
    Picked,
    build,
    gradient,
    inner_steps,
    interleave,
    one_line,
    pick,
    relative_deviation,
)
from benchmarks.step_time.works import Work
from dpjax import Cohort, example_gradient
from dpjax.clipping import explain

TOLERANCE = 1e-4
"""Relative, in L2, of sums in float32."""


def say(what: str) -> None:
    """A line of progress."""
    print(what, file=sys.stderr, flush=True)


def machine(worker: Worker | None) -> dict[str, str]:
    """What the timings were taken on; nothing that names a host or a day."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    where = {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "backend": jax.default_backend(),
        "python": platform.python_version(),
    }
    for name in ("jax", "jax-privacy"):
        try:
            where[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            where[name] = "missing"
    if worker is not None:
        try:
            where |= worker.versions()
        except (RuntimeError, OSError) as error:
            say(f"  the Opacus side does not start: {one_line(error)}")
    return where


def measure(name: str, wanted: Sequence[str], worker: Worker | None, options: Options) -> dict[str, Any]:
    """Everything about one work, as JSON can hold it."""
    work = WORKS[name]()
    work = work._replace(microbatches=work.microbatches[-options.candidates :])
    found: dict[str, dict[str, Any]] = {}
    picked: dict[str, Picked] = {}
    for contestant in wanted:
        if contestant in PEERS and worker is None:
            continue
        if contestant in CONTESTANTS and not CONTESTANTS[contestant].variants(work):
            continue
        try:
            if contestant in CONTESTANTS:
                best = pick(CONTESTANTS[contestant], work, options)
            else:
                assert worker is not None
                best = worker.pick(work, contestant, options)
        except Exception as error:
            found[contestant] = {"error": one_line(error)}
            say(f"  {contestant}: {found[contestant]['error']}")
            continue
        picked[contestant] = best
        found[contestant] = _described(best)
        say(f"  {contestant}: about {best.milliseconds:.2f} ms at microbatch {best.variant}")
        if found[contestant].get("parameters", work.parameters) != work.parameters:
            say(f"  {contestant}: trains {found[contestant]['parameters']:,} numbers, ours {work.parameters:,}")
    _check(work, picked, found)
    like_for_like = _like_for_like(work, picked, options)
    _time(work, picked, found, worker, options)
    return {
        "work": name,
        "parameters": work.parameters,
        "batch": work.batch,
        "method": METHOD,
        "quick": options.compiles == 1,
        "machine": machine(worker),
        "contestants": found,
        "like_for_like": like_for_like,
    }


def _described(best: Picked) -> dict[str, Any]:
    entry: dict[str, Any] = {"loss": best.variant.loss, "microbatch": best.variant.microbatch}
    if best.built is not None:
        entry |= {"compile_s": best.built.compile_seconds, "temp_bytes": best.built.temp_bytes}
    known = [tried["parameters"] for tried in best.candidates if "parameters" in tried]
    if known:
        entry["parameters"] = known[0]
    return entry | {"candidates": best.candidates}


def _check(work: Work, picked: dict[str, Picked], found: dict[str, dict[str, Any]]) -> None:
    """How far the timed programs' sums, without noise, are from those of the microbatch engine."""
    private = [name for name in picked if name in CONTESTANTS and CONTESTANTS[name].private]
    if not private:
        return
    try:
        best = picked.get("microbatch")
        built = best.built if best is not None else None
        if built is None:
            built = build(CONTESTANTS["microbatch"], work, Variant("plain", work.microbatches[0]))
        reference = gradient(built, work)
    except Exception as error:
        say(f"  no reference sum: {one_line(error)}")
        return
    for name in private:
        ours = picked[name].built
        if ours is not None:
            found[name]["deviation"] = relative_deviation(gradient(ours, work), reference)
            found[name]["agrees"] = found[name]["deviation"] <= TOLERANCE
            if not found[name]["agrees"]:
                say(f"  {name}: its sum is {found[name]['deviation']:.1e} away from the microbatch engine's")


def _like_for_like(work: Work, picked: dict[str, Picked], options: Options) -> dict[str, Any] | None:
    """Compile time and memory of ``auto`` and of ordinary steps at the microbatch that it chooses."""
    if "auto" not in picked:
        return None
    try:
        cohort = Cohort(work.units, jnp.ones(work.batch, bool))
        chosen = explain(example_gradient(work.loss), work.params, cohort, jax.random.key(0)).microbatch_size
        size = next(n for n in range(min(chosen, work.batch), 0, -1) if work.batch % n == 0)
        say(f"  compiling at auto's microbatch, {chosen}")
        entry: dict[str, Any] = {"microbatch": chosen, "ordinary_microbatch": size}
        for name, variant in (
            ("clipped", Variant("plain", None)),
            ("auto", Variant("plain", None)),
            ("ordinary", Variant("plain", size)),
            ("ordinary+noise", Variant("plain", size)),
        ):
            entry[name] = _compiled(work, name, variant, picked.get(name), options)
    except Exception as error:
        say(f"  no comparison at auto's microbatch: {one_line(error)}")
        return None
    return entry


def _compiled(work: Work, name: str, variant: Variant, best: Picked | None, options: Options) -> dict[str, Any]:
    """Compile time and memory; of the one compilation that was done for picking where one is enough."""
    if options.compiles == 1 and best is not None:
        for tried in best.candidates:
            if (tried["loss"], tried["microbatch"]) == variant and "compile_s" in tried:
                return {"compile_s": tried["compile_s"], "temp_bytes": tried["temp_bytes"]}
    built = build(CLIPPED if name == "clipped" else CONTESTANTS[name], work, variant, options.compiles)
    return {"compile_s": built.compile_seconds, "temp_bytes": built.temp_bytes}


def _time(
    work: Work,
    picked: dict[str, Picked],
    found: dict[str, dict[str, Any]],
    worker: Worker | None,
    options: Options,
) -> None:
    runners = {}
    for name, best in picked.items():
        try:
            if name in PEERS:
                assert worker is not None
                assert best.variant.microbatch is not None
                runners[name], _ = worker.prepare(work.name, name, best.variant.microbatch)
            else:
                runners[name] = best.run
        except Exception as error:
            found[name]["error"] = one_line(error)
    milliseconds = {name: picked[name].milliseconds for name in runners}
    say(f"  rounds of {len(runners)} contestants for {options.seconds:g} s")
    times, failed = interleave(runners, milliseconds, options)
    if worker is not None:
        worker.close()
    for name, values in times.items():
        if name in failed:
            found[name]["error"] = failed[name]
            continue
        low, middle, high = (float(x) for x in np.percentile(values, (10, 50, 90)))
        found[name] |= {
            "median_ms": middle,
            "p10_ms": low,
            "p90_ms": high,
            "rounds": len(values),
            "inner": inner_steps(milliseconds[name]),
            "times_ms": [round(x, 4) for x in values],
        }
