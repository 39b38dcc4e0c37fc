"""From Flax modules to pairs of pure functions; what couples examples is turned away at the door."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Key

from dpjax.models.model import Model
from dpjax.types import Params

_FIX = "which couples the examples of a batch and voids per-example clipping; use GroupNorm or LayerNorm instead."


def from_nnx(build: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """Makes a model of a Flax NNX module.

    The module is split once into its graph and its ``nnx.Param`` leaves; ``apply`` puts them together inside the
    trace, so nothing that a call changes outlives it. Dropout draws its mask from the key of the call alone.

    Formal guarantees: a module with state beside its parameters is refused, so that what one example leaves behind
    reaches no other; a call sees one example alone.

    Args:
      build: makes the module from an ``nnx.Rngs``. The module's ``__call__`` takes ONE example and returns logits
        ``[num_classes]``. Arrays that are plain attributes are constants, shared by every initialisation.

    Returns:
      A model whose params are a nested dict keyed by attribute names (list entries as ``"0"``, ``"1"``, …).

    Raises:
      ValueError: before anything is trained, if a layer keeps batch statistics (BatchNorm, SpectralNorm) or other
        state beside its parameters; the sentence names the layer's path.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))
      >>> params = model.init(jax.random.key(0))
      >>> jax.tree.map(jnp.shape, params), model.apply(params, jnp.ones(4), None).shape
      ({'bias': (3,), 'kernel': (4, 3)}, (3,))
      >>> from_nnx(lambda rngs: nnx.Sequential(nnx.Linear(4, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)))
      Traceback (most recent call last):
        ...
      ValueError: layer 'layers.1' (BatchNorm) keeps batch statistics, which couples the examples of a batch and voids \
per-example clipping; use GroupNorm or LayerNorm instead.
    """
    init, merge = nnx_functions(build)

    def apply(params: Params, inputs: Array, key: Key[Array, ""] | None) -> Array:
        return merge(params, key)(inputs)  # pyright: ignore[reportCallIssue]

    return Model(init, apply)


def nnx_functions(
    build: Callable[[nnx.Rngs], nnx.Module],
) -> tuple[Callable[[Key[Array, ""]], Params], Callable[[Params, Key[Array, ""] | None], nnx.Module]]:
    """A Flax NNX module as ``init(key) -> params`` and ``merge(params, key) -> module``, for calls of other methods.

    Args:
      build: see ``from_nnx``, whose promises and errors these are.
    """
    module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    _reject_state(module)
    if _holds_constants(module):
        # eval_shape knows only the shapes of constants; their values take a build, even inside somebody's jit.
        with jax.ensure_compile_time_eval():
            module = build(nnx.Rngs(0))
    graph, params, streams, constants = nnx.split(module, nnx.Param, nnx.RngState, ...)
    slots = nnx.to_flat_state(params)
    stream_slots = nnx.to_flat_state(streams)

    def init(key: Key[Array, ""]) -> Params:
        return _nest(nnx.to_flat_state(nnx.state(build(nnx.Rngs(key)), nnx.Param)))

    def merge(params: Params, key: Key[Array, ""] | None) -> nnx.Module:
        filled = [(path, slot.replace(_lookup(params, path))) for path, slot in slots]
        seeded = [(path, _seed(slot, number, key)) for number, (path, slot) in enumerate(stream_slots)]
        module = nnx.merge(graph, nnx.from_flat_state(filled), nnx.from_flat_state(seeded), constants)
        if key is None:
            module.eval()
        return module

    return init, merge


def from_linen(module: nn.Module, example_input: Any) -> Model:
    """Makes a model of a Flax Linen module.

    If ``__call__`` takes ``train`` or ``training``, it is True exactly when a key is passed; ``deterministic`` the
    other way round. Every random stream of the module is drawn from the key of the call alone.

    Formal guarantees: a module with state beside its parameters is refused, so that what one example leaves behind
    reaches no other; a call sees one example alone.

    Args:
      module: its ``__call__`` takes ONE example and returns logits ``[num_classes]``.
      example_input: an array, or a ``jax.ShapeDtypeStruct``, with the shape and dtype of ONE example.

    Returns:
      A model whose params are the module's ``"params"`` collection.

    Raises:
      ValueError: before anything is trained, if the module keeps batch statistics (BatchNorm) or another collection
        beside its parameters, or if its output for one example is not a vector; the sentence names the layer.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = from_linen(nn.Dense(3), jnp.zeros(4))
      >>> model.apply(model.init(jax.random.key(0)), jnp.ones(4), None).shape
      (3,)
    """
    known = inspect.signature(type(module).__call__).parameters

    def mode(train: bool) -> dict[str, Any]:
        switches = {"train": train, "training": train, "deterministic": not train}
        return {name: value for name, value in switches.items() if name in known}

    def first_call(key: Key[Array, ""], inputs: Array) -> Any:
        return module.init_with_output(key, inputs, **mode(False))

    shape = jax.ShapeDtypeStruct(example_input.shape, example_input.dtype)
    logits, collections = jax.eval_shape(lambda x: first_call(jax.random.key(0), x), shape)
    for collection in sorted(collections):
        if collection == "params":
            continue
        layer = ".".join(_first_path(collections[collection])[:-1]) or type(module).__name__
        if collection == "batch_stats":
            raise ValueError(f"layer {layer!r} keeps batch statistics, {_FIX}")
        raise ValueError(
            f"layer {layer!r} keeps the collection {collection!r}, state that would have to outlive one example; "
            "make it a param or compute it in __call__."
        )
    if jax.tree.structure(logits) != jax.tree.structure(0) or logits.ndim != 1:
        raise ValueError(
            f"{type(module).__name__} turns ONE example of shape {shape.shape} into "
            f"{jax.tree.map(lambda leaf: leaf.shape, logits)}, but logits must have shape [num_classes]; "
            "drop the batch axis from the module or from example_input."
        )

    def init(key: Key[Array, ""]) -> Params:
        # Shapes are all that initialisers read of the input.
        variables = module.init(key, jnp.zeros(shape.shape, shape.dtype), **mode(False))
        return nn.meta.unbox(variables.get("params", {}))

    def apply(params: Params, inputs: Array, key: Key[Array, ""] | None) -> Array:
        # Linen falls back on the "params" stream for every name that is not given.
        rngs = None if key is None else {"params": key}
        logits: Any = module.apply({"params": params}, inputs, rngs=rngs, **mode(key is not None))
        return logits

    return Model(init, apply)


def _reject_state(module: nnx.Module) -> None:
    """Raises for the first variable that is neither a parameter nor a random stream."""
    layers = {path: type(layer).__name__ for path, layer in nnx.iter_modules(module)}
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        if not isinstance(variable, nnx.Variable) or isinstance(variable, nnx.Param | nnx.RngState):
            continue
        owner = next(path[:end] for end in range(len(path) - 1, -1, -1) if path[:end] in layers)
        layer = f"layer {'.'.join(map(str, owner)) or 'itself'!r} ({layers[owner]})"
        if isinstance(variable, nnx.BatchStat):
            raise ValueError(f"{layer} keeps batch statistics, {_FIX}")
        raise ValueError(
            f"{layer} keeps {'.'.join(map(str, path[len(owner) :]))!r} as {type(variable).__name__}, state that "
            "would have to outlive one example; make it an nnx.Param, a plain array, or compute it in __call__."
        )


def _holds_constants(module: nnx.Module) -> bool:
    """Whether a layer has arrays among its plain attributes."""
    abstract = Tracer | jax.ShapeDtypeStruct

    def leaves(layer: nnx.Module) -> Iterable[Any]:
        values = [v for v in vars(layer).values() if not isinstance(v, nnx.Variable | nnx.Module | nnx.Rngs)]
        return jax.tree.leaves(values, is_leaf=lambda v: isinstance(v, nnx.Variable | nnx.Module))

    return any(isinstance(leaf, abstract) for _, layer in nnx.iter_modules(module) for leaf in leaves(layer))


def _seed(slot: Any, number: int, key: Key[Array, ""] | None) -> Any:
    """Fills a random stream: its own key folded from the call's key, its counter at zero."""
    shape = slot.get_value().shape
    if isinstance(slot, nnx.RngCount):
        return slot.replace(jnp.zeros(shape, jnp.uint32))
    # In evaluation mode a stream needs some key to exist; dropout then reads none.
    stream = jax.random.fold_in(jax.random.key(0) if key is None else key, number)
    return slot.replace(jax.random.split(stream, shape) if shape else stream)


def _nest(flat: Iterable[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    """A nested dict with string keys only, which optax, orbax and JSON all take as it is."""
    nested: dict[str, Any] = {}
    for path, variable in flat:
        inner = nested
        for part in path[:-1]:
            inner = inner.setdefault(str(part), {})
        inner[str(path[-1])] = variable.get_value()
    return nested


def _lookup(params: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        params = params[str(part)]
    return params


def _first_path(tree: Any) -> tuple[str, ...]:
    """The keys that lead to the first leaf."""
    path, _ = jax.tree.leaves_with_path(tree)[0]
    return tuple(str(getattr(part, "key", part)) for part in path)
