"""A method of one's own: a Python file that takes the place of the config's optimizer or clipping rule.

Neither can break the guarantee: the optimizer sees noised sums only, and every ``ClippingRule`` bounds a unit by the
clip norm. Noise is not to be replaced here, for the accountant would not know.
"""

import importlib
import inspect
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import optax

from dpjax.clipping import ClippingRule
from dpjax.types import HParams
from experiments.config import ConfigError
from experiments.inputs import digest_of, is_own, plugin_files, plugin_inputs

HOOKS = {"make_optimizer": ("hparams", "cohort_size"), "clipping_rule": ()}
"""What a plugin may define → the arguments it is called with."""


def load_plugin(name: str) -> ModuleType | None:
    """The module of ``plugin=`` as its file is now; None where none is named.

    Args:
      name: path of a ``.py`` file, or a module that can be imported.

    Raises:
      ConfigError: there is no such file, it can't be imported, or what it has of ``HOOKS`` is nothing or can't be
        called as they say.

    >>> load_plugin("") is None
    True
    """
    return _load(name, digest_of(plugin_inputs(name))) if name else None


@lru_cache(maxsize=8)
def _load(name: str, digest: str) -> ModuleType:
    for module in [each for each in plugin_files(name) if each == name or is_own(each)]:
        sys.modules.pop(module, None)  # it, or what it imports, may have been edited since
    # Python's cache of bytecode takes two edits within a second for one.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        if name.endswith(".py"):
            module = ModuleType(f"dpjax_plugin_{Path(name).stem}")
            module.__file__ = name
            exec(compile(Path(name).read_bytes(), name, "exec"), vars(module))
        else:
            module = importlib.import_module(name)
    except Exception as error:  # it is anybody's code, and runs as it is imported
        raise ConfigError(
            f"plugin={name} can't be imported ({type(error).__name__}: {error}); give a .py file or a module that can."
        ) from error
    finally:
        sys.dont_write_bytecode = writes
    if not any(hasattr(module, hook) for hook in HOOKS):
        raise ConfigError(f"plugin={name} has neither {' nor '.join(HOOKS)}; define one of them.")
    for hook, given in HOOKS.items():
        if hasattr(module, hook) and not _takes(getattr(module, hook), len(given)):
            raise ConfigError(f"plugin={name}: {hook} must be a function that is called as {hook}({', '.join(given)}).")
    return module


def _takes(function: object, count: int) -> bool:
    """Whether it can be called with so many arguments, as far as its signature tells."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # some functions written in C tell nothing
        return True
    return True


def own_optimizer(name: str, hparams: HParams, cohort_size: float) -> optax.GradientTransformation | None:
    """What the plugin's ``make_optimizer(hparams, cohort_size)`` makes; None: the config's own optimizer is to be used.

    Args:
      name: of the plugin; may be empty.
      hparams: traced.
      cohort_size: that the noised sum was divided by.
    """
    module = load_plugin(name)
    return module.make_optimizer(hparams, cohort_size) if hasattr(module, "make_optimizer") else None  # pyright: ignore


def has_own_optimizer(name: str) -> bool:
    """Whether a plugin takes the place of the config's optimizer.

    Args:
      name: of the plugin; may be empty.

    >>> has_own_optimizer("")
    False
    """
    return hasattr(load_plugin(name), "make_optimizer")


def own_rule(name: str) -> ClippingRule | None:
    """What the plugin's ``clipping_rule()`` makes; None: the config's own rule is to be used.

    Args:
      name: of the plugin; may be empty.

    Raises:
      ConfigError: it fails, or gives no ``ClippingRule``, so that nothing bounds a unit.
    """
    module = load_plugin(name)
    if not hasattr(module, "clipping_rule"):
        return None
    try:
        rule = module.clipping_rule()  # pyright: ignore[reportOptionalMemberAccess]
    except Exception as error:
        raise ConfigError(
            f"plugin={name}: clipping_rule() failed ({type(error).__name__}: {error}); mend it."
        ) from error
    if not isinstance(rule, ClippingRule):
        raise ConfigError(
            f"plugin={name}: clipping_rule() gave a {type(rule).__name__}; give a dpjax.clipping.ClippingRule."
        )
    return rule
