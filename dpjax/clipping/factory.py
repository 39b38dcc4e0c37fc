"""How contributions become one clipped sum, as one object: what is computed apart from how fast."""

from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Array, Float, Key

from dpjax.checks import function, instance
from dpjax.clipping.kernel import Aggregation, BoundedSum, Engine, SumFactory, clipped_sum
from dpjax.clipping.rules import ClippingRule, check_rule, flat_clipping
from dpjax.contribution import ContributionFn
from dpjax.types import ClippedSum, Cohort, Params


@dataclass(frozen=True)
class Summing:
    """How a run forms the clipped sum of a cohort's contributions: a ``SumFactory`` that can be read.

    Called on a contribution function it is ``clipped_sum`` with this rule and engine, and the aggregation around it.
    Any other function from a contribution to its ``BoundedSum`` takes its place where a ``SumFactory`` is asked for.

    Formal guarantees: those of ``clipped_sum`` under every rule and engine, and those of the aggregation.

    Attributes:
      rule: how a contribution is bounded: ``flat_clipping()``, ``per_layer_clipping()``, ``group_clipping(...)``,
        ``automatic_clipping()``. It changes what is computed, never the sensitivity.
      aggregation: changes how the clipped sum is formed, as ``dpjax.federated.secure_aggregation`` does; None: plainly
        added up.
      engine: speed and memory, never the result.

    Raises:
      TypeError: a part of a wrong type.
      ValueError: a rule whose ``stability`` is not a finite number > 0.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import Cohort
      >>> from dpjax.clipping import Engine, Summing, automatic_clipping
      >>> sum_factory = Summing(automatic_clipping(), engine=Engine("materialize"))
      >>> cohort = Cohort(jnp.array([[3.0, 4.0], [0.0, 0.5]]), jnp.ones(2, bool))
      >>> bounded_sum = sum_factory(lambda params, unit, key: (unit, {}))
      >>> print(bounded_sum(jnp.zeros(2), cohort, jax.random.key(0), 1.0).norms)
      [5.  0.5]
    """

    rule: ClippingRule = field(default_factory=flat_clipping)
    aggregation: Aggregation | None = None
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self):
        check_rule(self.rule)
        instance("engine", self.engine, Engine, fix='make one, such as Engine("microbatch", microbatch_size=32)')
        if self.aggregation is not None:
            function("aggregation", self.aggregation, fix="make one, such as secure_aggregation(...), or leave it out")

    def __call__(self, contribution_fn: ContributionFn) -> BoundedSum:
        factory = self._clipped if self.aggregation is None else self.aggregation(self._clipped)
        return factory(contribution_fn)

    def around(self, inner: Aggregation) -> "Summing":
        """The same, with ``inner`` between the clipped sum and the aggregation, as buckets of units are."""
        outer = self.aggregation

        def both(factory: SumFactory) -> SumFactory:
            return inner(factory) if outer is None else outer(inner(factory))

        return replace(self, aggregation=both)

    def _clipped(self, contribution_fn: ContributionFn) -> BoundedSum:
        engine = self.engine
        return clipped_sum(
            contribution_fn,
            rule=self.rule,
            engine=engine.name,
            microbatch_size=engine.microbatch_size,
            memory_budget=engine.memory_budget,
            mesh=engine.mesh,
            layout=engine.layout,
        )


def made_sum(sum_factory: SumFactory, contribution_fn: ContributionFn) -> BoundedSum:
    """What the factory makes of a contribution; the program refuses what is no ``ClippedSum`` once it is traced.

    Raises:
      TypeError: the factory makes no function of a sum.
    """
    bounded_sum = sum_factory(contribution_fn)
    fix = "give fun(params, cohort, key, clip_norm) -> ClippedSum, as clipped_sum does"
    function("what sum_factory(contribution) returns", bounded_sum, fix=fix, takes=4)

    def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
        out: Any = bounded_sum(params, cohort, key, clip_norm)
        instance("what sum_factory(contribution) returns", out, ClippedSum, fix="return that, as clipped_sum does")
        return out

    return fun


def check_sum_factory(value: object) -> None:
    """Refuse what forms no clipped sum of a contribution, such as a rule, or ``Summing`` before it is made.

    Raises:
      TypeError: it is none.

    Example:
      >>> check_sum_factory(flat_clipping())
      Traceback (most recent call last):
      TypeError: sum_factory=ClippingRule(groups=None, stability=None) must be a function; make one, such as \
Summing(rule=per_layer_clipping()), or leave it out.
    """
    fix = "make one, such as Summing(rule=per_layer_clipping()), or leave it out"
    if isinstance(value, type):
        raise TypeError(f"sum_factory={value.__name__} is a class, no object of it; {fix}.")
    function("sum_factory", value, fix=fix, takes=1)
