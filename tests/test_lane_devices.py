"""Lanes of a sweep over 8 forced host devices: the same bits as one by one, and no message between them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "on_devices" / "spread_lanes.py"
ROOT = Path(__file__).parent.parent


def run(*words, devices):
    flags = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return json.loads(run(PROGRAM, tmp_path_factory.mktemp("kept"), devices=8).splitlines()[-1])


@pytest.mark.parametrize(("lanes", "width"), [("map", [1, 8]), ("vmap", [2, 8]), ("2", [2, 8])])
def test_lanes_over_devices_are_those_of_one_device_to_the_last_bit(report, lanes, width):
    found = report["kinds"][lanes]
    assert report["devices"] == 8
    assert found["width"] == width
    assert all(found["equal"])
    assert all(found["kept_equal"])
    assert found["messages"] == 0


def test_lanes_over_devices_go_on_from_what_was_kept(report):
    assert report["killed"]
    assert all(report["resumed"])


def test_a_sweep_uses_all_devices_by_itself(tmp_path):
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "dose", "ill"])
        writer.writerows((20 + i % 50, (i * 7) % 13, "yes" if (i * 7) % 13 > 6 else "no") for i in range(300))
    words = [
        *("-m", "experiments.run", "-m", "data=own", f"data.path={table}", "data.label=ill", "data.classes=[no,yes]"),
        *("model=logistic", "optimizer.num_steps=8", "privacy.epsilon=2,8", "num_seeds=2", "figures=false"),
        *("privacy.accountant=rdp", "data.columns.age=[0,110]", "data.columns.dose=[0,20]", "lanes=map"),
    ]
    rows = {}
    for devices in (1, 4):
        run(*words, f"hydra.sweep.dir={tmp_path}/{devices}", devices=devices)
        found = [json.loads(path.read_text())["rows"] for path in (tmp_path / str(devices)).rglob("result.json")]
        columns = ("epsilon", "seed", "test_loss", "train_loss")
        rows[devices] = sorted(str([row[column] for column in columns]) for job in found for row in job)
    assert len(rows[1]) == 6  # two points and one without privacy
    assert rows[4] == rows[1]
