"""The main job, end to end: configs, launchers, reruns, failures, kills, full disks."""

import errno
import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from dpjax import results
from dpjax.accounting import Mechanism
from dpjax.datasets import available, load
from dpjax.sampling import fixed_size_sampler, poisson_sampler
from dpjax.sweeps import Lane
from dpjax.types import HParams
from experiments import config, fields, identity, jobs, kept_jobs, lane_report, rows, setup
from experiments.border import as_typed, from_hydra
from experiments.privacy import as_run, check_aborts
from experiments.problems import choice
from experiments.progress import Progress
from experiments.rows import algorithm
from experiments.task import Job

QUICK = ["model=logistic", "optimizer.num_steps=2", "privacy.accountant=rdp", "figures=false"]
ROOT = Path(__file__).parent.parent


def rows_of(folder, name="default"):
    """Every row on disk by (overrides without the folder's name, seed)."""
    found = {}
    for path in (folder / name).glob("*/result.json"):
        for row in results.read_job_result(path.parent)[0]:
            overrides = " ".join(o for o in row["overrides"].split() if not o.startswith(("results_dir", "hydra")))
            found[overrides, row["seed"]] = row
    return found


# ---- every config -------------------------------------------------------------------------------------------------

FETCHED = {entry.name for entry in available() if entry.fetched_from}
DOCUMENTS = {entry.name for entry in available() if entry.task == "document"}
OPTIONS = [
    f"{group.name}={option.stem}"
    for group in sorted(config.CONF.iterdir())
    if group.is_dir() and group.name != "hydra"
    for option in sorted(group.glob("*.yaml"))
]


RULES = [option.removeprefix("clipping=") for option in OPTIONS if option.startswith("clipping=")]
KINDS = [
    ["federated=scaffold", "optimizer=fedadam", "federated.partition=shards"],
    [
        "federated=fedprox",
        "federated.adaptive_proximal=true",
        "federated.partition=quantity",
        "federated.num_buckets=2",
    ],
    [
        "federated=personalized",
        "federated.partition=sampled",
        "federated.records_per_client=8",
        "model=mlp",
        "model.hidden=[8]",
    ],
    ["federated.local_epochs=1", "federated.straggler_rate=0.5", "federated.dropout_rate=0.5"],
    ["federated.weights=sizes", "privacy.epsilon=inf", "federated.partition=dirichlet"],
    ["federated=secure", "clipping=automatic", "optimizer.sampling=fixed_size"],
]

# A run says of all its options what it says of one. Experiments run at a point of their own grids.
TOGETHER = {
    "optimizer=adam": ["model=logistic", "federated=fednova"],
    "optimizer=adam_corrected": ["model=scattering"],
    "optimizer=adamw": ["model=logistic", "federated=reptile"],
    "optimizer=fedyogi": ["model=logistic", "federated=fedsgd"],
    "experiment=aggregation_cost": ["federated=fedavg", "optimizer=fedavgm"],
    "experiment=breast_cancer": ["data=breast_cancer"],
    "experiment=dp_ftrl": ["privacy.noise=correlated", "privacy.factorization=banded"],
    "experiment=fedavg_dirichlet": ["federated.partition=dirichlet", "federated.alpha=0.1"],
    "experiment=quickstart": ["model=mlp"],
}
IN_FEDERATED_CONFIGS = [
    "federated=distributed_privacy",
    "federated=inside_clients",
    "federated=local_privacy",
    "privacy=dp_ftrl",
]
RUN_BY_ANOTHER = {
    *(option for kind in KINDS for option in kind),
    *(f"clipping={rule}" for rule in RULES),
    *(option for partners in TOGETHER.values() for option in partners),
    *IN_FEDERATED_CONFIGS,
}


@pytest.mark.parametrize("choice", IN_FEDERATED_CONFIGS)
def test_what_is_left_to_another_file_is_run_there(choice):
    assert f'row(tmp_path, "{choice}"' in (ROOT / "tests/test_federated_configs.py").read_text()


@pytest.mark.parametrize("choice", OPTIONS)
def test_every_config_composes_and_runs_two_steps(choice, tmp_path, request):
    quick = ["optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp"]
    # A CNN takes 40 s to be evaluated on 70,000 pictures; it runs as model=cnn.
    heavy = choice == "experiment=fashion_mnist" or choice.startswith("experiment=published")
    own_model = choice.startswith(("model", "experiment")) and not heavy
    # A logistic model is all head: nothing would be left to share.
    small = [] if own_model or choice == "federated=personalized" else ["model=logistic"]
    if choice in ("data=shakespeare", "model=text"):  # characters are read by one model, which reads nothing else
        small = ["data=shakespeare", "model=text"]
    if choice.startswith("data") or choice == "model=text":
        quick.append("privacy.delta=1e-6")  # below 1/rows of the largest
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [choice, *small, *quick]))
        if choice in TOGETHER:
            cfg = from_hydra(compose("config", [choice, *small, *TOGETHER[choice], *quick]))
    if choice in (
        "governance=off",
        "governance=local",
        "tracker=none",
        "tracker=wandb",
        "data=digits",
        "privacy=dp",
        "optimizer=sgd",
        "federated=central",
    ):
        return  # trackers and ledgers have tests of their own; the others are the defaults, which model=mlp runs
    if choice in RUN_BY_ANOTHER:
        return
    if "adam" in choice or "yogi" in choice:  # optax leaves this promotion to jax
        jax.config.update("jax_numpy_dtype_promotion", "standard")
        request.addfinalizer(lambda: jax.config.update("jax_numpy_dtype_promotion", "strict"))
    if choice.startswith("tuning") or cfg.model.name == "pretrained" or cfg.data.name in DOCUMENTS:
        return  # test_language.py runs these with a checkpoint and texts of its own; below with the real ones
    if cfg.data.name not in FETCHED:
        pytest.skip(f"{cfg.data.name} is not on this machine; it composes")
    (outcome,) = jobs.run_group([Job(cfg, tmp_path, choice)])
    assert outcome.error is None
    assert math.isfinite(outcome.rows[0]["test_loss"])
    assert results.read_job_result(tmp_path) == (outcome.rows, identity.digest(cfg))


@pytest.mark.slow
@pytest.mark.parametrize("choice", [option for option in OPTIONS if option.startswith("experiment=lm_")])
def test_every_language_experiment_runs_two_steps(choice, tmp_path):
    quick = ["optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp", "optimizer.sampling_rate=0.01"]
    quick += ["data.num_evaluated=16", "model.max_length=32", "synthesis.num_texts=32", "synthesis.num_tokens=8"]
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [choice, *quick]))
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    try:
        (outcome,) = jobs.run_group([Job(cfg, tmp_path, choice)])
    finally:
        jax.config.update("jax_numpy_dtype_promotion", "strict")
    assert outcome.error is None
    assert math.isfinite(outcome.rows[0]["test_loss"])


# ---- rules of clipping ---------------------------------------------------------------------------------------------


def test_rows_say_how_they_were_clipped_and_adapting_costs_no_epsilon(main, tmp_path):
    axes = [f"clipping={','.join(RULES)}", "privacy.epsilon=2", "num_seeds=1"]
    assert main("-m", *QUICK, *axes)[0] == 0
    rows = {row["clipping"]: row for row in rows_of(tmp_path).values()}
    assert len(rows_of(tmp_path)) == len(rows) == 5  # one reference for all rules
    assert rows.keys() == {None, "flat", "per_layer", "automatic(γ=0.01)", "adaptive(q=0.5)"}
    flat, adaptive = rows["flat"], rows["adaptive(q=0.5)"]
    for name in ("noise_multiplier", "epsilon_pld", "epsilon_rdp", "clip_norm", "delta"):
        assert adaptive[name] == flat[name]
    assert flat["final_clip_norm"] == flat["clip_norm"] == 1.0
    assert 0 < abs(adaptive["final_clip_norm"] - 1.0) < 0.2  # after the first of two steps
    assert rows[None]["final_clip_norm"] == math.inf
    losses = {name: row["test_loss"] for name, row in rows.items()}
    assert losses.pop("per_layer") == pytest.approx(losses["flat"], rel=1e-5)  # a logistic model is one layer
    assert len({round(loss, 5) for loss in losses.values()}) == 4


def test_a_budget_that_a_noisy_count_cannot_share_is_refused_in_words(main, tmp_path):
    small = ["clipping=adaptive", "optimizer.sampling_rate=0.01", "optimizer.num_steps=50", "num_seeds=1"]
    code, _, err = main("-m", *QUICK, *small, "privacy.epsilon=0.1,8")
    assert code == 1
    assert "clipping.count_stddev=0.719" in err
    assert "privacy.epsilon=0.1 takes a noise multiplier of" in err
    assert sorted(row["epsilon"] for row in rows_of(tmp_path).values()) == [8.0, math.inf]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clipping.name", "ghost"),
        ("clipping.stability", 0),
        ("clipping.target_quantile", 1.5),
        ("clipping.learning_rate", 0),
        ("clipping.count_stddev", -1),
    ],
)
def test_bad_rules_of_clipping_are_named(name, value):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = compose("config", [f"{name}={value}"])
    with pytest.raises(config.ConfigError, match=f"{name}={value}"):
        from_hydra(cfg)


# ---- launchers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def traces(monkeypatch):
    """Counts how often a training run is traced."""
    count = []
    real = setup.make_train
    monkeypatch.setattr(setup, "make_train", lambda *a, **k: count.append(1) or real(*a, **k))
    return count


def test_launchers_agree_and_a_group_is_traced_once(main, tmp_path, traces):
    axes = ["privacy.epsilon=2", "federated.clients_per_round=null,20", "num_seeds=2", "federated.local_steps=2"]
    batched, basic = tmp_path / "batched", tmp_path / "basic"
    assert main("-m", *QUICK, *axes, folder=batched)[0] == 0
    assert len(traces) == 2  # central and federated, each with its reference and two seeds
    assert main("-m", "hydra/launcher=basic", *QUICK, *axes, folder=basic)[0] == 0
    assert len(traces) == 2 + 4
    ours, theirs = rows_of(batched), rows_of(basic)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 2 * (2 + 2)
    timing = {"wall_seconds", "epoch_seconds", "compile_seconds", "peak_memory_mib", "timestamp", "config", "overrides"}
    for key, row in ours.items():
        assert row.keys() == theirs[key].keys()
        for name in row.keys() - timing:
            exact = row[name] is None or isinstance(row[name], str)
            same = row[name] if exact else pytest.approx(row[name], rel=1e-5, abs=1e-6)
            assert theirs[key][name] == same, (key, name)


def test_a_sweep_over_traced_fields_is_one_program_and_its_table_means_over_seeds(main, tmp_path, traces):
    axes = ["privacy.epsilon=1,8", "privacy.clip_norm=0.1,1", "optimizer.learning_rate=0.1,0.5", "num_seeds=3"]
    code, out, err = main("-m", *QUICK, *axes)
    assert code == 0
    assert len(traces) == 1
    assert "Group 1 of 1: 10 jobs, one program." in err
    frame = results.load(tmp_path / "default")
    assert len(frame) == (8 + 2) * 3
    assert frame["config_hash"].nunique() == 10
    table = results.summary(frame)
    assert len(table) == 10
    point = {"epsilon": 8.0, "clip_norm": 0.1, "learning_rate": 0.5}
    match = (frame[list(point)] == list(point.values())).all(axis=1)
    losses = frame[match]["test_loss"]
    assert sorted(frame[match]["seed"]) == [0, 1, 2]
    assert losses.std() > 0
    line = table[(table[list(point)] == list(point.values())).all(axis=1)].iloc[0]
    assert line["n"] == 3
    assert line["test_loss_mean"] == pytest.approx(losses.mean())
    assert line["test_loss_std"] == pytest.approx(losses.std())
    assert "results.parquet" in out


DESIGN = [
    "experiment",
    "config_hash",
    "overrides",
    "seed",
    "git_revision",
    "unit",
    "adjacency",
    "sampling",
    "sampling_rate",
    "num_steps",
    "epsilon",
    "delta",
    "epsilon_pld",
    "epsilon_rdp",
    "noise_multiplier",
    "clip_norm",
    "learning_rate",
    "clients_per_round",
    "num_clients",
    "overflow_count",
    "test_accuracy",
    "train_accuracy",
    "test_loss",
    "train_loss",
    "wall_seconds",
    "compile_seconds",
    "peak_memory_mib",
    "device",
]


def test_rows_carry_every_column_and_the_reference_has_no_clipping_and_no_noise(main, tmp_path):
    federated = ["federated.clients_per_round=20", "federated.local_steps=2"]
    assert main("-m", *QUICK, *federated, "privacy.epsilon=3", "num_seeds=1")[0] == 0
    private, reference = sorted(rows_of(tmp_path).values(), key=lambda row: row["epsilon"])
    for row in (private, reference):
        assert row.keys() >= set(DESIGN)
        assert [name for name in DESIGN if row[name] is None] == []
        assert row["unit"] == "client"
        assert row["overflow_count"] == 0
        assert row["sampling_rate"] == 20 / 400
    assert (private["clip_norm"], private["epsilon"]) == (1.0, 3.0)
    assert private["noise_multiplier"] > 0.1
    assert private["epsilon_pld"] <= private["epsilon_rdp"] <= 3.0
    assert (reference["clip_norm"], reference["noise_multiplier"]) == (math.inf, 0.0)
    assert (reference["epsilon"], reference["epsilon_pld"], reference["epsilon_rdp"]) == (math.inf,) * 3


def test_each_job_has_the_folder_that_hydra_gives_it(main, tmp_path):
    assert main("-m", *QUICK, "privacy.epsilon=1,2", "num_seeds=1")[0] == 0
    folders = [path.parent for path in (tmp_path / "default").glob("*/result.json")]
    assert len(folders) == 3
    for folder in folders:
        assert {p.name for p in (folder / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
        assert "test accuracy" in (folder / "run.log").read_text()
        (row,) = results.read_job_result(folder)[0]
        assert f"num: {['inf', '1', '2'].index(f'{row["epsilon"]:g}')}\n" in (folder / ".hydra/hydra.yaml").read_text()


# ---- reruns -------------------------------------------------------------------------------------------------------


def test_a_rerun_skips_what_is_finished_and_runs_what_changed(main, tmp_path, monkeypatch):
    sweep = ["-m", *QUICK, "privacy.epsilon=1,2"]
    ran = []
    real = jobs.run_group
    monkeypatch.setattr(
        jobs, "run_group", lambda js, tell: ran.append([j.cfg.privacy.epsilon for j in js]) or real(js, tell)
    )
    assert main(*sweep, "num_seeds=1")[0] == 0
    assert main(*sweep, "num_seeds=1")[0] == 0
    assert ran == [[math.inf, 1.0, 2.0]]
    assert main("-m", *QUICK, "privacy.epsilon=1,2,4", "num_seeds=1")[0] == 0  # only what is new
    assert ran[1:] == [[4.0]]
    assert main(*sweep, "num_seeds=2")[0] == 0  # more seeds take the old rows' place
    assert ran[2:] == [[math.inf, 1.0, 2.0]]
    assert sorted((row["epsilon"], row["seed"]) for row in rows_of(tmp_path).values()) == [
        *((1.0, seed) for seed in (0, 1)), *((2.0, seed) for seed in (0, 1)), (4.0, 0), (math.inf, 0), (math.inf, 1)
    ]  # fmt: skip
    (broken,) = (tmp_path / "default").glob("*epsilon=1*/result.json")
    broken.write_text(broken.read_text()[:-100])  # cut short, as by a machine that lost its power
    assert main(*sweep, "num_seeds=2")[0] == 0
    assert ran[3:] == [[1.0]]
    changed = tmp_path / "conf/experiment"
    changed.mkdir(parents=True)
    for steps in (2, 3, 3):  # the same overrides, another config
        (changed / "mine.yaml").write_text(
            f"# @package _global_\nexperiment: mine\noptimizer: {{num_steps: {steps}}}\nmodel: {{name: logistic}}\n"
        )
        search = f"hydra.searchpath=[file://{tmp_path}/conf]"
        assert main("-m", search, "experiment=mine", "privacy=none", "num_seeds=1", "figures=false")[0] == 0
    assert len(ran) == 4 + 2
    assert [row["num_steps"] for row in rows_of(tmp_path, "mine").values()] == [3]


def test_a_job_killed_between_its_result_and_hydras_files_gets_them_on_the_rerun(main, tmp_path):
    sweep = ["-m", *QUICK, "privacy.epsilon=1", "num_seeds=1", "hydra.sweeper.reference=false"]
    assert main(*sweep)[0] == 0
    (result,) = (tmp_path / "default").glob("*/result.json")
    before = result.stat().st_mtime_ns
    for path in (result.parent / ".hydra").iterdir():
        path.unlink()
    (result.parent / ".hydra").rmdir()
    assert main(*sweep)[0] == 0
    assert (result.parent / ".hydra/config.yaml").exists()
    assert result.stat().st_mtime_ns == before


# ---- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_failing_job_is_named_and_the_others_finish(main, tmp_path):
    code, out, err = main("-m", *QUICK, "privacy.epsilon=1,-1,2", "num_seeds=1")
    assert code == 1
    assert "Traceback" not in err
    assert "1 of 4 jobs failed; 3 are finished and on disk" in err
    assert "privacy.epsilon=-1.0 must be > 0; use inf to train without privacy." in err
    assert "privacy.epsilon=-1 num_seeds=1" in err
    assert sorted(row["epsilon"] for row in rows_of(tmp_path).values()) == [1.0, 2.0, math.inf]
    assert "non-private" in out  # the table of what finished


def test_delta_is_checked_for_each_job_and_not_only_the_reference(main, tmp_path):
    code, _, err = main("-m", *QUICK, "privacy.delta=1e-5,1e-3", "privacy.epsilon=1", "num_seeds=1")
    assert code == 1
    assert "privacy.delta=0.001 must be below 1/population = 1/1438 examples" in err
    deltas = [row["delta"] for row in rows_of(tmp_path).values() if row["epsilon"] == 1]
    assert deltas == [1e-5]


def test_two_jobs_of_one_folder_are_refused(main):
    code, _, err = main("-m", *QUICK, "num_seeds=1,2", "hydra.sweeper.reference=false")
    assert code == 1
    assert "1 of 2 jobs failed" in err
    assert "num_seeds, lanes, figures, notify, checkpoint_seconds, tracker and governance name no folder" in err


def test_a_group_that_is_too_large_runs_job_by_job(main, tmp_path, monkeypatch):
    real = kept_jobs.compile_lanes
    widths = []

    def compile_lanes(*args, num_lanes, **options):
        widths.append(num_lanes)
        if num_lanes > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")
        return real(*args, num_lanes=num_lanes, **options)

    monkeypatch.setattr(kept_jobs, "compile_lanes", compile_lanes)
    code, _, err = main("-m", *QUICK, "privacy.epsilon=1,2", "num_seeds=1")
    assert (code, widths) == (0, [3, 1, 1, 1])
    assert "3 jobs failed together, so each runs alone: memory ran out" in err
    assert len(rows_of(tmp_path)) == 3


def test_a_full_disk_is_named_and_what_was_finished_stays(main, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def fsync(handle):
        calls.extend(["result"] * ("result.json" in os.readlink(f"/proc/self/fd/{handle}")))
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr("dpjax.keeping.os.fsync", fsync)
    code, _, err = main("-m", *QUICK, "privacy.epsilon=1,2,3,4", "num_seeds=1")
    assert code == 1
    said = [line for line in err.splitlines() if line.startswith("error")]
    assert len(said) == 1
    assert "result.json: No space left on device; free space on that disk and run the same command again" in said[0]
    assert "Traceback" not in err
    assert len(rows_of(tmp_path)) == 2
    monkeypatch.undo()
    assert not list((tmp_path / "default").glob("*/.*.tmp"))


def test_a_disk_that_fills_up_in_hydras_own_files_is_named(main, tmp_path, monkeypatch):
    def save(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hydra.core.utils._save_config", save)
    code, _, err = main("-m", *QUICK, "privacy.epsilon=1,2,3", "num_seeds=1")
    assert code == 1
    assert f"error: the disk of {tmp_path}" in err
    assert "Traceback" not in err


def start(folder):
    axes = ["privacy.epsilon=1,2,3,4,5,6,7,8", "num_seeds=1", "optimizer.num_steps=1000"]
    words = [sys.executable, "-m", "experiments.run", "-m", "model=logistic", "privacy.accountant=rdp", "figures=false"]
    command = [*words, *axes, f"results_dir={folder}"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit "ignore"
    )
    return process, command[3:]


def wait_for(folder, number, process):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("default/*/result.json"))) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_then_kill_9_then_resume(main, tmp_path, monkeypatch):
    process, arguments = start(tmp_path)
    wait_for(tmp_path, 1, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    finished = len(rows_of(tmp_path))
    assert process.returncode == 130, err
    assert 1 <= finished < 9
    assert err.strip().splitlines()[-1].startswith("interrupted: ")
    assert f"{finished} job" in err
    assert "Traceback" not in err

    process, _ = start(tmp_path)
    wait_for(tmp_path, finished + 1, process)
    process.kill()
    process.communicate()
    kept = {path: path.read_bytes() for path in tmp_path.glob("default/*/result.json")}
    assert finished < len(kept) < 9

    ran = []
    real = jobs.run_group
    monkeypatch.setattr(jobs, "run_group", lambda js, tell: ran.extend(js) or real(js, tell))
    code, _, err = main(*arguments[:-1])
    assert code == 0
    assert f"{len(kept)} job" in err
    assert len(ran) == 9 - len(kept)
    assert len(rows_of(tmp_path)) == 9
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_an_interrupt_in_a_callback_of_the_garbage_collector_is_neither_lost_nor_printed(monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: printed.append(lost.exc_type))

    def callback(phase, info):
        if phase == "start":
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Progress(1) as progress:
            gc.callbacks.append(callback)
            try:
                gc.collect()  # Python drops the interrupt, and goes on
            finally:
                gc.callbacks.remove(callback)
            with pytest.raises(KeyboardInterrupt):
                progress.tell("training", 1, 2)
            assert printed == []
            sys.unraisablehook(SimpleNamespace(exc_type=ValueError))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        sys.unraisablehook(SimpleNamespace(exc_type=KeyError))
        assert printed == [ValueError, KeyError]  # anything else is, and afterwards all
    finally:
        signal.signal(signal.SIGINT, before)


def test_interrupted_in_process(main, tmp_path, monkeypatch):
    real = jobs._finish
    done = []

    def finish(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args)

    monkeypatch.setattr(jobs, "_finish", finish)
    code, out, err = main("-m", *QUICK, "privacy.epsilon=1,2,3", "num_seeds=1")
    assert code == 130
    assert "interrupted: 2 jobs are finished and on disk" in err
    assert "results.parquet" in out
    assert len(rows_of(tmp_path)) == 2


# ---- single runs --------------------------------------------------------------------------------------------------


def test_a_single_run_ends_in_its_table_and_is_skipped_the_second_time(main, tmp_path):
    code, out, _ = main(*QUICK, "num_seeds=2")
    assert (code, "results.parquet" in out) == (0, True)
    (path,) = tmp_path.rglob("result.json")
    assert [row["seed"] for row in json.loads(path.read_text())["rows"]] == [0, 1]
    before = path.stat().st_mtime_ns
    code, _, err = main(*QUICK, "num_seeds=2")
    assert (code, path.stat().st_mtime_ns) == (0, before)
    assert "All 1 job finished before" in err


def test_help_names_every_field_and_group(main):
    code, out, _ = main("--help")
    assert code == 0
    for name, *_ in fields.describe():
        assert name in out
    for option in OPTIONS:
        assert option.partition("=")[2] in out
    assert "results/single/EXPERIMENT/OVERRIDES" in " ".join(out.split())


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_help_cuts_no_word_at_any_width(main, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = main("--help")
    assert "…" not in out
    printed = " ".join(out.split())
    for name, _, _, meaning in fields.describe():
        assert name in printed
        assert [word for word in meaning.split() if word not in printed.split()] == [], name


# ---- federated runs --------------------------------------------------------------------------------------------------

SMALL = ["federated=fedavg", "federated.num_clients=60", "federated.clients_per_round=12", "num_seeds=1"]


def test_secure_and_plain_runs_are_one_run_to_their_precision(main, tmp_path):
    axes = ["federated.aggregation=plain,secure,homomorphic", "privacy.epsilon=20", "privacy.delta=1e-4"]
    axes += ["optimizer.sampling=fixed_size"]
    assert main("-m", *QUICK, *SMALL, *axes)[0] == 0
    rows = {r["aggregation"]: r for r in rows_of(tmp_path).values() if r["epsilon"] == 20}
    assert rows.keys() == {"plain", "secure", "homomorphic"}
    for name in ("secure", "homomorphic"):
        assert rows[name]["test_loss"] == pytest.approx(rows["plain"]["test_loss"], rel=1e-3)
        assert rows[name]["noise_multiplier"] == rows["plain"]["noise_multiplier"]
        assert 0 < rows[name]["aggregation_error"] < 1e-3
        assert rows[name]["uplink_bytes"] > 4 * 650
    assert rows["plain"]["uplink_bytes"] == 4 * 650
    assert rows["secure"]["aborted_count"] == rows["secure"]["wrapped_count"] == 0
    assert rows["homomorphic"]["encrypt_seconds"] > 0
    references = {r["aggregation"]: r["clip_norm"] for r in rows_of(tmp_path).values() if r["epsilon"] == math.inf}
    assert references == {"plain": math.inf, "secure": 1.0, "homomorphic": 1.0}


@pytest.mark.parametrize("relation", ["add_or_remove_one", "zero_out", "replace_one"])
def test_aborts_that_nothing_pays_for_are_refused(relation):
    def check(sampler, *overrides):
        with initialize_config_dir(str(config.CONF), version_base="1.3"):
            more = [*SMALL, "federated.aggregation=secure", *overrides, f"privacy.adjacency={relation}"]
            cfg = as_typed(compose("config", more))
        group = Mechanism.from_sampler(sampler, unit="client", adjacency=relation, num_steps=cfg.optimizer.num_steps)
        check_aborts(as_run(group, cfg.federated, sampler, 0.0), cfg.privacy, cfg.federated)

    often = poisson_sampler(60, 0.2, num_steps=100)
    with pytest.raises(config.ConfigError, match=r"^federated.threshold=0.5 lets some round be aborted.*fixed_size"):
        check(often)
    check(often, "privacy.epsilon=inf")
    check(fixed_size_sampler(60, 12), "federated.dropout_rate=0.3")
    check(poisson_sampler(6000, 0.2, num_steps=100), "federated.clients_per_round=1200")


@pytest.mark.parametrize("choice", KINDS, ids=lambda choice: choice[0])
def test_every_kind_of_client_runs(choice, tmp_path, request):
    if "optimizer=fedadam" in choice:  # optax leaves this promotion to jax
        jax.config.update("jax_numpy_dtype_promotion", "standard")
        request.addfinalizer(lambda: jax.config.update("jax_numpy_dtype_promotion", "strict"))
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [*QUICK, *SMALL, "privacy.epsilon=8", *choice]))
    (outcome,) = jobs.run_group([Job(cfg, tmp_path, "")])
    assert outcome.error is None
    (row,) = outcome.rows
    assert math.isfinite(row["test_loss"])
    assert 0 <= row["client_accuracy_p10"] <= 1
    assert row["num_clients"] == 60
    assert (row["dropped_count"] or 0) > 0 or "dropout" not in str(choice)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("federated.algorithm=fedsgdx", "is not known"),
        ("federated.weights=sizes", "are private and would change the sensitivity"),
        ("federated.dropout_rate=1.5", r"must be in \[0, 1\)"),
        ("federated.local_epochs=0", "must be ≥ 1; leave it null"),
        ("federated.num_buckets=0", "must be ≥ 1"),
        ("optimizer.adaptivity=0", "must be finite and > 0"),
    ],
)
def test_bad_federated_fields_are_named(override, words):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = compose("config", [*SMALL, override])
    with pytest.raises(config.ConfigError, match=f"^{override.split('=')[0]}=.*{words}"):
        from_hydra(cfg)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["federated.partition=sampled"], "federated.records_per_client=None must be given"),
        (["federated.bits=40"], "federated.bits=40 must be from 2 to 32"),
        (["federated.threshold=1.5"], r"federated.threshold=1.5 must be in \(0, 1\]; it is a share"),
        (["clipping=adaptive"], "clipping.name=adaptive is not for federated.aggregation=secure"),
        (["federated.clients_per_round=1"], "federated.clients_per_round=1 must be at least 2|federated.threshold"),
    ],
)
def test_bad_aggregations_are_named(overrides, words):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = compose("config", [*SMALL, "federated.aggregation=secure", *overrides])
    with pytest.raises(config.ConfigError, match=words):
        from_hydra(cfg)


def test_natural_clients_need_owners(tmp_path):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [*QUICK, *SMALL, "federated.partition=natural"]))
    with pytest.raises(config.ConfigError, match=r"federated\.partition=natural needs to know whose the rows are"):
        setup.build(cfg)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["federated=scaffold"], "scaffold"),
        (["federated=fedprox", "federated.proximal=1"], "fedprox(1)"),
        (["optimizer=fedadam"], "fedadam"),
        (["optimizer=fedyogi"], "fedyogi"),
        (["optimizer=fedadam", "federated=fedprox"], "fedprox(0.1)+adam"),
    ],
)
def test_an_algorithm_is_named_after_clients_and_server(overrides, name):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [*SMALL, *overrides]))
    assert algorithm(cfg) == name


@pytest.mark.parametrize(
    "overrides",
    [["engine=bookkeeping"], ["federated=fedavg", "federated.partition=natural", "federated.clients_per_round=3"]],
    ids=["central", "roles"],
)
def test_a_text_model_trains_centrally_and_by_role(overrides, monkeypatch, tmp_path):
    ids = np.random.default_rng(0).integers(0, 5, (40, 6), dtype=np.int32)
    plays = replace(
        load("digits"), name="plays", input_shape=(6,), num_classes=5, class_names=(),
        train_inputs=ids, train_labels=ids[:, -1], train_units=np.arange(40, dtype=np.int32) // 8,
        test_inputs=ids[:8], test_labels=ids[:8, -1], test_units=np.zeros(8, np.int32),
    )  # fmt: skip
    monkeypatch.setattr(choice, "_load", lambda name, by_owner: plays)
    quick = ["optimizer.num_steps=30", "num_seeds=1", "privacy.epsilon=inf", "federated.num_clients=5"]
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", ["model=text", "model.context=2", *quick, *overrides]))
    (outcome,) = jobs.run_group([Job(cfg, tmp_path, "")])
    assert outcome.error is None
    assert outcome.rows[0]["train_accuracy"] > 0.9  # the next character is the last one again


def _one_run(tmp_path, *overrides):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [*QUICK, "num_seeds=1", *overrides]))
    return next(iter(jobs.run_group([Job(cfg, tmp_path, "")])))


def test_a_given_noise_multiplier_is_what_runs_and_its_epsilon_is_stated(tmp_path):
    row = _one_run(tmp_path, "privacy.noise_multiplier=3", "privacy.epsilon=20", "data.validation=0.2").rows[0]
    assert row["noise_multiplier"] == 3.0
    assert row["epsilon_rdp"] <= row["epsilon"] <= row["epsilon_rdp"] * 1.01
    assert row["epsilon"] < 2
    assert 0 < row["validation_accuracy"] < 1
    assert len(row["eval_signal_to_noise"]) == len(row["eval_steps"])


@pytest.mark.parametrize(
    ("noise", "fix"),
    [
        ("0.3", "set privacy.epsilon beside it"),
        ("1e-9", "beyond what accountants resolve, which is 500; give more noise"),
    ],
)
def test_a_noise_multiplier_without_a_fitting_epsilon_is_refused_before_it_trains(noise, fix, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_train", None)
    outcome = _one_run(tmp_path, f"privacy.noise_multiplier={noise}")
    assert fix in str(outcome.error)


def test_a_noise_multiplier_that_a_noisy_count_cannot_share_is_refused_before_it_compiles(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(kept_jobs, "compile_lanes", lambda *args, **options: compiled.append(args))
    outcome = _one_run(tmp_path, "clipping=adaptive", "privacy.noise_multiplier=1e6")
    assert "clipping=adaptive cannot share" in str(outcome.error)
    assert compiled == []


@pytest.mark.parametrize("why", ["a parameter", "the test loss", "the training loss", None])
def test_a_run_that_diverged_is_right_about_nothing_whatever_its_logits_were(why):
    """By one rule: a model whose loss is infinite may have logits that decide."""

    def split(loss):
        return {"accuracy": np.array([0.5, 0.4]), "loss": np.array([1.0, loss])}

    evaluations = {
        "train": split(math.inf if why == "the training loss" else 1.5),
        "test": split(math.nan if why == "the test loss" else 1.5),
    }
    counts = {"finite": np.bool_(why != "a parameter"), "overflowed": 0, "num_rejected": 0, "clip_norm": 1.0}
    report = lane_report.Report(np.array([1, 2]), evaluations, counts, {}, np.eye(2), np.array([0.3, 0.7]), None, ())
    lane = Lane(0, report, 1.0)
    row = rows.outputs(lane)
    measured = (0.4, 0.4, 0.5, False) if why is None else (0.0, 0.0, 0.0, True)
    assert (row["test_accuracy"], row["train_accuracy"], row["client_accuracy_mean"], row["diverged"]) == measured
    tested = SimpleNamespace(test_labels=np.array([0, 1]), commonest=1, target=None)
    assert (rows.test_scores(lane, tested, row["diverged"])["test_auroc"] is None) == (why is not None)
    assert math.isnan(row["test_loss"]) == math.isnan(row["train_loss"]) == (why is not None)
    assert row["eval_test_accuracy"] == [0.5, 0.4]  # curves are what was measured


def test_rows_held_out_train_nothing_and_are_evaluated():
    from dpjax.datasets.selection import hold_out

    dataset = load("digits")
    rest, held = hold_out(dataset, 0.1)
    assert held is not None
    assert len(held.labels) + len(rest.train_labels) == len(dataset.train_labels)
    seen = {row.tobytes() for row in rest.train_inputs}
    assert sum(row.tobytes() in seen for row in held.inputs) == 0
    with pytest.raises(ValueError, match=r"^share=0\.0001 of 1438 leaves one side of dataset=digits empty"):
        hold_out(dataset, 0.0001)


def test_owners_held_out_take_all_their_rows_with_them():
    import dataclasses

    from dpjax.datasets.selection import hold_out

    dataset = load("digits")
    rows = len(dataset.train_labels)
    owners = np.random.default_rng(0).integers(0, 20, rows).astype(np.int32)
    owned = dataclasses.replace(dataset, train_units=owners, num_units=20, num_train_units=20)
    rest, held = hold_out(owned, 0.25)
    assert held is not None
    assert rest.train_units is not None
    assert (rest.num_train_units, set(rest.train_units)) == (15, set(range(15)))
    assert len(held.labels) == rows - len(rest.train_labels)


def test_every_hyper_parameter_has_one_source(tmp_path):
    cfg = config.Config()
    read = [*fields.hparams_in(cfg), *jobs._hparams_of_privacy(jobs.Point(Job(cfg, tmp_path, ""), 1.0))]
    assert sorted(read) == sorted(HParams._fields)
    marked = [spec.name for _, spec in fields.specs(config.Config) if spec.metadata.get("hparam")]
    assert len(marked) == len(set(marked))
