"""Two processes that meet over `jax.distributed` on loopback, of two devices each: one run, by real collectives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parent / "on_devices" / "two_processes.py"


@pytest.fixture(scope="module")
def reports():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    running = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(number), str(port)],
            env=os.environ | {"XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said[0][1][-2000:] + said[1][1][-2000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in said]  # gloo prints of its peers before


def test_there_are_two_processes_of_two_devices(reports):
    assert [(report["processes"], report["devices"]) for report in reports] == [(2, 4), (2, 4)]


@pytest.mark.parametrize("name", ["data", "both"])
def test_both_agree_with_each_other_and_with_one_device(reports, name):
    first, second = (report["runs"] for report in reports)
    assert first[name]["digest"] == second[name]["digest"]
    np.testing.assert_allclose(first[name]["w"], first["alone"]["w"], rtol=0, atol=1e-5)


def test_a_process_holds_its_part_alone(reports):
    for report in reports:
        assert report["runs"]["data"]["own"]["w"] == 1.0
        assert report["runs"]["both"]["own"]["w"] == 0.5
