"""One work: both sides checked against each other, trained alike, and timed in turns."""

import math
import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federated_rounds.contestants import accuracy, dpjax_rounds
from benchmarks.federated_rounds.pfl_side import Simulation
from benchmarks.federated_rounds.works import WORKS, Work, save, torch_parameters
from benchmarks.step_time.measure import machine, say
from benchmarks.step_time.timing import COLD, Options, Runner, interleave, one_line

ROUNDS = 30
"""Rounds in one run of dpjax, and what both sides train for before their accuracies are compared."""
TURN = 600.0
"""Milliseconds that a turn of the pfl side should last at least."""
TOLERANCE = 1e-4
"""Relative, in L2, of an update in float32."""


def pfl_settings() -> dict[str, dict[str, int]]:
    """Name → threads and processes of the pfl side; those that this machine has cores for."""
    cores = len(os.sched_getaffinity(0))
    settings = {"pfl, 1 thread": {"threads": 1}}
    if cores > 1:
        settings[f"pfl, {cores} threads"] = {"threads": cores}
        settings[f"pfl, {cores} processes"] = {"threads": 1, "processes": cores}
    return settings


def where(pfl: dict[str, Any] | None) -> dict[str, str]:
    """What the timings were taken on."""
    facts = {key: value for key, value in machine(None).items() if key != "jax-privacy"}
    return facts | {"optax": metadata.version("optax")} | (pfl or {})


def measure(name: str, python: Path | None, options: Options) -> dict[str, Any]:
    """Everything about one work, as JSON can hold it; dpjax alone without an interpreter for pfl."""
    work = WORKS[name]()
    ours = dpjax_rounds(work, ROUNDS)
    contestants: dict[str, dict[str, Any]] = {
        "dpjax": {"compile_s": ours.compile_seconds} | accuracy(work, ours.train())
    }
    say(f"  dpjax: compiled in {ours.compile_seconds:.1f} s, about {ours.time(1):.2f} ms a round")
    inner: dict[str, int] = {"dpjax": ROUNDS}
    runners: dict[str, Runner] = {"dpjax": ours.time}
    peers: list[Simulation] = []
    entry: dict[str, Any] = {"work": name, "parameters": work.parameters, "clients": len(work.owned)}
    entry |= {"cohort": work.cohort, "local_steps": work.local_steps, "batch": work.batch}
    entry |= {"hparams": work.hparams._asdict(), "training_rounds": ROUNDS}
    versions = None
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "work.npz")
        save(work, arrays)
        for label, setting in pfl_settings().items() if python is not None else ():
            assert python is not None
            side = Simulation(python, **setting)
            peers.append(side)
            try:
                versions = versions or side.ask(versions={})
                if "deviation" not in entry:
                    entry["deviation"] = deviation(work, side, Path(folder))
                if side.prepare(work, arrays) != work.parameters:
                    raise RuntimeError("it trains another number of parameters")
                milliseconds = side.run(ROUNDS - 1)
                contestants[label] = side.ask(accuracy={})
            except RuntimeError as error:
                contestants[label] = {"error": one_line(error)}
                say(f"  {label}: {contestants[label]['error']}")
                continue
            inner[label] = max(1, math.ceil(TURN / milliseconds))
            runners[label] = side.runner(inner[label])
            say(f"  {label}: about {milliseconds:.0f} ms a round")
        say(f"  turns of {len(runners)} contestants")
        times, failed = interleave(runners, dict.fromkeys(runners, COLD), options)
    for side in peers:
        side.close()
    for label, values in times.items():
        contestants[label] |= {"error": failed[label]} if label in failed else spread(values) | {"inner": inner[label]}
    return entry | {"machine": where(versions), "contestants": contestants}


def spread(values: list[float]) -> dict[str, Any]:
    """Median and 10–90 % range, with the values themselves."""
    low, middle, high = (float(x) for x in np.percentile(values, (10, 50, 90)))
    listed = [round(x, 4) for x in values]
    return {"median_ms": middle, "p10_ms": low, "p90_ms": high, "rounds": len(values), "times_ms": listed}


def deviation(work: Work, side: Simulation, folder: Path) -> float:
    """How far one update of pfl's is from ours, where nothing is random: all clients, all rows at once, no noise."""
    epochs, rows = 2, work.owned.shape[1]
    whole = work._replace(owned=work.owned[: work.cohort], local_steps=epochs, batch=rows)
    small = work.hparams._replace(noise_multiplier=0.0, clip_norm=work.hparams.clip_norm / 10)  # so that it clips
    whole = whole._replace(hparams=small)
    save(whole, folder / "whole.npz")
    side.prepare(whole, folder / "whole.npz", sampling="minimize_reuse")  # which runs one round
    side.ask(update={"path": str(folder / "after.npz")})
    theirs = np.load(folder / "after.npz")
    start = torch_parameters(whole, whole.start)
    after = torch_parameters(whole, dpjax_rounds(whole, 1).train())
    ours = [a.astype(np.float64) - b for a, b in zip(after, start, strict=True)]
    distance = sum(float(np.sum((theirs[f"parameter{i}"] - start[i] - x) ** 2)) for i, x in enumerate(ours))
    relative = math.sqrt(distance / sum(float(np.sum(x**2)) for x in ours))
    if relative > TOLERANCE:
        say(f"  pfl's update is {relative:.1e} away from ours")
    return relative
