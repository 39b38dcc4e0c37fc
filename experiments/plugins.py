"""A method of one's own: a Python file that takes the place of the config's optimizer, clipping rule, model or loss.

What any gives can't break the guarantee: the optimizer sees noised sums only, every ``ClippingRule`` bounds a unit by
the clip norm, model and loss see ONE example, and scores the test rows. A sampler can: ``own_sampler`` says what rests
on its file's word. Noise is not to be replaced here, for the accountant would not know.
"""

import importlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dpjax.checks import brief, in_one_line
from dpjax.clipping import ClippingRule
from dpjax.clipping.rules import check_rule, leaf_groups
from dpjax.types import HParams, Params
from experiments.config import ConfigError
from experiments.hooks import HOOKS, check_called, refuse_misspelt
from experiments.inputs import forget_plugin, is_as_imported, noting_imports, plugin_inputs

_loaded: dict[str, tuple[dict[str, str], ModuleType]] = {}
"""Plugin → hashes of its files, and the module that was made of them."""


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
    if not name:
        return None
    if name in _loaded:
        known, module = _loaded[name]
        if known.items() <= plugin_inputs(name).items() and is_as_imported(name):
            return module
    forget_plugin(name)  # it, or what it imports, may have been edited since
    files = plugin_inputs(name)
    _loaded[name] = files, _load(name)
    return _loaded[name][1]


def _load(name: str) -> ModuleType:
    try:
        with noting_imports(name):
            if name.endswith(".py"):
                module = ModuleType(f"dpjax_plugin_{Path(name).stem}")
                module.__file__ = name
                exec(compile(_source(name), name, "exec"), vars(module))  # nosec B102 # the user's own file
            else:
                module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # it is anybody's code, and runs as it is imported
        file, colon, function = name.rpartition(":")
        if colon and file.endswith(".py"):
            raise ConfigError(
                f"plugin={name} names a function, {function}; give plugin={file}, whose hooks are found by their names."
            ) from None
        raise ConfigError(
            f"plugin={name} can't be imported ({_said(error)}); give a .py file or a module that can."
        ) from error
    refuse_misspelt(name, vars(module))
    if not any(hasattr(module, hook) for hook in HOOKS):
        raise ConfigError(f"plugin={name} has none of {', '.join(HOOKS)}; define one of them.")
    for hook, given in HOOKS.items():
        if hasattr(module, hook):
            check_called(name, hook, getattr(module, hook), given)
    return module


def _source(name: str) -> bytes:
    path = Path(name)
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise OSError("it is no regular file")
    return path.read_bytes()


@contextmanager
def running(name: str, what: str) -> Iterator[None]:
    """While a plugin's function runs: what it imports is noted, and what it raises becomes one sentence.

    Args:
      name: of the plugin.
      what: of it runs, in words.

    Raises:
      ConfigError: in place of whatever it raises.
    """
    try:
        with noting_imports(name):
            yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        where = f" in line {lines[-1]}" if lines else ""
        fix = "mend it"
        if isinstance(error, jax.errors.JAXTypeError):
            fix = "hyper-parameters and arrays are traced, so use jax.numpy where it takes Python's numbers"
        raise ConfigError(f"plugin={name}: {what} failed{where} ({_said(error)}); {fix}.") from error


def _said(error: BaseException) -> str:
    jaxs = isinstance(error, jax.errors.JAXTypeError)  # which goes on with advice of several lines
    first = str(error).partition("\n")[0] if jaxs else str(error)
    return f"{type(error).__name__}: {in_one_line(first, 200).rstrip('.')}" if first else type(error).__name__


def own_optimizer(
    name: str, hparams: HParams, cohort_size: float, module: ModuleType | None = None
) -> optax.GradientTransformation | None:
    """What the plugin's ``make_optimizer(hparams, cohort_size)`` makes; None: the config's own optimizer is to be used.

    Args:
      name: of the plugin; may be empty.
      hparams: traced.
      cohort_size: that the noised sum was divided by.
      module: of the plugin as it was loaded before; None: as its file is now.

    Raises:
      ConfigError: it fails, or gives no optimizer. So do ``init`` and ``update`` of what it gives.
    """
    module = load_plugin(name) if module is None else module
    if not hasattr(module, "make_optimizer"):
        return None
    called = "make_optimizer(hparams, cohort_size)"
    with running(name, called):
        optimizer = module.make_optimizer(hparams, cohort_size)  # pyright: ignore[reportOptionalMemberAccess]
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise ConfigError(
            f"plugin={name}: {called} gave {brief(optimizer)}; return an optax.GradientTransformation, such as "
            "optax.sgd(0.1)."
        )

    @wraps(optimizer.init)
    def init(params: Params) -> optax.OptState:
        with running(name, "init of its optimizer"):
            return optimizer.init(params)

    @wraps(optimizer.update)
    def update(updates: Params, *args: Any, **kwargs: Any) -> tuple[Params, optax.OptState]:
        with running(name, "update of its optimizer, which is given the noised mean and the parameters alone,"):
            moved, state = optimizer.update(updates, *args, **kwargs)
            return moved, state

    kind = type(optimizer) if isinstance(optimizer, optax.GradientTransformation) else optax.GradientTransformation
    return kind(init, update)


def try_optimizer(make: Callable[[HParams], optax.GradientTransformation], name: str, params: Params) -> frozenset[str]:
    """The hyper-parameters that a plugin's optimizer depends on, as one update shows without computing it.

    Args:
      make: ``own_optimizer`` of hyper-parameters.
      name: of the plugin.
      params: shapes and dtypes of the parameters that the optimizer moves.

    Raises:
      ConfigError: it can't make an update of them.
    """

    def once(hparams: HParams, params: Params) -> Any:
        optimizer = make(hparams)
        before = optimizer.init(params)
        updates, after = optimizer.update(params, before, params)
        with running(name, "adding what its optimizer gave to the parameters"):
            moved = optax.apply_updates(params, updates)
        if _shapes(moved) != _shapes(params) or _shapes(after) != _shapes(before):
            raise ConfigError(
                f"plugin={name}: its optimizer gives parameters or a state of other shapes or dtypes than it was "
                "given; keep them."
            )
        return moved, after

    program = jax.make_jaxpr(once)(jax.tree.map(jnp.float32, HParams()), params).jaxpr
    read = {id(var) for equation in program.eqns for var in equation.invars} | {id(var) for var in program.outvars}
    return frozenset(field for field, var in zip(HParams._fields, program.invars, strict=False) if id(var) in read)


def _shapes(tree: Any) -> tuple[Any, list[Any]]:
    return jax.tree.structure(tree), [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]


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
    with running(name, "clipping_rule()"):
        rule = module.clipping_rule()  # pyright: ignore[reportOptionalMemberAccess]
    if not isinstance(rule, ClippingRule):
        raise ConfigError(
            f"plugin={name}: clipping_rule() gave a {type(rule).__name__}; give a dpjax.clipping.ClippingRule."
        )
    with running(name, "what its clipping_rule() gave"):
        return check_rule(rule)


def try_rule(name: str, rule: ClippingRule, params: Params) -> None:
    """Have a plugin's rule say the groups of a run's parameters.

    Args:
      name: of the plugin.
      rule: its own.
      params: that contributions have the paths of.

    Raises:
      ConfigError: it can't.
    """
    with running(name, "groups of its clipping_rule()"):
        jax.eval_shape(lambda params: (leaf_groups(rule, params), params)[1], params)
