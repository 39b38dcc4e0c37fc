"""A unit's loss as one flat jaxpr: calls inlined, dead code gone, convolutions and pooling rewritten as matmuls."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal
from jax.interpreters import batching
from jaxtyping import Array, Key, PyTree

from dpjax.clipping.lowering import lower, lower_stacked
from dpjax.contribution import ContributionFn, GradientContribution, Reported
from dpjax.types import Metrics, Params

Equation = Any
"""A ``jax.extend.core.JaxprEqn``, whose variables JAX leaves untyped."""


def aval(variable: Any) -> Any:
    """Shape and dtype of a variable."""
    return variable.aval


CALLS = {"jit", "pjit", "closed_call", "core_call"}
"""Primitives that only group equations, by any name JAX has given them."""

REMAT = {"remat", "remat2", "checkpoint"}
"""``jax.checkpoint``, by any name JAX has given it."""

COUPLING = {"psum", "psum2", "psum_invariant", "pmax", "pmin", "all_gather", "all_gather_invariant", "all_to_all"}
COUPLING |= {"ppermute", "axis_index", "reduce_scatter", "pgather", "pbroadcast"}
"""Collectives: they would let one unit see another."""

CALLBACKS = {"pure_callback", "io_callback"}
"""Host callbacks that return values: under ``vmap`` they may see many units at once."""

CUSTOM_RULES = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
"""Functions with a derivative of their own, by any name JAX has given them: what it computes shows only once taken."""

OWN_BATCHING = "dpjax.clipping.one_pass.finishing"
"""The one module whose batching rule is trusted: a client that clips its own records runs the kernel inside."""


BATCHED_BY = ("jax", "jaxlib", "equinox", "lineax")
"""Libraries whose batching rules keep units apart."""


class Program(NamedTuple):
    """A loss, flat: ``outputs = jaxpr(consts, *params, *inputs)``.

    Attributes:
      jaxpr: the equations; its inputs are the parameters' leaves, then the unit's and the key's.
      consts: values of its constants, in order.
      num_params: how many of its inputs are parameters.
      metrics: the structure of the outputs after the first, which is the loss.
    """

    jaxpr: Jaxpr
    consts: Sequence[Any]
    num_params: int
    metrics: Any


def trace(
    loss: Callable[[Params, PyTree[Array], Key[Array, ""]], tuple[Array, Metrics | Reported]],
    params: Params,
    unit: PyTree[jax.ShapeDtypeStruct],
    key: Key[Array, ""],
) -> Program:
    """The program of one unit's loss. Nothing is computed; ``unit`` is shapes without a slot axis."""
    leaves, treedef = jax.tree.flatten((params, unit, key))
    structure: list[Any] = []

    def outputs(*flat: Any) -> tuple[Any, ...]:
        value, metrics = loss(*jax.tree.unflatten(treedef, flat))
        metrics, metrics_tree = jax.tree.flatten(metrics)
        structure.append(metrics_tree)
        return value, *metrics

    first = jax.make_jaxpr(outputs)(*leaves)
    check_independence(first)
    flat = jax.make_jaxpr(lambda *args: evaluate(*open_jaxpr(first), args, stored=[True] * len(args)))(*leaves)
    return Program(*open_jaxpr(flat), num_params=len(jax.tree.leaves(params)), metrics=structure[-1])


Rules = Callable[[Equation, Sequence[Any], Sequence[bool]], list[Any] | None]
"""How equations are computed in another way; ``lower`` or ``lower_stacked``. Flags say which operands are stored."""

_LAYOUT = {"transpose", "reshape", "squeeze"}
"""What a matmul reads through: its result is stored where its operand is."""


def lowered(contribution_fn: ContributionFn, stacked: bool = True) -> ContributionFn:
    """The contribution with convolutions and pooling as matmuls and slices, before it is differentiated if it can be.

    With ``stacked`` a client's own weights are taken into account: each unit then multiplies by others.

    Stacked units' convolutions would share one grouped convolution, in which some backends compute 0 × NaN: one
    unit's NaN would reach the others.
    """
    if isinstance(contribution_fn, GradientContribution):
        return GradientContribution(_lowered(contribution_fn.loss, lower))
    return _lowered(contribution_fn, lower_stacked if stacked else lower)


def _lowered(fun: Callable[..., Any], rules: Rules) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        jaxpr, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        out = evaluate(*open_jaxpr(jaxpr), leaves, rules, [True] * len(leaves))
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return call


def open_jaxpr(jaxpr: Any) -> tuple[Jaxpr, Sequence[Any]]:
    """A jaxpr and the values of its constants."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


def as_arrays(consts: Sequence[Any]) -> list[Any]:
    """Constants as JAX's arrays: a literal of the loss is NumPy's, which a derivative rule can't index while traced."""
    return [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in consts]


def inner_jaxprs(eqn: Equation) -> Iterator[Jaxpr]:
    """The jaxprs that an equation carries: bodies, branches."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns"):
                yield open_jaxpr(item)[0]


def check_independence(jaxpr: Any) -> None:
    """Refuse a unit's computation that could look at another unit: now, through a device, or when units are stacked."""
    opened, _ = open_jaxpr(jaxpr)
    if any(_is_reference(v) for v in opened.constvars):
        raise ValueError(
            "the loss reads or writes a reference (jax.new_ref) that was made outside of it, through which one unit "
            "would see another; make it inside the loss of ONE unit."
        )
    for eqn in opened.eqns:
        name = eqn.primitive.name
        axes = eqn.params.get("axes", eqn.params.get("axis_name"))
        # A number is an axis of the unit's own, which an inner vmap has named.
        if name in COUPLING and any(not isinstance(a, int) for a in (axes if isinstance(axes, tuple) else (axes,))):
            raise ValueError(
                f"the loss calls the collective {name!r} over axis {axes!r}, which couples the units of a cohort and "
                "voids per-unit clipping; compute the loss of ONE unit without collectives."
            )
        if name in CALLBACKS:
            raise ValueError(
                f"the loss calls {name!r}, a host callback that may see several units at once and voids per-unit "
                "clipping; compute it beforehand, or in JAX."
            )
        stranger = _own_batching(eqn)
        if stranger:
            raise ValueError(
                f"the loss calls {stranger}, whose batching rule is its own and sees all units of a cohort at once, "
                "which voids per-unit clipping; leave the rule out, so that JAX's own batching keeps units apart."
            )
        for inner in inner_jaxprs(eqn):
            check_independence(inner)


def _own_batching(eqn: Equation) -> str:
    """What to call an operation that JAX does not batch itself; empty if JAX does."""
    name = eqn.primitive.name
    if name == "custom_vmap_call":
        rule = eqn.params["rule"]
        trusted = getattr(rule, "__module__", "") == OWN_BATCHING
        return "" if trusted else f"a function with jax.custom_batching.custom_vmap ({_named(rule)})"
    if name == "ffi_call":
        method = eqn.params.get("vmap_method")
        return "" if method in (None, "sequential", "sequential_unrolled") else f"jax.ffi with vmap_method={method!r}"
    module = _batched_in(eqn.primitive)
    return "" if module.partition(".")[0] in BATCHED_BY else f"the operation {name!r} of {module}"


@cache
def _batched_in(primitive: Any) -> str:
    """The module of an operation's batching rule; JAX's own where there is none, as it says so itself."""
    rule = batching.fancy_primitive_batchers.get(primitive)
    if inspect.isfunction(rule):  # one that was registered from outside is wrapped
        rule = inspect.getclosurevars(rule).nonlocals.get("batcher", rule)
    return getattr(getattr(rule, "func", rule), "__module__", None) or "jax"


def _named(rule: Any) -> str:
    return getattr(rule, "__qualname__", None) or repr(rule)


def _is_reference(variable: Any) -> bool:
    return type(aval(variable)).__name__ == "AbstractRef"  # JAX exports no name for it


def holds(jaxpr: Jaxpr, wanted: Callable[[Equation], bool]) -> bool:
    """Whether an equation is wanted, in a program or in what its equations carry."""
    return any(wanted(eqn) or any(holds(inner, wanted) for inner in inner_jaxprs(eqn)) for eqn in jaxpr.eqns)


def uses_references(jaxpr: Jaxpr) -> bool:
    """Whether a program writes in place, so that values are not what their equation alone says."""
    return holds(jaxpr, lambda eqn: any(_is_reference(v) for v in eqn.outvars))


class ScanArguments(NamedTuple):
    """How many of a scan's operands are constants, carries and stacked inputs."""

    consts: int
    carry: int
    xs: int


def scan_arguments(eqn: Equation) -> ScanArguments:
    """Operand counts of a scan, under old and new versions of JAX."""
    if "num_consts" in eqn.params:
        consts, carry = eqn.params["num_consts"], eqn.params["num_carry"]
    else:
        consts, carry = (len(list(tree)) for tree in eqn.params["ft_in"].unpack()[:2])
    return ScanArguments(consts, carry, len(eqn.invars) - consts - carry)


def evaluate(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    args: Sequence[Any],
    rules: Rules = lower,
    stored: Sequence[bool] | None = None,
) -> list[Any]:
    """Evaluate a jaxpr with calls inlined and operations lowered, inside loops and checkpoints too.

    Args:
      jaxpr: of the program.
      consts: its constants.
      args: its arguments.
      rules: how operations are lowered.
      stored: which arguments are there before it runs, as weights are; None: none. Constants always are.
    """
    env: dict[Any, Any] = {}
    there = {*jaxpr.constvars, *(v for v, is_there in zip(jaxpr.invars, stored or (), strict=False) if is_there)}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    env.update(zip([*jaxpr.constvars, *jaxpr.invars], [*as_arrays(consts), *args], strict=True))
    for eqn in jaxpr.eqns:
        flags = [not isinstance(v, Literal) and v in there for v in eqn.invars]
        values = apply(eqn, [read(v) for v in eqn.invars], rules, flags)
        env.update(zip(eqn.outvars, values, strict=True))
        if eqn.primitive.name in _LAYOUT and flags[0]:
            there.add(eqn.outvars[0])
    return [read(v) for v in jaxpr.outvars]


def apply(eqn: Equation, values: Sequence[Any], rules: Rules = lower, stored: Sequence[bool] = ()) -> Sequence[Any]:
    """One equation, inlined or lowered where that is known how to do."""
    name = eqn.primitive.name
    if name in CALLS:
        inner, consts = open_jaxpr(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")))
        return evaluate(inner, consts, values, rules, stored)
    if name in REMAT:
        inner, consts = open_jaxpr(eqn.params["jaxpr"])
        return remat(eqn, lambda *args: tuple(evaluate(inner, consts, args, rules, stored)))(*values)
    if name == "scan":
        inner, consts = open_jaxpr(eqn.params["jaxpr"])
        counts = scan_arguments(eqn)
        carries = range(counts.consts, counts.consts + counts.carry)
        flags = [there and i not in carries for i, there in enumerate(stored)]
        return scan(eqn, lambda args: evaluate(inner, consts, args, rules, flags), values)
    if name == "cond":
        return _cond(eqn, values, rules)
    if name == "while":
        return _while(eqn, values, rules)
    lowered = rules(eqn, values, stored)
    return bind(eqn, values) if lowered is None else lowered


def _cond(eqn: Equation, values: Sequence[Any], rules: Rules) -> Sequence[Any]:
    """Branches lowered too: stacked units take all of them, each unit with weights of its own."""
    if not any(holds(open_jaxpr(branch)[0], _is_convolution) for branch in eqn.params["branches"]):
        return bind(eqn, values)

    def branch(jaxpr: Any) -> Callable[..., list[Any]]:
        inner, consts = open_jaxpr(jaxpr)
        return lambda *args: evaluate(inner, consts, args, rules)

    return jax.lax.switch(values[0], [branch(b) for b in eqn.params["branches"]], *values[1:])


def _while(eqn: Equation, values: Sequence[Any], rules: Rules) -> Sequence[Any]:
    """A loop whose body is lowered too."""
    if not any(holds(inner, _is_convolution) for inner in inner_jaxprs(eqn)):
        return bind(eqn, values)
    parts = []
    left = list(values)
    for which in ("cond", "body"):
        inner, consts = open_jaxpr(eqn.params[f"{which}_jaxpr"])
        count = eqn.params[f"{which}_nconsts"]
        constants, left = left[:count], left[count:]
        parts.append((inner, consts, constants))

    def call(part: tuple[Jaxpr, Sequence[Any], list[Any]]) -> Callable[[Sequence[Any]], list[Any]]:
        inner, consts, constants = part
        return lambda carry: evaluate(inner, consts, [*constants, *carry], rules)

    test, body = map(call, parts)
    return jax.lax.while_loop(lambda carry: test(carry)[0], lambda carry: tuple(body(carry)), tuple(left))


def _is_convolution(eqn: Equation) -> bool:
    return eqn.primitive.name == "conv_general_dilated"


def differentiated(fun: Callable[..., Any], jaxpr: Jaxpr) -> Callable[..., Any]:
    """``fun``, a derivative, lowered once more where ``jaxpr``, what it is of, has derivatives of its own making.

    What those compute shows only now; stacked units must not share one of its convolutions either.
    """
    if not holds(jaxpr, lambda eqn: eqn.primitive.name in CUSTOM_RULES):
        return fun

    def call(*args: Any) -> Any:
        traced, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        if not holds(open_jaxpr(traced)[0], _is_convolution):
            return fun(*args)
        out = evaluate(*open_jaxpr(traced), jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return call


def bind(eqn: Equation, values: Sequence[Any]) -> Sequence[Any]:
    """One equation as it stands."""
    out = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return out if eqn.primitive.multiple_results else [out]


def remat(eqn: Equation, fun: Callable[..., Any]) -> Callable[..., Any]:
    """``jax.checkpoint`` with the options of an equation."""
    return jax.checkpoint(fun, prevent_cse=eqn.params["prevent_cse"], policy=eqn.params["policy"])


def scan(
    eqn: Equation,
    body: Callable[[list[Any]], Sequence[Any]],
    values: Sequence[Any],
    extra_xs: Sequence[Any] = (),
) -> Sequence[Any]:
    """A scan with the options of an equation: ``body(all operands, then extra_xs) -> carry, ys and anything more``."""
    counts = scan_arguments(eqn)
    consts, carry = values[: counts.consts], values[counts.consts : counts.consts + counts.carry]
    xs = [*values[counts.consts + counts.carry :], *extra_xs]

    def step(carried: Sequence[Any], x: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        out = body([*consts, *carried, *x])
        return tuple(out[: counts.carry]), tuple(out[counts.carry :])

    options = {k: eqn.params[k] for k in ("length", "reverse", "unroll")}
    final, ys = jax.lax.scan(step, tuple(carry), tuple(xs), **options)
    return [*final, *ys]
