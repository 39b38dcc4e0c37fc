"""What a plan comes to, on either side: the model, the algorithm, the noise and its ε."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpjax.clipping import ClippingRule
from dpjax.federated.aggregation.secure import grid_levels
from dpjax.results import claim
from dpjax.solver import Solver
from dpjax.types import HParams, Records
from experiments.accountable import threshold
from experiments.config import SHARED_NOISE, Config
from experiments.deploy.plan import Plan
from experiments.deploy.rows import Rows
from experiments.federated import Clients
from experiments.jobs import Point, calibrated, hparams_of
from experiments.problems.choice import make_problem
from experiments.rows import common
from experiments.setup import Elsewhere, Setup, build, rule_of
from experiments.task import Job, Tell


class Federation(NamedTuple):
    """A plan made real, without a row of any client.

    Attributes:
      plan: it.
      setup: as of a simulated run.
      point: the job, and the noise that buys its ε.
      hparams: hyper-parameters of the run.
      facts: columns of its row that follow from the plan.
    """

    plan: Plan
    setup: Setup
    point: Point
    hparams: HParams
    facts: dict[str, Any]

    @property
    def cfg(self) -> Config:
        """The plan's config."""
        return self.plan.cfg

    @property
    def claim(self) -> str:
        """What ε it has, in the sentence of every results row."""
        return claim(self.facts)

    @property
    def is_secure(self) -> bool:
        """Whether clients cover what they send."""
        return self.cfg.federated.aggregation == "secure"

    @property
    def threshold(self) -> int:
        """Clients whose shares take masks off."""
        return threshold(self.cfg.federated)

    @property
    def levels(self) -> int:
        """Grid steps in a clip norm, as the simulation has them."""
        fed = self.cfg.federated
        return grid_levels(self.setup.sampler.capacity, fed.bits, fed.levels, False, self.shares_noise)

    @property
    def shares_noise(self) -> bool:
        """Whether clients add the noise of the sum, each a share."""
        return self.cfg.privacy.noise in SHARED_NOISE and self.cfg.privacy.is_private

    @property
    def inside(self) -> bool:
        """Whether clients protect each of their own rows."""
        return self.cfg.privacy.noise == "inside_clients"

    @property
    def outer(self) -> HParams:
        """Hyper-parameters of the sum: nothing more is bounded where clients protect their rows by themselves."""
        if not self.inside:
            return self.hparams
        return self.hparams._replace(clip_norm=float("inf"), noise_multiplier=0.0)

    @property
    def rule(self) -> ClippingRule:
        """Of clipping."""
        return rule_of(self.cfg.plugin, self.cfg.clipping)

    def solver(self) -> Solver:
        """The algorithm."""
        return self.setup.make_learner(self.hparams, self.setup.arrays.frozen)


def make_federation(
    plan: Plan,
    *,
    train: Rows | None = None,
    test: Rows | None = None,
    tell: Tell = lambda stage, done, total: None,
) -> Federation:
    """A plan made real.

    Args:
      plan: as it was agreed.
      train: rows of the client that this is; None: it is the server.
      test: rows that models are tested on; None: there are none here.
      tell: hears what takes long.

    Raises:
      ValueError: what can't be run, in one sentence.
    """
    cfg = plan.cfg
    nothing = plan.shapes.rows(1)
    problem = make_problem(cfg, tell, plan.shapes.dataset(*(train or nothing), *(test or nothing)))
    n, most = len(plan.clients), plan.most_records
    records = Records(jnp.zeros((n, most), jnp.int32), jnp.ones((n, most), bool))
    setup = build(cfg, tell, Elsewhere(problem, Clients(records, records, plan.weights, problem.dataset.train_labels)))
    job = Job(cfg, Path(), f"deploy {plan.digest[:12]}")
    point = calibrated(job, setup, tell)
    facts = common(job, point.noise_multiplier, point.epsilon_per_report, setup, {})
    hparams = jax.tree.map(jnp.float32, hparams_of(point))  # as a lane of a sweep has them
    return Federation(plan, setup, point, hparams, facts)


class Keys(NamedTuple):
    """Keys of a run, each for one purpose, as ``make_train`` splits its own."""

    init: jax.Array
    sampling: jax.Array
    contributions: jax.Array
    noise: jax.Array


def rehearsed_keys(cfg: Config) -> Keys:
    """Those of the simulation of this config."""
    return Keys(*jax.random.split(jax.random.key(cfg.seed), 4))


def message_like(federation: Federation) -> Any:
    """Tree of the shapes of what a client sends."""
    solver, setup = federation.solver(), federation.setup

    def message(key: jax.Array) -> Any:
        return solver.message_like(solver.init(setup.problem.init(setup.arrays.frozen, key)))

    return jax.eval_shape(message, jax.random.key(0))


def carried_like(federation: Federation) -> Any:
    """Tree of the shapes of what the server sends."""
    solver, setup = federation.solver(), federation.setup
    return jax.eval_shape(lambda key: solver.init(setup.problem.init(setup.arrays.frozen, key)), jax.random.key(0))


def padded(rows: Rows, most: int) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """A client's rows with padding, as a simulated client of the same number has them, and which are real."""
    inputs, labels = (jnp.asarray(np.concatenate([x, np.repeat(x[:1], most - len(x), axis=0)])) for x in rows)
    return (inputs, labels), jnp.arange(most) < len(rows.labels)
