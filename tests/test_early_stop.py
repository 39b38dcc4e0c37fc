"""What ends a command early: one line that says what is kept, its status and no traceback, whatever is imported."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Before any of ours runs: whoever first imports the module that the environment names has Ctrl-C pressed meanwhile.
PRESSES = """
import os, signal, sys

class Presses:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["PRESSED_AT"]:
            sys.meta_path.remove(self)
            signal.raise_signal(int(os.environ["PRESSED"]))

sys.meta_path.insert(0, Presses())
"""
NOTHING = "interrupted: nothing had begun; run the same command again."
RUN = ["-m", "experiments.run", "-m", "model=logistic", "num_seeds=1", "privacy.epsilon=1,8"]
DPJAX = ["-c", "import sys; from dpjax.cli import main; sys.argv[0] = 'dpjax'; main()"]
SHOW = [*DPJAX, "results", "show", "nowhere"]
EPSILON = [*DPJAX, "epsilon", "--noise-multiplier=1", "--sampling-rate=0.1", "--num-steps=9", "--delta=1e-5"]


def pressed_at(module, words, folder, number=signal.SIGINT):
    (folder / "sitecustomize.py").write_text(PRESSES)
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PRESSED_AT": module, "PRESSED": str(int(number))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit "ignore"
    )


@pytest.mark.parametrize(
    "module",
    [
        "experiments.run",
        "hydra",
        "omegaconf",
        "rich.spinner",
        "dpjax.accounting.mechanism",
        "experiments.launching.sweeper",
        "experiments.jobs",
        "jax",
        "numpy._core.multiarray",  # imported by jaxlib, which would answer with a traceback and go on
        "jax._src.numpy.ufuncs",
        "optax",
    ],
)
def test_a_run_that_is_importing_ends_at_once_and_says_so(module, tmp_path):
    done = pressed_at(module, RUN, tmp_path)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("interrupted")
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("dpjax.cli.app", SHOW),
        ("typer", SHOW),
        ("dpjax.cli.results", SHOW),
        ("pandas", SHOW),
        ("numpy._core.multiarray", SHOW),
        ("typer", [*DPJAX, "--help"]),
        ("dpjax.cli.accounting", EPSILON),
        ("dp_accounting", EPSILON),
        ("scipy", EPSILON),
    ],
)
def test_a_command_that_is_importing_ends_at_once_and_says_so(module, words, tmp_path):
    done = pressed_at(module, words, tmp_path)
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert done.stderr.splitlines() in (
        [NOTHING],
        ["stopped: no file is half-written; run the same command again to go on"],
    )


@pytest.mark.parametrize("words", [RUN, SHOW], ids=["run", "command"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_imports_is_answered_as_ctrl_c_is(number, words, tmp_path):
    done = pressed_at("hydra" if words is RUN else "typer", words, tmp_path, number)
    assert (done.returncode, done.stderr.splitlines()) == (128 + number, [NOTHING])


DRAWS = """
import signal, sys
from experiments import plots
from dpjax.results import write_job_result
draw, drawn = plots.draw, []

def pressed(*words):
    if drawn:
        signal.raise_signal(int(sys.argv.pop()))
    drawn.append(words)
    return draw(*words)

plots.draw = pressed
for clients in (None, 10):
    row = {"experiment": "t", "dataset": "digits", "model": "mlp", "unit": "example", "delta": 1e-5, "seed": 0}
    row |= {"clients_per_round": clients, "test_accuracy": 0.9, "config_hash": str(clients), "adjacency": "zero_out"}
    for epsilon in (1.0, 2.0):
        write_job_result(f"out/{clients} {epsilon}", [row | {"epsilon": epsilon}], "d")
sys.argv[:-1] = ["dpjax", "plot", "out", "--figure", "privacy_utility_curve", "--format", "png"]
from dpjax.cli import app
raise SystemExit(app.run(sys.argv[1:-1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_draws_says_what_is_kept_and_how_to_go_on(number, tmp_path):
    done = pressed_at("", ["-c", DRAWS, str(int(number))], tmp_path)
    assert done.returncode == 128 + number, done.stderr
    said = (
        "stopped: the figures that are drawn are kept, and no file is half-written; run the same command again to go on"
    )
    assert done.stderr.splitlines()[-1] == said
    assert len(list((tmp_path / "out" / "figures").glob("*.png"))) == 1


def test_what_is_only_imported_leaves_ctrl_c_as_it_was(tmp_path):
    said = "import signal, dpjax.cli, experiments.run; print(signal.getsignal(signal.SIGINT).__name__)"
    assert pressed_at("", ["-c", said], tmp_path).stdout == "default_int_handler\n"
