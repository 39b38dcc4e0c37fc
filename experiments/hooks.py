"""What a plugin may define, and how each of it is called: a function with other arguments is told which it takes."""

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from dpjax.checks import brief
from experiments.config import ConfigError

HOOKS = {
    "make_optimizer": ("hparams", "cohort_size"),
    "clipping_rule": (),
    "make_model": ("num_classes", "input_shape"),
    "make_loss": ("model",),
    "make_sampler": ("population", "sampling_rate", "num_steps"),
    "test_scores": ("logits", "labels"),
}
"""What a plugin may define → the arguments it is called with."""


def refuse_misspelt(name: str, defined: Mapping[str, Any]) -> None:
    """Refuse a function that is all but called like a hook: nothing would call it, and the run be another's.

    Args:
      name: of the plugin.
      defined: what it has, by name.

    Raises:
      ConfigError: there is such a function, and not the hook itself.

    Example:
      >>> refuse_misspelt("mine.py", {"make_los": lambda model: None})
      Traceback (most recent call last):
      experiments.config.ConfigError: plugin=mine.py: nothing calls make_los; name it make_loss, or _make_los.
    """
    for own in (each for each, value in defined.items() if callable(value) and each not in HOOKS):
        near = get_close_matches(own, HOOKS, n=1, cutoff=0.85)
        if near and near[0] not in defined and not own.startswith("_"):
            raise ConfigError(f"plugin={name}: nothing calls {own}; name it {near[0]}, or _{own}.")


def check_called(name: str, what: str, function: Any, given: Sequence[str]) -> None:
    """Refuse what can't be called with the arguments that it will be given, before it is.

    Args:
      name: of the plugin.
      what: of it will be called.
      function: what stands there.
      given: names of the arguments, which are given by position.

    Raises:
      ConfigError: it takes others, or the same ones in another order; the sentence says both signatures.

    Example:
      >>> check_called("mine.py", "make_loss", lambda net, size: None, ("model",))
      Traceback (most recent call last):
      experiments.config.ConfigError: plugin=mine.py: make_loss takes (net, size), but is called as make_loss(model); \
write it as def make_loss(model).
    """
    called = f"{what}({', '.join(given)})"
    fix = f"write it as def {what.split()[-1]}({', '.join(given)})"
    if not callable(function):
        raise ConfigError(f"plugin={name}: {what} is {brief(function)}, but is called as {called}; {fix}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C tell nothing
        return
    kind = "is a class that takes" if inspect.isclass(function) else "takes"
    takes = f"{kind} ({', '.join(_shown(each) for each in signature.parameters.values())})"
    try:
        bound = signature.bind(*given)
    except TypeError:
        raise ConfigError(f"plugin={name}: {what} {takes}, but is called as {called}; {fix}.") from None
    swapped = [argument for argument, value in bound.arguments.items() if argument in given and argument != value]
    if swapped:
        raise ConfigError(f"plugin={name}: {what} {takes} in another order than {called}; {fix}.")


def _shown(parameter: inspect.Parameter) -> str:
    """A parameter without its annotation, whose text may be long."""
    star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    only = " by name only" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""
    default = "" if parameter.default is inspect.Parameter.empty else "=..."
    return f"{star}{parameter.name}{default}{only}"
