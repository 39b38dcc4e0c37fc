"""How each side runs rounds: dpjax as one compiled program of them all, pfl-research by its own simulation."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from benchmarks.federated_rounds.works import Work
from dpjax import Population, Records, client_delta, fixed_size_sampler, make_train, poisson_sampler
from dpjax.models.model import cross_entropy_loss
from dpjax.types import Params


class Rounds(NamedTuple):
    """A compiled run of rounds from the start on.

    Attributes:
      train: the whole run; parameters afterwards.
      rounds: in one run.
      compile_seconds: tracing and compiling.
    """

    train: Callable[[], Params]
    rounds: int
    compile_seconds: float

    def time(self, runs: int) -> float:
        """Milliseconds per round, parameters waited for."""
        started = time.perf_counter()
        for _ in range(runs):
            jax.block_until_ready(self.train())
        return (time.perf_counter() - started) / (runs * self.rounds) * 1e3


def dpjax_rounds(work: Work, rounds: int) -> Rounds:
    """dpjax's side: ``make_train`` as a user writes it, compiled for one run.

    Poisson cohorts; where the cohort is the population, everybody takes part.
    """
    clients = len(work.owned)
    if work.cohort == clients:
        sampler = fixed_size_sampler(clients, clients)
    else:
        sampler = poisson_sampler(clients, work.cohort / clients, num_steps=rounds)
    loss_fn = cross_entropy_loss(work.model)

    def run(start: Params, units: Records, examples: PyTree, hparams: Any, key: Any) -> Params:
        local = optax.sgd(hparams.client_learning_rate)
        train = make_train(
            lambda _: start,
            client_delta(loss_fn, local, num_steps=work.local_steps, batch_size=work.batch),
            Population(units, examples),
            sampler=sampler,
            num_steps=rounds,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
        )
        return train(hparams, key)[0].params

    units = Records(jnp.asarray(work.owned), jnp.ones(work.owned.shape, bool))
    examples = jnp.asarray(work.inputs), jnp.asarray(work.labels)
    arguments = work.start, units, examples, jax.tree.map(jnp.float32, work.hparams), jax.random.key(1)
    started = time.perf_counter()
    compiled = jax.jit(run).lower(*arguments).compile()
    return Rounds(lambda: compiled(*arguments), rounds, time.perf_counter() - started)


def accuracy(work: Work, params: Params) -> dict[str, float]:
    """On all rows, as the pfl side reports it."""

    @jax.jit
    def evaluate(params: Params, inputs: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
        loss, metrics = jax.vmap(cross_entropy_loss(work.model), (None, 0, None))(params, (inputs, labels), None)
        return loss.mean(), metrics["accuracy"].mean()

    # In parts: a convolution's windows of all rows at once are gigabytes.
    parts = np.array_split(np.arange(len(work.labels)), max(1, len(work.labels) // 5_000))
    rows = np.array([[float(x) for x in evaluate(params, work.inputs[p], work.labels[p])] for p in parts])
    loss, right = np.average(rows, axis=0, weights=[len(p) for p in parts])
    return {"loss": float(loss), "accuracy": float(right)}
