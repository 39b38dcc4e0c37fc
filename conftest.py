"""Tests run with shapes and dtypes checked: jaxtyping by beartype, strict dtype and rank promotion."""

import inspect
import os
import sys
from types import FunctionType, ModuleType
from typing import get_args, get_type_hints

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a network that is not there
os.environ.setdefault("WANDB_MODE", "offline")

import jaxtyping
from beartype import BeartypeConf, beartype

# The hook takes a checker by name only; this one lets an int stand for a float, as Python does.
_checker = ModuleType("dpjax_checker")
_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))
sys.modules["dpjax_checker"] = _checker

_with_shapes = jaxtyping.jaxtyped


def _names_arrays(hint: object) -> bool:
    if isinstance(hint, list | tuple):
        return any(map(_names_arrays, hint))
    return getattr(hint, "__module__", "").startswith("jaxtyping") or _names_arrays(get_args(hint))


def _checked(**options):
    """jaxtyping's decorator, and beartype's alone for functions of no arrays: a tenth of the time per call."""

    def decorate(target):
        plain = False
        if isinstance(target, FunctionType) and not inspect.isgeneratorfunction(target):
            try:
                plain = not _names_arrays(tuple(get_type_hints(target).values()))
            except NameError:  # of what is imported for the type checker only
                plain = False
        return _checker.check(target) if plain else _with_shapes(**options)(target)

    return decorate


jaxtyping.jaxtyped = _checked
jaxtyping.install_import_hook("dpjax", "dpjax_checker.check")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory):
    """Neither read nor write the user's calibrations."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DPJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _own_signing_key(tmp_path_factory):
    """Nor sign with the user's key."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DPJAX_SIGNING_KEY", str(tmp_path_factory.mktemp("key") / "signing.pem"))
    yield
    patch.undo()
