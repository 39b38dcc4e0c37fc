"""What several test files share."""

import gc
import io
import logging
import math
import os
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout

import hypothesis
import jax
import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.composing import remember_files

hypothesis.settings.register_profile("whatever the load", deadline=None)
hypothesis.settings.load_profile("whatever the load")
gc.set_threshold(200_000, 20, 20)  # tracing makes garbage by the million, little of it in cycles: a tenth of the time

remember_files(pytest.MonkeyPatch())  # Hydra's

# Models of the zoo register themselves on import, and once is enough; golden values are made by hand.
collect_ignore_glob = ["zoo/*", "golden/*", "on_devices/*"]


PROGRAMS = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    """What one test has compiled, others of the same run need not, whichever process they are in."""
    if not hasattr(config, "workerinput"):
        os.environ[PROGRAMS] = tempfile.mkdtemp(prefix="dpjax-tests-")  # workers inherit it
    jax.config.update("jax_compilation_cache_dir", os.environ[PROGRAMS])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[PROGRAMS], ignore_errors=True)


# Where numbers are compared to the last bits, or programs are looked at, XLA does all that it does for users.
OPTIMISED = ("clipping", "compile_size", "gaussian", "sharding")


@pytest.fixture(autouse=True, scope="module")
def compile_quickly(request):
    """Elsewhere what is computed is tested, not how well XLA compiles it: half of the suite's time was compiling."""
    quick = not request.node.path.stem.removeprefix("test_").startswith(OPTIMISED)
    jax.config.update("jax_disable_most_optimizations", quick)
    yield quick
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def optimised(compile_quickly):
    """For one test what OPTIMISED is for a file."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", compile_quickly)


@pytest.fixture
def main(monkeypatch, tmp_path):
    """Run the main job in this process: (exit status, what it said on stdout, on stderr)."""

    def call(*arguments, folder=tmp_path):
        from experiments import run

        root = logging.getLogger()
        before = root.handlers[:], root.level
        GlobalHydra.instance().clear()
        # dictConfig closes every handler there is, pytest's own among them.
        monkeypatch.setattr("logging.config._clearExistingHandlers", lambda: None)
        monkeypatch.setattr("experiments.phases.LONG", math.inf)  # what is said does not depend on the machine's load
        monkeypatch.setattr(sys, "argv", ["run", f"results_dir={folder}", *arguments])
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            try:
                code = run.main() or 0
            except SystemExit as end:
                code = end.code
            finally:  # Hydra's handlers write to the streams of this call
                root.handlers[:], root.level = before
        return code, out.getvalue(), err.getvalue()

    return call
