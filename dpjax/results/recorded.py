"""A row for a training loop of one's own, so that tables, figures and the report know it like a run of dpjax's."""

import datetime
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from dpjax.accounting import epsilon
from dpjax.accounting.mechanism import Mechanism
from dpjax.checks import nearest
from dpjax.results.claims import rounded_up
from dpjax.results.errors import ResultsError
from dpjax.results.mechanisms import columns_of
from dpjax.results.result_files import write_job_result
from dpjax.results.schema import SCHEMA

_OF_ONE_RUN = ("test_", "train_", "validation_", "eval_", "wall_", "peak_", "compile_")
_COMPUTED = ("epsilon_pld", "epsilon_rdp", "config_hash", "timestamp")


def record(
    directory: Path | str, mechanism: Mechanism, *, delta: float, clip_norm: float, seed: int = 0, **columns: Any
) -> dict[str, Any]:
    """Writes the row of a run that was trained outside of ``experiments.run``.

    Formal guarantees: both ε are computed from the mechanism, never taken from the caller; a mechanism without noise
    has ε = ∞. It is the caller's word that the mechanism is what ran: take it from the sampler, with
    ``Mechanism.from_sampler``. Runs that differ in the seed and in what was measured alone are one point.

    Args:
      directory: of the sweep; its name is the experiment's, if none is given.
      mechanism: that ran.
      delta: of the guarantee, in (0, 1).
      clip_norm: bound on one unit's L2 norm; inf without clipping.
      seed: of the run; the same point with the same seed is written over.
      **columns: other columns of ``SCHEMA``, as ``dataset="ours", model="mlp", test_accuracy=0.93``.

    Returns:
      The row.

    Raises:
      ResultsError: a column that there is not or that is computed here, a value that does not fit, or a full disk.

    Example:
      >>> import tempfile
      >>> from dpjax.results import claim, load
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="poisson", sampling_rate=0.25,
      ...                 noise_multiplier=5.15, num_steps=100)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for seed in range(2):
      ...         row = record(folder, run, delta=1e-5, clip_norm=1.0, seed=seed, test_accuracy=0.9 + seed / 100)
      ...     len(load(folder))
      2
      >>> claim(row)
      '(ε=2 PLD, δ=1e-5)-DP per example, zero_out, Poisson q=0.25, 100 steps; tuning not accounted'
    """
    for name in columns:
        if name in _COMPUTED or (name in SCHEMA and name in columns_of(mechanism)):
            raise ResultsError(f"{name} is computed from the mechanism: leave it out")
        if name not in SCHEMA:
            near = nearest(name, SCHEMA)
            fix = f"did you mean {near}?" if near else "`dpjax results columns` lists them"
            raise ResultsError(f"{name} is no column of results: {fix}")
    noise = mechanism.noise_multiplier
    spent = {name: math.inf if noise == 0 else epsilon(mechanism, delta, name) for name in ("pld", "rdp")}
    point: dict[str, Any] = {
        "experiment": Path(directory).resolve().name,
        **columns_of(mechanism),
        "delta": delta,
        "clip_norm": clip_norm,
        "epsilon": math.inf if noise == 0 else float(rounded_up(spent["pld"])),
        **{name: value for name, value in columns.items() if not name.startswith(_OF_ONE_RUN)},
    }
    digest = hashlib.sha256(json.dumps(point, sort_keys=True, default=repr).encode()).hexdigest()[:16]
    row = point | {"tuning_accounted": False, "seed": seed, "config_hash": digest} | columns
    row |= {f"epsilon_{name}": value for name, value in spent.items()}
    row["timestamp"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_job_result(Path(directory) / f"{digest}-{seed}", [row], digest)
    return row
