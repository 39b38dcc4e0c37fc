"""``clipped_sum``: the one public function of the kernel."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import Jaxpr
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

from dpjax.checks import brief, function, instance, number
from dpjax.clipping import engines
from dpjax.clipping.engines import Settings
from dpjax.clipping.layout import Layout, Shards, constrained, shards_of, specs
from dpjax.clipping.program import check_independence, open_jaxpr, uses_references
from dpjax.clipping.rules import ClippingRule, check_rule, flat_clipping
from dpjax.clipping.sharding import explicit_mesh, over_devices, with_auto_axes
from dpjax.contribution import ContributionFn, GradientContribution, as_reported
from dpjax.ranges import CLIP_NORM, MICROBATCH_SIZE
from dpjax.types import ClippedBy, ClippedSum, Cohort, Params, check_cohort, check_key

ENGINES = {"materialize": engines.materialize, "microbatch": engines.microbatch, "bookkeeping": engines.bookkeeping}
"""Engine name → implementation. All agree to rounding; they differ in speed and memory only."""

BoundedSum = Callable[[Params, Cohort, Key[Array, ""], float | Float[Array, ""]], ClippedSum]
"""``fun(params, cohort, key, clip_norm) -> ClippedSum``: what ``clipped_sum`` makes of a contribution function."""

SumFactory = Callable[[ContributionFn], BoundedSum]
"""A contribution function → its clipped sum over a cohort: ``clipped_sum``, or one that sums in another way."""

Aggregation = Callable[[SumFactory], SumFactory]
"""How contributions meet: a change of how a clipped sum is formed, such as secure aggregation."""


@dataclass(frozen=True)
class Engine:
    """How a clipped sum is computed: its speed and its memory, never its result beyond rounding.

    Attributes:
      name: ``"bookkeeping"`` (for gradients of any JAX loss: one backward pass for all norms, no unit's gradient
        formed where that can be helped), ``"microbatch"`` (for any contribution: a loop over parts of the cohort that
        skips trailing empty parts), ``"materialize"`` (all contributions at once) or ``"auto"``: bookkeeping for
        gradients, microbatch for the rest. ``dpjax.clipping.explain`` shows what bookkeeping makes of a model.
      microbatch_size: units in one part under ``"bookkeeping"`` and ``"microbatch"``; chosen if None.
      memory_budget: bytes of temporary memory to keep to when ``microbatch_size`` is chosen: an estimate, not a
        limit. 1 GiB on CPU and 8 GiB on accelerators if None.
      mesh: devices to spread the cohort's slots over, as a mesh whose first axis has a size that divides their number;
        the sums are added up in one all-reduce, and ``norms`` stay where their units are. ``microbatch_size`` counts on
        each device. A second axis spreads the parameters: every device forms its part of a contribution, of which
        norms take ONE message a microbatch. The engine is then ``"microbatch"`` or ``"materialize"``.
      layout: ``layout(path, shape) -> PartitionSpec`` over the second axis; None: over a parameter's longest axis.

    Raises:
      TypeError: a mesh or a layout that is none.
      ValueError: an unknown name, a microbatch size < 1, a memory budget that is not above 0, a mesh of more than two
        axes, a layout without a second axis, or ``"bookkeeping"`` with one.

    Example:
      >>> Engine("microbatch", microbatch_size=32).mesh is None
      True
    """

    name: str = "auto"
    microbatch_size: int | None = None
    memory_budget: float | None = None
    mesh: Mesh | None = None
    layout: Layout | None = None

    def __post_init__(self):
        if self.name not in (*ENGINES, "auto"):
            raise ValueError(f"engine={self.name!r} is not known; use one of {', '.join(['auto', *ENGINES])}.")
        instance("mesh", self.mesh, (Mesh, type(None)), fix="leave it out to use one device")
        axes = () if self.mesh is None else self.mesh.axis_names
        if len(axes) > 2:
            raise ValueError(f"mesh has axes {axes}; give the cohort's, and after it the parameters' or none.")
        if self.layout is not None:
            function("layout", self.layout, fix="it takes a parameter's path and shape to a PartitionSpec", takes=2)
            if len(axes) < 2:
                raise ValueError("layout says how parameters lie over a mesh's second axis; give a mesh that has one.")
        if len(axes) == 2 and self.name == "bookkeeping":
            raise ValueError(
                "engine='bookkeeping' takes norms layer by layer, which would be a message each over a mesh's second "
                "axis; use engine='auto' or 'microbatch'."
            )
        if self.microbatch_size is not None:
            size = MICROBATCH_SIZE.known("microbatch_size", self.microbatch_size)
            object.__setattr__(self, "microbatch_size", size)
        if self.memory_budget is not None:
            budget = number("memory_budget", self.memory_budget, above=0, fix="it counts bytes")
            object.__setattr__(self, "memory_budget", budget)

    @property
    def shards(self) -> Shards | None:
        """How parameters are spread over devices; None where each device holds them all."""
        return None if self.mesh is None else shards_of(with_auto_axes(self.mesh), self.layout)


def clipped_sum(
    contribution_fn: ContributionFn,
    *,
    rule: ClippingRule | None = None,
    engine: str = "auto",
    microbatch_size: int | None = None,
    memory_budget: float | None = None,
    mesh: Mesh | None = None,
    layout: Layout | None = None,
) -> BoundedSum:
    """The sum over a cohort of every unit's contribution, each clipped to an L2 bound.

    Formal guarantees:
      * Adding or removing one unit moves ``total`` by at most ``clip_norm`` in L2; replacing one unit, by at most twice
        that. This holds up to rounding: a unit adds at most ``clip_norm · (1 + 1e-6)``, and the sum of many units is
        rounded to float32 at each addition. ``clip_norm`` must be ≥ 1e-12.
      * Empty slots and contributions that are not finite count as zero; the latter are counted in ``num_rejected``.
      * No engine, microbatch size or amount of padding changes the result beyond rounding.

    ``engine`` and ``microbatch_size`` change speed and memory, never privacy or the result.

    Args:
      contribution_fn: one unit → (pytree of floating-point arrays, metrics); see ``dpjax.contributions``.
      rule: how a contribution is bounded: ``flat_clipping()`` if None, or ``per_layer_clipping()``,
        ``group_clipping(...)``, ``automatic_clipping()``. It changes what is computed, never the sensitivity.
      engine, microbatch_size, memory_budget, mesh, layout: the fields of ``Engine``.

    Returns:
      ``fun(params, cohort, key, clip_norm) -> ClippedSum``; ``clip_norm`` is a scalar > 0, traced or not,
      ``inf`` for no clipping. jit, vmap and scan apply.

    Raises:
      ValueError: unknown engine, microbatch size < 1, a concrete ``clip_norm`` < 1e-12, a rule whose ``stability`` is
        not a finite number > 0, no parameters, slots that the mesh can't share, or a loss that couples units: by a
        collective, a host callback, a batching rule of its own (``jax.custom_batching.custom_vmap``, a foreign
        operation), a reference made outside of it.
      TypeError: an integer parameter or leaf of a contribution, named; ``"bookkeeping"`` for what is no gradient.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> loss_fn = lambda params, x, key: 0.5 * jnp.sum((params - x) ** 2)
      >>> cohort = Cohort(jnp.array([[3.0, 4.0], [0.0, 0.5], [9.0, 9.0]]), jnp.array([True, True, False]))
      >>> out = clipped_sum(example_gradient(loss_fn))(jnp.zeros(2), cohort, jax.random.key(0), 1.0)
      >>> print(out.total, out.norms)
      [-0.6 -1.3] [5.  0.5 0. ]

    References:
      Abadi et al., Deep Learning with Differential Privacy, 2016 (https://arxiv.org/abs/1607.00133).
    """
    chosen = Engine(engine, microbatch_size, memory_budget, mesh, layout)
    shards = chosen.shards
    rule = check_rule(flat_clipping() if rule is None else rule)
    function("contribution_fn", contribution_fn, fix="make one, such as example_gradient(loss_fn)")

    def fun(params: PyTree, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
        check_cohort(cohort)
        check_key("key", key)
        bound = _check_clip_norm(clip_norm)
        params = with_arrays(params)
        laid_out = explicit_mesh((params, cohort))
        if laid_out is not None:
            with laid_out:
                spread = jax.sharding.auto_axes(summed, out_sharding=PartitionSpec())
                return spread(params, cohort, key, bound)  # pyright: ignore[reportCallIssue]
        return summed(params, cohort, key, bound)

    def summed(params: Params, cohort: Cohort, key: Key[Array, ""], bound: Float[Array, ""]) -> ClippedSum:
        jaxpr = check_contribution(contribution_fn, params, cohort, key)
        name = chosen.name
        if name == "auto":
            gradient = isinstance(contribution_fn, GradientContribution)
            one_pass = gradient and shards is None and not uses_references(jaxpr)
            name = "bookkeeping" if one_pass else "microbatch"

        def one_device(params: Params, cohort: Cohort, key: Array, bound: Array, first_slot: Array) -> ClippedSum:
            budget = chosen.memory_budget or default_memory_budget()
            if shards is not None:
                params = constrained(shards, params, specs(shards, params))
            settings = Settings(rule, bound, chosen.microbatch_size, budget, first_slot, shards)
            return ENGINES[name](contribution_fn, params, cohort, key, settings)

        run = one_device if mesh is None else over_devices(one_device, with_auto_axes(mesh), cohort.mask.shape[0])
        out = run(params, cohort, key, bound, jnp.int32(0))
        return out._replace(clipped_by=ClippedBy(rule))

    return fun


def default_memory_budget() -> float:
    """Bytes that an engine may use where the user names no number."""
    return 2.0**30 if jax.default_backend() == "cpu" else 2.0**33


def _check_clip_norm(clip_norm: float | Float[Array, ""]) -> Float[Array, ""]:
    if not isinstance(clip_norm, Tracer):
        CLIP_NORM.number("clip_norm", clip_norm)
    bound = jnp.asarray(clip_norm)
    return bound if jnp.issubdtype(bound.dtype, jnp.floating) else bound.astype(jnp.float32)


def with_arrays(params: PyTree) -> Params:
    """Parameters whose Python numbers are arrays."""
    return jax.tree.map(lambda x: x if hasattr(x, "dtype") else jnp.asarray(x), params)


def check_contribution(contribution_fn: ContributionFn, params: Params, cohort: Cohort, key: Key[Array, ""]) -> Jaxpr:
    """One unit's contribution as a program; refuses what no engine can bound.

    Raises:
      ValueError: no parameter, or a loss that couples units: by a collective, a host callback, a batching rule of
        its own, a reference made outside of it.
      TypeError: an integer leaf, or something else than metrics or ``Reported`` beside the vector.
    """
    if isinstance(contribution_fn, GradientContribution):
        if not jax.tree.leaves(params):
            raise ValueError(f"params={params!r} holds no array to differentiate by; give the parameters to train.")
        _check_floating("params", params)
    unit = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), cohort.units)
    try:
        jaxpr, sent = jax.make_jaxpr(contribution_fn, return_shape=True)(params, unit, key)
    except NameError as error:
        if "unbound axis name" not in str(error):
            raise
        axis = str(error).partition(":")[2].partition(".")[0].strip()
        raise ValueError(
            f"the contribution uses the named axis {axis!r}, which would couple the units of a cohort and void "
            "per-unit clipping; compute the loss of ONE unit without collectives or axis_name."
        ) from error
    check_independence(jaxpr)
    if not (isinstance(sent, tuple) and len(sent) == 2):
        raise TypeError(
            f"the contribution returned {brief(sent)} where a pair is expected; return (vector, a dict of metrics), or "
            "make it of a loss with example_gradient(loss_fn)."
        )
    vector, beside = sent
    as_reported(beside)
    if not jax.tree.leaves(vector):
        raise ValueError(f"contribution={vector!r} holds no array to clip; return what a unit is to send.")
    _check_floating("contribution", vector)
    return open_jaxpr(jaxpr)[0]


def _check_floating(name: str, tree: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} has dtype {leaf.dtype}; make that leaf floating point "
                "or leave it out of the parameters."
            )
