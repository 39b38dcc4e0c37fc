"""The quickstart as a user runs it: in time, to its promised accuracy, and skipped the second time."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dpjax import results

ROOT = Path(__file__).parents[1]


def quickstart(folder):
    command = [sys.executable, "-m", "experiments.run", "-m", "experiment=quickstart", f"results_dir={folder}"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done, time.monotonic() - started


@pytest.mark.slow
def test_the_quickstart_keeps_its_promises(tmp_path):
    done, seconds = quickstart(tmp_path)
    assert seconds <= 90
    frame = results.load(tmp_path / "quickstart")
    central = frame[frame.unit == "example"]
    means = central.groupby(["epsilon", "clip_norm"]).test_accuracy.mean()
    assert means[1.0].max() >= 0.90
    assert means[8.0].max() >= 0.95
    assert means[np.inf].max() >= means[8.0].max()
    assert sorted(frame[frame.unit == "client"].clients_per_round.unique()) == [10, 50, 100]
    assert (frame.groupby("config_hash").seed.nunique() == 3).all()
    assert (frame.overflow_count == 0).all()
    private = frame[np.isfinite(frame.epsilon)]
    assert (private.epsilon_pld <= private.epsilon).all()
    assert (private.epsilon_pld >= 0.995 * private.epsilon).all()
    assert (private.epsilon_pld <= private.epsilon_rdp).all()
    for figure in ("privacy_utility_curve", "epsilon_clip_heatmap", "accuracy_by_clients"):
        for kind in ("png", "pdf"):
            assert (tmp_path / "quickstart" / "figures" / f"{figure}.{kind}").stat().st_size > 5000
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")}
    again, _ = quickstart(tmp_path)
    assert "All 25 jobs finished before" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")} == before
    assert "results.parquet" in done.stdout
