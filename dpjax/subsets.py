"""Training some of the parameters: the others cost no clipping and no noise."""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from dpjax.types import Params


def split_params(params: Params, trainable: Callable[[str], bool]) -> tuple[Params, Params]:
    """Split parameters in two: those to train, and those to leave as they are.

    Both halves have the whole structure with ``None`` where the other has the leaf, and JAX sees no leaf in a
    ``None``: gradients, clip norms, noise and optimizer state are of the trainable leaves alone. Give ``make_train``
    the trainable half as parameters, and put the halves together in ``loss_fn``.

    Formal guarantees: clipping, noise and ε are of the trainable leaves; the frozen ones get no gradient and are
    released as they came.

    Args:
      params: pytree of parameters.
      trainable: path of a parameter, as ``jax.tree_util.keystr`` writes it (such as ``"['head']['w']"``) → whether it
        is trained.

    Returns:
      (trainable, frozen), for ``merge_params``. The frozen half is public as far as ε is concerned: it must not have
      been trained on the private data.

    Raises:
      ValueError: no parameter is to be trained.

    Example:
      Fine-tune the head of a network whose body came from elsewhere:

      >>> import jax, jax.numpy as jnp, optax
      >>> from dpjax import HParams, example_gradient, make_train, poisson_sampler
      >>> pretrained = {"body": jnp.eye(3), "head": jnp.zeros(3)}
      >>> head, frozen = split_params(pretrained, lambda path: "head" in path)
      >>> print(head)
      {'body': None, 'head': Array([0., 0., 0.], dtype=float32)}
      >>> def loss_fn(trained, example, key):
      ...     params = merge_params(trained, frozen)
      ...     x, y = example
      ...     return (jnp.tanh(x @ params["body"]) @ params["head"] - y) ** 2
      >>> train = make_train(
      ...     lambda key: head, example_gradient(loss_fn), (jnp.ones((8, 3)), jnp.ones(8)),
      ...     sampler=poisson_sampler(8, 0.5, num_steps=2), num_steps=2, make_optimizer=lambda h: optax.sgd(0.1))
      >>> state, _ = jax.jit(train)(HParams(), jax.random.key(0))
      >>> sorted(merge_params(state.params, frozen))
      ['body', 'head']

    References:
      Yu et al., Differentially Private Fine-tuning of Language Models, 2022 (https://arxiv.org/abs/2110.06500).
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = [bool(trainable(jax.tree_util.keystr(path))) for path, _ in leaves]
    if not any(chosen):
        paths = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves)
        raise ValueError(f"no parameter is to be trained; `trainable` was False for each of {paths or 'none'}.")

    def half(of: bool) -> Params:
        return structure.unflatten([leaf if c == of else None for (_, leaf), c in zip(leaves, chosen, strict=True)])

    return half(True), half(False)


def merge_params(trainable: PyTree, frozen: PyTree) -> PyTree:
    """The parameters that ``split_params`` split, put together again.

    Formal guarantees: the leaves are the very ones that were split; nothing is computed.

    Args:
      trainable: pytree with ``None`` where ``frozen`` has a leaf.
      frozen: pytree with ``None`` where ``trainable`` has a leaf.

    Returns:
      The whole pytree.

    Raises:
      ValueError: both have the same leaf, or their structures differ.

    Example:
      >>> merge_params({"a": 1.0, "b": None}, {"a": None, "b": 2.0})
      {'a': 1.0, 'b': 2.0}
    """

    def one(path: jax.tree_util.KeyPath, a: PyTree, b: PyTree) -> PyTree:
        if a is not None and b is not None:
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} is in both halves; pass what split_params returned."
            )
        return b if a is None else a

    return jax.tree_util.tree_map_with_path(one, trainable, frozen, is_leaf=lambda x: x is None)
