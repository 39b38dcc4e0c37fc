"""What of a pretrained model is trained: everything, the head, biases, adapters, last layers, or a prompt."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Key, PyTree

from dpjax.mapped_arrays import let_go
from dpjax.models.adapter_starts import completed, magnitudes
from dpjax.models.adapters import from_nnx, nnx_functions
from dpjax.models.layer_stacks import dotted, flat_paths, regrouped, stack
from dpjax.models.model import Model
from dpjax.models.transformers import Added, Architecture, Head, Plan, Transformer
from dpjax.models.transformers.narrow import FEW_BITS, Narrow, narrowed, narrowed_shape
from dpjax.models.transformers.vocabulary import TokenScores
from dpjax.models.tuning_methods import Method
from dpjax.types import Params

_HEADS = ("classifier", "masked_head")

_FACTORS = 0
"""Of the key that frozen factors are drawn from: public, so that all who start from a checkpoint share them."""


class Tuned(NamedTuple):
    """A pretrained model split into what is trained and what stays.

    Both halves have the whole structure with ``None`` where the other has the leaf (see ``dpjax.subsets``), so that
    clipping, noise and optimizer state are those of the trained part alone.

    Attributes:
      model: pair of functions on ALL parameters.
      start: the trained half as the checkpoint has it; ``None`` also where a parameter is new.
      frozen: the other half. Public as far as ε is concerned.
      new: paths of the parameters that the checkpoint does not have.
      arch: of the body.
      plan: how it is laid out.
      added: what the method added to it.
      scores: ``scores(params, ids, key, chunked)``: of a text's next tokens, on ALL parameters.
    """

    model: Model
    start: PyTree
    frozen: PyTree
    new: tuple[str, ...]
    arch: Architecture
    plan: Plan
    added: Added
    scores: Callable[[Params, Array, Key[Array, ""] | None, bool], TokenScores]

    def init(self, start: PyTree, key: Key[Array, ""]) -> Params:
        """The trained half at the start: from the checkpoint, and drawn where new. jit it: all else is left out.

        Args:
          start: ``self.start``, passed so that it can be an argument of a compiled program.
          key: of the new parameters.
        """
        drawn = flat_paths(self.model.init(key))
        return _map_with_path(
            lambda path, leaf: drawn[path] if path in self.new else None if leaf is None else jnp.asarray(leaf), start
        )

    def bind(self, frozen: PyTree) -> Callable[[Params], Params]:
        """``merge(trained) -> all parameters``, with this frozen half."""
        return lambda trained: _merge(trained, frozen)

    def applying(self, frozen: PyTree) -> Model:
        """The model as a pair of functions on the trained half; ``init`` starts from the checkpoint."""
        merge = self.bind(frozen)
        return Model(
            lambda key: self.init(self.start, key), lambda params, x, key: self.model.apply(merge(params), x, key)
        )

    def next_tokens(self, frozen: PyTree) -> Callable[[Params, Array, Key[Array, ""] | None], TokenScores]:
        """What ``objectives.causal`` scores texts by: a vocabulary that stays is scored part by part.

        Args:
          frozen: the other half.
        """
        table = "token" if self.arch.tied else "vocabulary"
        chunked = flat_paths(self.start).get(table) is None and table not in self.new
        merge = self.bind(frozen)
        return lambda params, ids, key: self.scores(merge(params), ids, key, chunked)

    @property
    def num_trained(self) -> int:
        """Numbers that are trained: coordinates of a message, and of the noise."""
        shapes = jax.eval_shape(self.init, self.start, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    @property
    def num_frozen(self) -> int:
        """Numbers that stay, however few bits each is stored in."""
        shapes = jax.eval_shape(self.model.init, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes)) - self.num_trained


def fine_tune(
    arch: Architecture,
    pretrained: Mapping[str, np.ndarray | jax.ShapeDtypeStruct],
    head: Head,
    method: Method,
    *,
    plan: Plan | None = None,
    scan_layers: bool = False,
    frozen_dtype: Narrow | None = None,
) -> Tuned:
    """Splits a pretrained model for fine-tuning.

    Formal guarantees: every parameter is in exactly one half, so that no gradient is taken, clipped or noised of a
    frozen one, and no trained one escapes the clip norm.

    Args:
      arch: of the body.
      pretrained: its parameters by path, as ``dpjax.models.pretrained.load`` gives them; or their shapes alone, as
        ``abstract_parameters`` does.
      head: of the task; what it needs and the checkpoint lacks is new.
      method: what is trained besides.
      plan: how the model is laid out; its ``stacks`` are chosen here.
      scan_layers: equal layers as one loop: compiles in a fraction of the time, and may run a little slower.
      frozen_dtype: how matrices that stay are stored: a floating dtype; ``"int8"`` or ``"nf4"`` of the layers' dense
        ones, in blocks of 64 rows with a scale each, and the rest in bfloat16. They are widened a layer at a time.
        None: in ``plan.dtype``, as vectors that stay are with any.

    Raises:
      ValueError: a method that leaves nothing to train, as BitFit of a model without biases; adapters among the
        pretrained parameters that the model has no place for; a ``frozen_dtype`` where no matrix stays.

    Example:
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch = tiny("bert")
      >>> body = fresh_parameters(arch, jax.random.key(0))
      >>> tuned = fine_tune(arch, body, Head("classify", 2), Method("lora", Lora(rank=2, targets=("query",))))
      >>> tuned.num_trained, tuned.new[:2]
      (162, ('classifier.bias', 'classifier.kernel'))
      >>> trained = tuned.init(tuned.start, jax.random.key(1))
      >>> tuned.applying(tuned.frozen).apply(trained, jnp.array([3, 4, -1]), None).shape
      (2,)
    """
    if method.name == "bitfit" and not arch.biased:
        raise ValueError(f"name='bitfit': a {arch.family} has no biases; use lora, prefix or last.")
    if method.name == "last" and method.last_layers > arch.num_layers:
        raise ValueError(f"last_layers={method.last_layers} is more than the {arch.num_layers} layers there are.")
    stacks: tuple[int, ...] = ()
    if scan_layers:
        last = method.last_layers if method.name == "last" else 0
        alone = 0 if arch.first_norm or last == arch.num_layers else 1
        stacks = tuple(size for size in (alone, arch.num_layers - last - alone, last) if size)
    plan = (plan or Plan())._replace(stacks=stacks)
    init, merge = nnx_functions(lambda rngs: Transformer(arch, head, method.added, plan, rngs=rngs))

    def apply(params: Params, ids: Array, key: Key[Array, ""] | None) -> Array:
        return merge(params, key)(ids)  # pyright: ignore[reportCallIssue]

    def scores(params: Params, ids: Array, key: Key[Array, ""] | None, chunked: bool) -> TokenScores:
        return merge(params, key).next_tokens(ids, chunked)  # pyright: ignore[reportAttributeAccessIssue]

    model = Model(init, apply)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    body = regrouped(completed(pretrained, arch.num_layers) if plan.stacks else pretrained, plan.sizes(arch.num_layers))
    known = flat_paths(shapes)
    if method.added.lora is not None and method.added.lora.dora:
        body |= magnitudes(body, known, method.added.lora, frozen_dtype)
    lost = sorted(
        path for path in body if {"lora", "ia3", "prefix", "prompt"} & set(path.split(".")) and path not in known
    )
    if lost:
        raise ValueError(f"pretrained holds {lost[0]}, which this model has no place for; call merge_adapters first.")
    if method.name == "lora" and method.freeze_a:
        body = _drawn_factors(known) | body
    new = tuple(sorted(path for path in known if path not in body))
    first_trained = len(plan.sizes(arch.num_layers)) - (1 if scan_layers else method.last_layers)

    def trained(path: str) -> bool:
        parts = path.split(".")
        if path in new or parts[0] in _HEADS:
            return True
        if path.endswith("attention.key.bias") and arch.learned:
            return False  # it adds the same to all of a query's scores: the softmax, and so the gradient, ignores it
        match method.name:
            case "full":
                return True
            case "bitfit":
                return parts[-1] == "bias"
            case "lora" | "dora":  # adapters that are there already are trained further
                return "lora" in parts and not (method.freeze_a and parts[-1] == "a")
            case "ia3":
                return "ia3" in parts
            case "prompt" | "prefix":
                return method.name in parts
            case "last":
                return parts[0] in ("final_norm", "pooler") or (parts[0] == "layers" and int(parts[1]) >= first_trained)
            case _:
                return False

    if not any(map(trained, flat_paths(shapes))):
        raise ValueError(
            f"name={method.name!r} with the task {head.task!r} trains nothing, since the model has its head "
            "already; use lora, last or full."
        )

    stays = {path for path in body if not trained(path)}
    if frozen_dtype is not None and not any(path.endswith("kernel") for path in stays):
        raise ValueError(
            f"frozen_dtype={frozen_dtype!r}: name={method.name!r} leaves no matrix as it is; use lora, or None."
        )

    def half(of: bool) -> PyTree:
        def leaf(path: str, _: object) -> Any:
            if path not in body or (path in stays) == of:
                return None
            kind = frozen_dtype if path in stays else None
            return stack([_stored(path, each, plan, kind) if path in stays else each for each in body[path]])

        return _map_with_path(leaf, shapes)

    return Tuned(model, half(True), half(False), new, arch, plan, method.added, scores)


def _drawn_factors(shapes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """An ``a`` for each adapter, drawn from the same public key everywhere."""
    draw, drawn = nnx.initializers.he_uniform(), {}
    for number, path in enumerate(sorted(path for path in shapes if path.endswith(".lora.a"))):
        *stack, rows, rank = shapes[path].shape
        keys = jax.random.split(jax.random.fold_in(jax.random.key(_FACTORS), number), tuple(stack) or 1)
        drawn[path] = [np.asarray(draw(key, (rows, rank), jnp.float32)) for key in keys]
    return drawn


def check_moved(before: Params, after: Params) -> None:
    """Raises unless every trained leaf moved: one that did not was never reached by a gradient.

    Call it after a step with noise, or after two without: an adapter's ``a`` gets no gradient while its ``b`` is zero.

    Raises:
      ValueError: naming the leaves that are what they were.

    Example:
      >>> check_moved({"a": jnp.zeros(2)}, {"a": jnp.ones(2)})
      >>> check_moved({"a": jnp.zeros(2)}, {"a": jnp.zeros(2)})
      Traceback (most recent call last):
      ValueError: a did not move in training; no gradient reaches it, so freeze it or mend the model.
    """
    refuse_unmoved(jax.tree.map(jnp.array_equal, before, after))


def refuse_unmoved(unmoved: PyTree) -> None:
    """Raises where a run's ``History.unmoved`` is True, as ``check_moved`` does."""
    still = [path for path, same in flat_paths(unmoved).items() if bool(same)]
    if still:
        more = f" and {len(still) - 3} more" if len(still) > 3 else ""
        raise ValueError(
            f"{', '.join(still[:3])}{more} did not move in training; no gradient reaches it, so freeze it or mend the "
            "model."
        )


def fresh_parameters(arch: Architecture, key: Key[Array, ""]) -> dict[str, np.ndarray]:
    """A body without any training, by path: for tests and for training from scratch."""
    return {path: np.asarray(leaf) for path, leaf in flat_paths(_drawn(arch)(key)).items()}


def abstract_parameters(arch: Architecture) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a body's parameters by path, of which nothing is in memory: to compile a step of any size.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> abstract_parameters(tiny("llama"))["final_norm.scale"].shape
      (16,)
    """
    model = from_nnx(
        lambda rngs: Transformer(arch, Head("causal" if arch.causal else "embed"), Added(), Plan(), rngs=rngs)
    )
    return flat_paths(jax.eval_shape(model.init, jax.random.key(0)))


@lru_cache(maxsize=8)  # one compilation for each architecture
def _drawn(arch: Architecture) -> Callable[[Key[Array, ""]], Params]:
    return jax.jit(from_nnx(lambda rngs: Transformer(arch, Head(), Added(), Plan(), rngs=rngs)).init)


def _stored(path: str, array: Any, plan: Plan, kind: Narrow | None) -> Any:
    """A parameter that stays."""
    if array.ndim < 2 or ".lora." in path or kind is None:
        kind = np.dtype(plan.dtype).name  # pyright: ignore[reportAssignmentType]
    elif kind in FEW_BITS and not (path.startswith("layers.") and path.endswith("kernel")):
        kind = "bfloat16"
    assert kind is not None
    if isinstance(array, jax.ShapeDtypeStruct):
        return narrowed_shape(array.shape, kind)
    stored = narrowed(array, kind)
    if stored is not array:
        let_go(array)
    return stored


def _map_with_path(fun: Callable[[str, object], object], tree: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: fun(dotted(path), leaf), tree, is_leaf=lambda x: x is None
    )


def _merge(trained: PyTree, frozen: PyTree) -> PyTree:

    def either(one: Any, other: Any) -> Any:
        return None if one is None and other is None else jax.tree.map(jnp.asarray, one if other is None else other)

    return jax.tree.map(either, trained, frozen, is_leaf=lambda x: x is None)
