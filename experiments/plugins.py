"""A method of one's own: a Python file that takes the place of the config's optimizer or clipping rule.

Neither can break the guarantee: the optimizer sees noised sums only, and every ``ClippingRule`` bounds a unit by the
clip norm. Noise is not to be replaced here, for the accountant would not know.
"""

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import optax

from dpjax.clipping import ClippingRule
from dpjax.types import HParams
from experiments.config import ConfigError

HOOKS = ("make_optimizer", "clipping_rule")


@lru_cache(maxsize=8)
def load_plugin(name: str) -> ModuleType | None:
    """The module of ``plugin=``; None where none is named.

    Args:
      name: path of a ``.py`` file, or a module that can be imported.

    Raises:
      ConfigError: there is no such file, it can't be imported, or it has none of ``HOOKS``.

    >>> load_plugin("") is None
    True
    """
    if not name:
        return None
    try:
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"dpjax_plugin_{Path(name).stem}", name)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(name)
    except (ImportError, OSError, SyntaxError) as error:
        raise ConfigError(f"plugin={name} can't be imported ({error}); give a .py file or a module.") from error
    if not any(hasattr(module, hook) for hook in HOOKS):
        raise ConfigError(f"plugin={name} has neither {' nor '.join(HOOKS)}; define one of them.")
    return module


def own_optimizer(name: str, hparams: HParams, cohort_size: float) -> optax.GradientTransformation | None:
    """What the plugin's ``make_optimizer(hparams, cohort_size)`` makes; None: the config's own optimizer is to be used.

    Args:
      name: of the plugin; may be empty.
      hparams: traced.
      cohort_size: that the noised sum was divided by.
    """
    module = load_plugin(name)
    return module.make_optimizer(hparams, cohort_size) if hasattr(module, "make_optimizer") else None  # pyright: ignore


def own_rule(name: str) -> ClippingRule | None:
    """What the plugin's ``clipping_rule()`` makes; None: the config's own rule is to be used.

    Args:
      name: of the plugin; may be empty.

    Raises:
      ConfigError: it is no ``ClippingRule``, so that nothing bounds a unit.
    """
    module = load_plugin(name)
    if not hasattr(module, "clipping_rule"):
        return None
    rule = module.clipping_rule()  # pyright: ignore[reportOptionalMemberAccess]
    if not isinstance(rule, ClippingRule):
        raise ConfigError(
            f"plugin={name}: clipping_rule() gave a {type(rule).__name__}; give a dpjax.clipping.ClippingRule."
        )
    return rule
