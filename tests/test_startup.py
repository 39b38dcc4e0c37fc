"""What need not be imported is not: a sweep whose jobs are done, and help, wait for neither JAX nor matplotlib."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = "jax jaxlib flax optax scipy sklearn matplotlib dp_accounting wandb datasets transformers torch tenseal gguf"
HEAVY += " tokenizers safetensors cryptography shamirs orbax optuna submitit ray"
ASKS = f"""
import atexit, sys
@atexit.register
def tell():
    print("imported:", *[name for name in {HEAVY.split()} if name in sys.modules])
import experiments.run as runner
"""
PRETENDS = """
from dpjax.results import write_job_result
from experiments import identity
from experiments.task import Outcome
def run(jobs, tell):
    for job in jobs:
        privacy = job.cfg.privacy
        row = {"seed": 0, "epsilon": privacy.epsilon, "clip_norm": privacy.clip_norm, "test_accuracy": 0.5}
        row |= {"epsilon_pld": privacy.epsilon, "norm_counts_first": [1] * 34, "unit": "example"}
        write_job_result(job.folder, [row], identity.digest(job.cfg))
        yield Outcome(job, [row])
runner.task.run = run
"""
SWEEP = ["-m", "privacy.epsilon=1,2", "privacy.clip_norm=0.1,1"]


def imported(words: list[str], code: str = "") -> tuple[str, list[str]]:
    """What the runner prints, and the heavy packages that it has imported as it ends."""
    command = [sys.executable, "-c", f"{ASKS}{code}\nrunner.main()", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said, _, names = done.stdout.rpartition("imported:")
    return said + done.stderr, names.split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a sweep that is done, its figures drawn; nothing was trained for it."""
    folder = tmp_path_factory.mktemp("finished")
    said, names = imported([*SWEEP, f"results_dir={folder}"], PRETENDS)
    assert "privacy_utility_curve.png" in said
    assert "matplotlib" in names
    return folder


def test_a_sweep_that_is_done_imports_no_jax_and_no_matplotlib(finished):
    said, names = imported([*SWEEP, f"results_dir={finished}"])
    assert "All 5 jobs finished before" in said
    assert "these very results already" in said
    assert names == []


def test_a_single_run_that_is_done_imports_none_either(tmp_path):
    words = ["privacy.epsilon=1", f"hydra.run.dir={tmp_path}"]
    imported(words, PRETENDS)
    said, names = imported(words)
    assert "finished before" in said
    assert names == []


def test_help_of_the_runner_imports_none():
    said, names = imported(["--help"])
    assert "privacy.epsilon" in said
    assert names == []


@pytest.mark.parametrize("command", ["show", "plot"])
def test_the_command_line_shows_what_is_there_without_them(finished, command):
    (folder,) = {path.parent for path in finished.rglob("results.parquet")}
    words = ["results", "show", str(folder)] if command == "show" else ["plot", str(folder)]
    code = f"{ASKS}from dpjax.cli import main\nmain({words!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rpartition("imported:")[2].split() == []
