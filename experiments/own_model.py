"""A model and a loss of one's own, which a plugin defines in the place of the config's."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dpjax.checks import brief
from dpjax.datasets import Dataset
from dpjax.models import Model
from dpjax.types import Params
from experiments.config import ConfigError
from experiments.hooks import check_called
from experiments.plugins import load_plugin, running

Loss = Callable[[Params, Any, Any], Any]


def own_model(name: str, dataset: Dataset) -> Model | None:
    """What the plugin's ``make_model(num_classes, input_shape)`` makes; None: the config's own model is to be used.

    Formal guarantees: its ``apply`` is tried on one example, so that it can couple no two of them: the batch axis comes
    from outside.

    Args:
      name: of the plugin; may be empty.
      dataset: that the model is for.

    Raises:
      ConfigError: it fails, gives no pair of functions, or its logits are no vector of the classes.
    """
    module = load_plugin(name)
    if module is None or not hasattr(module, "make_model"):
        return None
    called = "make_model(num_classes, input_shape)"
    with running(name, called):
        made = module.make_model(dataset.num_classes, dataset.input_shape)
    if not (isinstance(made, tuple) and len(made) == 2 and all(map(callable, made))):
        raise ConfigError(
            f"plugin={name}: {called} gave {brief(made)}; return a dpjax.models.Model, or from_nnx(YourModule) of it."
        )
    model = Model(*made)
    check_called(name, "its model's init", model.init, ("key",))
    check_called(name, "its model's apply", model.apply, ("params", "input", "key"))
    example = jax.ShapeDtypeStruct(dataset.input_shape, dataset.train_inputs.dtype)
    with running(name, "its model, which is given ONE example,"):
        logits = jax.eval_shape(lambda x: model.apply(model.init(jax.random.key(0)), x, None), example)
    if getattr(logits, "shape", None) != (dataset.num_classes,) or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ConfigError(
            f"plugin={name}: its model gives {_shown(logits)} for one example; give logits "
            f"[{dataset.num_classes}], one per class."
        )
    return model


def own_loss(name: str, model: Model, dataset: Dataset) -> Loss | None:
    """What the plugin's ``make_loss(model)`` makes; None: cross-entropy is to be used.

    Args:
      name: of the plugin; may be empty.
      model: that is trained.
      dataset: that it is trained on.

    Raises:
      ConfigError: it fails, or is no ``loss_fn(params, (input, label), key) -> (loss, metrics)`` of ONE example.
    """
    module = load_plugin(name)
    if module is None or not hasattr(module, "make_loss"):
        return None
    called = "make_loss(model)"
    with running(name, called):
        loss_fn = module.make_loss(model)
    if not callable(loss_fn):
        raise ConfigError(f"plugin={name}: {called} gave {brief(loss_fn)}; return loss_fn(params, example, key).")
    check_called(name, "its loss_fn", loss_fn, ("params", "example", "key"))
    example = (
        jax.ShapeDtypeStruct(dataset.input_shape, dataset.train_inputs.dtype),
        jax.ShapeDtypeStruct((), dataset.train_labels.dtype),
    )
    with running(name, "its loss_fn(params, (input, label), key), which is given ONE example,"):
        found = jax.eval_shape(lambda x: loss_fn(model.init(jax.random.key(0)), x, jax.random.key(1)), example)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
        raise ConfigError(f"plugin={name}: its loss_fn gives {_shown(found)}; return (loss, metrics), metrics a dict.")
    if getattr(found[0], "shape", None) != ():
        raise ConfigError(
            f"plugin={name}: its loss_fn gives a loss of shape {_shown(found[0])}; it is of ONE example, so return a "
            "scalar."
        )
    return loss_fn


def _shown(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return brief(value) if shape is None else f"{dtype}[{', '.join(map(str, shape))}]"
