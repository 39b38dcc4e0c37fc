"""`dpjax deploy` over a real Flower: SuperLink, SuperNodes and clients as processes on this machine, over TLS."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from benchmarks.real_federation import ROOT, NoFlower, RealFederation, flower_python
from dpjax.cli.app import run

COMMON = (
    "data=digits", "model=logistic", "federated=fedavg", "federated.num_clients=4", "federated.clients_per_round=4",
    "optimizer.sampling=fixed_size", "optimizer.learning_rate=1", "optimizer.momentum=0", "federated.local_steps=2",
    "federated.client_learning_rate=0.1",
)  # fmt: skip


@pytest.fixture(scope="module")
def python():
    try:
        return flower_python()
    except NoFlower as error:
        pytest.skip(str(error))


LETTER = """
import jax.numpy as jnp, numpy as np
from experiments.deploy.flower_post import as_letter, as_record
from experiments.deploy.letters import Letter
dtypes = ("bfloat16", "float16", "float32", "int32", "float8_e4m3fn")
arrays = [np.asarray(jnp.arange(6, dtype=dtype).reshape(2, 3)) for dtype in dtypes]
arrays += [np.float32(3).reshape(()), np.zeros((0, 2), np.int32), np.arange(6.0).reshape(2, 3).T]
sent = Letter("train", 3, {"a": 1, "b": b"x", "c": [1, 2], "d": [b"q"], "e": [], "f": "t", "g": 1.5}, arrays)
got = as_letter(as_record(sent))
assert (got.kind, got.step, dict(got.says)) == (sent.kind, sent.step, dict(sent.says))
for one, other in zip(sent.arrays, got.arrays, strict=True):
    assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
"""


def test_a_letter_arrives_as_it_was_sent_whatever_its_dtypes(python):
    """Flower's arrays give bfloat16 back as raw bytes: findings/flwr_array_gives_bfloat16_back_as_raw_bytes.sh."""
    subprocess.run([python, "-c", LETTER], cwd=ROOT, check=True, timeout=120)


def test_processes_over_tls_are_the_simulation_and_a_stranger_is_not_let_in(python, tmp_path, capsys):
    noise = ("privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5", "optimizer.num_steps=2")
    with RealFederation(python, tmp_path / "four", *COMMON, *noise) as four:
        four.server("--seconds", "30")
        four.until("server", "listening")
        stranger = tmp_path / "stranger"
        assert run(["deploy", "key", str(stranger)]) == 0
        four.stranger(stranger)
        other = tmp_path / "other"
        assert four.dpjax("certificates", str(other), "127.0.0.1").returncode == 0
        wrong = four.dpjax("client", *four.client_words(four.names[0], other / "ca.pem"), "--wait", "1")
        assert wrong.returncode == 1
        assert re.search(
            r"error: --wait 1: the server at \S+ is not known to --ca .*; ask the coordinator", wrong.stderr
        )
        for name in four.names:
            four.client(name)
        server = four.wait("server")
        assert "round 2: 4 clients (2 of 2)" in server, server[-3000:]
        for name in four.names:
            assert "done: (ε=8 PLD" in four.wait(name, 30)
            assert (four.folder / name / "model" / "trained.safetensors").is_file()
            sent = json.loads((four.folder / name / "state" / "sent.json").read_text())
            assert sent["rounds"] == [0, 1]
        assert run(["deploy", "compare", str(four.folder / "plan.yaml"), str(four.folder / "run")]) == 0
        compared = capsys.readouterr().out
        assert float(re.search(r"difference of a parameter: (\S+)", compared)[1]) < 1e-5
        assert "the same sentence" in compared
        told = four.accounts()
        assert all(each["answered"] == 2 for each in told["clients"].values())
        (what,) = told["strangers"].values()
        assert "not let in" in what
        assert "a stranger, key" in server


def test_covered_rounds_go_on_without_who_vanishes_and_who_is_late(python, tmp_path):
    secure = ("privacy.epsilon=inf", "privacy.clip_norm=0.5", "federated.aggregation=secure", "optimizer.num_steps=3")
    with RealFederation(python, tmp_path / "four", *COMMON, *secure) as four:
        four.server("--seconds", "20")
        four.until("server", "listening")
        names = four.names
        four.client(names[0])
        four.client(names[1])
        four.client(names[2], "late")
        four.client(names[3], "vanishes")
        server = four.wait("server", 300)
        assert "(3 of 3)" in server, server[-3000:]
        told = four.accounts()["clients"]
        assert [told[name]["answered"] for name in names[:2]] == [3, 3]
        assert told[names[2]]["late"] >= 1
        assert told[names[2]]["answered"] < 3
        assert told[names[3]]["answered"] == 1
        assert told[names[3]]["missed"] >= 1
        row = json.loads((four.folder / "run" / "result.json").read_text())["rows"][0]
        assert row["aborted_count"] == 0
        assert row["dropped_count"] == sum(each["asked"] - each["answered"] for each in told.values())


@pytest.mark.slow  # tests/test_deploy.py has all of it in one process
def test_one_that_sends_nan_and_one_that_lies_about_its_size_and_a_server_that_is_killed(python, tmp_path):
    sizes = ("privacy.epsilon=inf", "federated.partition=quantity", "federated.weights=sizes", "optimizer.num_steps=4")
    with RealFederation(python, tmp_path / "four", *COMMON, *sizes) as four:
        names = four.names
        four.client(names[0])
        four.client(names[1])
        four.client(names[2], "nan")
        four.client(names[3], "size")
        four.server("--seconds", "20", "--least", "3")
        four.until("server", "(1 of 4)")
        os.killpg(four.processes["server"].pid, signal.SIGKILL)
        subprocess.run(["pkill", "-9", "-f", f"port {four.port}"], check=False)  # its SuperLink, as of a dead machine
        time.sleep(1)
        four.server("--seconds", "20", "--least", "3")
        server = four.wait("server", 300)
        assert "going on after round" in server
        assert "(4 of 4)" in server, server[-3000:]
        told = four.accounts()["clients"]
        assert told[names[0]]["answered"] >= 3
        assert told[names[2]]["not_finite"] >= 3
        assert told[names[3]]["answered"] == 0
        assert any("says that it has 1000000 rows" in why for why in told[names[3]]["refused"])
        row = json.loads((four.folder / "run" / "result.json").read_text())["rows"][0]
        assert row["rejected_count"] == told[names[2]]["not_finite"]
        assert row["diverged"] is False
