"""Tests run with shapes and dtypes checked: jaxtyping by beartype, strict dtype and rank promotion."""

import os
import sys
from types import ModuleType

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a network that is not there
os.environ.setdefault("WANDB_MODE", "offline")

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The hook takes a checker by name only; this one lets an int stand for a float, as Python does.
_checker = ModuleType("dpjax_checker")
_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules["dpjax_checker"] = _checker
install_import_hook("dpjax", "dpjax_checker.check")

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
