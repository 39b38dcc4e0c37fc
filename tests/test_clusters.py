"""Sweeps past one machine: shares of groups, nodes that must fit, and real Ray and SLURM clusters under faults."""

import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.two_nodes import kill_node, no_slurm, ray_cluster, slurm_cluster, wait_for
from dpjax.results import load
from experiments.config import Config, ConfigError
from experiments.launching import on_slurm, slurm_tasks
from experiments.launching.on_ray import RayExecutor, RayOptions
from experiments.launching.on_slurm import SlurmExecutor
from experiments.launching.shares import Share, cut
from experiments.launching.site import NodeError, installed, join, make_site
from experiments.launching.slurm_work import SlurmOptions
from experiments.launching.worker import STATES_SECONDS, Ended, run_share, work
from experiments.task import Job, Outcome

SWEEP = (
    *("model=logistic", "privacy.epsilon=1,2,4,8", "privacy.clip_norm=0.1,0.3,1", "optimizer.num_steps=8000"),
    *("num_seeds=1", "privacy.accountant=rdp", "figures=false", "checkpoint_seconds=1", "name=sweep"),
)
JOBS = 13
TIMES = ["wall_seconds", "epoch_seconds", "compile_seconds", "peak_memory_mib", "timestamp", "tokens_per_second"]
PLACES = ["overrides", "config", "git_revision"]
"""What may differ: folders, and whether a test beside this one has just changed a file of the checkout."""


def jobs(number, **fields):
    return [Job(Config(seed=i, **fields), Path(f"/nowhere/{i}"), f"seed={i}") for i in range(number)]


class Fake:
    """A task whose jobs end as they are told."""

    def __init__(self, ends=None, done=()):
        self.ends, self.done, self.ran = ends or {}, done, []

    def finished(self, cfg, folder):
        return [{"seed": cfg.seed}] if cfg.seed in self.done else None

    def run(self, jobs, tell):
        for job in jobs:
            self.ran.append(job)
            end = self.ends.get(job.cfg.seed)
            yield Outcome(job, [] if end else [{"seed": job.cfg.seed}], end)


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("sizes", [(13,), (1, 1), (40, 3), (5, 5, 5)])
def test_every_job_is_in_one_share_of_its_group(slots, sizes):
    groups = [[f"{g}.{i}" for i in range(size)] for g, size in enumerate(sizes)]
    for points in (None, 1, 4):
        shares = cut(groups, slots, points)
        assert [job for share in shares for job in share.jobs] == [job for group in groups for job in group]
        assert all(len({job[0] for job in share.jobs}) == 1 for share in shares)
        if points:
            assert max(len(share.jobs) for share in shares) <= points
        else:
            assert len(shares) <= max(len(groups), slots + len(groups) / 2)


def test_a_lost_share_leaves_what_has_not_ended_and_counts_it_once():
    share = Share(jobs(3))
    assert [o.rows for o in share.outcomes(Ended(1, [{"a": 1}]))] == [[{"a": 1}]]
    assert share.outcomes(Ended(1, [{"a": 2}])) == []  # told twice
    rest = share.rest()
    assert ([job.overrides for job in rest.jobs], rest.attempts) == (["seed=0", "seed=2"], 1)
    given_up = rest.give_up("it died")
    assert [o.job.overrides for o in given_up] == ["seed=0", "seed=2"]
    assert str(given_up[0].error).startswith("the node of this job was lost 2 times (it died);")
    assert not rest.open


def test_a_node_runs_what_is_not_finished_keeps_states_and_says_what_is_worth_a_line(capsys):
    def noisy(jobs, tell):
        print("note: a thing.", file=sys.stderr)
        print("noise", file=sys.stderr)
        yield from Fake.run(task, jobs, tell)

    task = Fake({2: ValueError("no such thing.")}, done={0})
    task.run = noisy
    ended = list(run_share(jobs(3), task, ["the clock is wrong."]))
    assert [(e.number, e.rows) for e in ended] == [(0, [{"seed": 0}]), (1, [{"seed": 1}]), (2, [])]
    assert str(ended[2].error) == "no such thing."
    assert [line for e in ended for line in e.said] == ["note: the clock is wrong.", "note: a thing."]
    assert {job.cfg.checkpoint_seconds for job in task.ran} == {STATES_SECONDS}
    assert "noise" in capsys.readouterr().err  # the node's own log has all of it


def test_an_error_that_no_other_process_can_read_is_its_sentence():
    class Odd(ValueError):  # local: it can't be unpickled elsewhere
        pass

    full = OSError(28, "No space left on device", "a/b")
    ended = list(run_share(jobs(2), Fake({0: Odd("x is odd."), 1: full})))
    assert (type(ended[0].error), str(ended[0].error)) == (NodeError, "x is odd.")
    assert pickle.loads(pickle.dumps(ended[1].error)).errno == 28


def test_a_node_that_does_not_fit_computes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = make_site(tmp_path / "sweep")
    assert make_site(tmp_path / "sweep").token == here.token  # nodes of an earlier driver still look for it
    assert join(here) == []
    with pytest.raises(
        NodeError, match=r"^node \S+ has jax 0\.1, and this sweep was started with \d.*; install the same"
    ):
        join(here, versions=installed() | {"jax": "0.1"})
    with pytest.raises(NodeError, match=r"^node \S+ has dpjax none, and this sweep"):
        join(here, versions={"python": installed()["python"]})
    with pytest.raises(NodeError, match=r"does not see .*sweep as this machine does; .* results_dir=FOLDER\.$"):
        join(here._replace(token="0" * 32), wait=0)
    with pytest.raises(NodeError, match=r"does not see "):
        join(here._replace(folder=tmp_path / "elsewhere"), wait=0)
    with pytest.raises(NodeError, match=r"has no folder .*, from where this sweep was started"):
        join(here._replace(directory=tmp_path / "gone"))
    (slow,) = join(here, clock=lambda: here.clock - 90)
    assert "is 90 s behind" in slow
    (ended,) = work(pickle.dumps(here._replace(versions={"dpjax": "9"})), b"of a version that nobody can read")
    assert (ended.number, type(ended.error)) == (None, NodeError)


def test_a_node_has_the_drivers_environment_and_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_DATA_DIR", "here")
    monkeypatch.setenv("SECRET_KEY", "x")
    monkeypatch.chdir(tmp_path)
    here = make_site(tmp_path)
    assert here.environment["DPJAX_DATA_DIR"] == "here"
    assert "SECRET_KEY" not in here.environment
    monkeypatch.setenv("DPJAX_DATA_DIR", "there")
    join(here)
    assert os.environ["DPJAX_DATA_DIR"] == "here"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RayOptions(address="ray://head:10001"), r"^hydra\.launcher\.address=ray://head:10001 is of Ray's client"),
        (RayOptions(cpus_per_task=-1), r"^hydra\.launcher\.cpus_per_task=-1 must be ≥ 0\."),
        (RayOptions(cpus_per_task=float("nan")), r"^hydra\.launcher\.cpus_per_task=nan must be ≥ 0\."),
        (RayOptions(cpus_per_task=0), r"asks for nothing"),
        (RayOptions(points_per_task=0), r"^hydra\.launcher\.points_per_task=0 must be ≥ 1, or null\."),
        (RayOptions(retries=-1), r"^hydra\.launcher\.retries=-1 must be ≥ 0\."),
        (SlurmOptions(timeout_min=0), r"^hydra\.launcher\.timeout_min=0 must be ≥ 1\."),
        (SlurmOptions(max_parallel=0), r"^hydra\.launcher\.max_parallel=0 must be ≥ 1\."),
        (
            SlurmOptions(timeout_min=1),
            r"signal_delay_s=120 must be less than timeout_min=1, which is 60 s; set .*=20\.$",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        RayExecutor(options) if isinstance(options, RayOptions) else SlurmExecutor(options)


def test_what_slurms_queue_says(monkeypatch):
    def answer(stdout, code=0, stderr=""):
        monkeypatch.setattr(
            slurm_tasks.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, code, stdout, stderr)
        )
        return {name: state.name for name, state in slurm_tasks.states(["7_0", "7_1", "8"]).items()}

    assert answer("7_0 PENDING\n7_1 CANCELLED\n8 TIMEOUT\n") == {"7_0": "ALIVE", "7_1": "CANCELLED", "8": "ENDED"}
    assert answer("7_0 COMPLETING\n") == {"7_0": "ALIVE", "7_1": "ENDED", "8": "ENDED"}
    assert answer("", 1, "slurm_load_jobs error: Invalid job id specified") == dict.fromkeys(
        ("7_0", "7_1", "8"), "ENDED"
    )
    assert answer("", 1, "Unable to contact slurm controller") == {}  # nobody knows: tasks go on
    answer("7 Priority\n8 PartitionConfig\n8 PartitionConfig\n")
    (line,) = slurm_tasks.waits(["7_0", "8"])
    assert line.startswith("SLURM's job 8 waits: PartitionConfig; where that can't pass, scancel 8 and change ")
    answer("", 1, "sinfo: error: no DNS\nslurm_load_partitions: error: Unable to contact slurm controller")
    assert slurm_tasks.no_controller() == "Unable to contact slurm controller"
    answer("main up\n")
    assert slurm_tasks.no_controller() == ""


def command(folder, *words):
    return [sys.executable, "-m", "experiments.run", "-m", *SWEEP, f"results_dir={folder}", *words]


def rows(folder):
    frame = load(folder / "sweep").sort_values(["epsilon", "clip_norm"], ignore_index=True)
    return frame.drop(columns=[name for name in (*TIMES, *PLACES) if name in frame])


def finished(folder):
    return len(list((folder / "sweep").glob("*/result.json")))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    subprocess.run(command(folder), check=True, capture_output=True, timeout=600)
    return rows(folder)


def same(found, expected):
    assert len(found) == JOBS
    differ = [name for name in expected if not found[name].astype(str).equals(expected[name].astype(str))]
    assert differ == []


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_ray_cluster_loses_its_driver_and_a_node_and_no_row(tmp_path, local):
    """To the last bit the table of one machine: the driver is killed, then a node, in mid-sweep."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with ray_cluster(tmp_path / "ray") as cluster:
        words = command(tmp_path, "hydra/launcher=ray_batched", f"hydra.launcher.address={cluster.address}")
        first = subprocess.Popen(words, env=cluster.environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for("first result", lambda: finished(tmp_path) >= 1, 240)
        kill(first)
        before = finished(tmp_path)
        second = subprocess.Popen(words, env=cluster.environment, stderr=subprocess.PIPE, text=True)
        wait_for("next result", lambda: finished(tmp_path) > before, 240)
        kill_node(cluster.node)
        said = second.communicate(timeout=240)[1]
    assert second.returncode == 0, said
    assert "finished before and skipped" in said
    assert "2 tasks on Ray, 2 nodes." in said
    assert "A task was lost (its node died)" in said
    same(rows(tmp_path), local)


@pytest.mark.skipif(bool(no_slurm()), reason=no_slurm() or "never")
def test_a_slurm_requeues_twice_loses_a_task_a_node_and_the_driver_and_no_row(tmp_path, local):
    """To the last bit the table of one machine."""
    with slurm_cluster(tmp_path / "slurm") as cluster:
        words = command(tmp_path, "hydra/launcher=slurm_batched", "hydra.launcher.max_parallel=2")
        first = subprocess.Popen(words, env=cluster.environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for("first result", lambda: finished(tmp_path) >= 1, 240)
        kill(first)
        second = subprocess.Popen(words, env=cluster.environment, stderr=subprocess.PIPE, text=True)
        cluster.ask("scontrol", "update", "nodename=n1", "state=drain", "reason=test")
        for _ in range(2):
            requeue(cluster)
        kill_a_task(tmp_path / "sweep")
        cluster.ask("scontrol", "update", "nodename=n1", "state=resume")
        said = second.communicate(timeout=240)[1]
    assert second.returncode == 0, said
    assert "of the jobs already: these are followed." in said
    assert "ended early" in said
    assert not (tmp_path / "sweep" / on_slurm.FOLDER).exists()
    same(rows(tmp_path), local)


def requeue(cluster):
    """Requeue a running task, and wait until it runs again: SLURM itself would wait two minutes."""
    name = cluster.ask("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split()[0]
    cluster.ask("scontrol", "requeue", name)

    def runs():
        with suppress(subprocess.CalledProcessError):  # while the one before still ends
            cluster.ask("scontrol", "update", f"jobid={name}", "StartTime=now")
        return cluster.ask("squeue", "-h", "-r", "-j", name, "-o", "%T").strip() == "RUNNING"

    time.sleep(1)
    wait_for("requeued task", runs, 60)


def kill_a_task(folder):
    """Kill the process of the task that began last, as a machine without memory does: it has jobs left."""

    def found():
        """Python's own: srun, which has the same words in its command line, is there before it."""
        listed = subprocess.run(["pgrep", "-f", f"submitit.core._submit {folder}"], capture_output=True, text=True)
        return [int(number) for number in listed.stdout.split() if name_of(number).startswith("python")]

    wait_for("task's process", found, 60)
    os.kill(max(found()), signal.SIGKILL)


def name_of(process):
    with suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text().strip()
    return ""
