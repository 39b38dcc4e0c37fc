"""Who takes part, by a plugin: its draws are worth what its file states, and every claim says whose word that is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int, Key, PyTree
from scipy.stats import binom

from dpjax.accounting.samplings import Sampling
from dpjax.accounting.samplings.sampling import BinomialCohorts, CohortsOfOneSize
from dpjax.checks import brief
from dpjax.sampling import Sampler, SamplingInfo
from dpjax.sampling.capacity import capacity_for, overflow_of
from dpjax.sampling.sampler import Drawn, gather
from experiments.config import Config, ConfigError
from experiments.hooks import check_called
from experiments.identity import capacity_epsilon
from experiments.plugins import running

Draw = Callable[[Any, Any], Any]
"""``(key, step)`` → who takes part, a bool for each unit."""

_CALLED = "make_sampler(population, sampling_rate, num_steps)"
_TRIED_STEPS = 100
_CHANCE = 1e-6  # of refusing draws that are what they are said to be


@dataclass(frozen=True)
class OwnSampler(Sampler):
    """A sampler of one's own.

    Formal guarantees: a unit is in a cohort at most once, and who is in it follows from key and step alone: ``who`` is
    given neither the units nor what it drew before. That they come about as ``stated`` is its author's word.

    Attributes:
      who: ``(key, step)`` → a bool for each unit.
      stated: as what it is accounted for.
    """

    who: Draw | None = None
    stated: Sampling | None = None

    @property
    def sampling(self) -> Sampling:
        assert self.stated is not None
        return self.stated

    @property
    def overflow_probability(self) -> float:
        if isinstance(self.stated, BinomialCohorts):
            return overflow_of(self.capacity, self.population, self.sampling_rate, self.num_steps or 0)
        return 0.0 if isinstance(self.stated, CohortsOfOneSize) else super().overflow_probability

    @classmethod
    def at_rate(
        cls, population: int, sampling_rate: float, *, num_steps: int, epsilon: float = 10.0, delta: float = 1e-5
    ) -> Sampler:
        raise TypeError("OwnSampler is made of a plugin; name one.")

    def draw(self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]) -> Drawn:
        assert self.who is not None
        chosen = self.who(key, step)
        position = jnp.nonzero(chosen, size=self.capacity, fill_value=self.population)[0].astype(jnp.int32)
        cohort = gather(units, position, position < self.population)
        size = jnp.sum(cohort.mask, dtype=jnp.int32)
        return cohort, SamplingInfo(size, jnp.sum(chosen, dtype=jnp.int32) > self.capacity)


def own_sampler(cfg: Config, module: ModuleType | None, population: int, sampling_rate: float) -> OwnSampler | None:
    """The sampler of a plugin's ``make_sampler``; None: the config's own is to be used.

    Formal guarantees: those of ``OwnSampler``. Draws that contradict what is stated are refused as far as some of them
    show it, which proves nothing of the others.

    Args:
      cfg: of the group of jobs.
      module: of its plugin, as it was loaded for the run.
      population, sampling_rate: units, and the expected share of them in a cohort.

    Raises:
      ConfigError: it fails, gives no ``(Sampling, draw)``, or draws what it does not state.
    """
    if not hasattr(module, "make_sampler"):
        return None
    name, steps = cfg.plugin, cfg.optimizer.num_steps
    if cfg.is_federated or cfg.privacy.noise != "gaussian" or cfg.privacy.records_per_unit is not None:
        raise ConfigError(
            f"plugin={name} has a make_sampler, which is for examples under independent noise; leave out "
            "federated.clients_per_round, privacy.noise and privacy.records_per_unit, or add a kind to dpjax."
        )
    with running(name, _CALLED):
        made = module.make_sampler(population, sampling_rate, steps)  # pyright: ignore[reportOptionalMemberAccess]
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Sampling) and callable(made[1])):
        raise ConfigError(
            f"plugin={name}: {_CALLED} gave {brief(made)}; return what it is accounted as, such as "
            "dpjax.accounting.Poisson(sampling_rate, population), and draw(key, step)."
        )
    stated, who = made
    if stated.population not in (None, population):
        raise ConfigError(f"plugin={name}: it states {stated}, and there are {population} units; give it as many.")
    check_called(name, "its draw", who, ("key", "step"))

    def checked(key: Any, step: Any) -> Any:
        with running(name, "its draw(key, step)"):
            chosen = who(key, step)
        if getattr(chosen, "shape", None) != (population,) or getattr(chosen, "dtype", None) != jnp.bool_:
            shape, dtype = getattr(chosen, "shape", None), getattr(chosen, "dtype", None)
            shown = brief(chosen) if shape is None else f"{dtype}{list(shape)}"
            raise ConfigError(f"plugin={name}: its draw gave {shown}; give bool[{population}], who takes part.")
        return chosen

    sampler = OwnSampler(
        population,
        stated.sampling_rate,
        _slots(cfg, stated, population),
        steps,
        who=checked,
        stated=_by_its_word(stated, name),
    )
    _refuse_contradicted(name, sampler, steps)
    return sampler


def _slots(cfg: Config, stated: Sampling, population: int) -> int:
    if isinstance(stated, CohortsOfOneSize):
        return stated.cohort_size
    if not isinstance(stated, BinomialCohorts):
        return population  # nobody bounds a cohort of a kind that is not known
    return capacity_for(
        population,
        stated.sampling_rate,
        num_steps=cfg.optimizer.num_steps,
        epsilon=capacity_epsilon(cfg.privacy),
        delta=cfg.privacy.delta,
        capacity=None,
        multiple_of=1,
    )


def _by_its_word(stated: Sampling, name: str) -> Sampling:
    """The same kind under another name: no table of dpjax has it, so that rows and claims do not pass it for one."""
    return _named(type(stated), Path(name).name)(stated.sampling_rate, stated.population)


@cache
def _named(kind: type[Sampling], file: str) -> type[Sampling]:
    said = {"manner": f"{file}'s own sampler, which it states to be {kind.manner},", "__module__": __name__}
    return type(f"{file}, stated as {kind.name}", (kind,), said)


def _refuse_contradicted(name: str, sampler: OwnSampler, num_steps: int) -> None:
    """Try two keys, and refuse what the stated kind would do once in a million times."""
    stated, who, steps = sampler.sampling, sampler.who, min(num_steps, _TRIED_STEPS)
    rate, population = stated.sampling_rate, sampler.population
    assert who is not None

    @jax.jit
    def tried(key: Any) -> tuple[Any, Any]:
        chosen = jax.lax.map(lambda step: who(key, step), jnp.arange(steps))
        return chosen.sum(0), chosen.sum(1)

    (times, sizes), (again, _) = (map(np.asarray, tried(jax.random.key(seed))) for seed in range(2))
    kind = f"{type(stated).__mro__[1].__name__}({rate:g})"

    def at_most(most: float, found: int, what: str) -> None:
        if found > most:
            raise ConfigError(
                f"plugin={name}: its draw has {found} {what} where {kind} has at most {most:.0f}; state what it does."
            )

    if stated.amplifies:
        at_most(_most(population, steps, rate), times.max(), f"cohorts of {steps} with one unit")
        at_most(_most(1, steps * population, rate), times.sum(), f"places in {steps} cohorts")
        if rate < 1 and (times == again).all():
            raise ConfigError(f"plugin={name}: its draw is the same for every key, and {kind} is secret; use the key.")
    else:
        most = stated.participation(steps).max_participations
        at_most(most, times.max(), f"cohorts of {steps} with one unit")
    if isinstance(stated, CohortsOfOneSize):
        at_most(sampler.capacity, sizes.max(), "units in a cohort")
    elif isinstance(stated, BinomialCohorts):
        at_most(_most(steps, population, rate), sizes.max(), "units in a cohort")


def _most(times: int, coins: int, rate: float) -> float:
    return float(binom.isf(_CHANCE / times, coins, rate))
