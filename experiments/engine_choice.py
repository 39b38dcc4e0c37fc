"""engine=tuned: how clients or examples are looped over, chosen by the clock."""

from typing import Any

import jax
import jax.numpy as jnp

from dpjax.buckets import Buckets
from dpjax.clipping import ClippingRule, autotune
from dpjax.contributions import gather_records
from dpjax.federated import Solver
from dpjax.population import remember
from dpjax.types import Cohort, Params, Stateful


def tuned(solver: Solver, params: Params, units: Any, examples: Any, slots: int, rule: ClippingRule) -> tuple[str, int]:
    """The fastest engine and microbatch size on this machine for one step of a run; remembered on disk.

    Args:
      solver: of the run.
      params: what the run carries at first.
      units: of the population; of ``Buckets`` the widest, and corrupted clients like all others.
      examples: the data set that records point into; None if units are examples themselves.
      slots: of a cohort.
      rule: of clipping.
    """
    table = units.tables[-1] if isinstance(units, Buckets) else units
    table = getattr(table, "unit", table)
    population = jax.tree.leaves(table)[0].shape[0]
    members = jax.tree.map(lambda x: jnp.asarray(x)[jnp.arange(slots) % population], table)
    if solver.init_unit_state is not None:
        members = Stateful(members, remember(solver.init_unit_state, params, slots))
    contribution = solver.contribution_fn
    if examples is not None:
        contribution = gather_records(contribution, examples)
    cohort = Cohort(members, jnp.ones(slots, bool))
    choice = autotune(contribution, params, cohort, jax.random.key(0), rule=rule, rounds=3)
    return choice.engine, choice.microbatch_size
