"""Models by name, for configs and the command line."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from dpjax.checks import nearest
from dpjax.models.convolutional_networks import cnn
from dpjax.models.dense import logistic, mlp
from dpjax.models.model import Model
from dpjax.models.resnet import wide_resnet
from dpjax.models.text import text_mlp

MODELS: dict[str, Callable[..., Model]] = {
    "logistic": logistic,
    "mlp": mlp,
    "cnn": cnn,
    "text": text_mlp,
    "wide_resnet": wide_resnet,
}
"""Name → factory. Put a factory of your own in here and configs find it by name."""


def build(name: str, **options: Any) -> Model:
    """Builds the named model.

    Formal guarantees: as of the factory: the logits of an example are computed from that example alone.

    Args:
      name: a key of ``MODELS``.
      **options: what the factory takes: ``num_classes``, ``input_shape`` and its own.

    Returns:
      The model.

    Raises:
      ValueError: for a name or an option that does not exist, with the nearest one that does, or for a missing one.

    Example:
      >>> build("mlp", num_classes=10, input_shape=(64,), hidden=(32,)).apply is not None
      True
      >>> build("mpl", num_classes=10, input_shape=(64,))
      Traceback (most recent call last):
        ...
      ValueError: model='mpl' must be one of cnn, logistic, mlp, text, wide_resnet; did you mean 'mlp'?
    """
    if name not in MODELS:
        raise ValueError(f"model={name!r} must be one of {', '.join(sorted(MODELS))}{_perhaps(name, MODELS)}")
    parameters = inspect.signature(MODELS[name]).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option not in parameters and not open_ended:
            raise ValueError(
                f"model {name!r} has no option {option!r}, only {', '.join(parameters)}{_perhaps(option, parameters)}"
            )
    missing = [
        key
        for key, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and key not in options
    ]
    if missing:
        raise ValueError(f"model {name!r} needs {' and '.join(missing)}; pass {missing[0]}=….")
    return MODELS[name](**options)


def _perhaps(word: str, known: Iterable[str]) -> str:
    near = nearest(str(word), known)
    return f"; did you mean {near!r}?" if near else "."
