"""No stale number: a result is of the bytes that were read, not of the names that a config gives them."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import optax
import pytest
from hydra import compose, initialize_config_dir

from dpjax.cli import main
from dpjax.report.contents import gather
from dpjax.results import load, read_job_result, summary, write_job_result
from dpjax.results.provenance import made_by_other_code
from dpjax.results.sheet import sheets
from dpjax.results.table import frame_of
from experiments import config, finish, identity, inputs, jobs, kept_jobs, naming, rows, run
from experiments.border import as_typed, from_hydra
from experiments.config import DataConf
from experiments.fields import as_dict
from experiments.plugins import has_own_optimizer, load_plugin, own_optimizer, own_rule
from experiments.problems.choice import _load
from experiments.setup import rule_of
from experiments.task import Job

STEP = "import optax\n\n\ndef make_optimizer(hparams, cohort_size):\n    return optax.sgd({})\n"
RULE = "from dpjax.clipping import {0}\n\n\ndef clipping_rule():\n    return {0}({1})\n"
QUICK = ["model=logistic", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp"]


def made(*overrides, typed=from_hydra):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        return typed(compose("config", [*QUICK, *map(str, overrides)]))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def mails(path: Path, label: str) -> Path:
    rows = "".join(f"mail number {i},{label if i % 2 else 'ham'}\n" for i in range(20))
    return written(path, f"text,label\n{rows}")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_edited_plugin_is_run_again_and_an_untouched_one_is_not(tmp_path):
    plugin = written(tmp_path / "mine.py", STEP.format("1.0"))
    cfg, folder = made(f"plugin={plugin}"), tmp_path / "out"
    (before,) = jobs.run_group([Job(cfg, folder, "")])
    assert run.finished(cfg, folder) == before.rows
    plugin.write_text(STEP.format("0.0"))  # of the same size, within the same second
    assert run.finished(cfg, folder) is None
    (after,) = jobs.run_group([Job(cfg, folder, "")])
    assert after.rows[0]["test_loss"] == pytest.approx(2.302585, rel=1e-5)  # ln 10: nothing moved
    assert before.rows[0]["test_loss"] != after.rows[0]["test_loss"]
    assert before.rows[0]["plugin"] != after.rows[0]["plugin"]
    assert before.rows[0]["inputs"] != after.rows[0]["inputs"]
    assert run.finished(cfg, folder) == after.rows


def test_what_a_plugin_imports_is_part_of_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "my_steps"
    package.mkdir()
    written(package / "__init__.py", "")
    part = written(package / "rate.py", "RATE = 1.0\n")
    text = "import numpy\nimport optax\nfrom my_steps import rate\n\n\ndef make_optimizer(hparams, cohort_size):\n"
    plugin = written(tmp_path / "mine.py", f"{text}    return optax.sgd(rate.RATE)\n")
    assert set(inputs.plugin_files(str(plugin))) == {str(plugin), str(package / "__init__.py"), str(part)}
    cfg = made(f"plugin={plugin}")
    before, files = identity.digest(cfg), inputs.inputs(cfg)
    step = own_optimizer(cfg.plugin, None, 1.0).update(1.0, (own_optimizer(cfg.plugin, None, 1.0).init(1.0)))[0]
    part.write_text("RATE = 0.5\n")
    assert identity.digest(cfg) != before
    assert [name for name, hashed in inputs.inputs(cfg).items() if files[name] != hashed] == [str(part)]
    optimizer = own_optimizer(cfg.plugin, None, 1.0)  # the new one, not what was imported before
    assert optimizer.update(1.0, optimizer.init(1.0))[0] == step / 2


LAZY = (
    "import importlib\n\nimport optax\n\n\ndef make_optimizer(hparams, cohort_size):\n"
    "    return optax.sgd(importlib.import_module('{}').RATE)\n"
)


def test_what_a_plugin_imports_only_as_it_is_called_is_part_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_late").mkdir()
    written(tmp_path / "my_late" / "__init__.py", "")
    part = written(tmp_path / "my_late" / "rate.py", "RATE = 1.0\n")
    plugin = written(tmp_path / "mine.py", LAZY.format("my_late.rate"))
    cfg, folder = made(f"plugin={plugin}"), tmp_path / "out"
    assert str(part) not in inputs.inputs(cfg)
    (before,) = jobs.run_group([Job(cfg, folder, "")])
    assert json.loads(before.rows[0]["inputs"])[str(part)] == sha256(part)
    assert run.finished(cfg, folder) == before.rows
    inputs.forget_plugin(str(plugin))  # as another process, which has called nothing yet
    assert run.finished(cfg, folder) == before.rows
    part.write_text("RATE = 0.0\n")
    assert run.finished(cfg, folder) is None
    assert run.finished(made(f"plugin={plugin}", "resume=config"), folder) == before.rows
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["results", "show", str(folder)])
    assert f"1 row is of another {part} than the one that is there now" in capsys.readouterr().err
    (after,) = jobs.run_group([Job(cfg, folder, "")])
    assert after.rows[0]["test_loss"] == pytest.approx(2.302585, rel=1e-5)  # ln 10: nothing moved
    assert before.rows[0]["plugin"] != after.rows[0]["plugin"]
    part.write_text("RATE = 1.0\n")  # in one process
    assert own_optimizer(cfg.plugin, None, 1.0).update(1.0, own_optimizer(cfg.plugin, None, 1.0).init(1.0))[0] == -1.0


def test_two_edits_within_a_second_are_two(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(tmp_path)
    part = tmp_path / "my_quick.py"
    plugin = str(written(tmp_path / "mine.py", LAZY.format("my_quick")))
    for rate in ("1.0", "0.0", "2.0"):
        part.write_text(f"RATE = {rate}\n")
        os.utime(part, (1_700_000_000, 1_700_000_000))  # of one second, and of one length
        inputs.forget_plugin(plugin)
        step = own_optimizer(plugin, None, 1.0)
        assert step.update(1.0, step.init(1.0))[0] == -float(rate)
    assert not list(tmp_path.rglob("my_quick*.pyc"))


def test_a_module_that_two_plugins_import_as_they_are_called_is_part_of_both(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    part = written(tmp_path / "my_shared.py", "RATE = 1.0\n")
    for name in ("one", "two"):
        plugin = written(tmp_path / f"{name}.py", f"# {name}\n{LAZY.format('my_shared')}")
        load_plugin(str(plugin))
    for name in ("one", "two", "one"):
        plugin = str(tmp_path / f"{name}.py")
        own_optimizer(plugin, None, 1.0)
        assert inputs.plugin_inputs(plugin) == {plugin: sha256(Path(plugin)), str(part): sha256(part)}


def test_a_module_that_is_imported_relatively_or_by_its_package_is_part_of_a_plugin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "my_package"
    package.mkdir()
    written(package / "__init__.py", "import importlib\n\nimportlib.import_module('my_package.found')\n")
    written(package / "found.py", "")
    written(package / "rate.py", "RATE = 1.0\n")
    plugin = written(package / "mine.py", "from .rate import RATE\n\n\n" + STEP.format("RATE"))
    load_plugin("my_package.mine")
    read = inputs.plugin_inputs("my_package.mine")
    assert read == {
        str(each): sha256(each) for each in (plugin, *(package / f"{n}.py" for n in ("__init__", "found", "rate")))
    }
    written(package / "rate.py", "RATE = 2.0\n")
    assert own_optimizer("my_package.mine", None, 1.0).update(1.0, (optax.EmptyState(),) * 2)[0] == -2.0


def test_a_module_that_changes_once_it_was_imported_fails_its_job(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    part = written(tmp_path / "my_moving.py", "RATE = 1.0\n")
    plugin = written(tmp_path / "mine.py", LAZY.format("my_moving"))
    build = jobs.build

    def edited(*args):
        made = build(*args)
        part.write_text("RATE = 0.0\n")
        return made

    monkeypatch.setattr(jobs, "build", edited)
    with pytest.raises(
        config.ConfigError, match=r"my_moving\.py changed while it was read; run the same command again"
    ):
        list(jobs.run_group([Job(made(f"plugin={plugin}"), tmp_path / "out", "")]))


def test_what_only_some_calls_import_is_refused_and_an_edit_while_it_is_compiled_is_no_part(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path / "my_second.py", "RATE = 1.0\n")
    seldom = "import optax\n\ncalls = []\n\n\ndef make_optimizer(hparams, cohort_size):\n    calls.append(1)\n"
    seldom += "    if len(calls) > 1:\n        __import__('my_second')\n    return optax.sgd(1.0)\n"
    plugin = written(tmp_path / "mine.py", seldom)
    with pytest.raises(config.ConfigError, match=r"my_second\.py in one call and not in the one before; import it at"):
        list(jobs.run_group([Job(made(f"plugin={plugin}"), tmp_path / "out", "")]))
    plugin.write_text(STEP.format("0.0"))
    compile_lanes = kept_jobs.compile_lanes

    def edited(*args, **kwargs):
        plugin.write_text("x = (")
        return compile_lanes(*args, **kwargs)

    monkeypatch.setattr(kept_jobs, "compile_lanes", edited)
    cfg = made(f"plugin={plugin}")
    (outcome,) = jobs.run_group([Job(cfg, tmp_path / "out", "")])
    assert outcome.rows[0]["test_loss"] == pytest.approx(2.302585, rel=1e-5)
    assert run.finished(cfg, tmp_path / "out") is None


def test_a_plugin_may_be_a_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = written(tmp_path / "my_rule.py", RULE.format("automatic_clipping", "0.5"))
    assert own_rule("my_rule").stability == 0.5
    cfg = made("plugin=my_rule")
    before = identity.digest(cfg)
    path.write_text(RULE.format("automatic_clipping", "2.5"))
    assert identity.digest(cfg) != before
    assert own_rule("my_rule").stability == 2.5
    # One that is installed, or part of the project, has a source too.
    for name, end in (("yaml", "yaml/__init__.py"), ("experiments.task", "experiments/task.py")):
        read = inputs.plugin_inputs(name)
        assert any(each.endswith(end) for each in read)
        assert "absent" not in read.values()


@pytest.mark.parametrize("as_folder", [False, True])
def test_replaced_labels_are_another_data_set(tmp_path, as_folder):
    folder = tmp_path / "mails"
    folder.mkdir()
    path = mails(folder / "train.csv", "spam")
    name = folder if as_folder else path
    cfg = made(f"data.name={name}")
    before = identity.digest(cfg)
    assert "spam" in _load(DataConf(name=str(name))).class_names
    mails(path, "maps")
    assert identity.digest(cfg) != before
    assert "maps" in _load(DataConf(name=str(name))).class_names  # nor does this process remember
    if as_folder:
        between = identity.digest(cfg)
        mails(folder / "test.csv", "spam")
        assert identity.digest(cfg) != between
        written(folder / "README.md", "of no consequence")


def test_a_file_with_its_old_times_and_size_is_still_another(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_SETTLED_SECONDS", 0.0)
    path = mails(tmp_path / "mails.csv", "spam")
    os.utime(path, (time.time() - 1000,) * 2)
    cfg = made(f"data.name={path}")
    before, stat = identity.digest(cfg), path.stat()
    mails(path, "maps")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert identity.digest(cfg) != before


def test_a_large_file_is_read_once_where_its_times_can_be_trusted(tmp_path, monkeypatch):
    path = mails(tmp_path / "mails.csv", "spam")
    read, hashed = [], inputs.hashlib.file_digest
    monkeypatch.setattr(inputs.hashlib, "file_digest", lambda *args: read.append(1) or hashed(*args))
    cfg = made(f"data.name={path}")
    monkeypatch.setattr(inputs, "_SETTLED_SECONDS", 0.0)
    assert {identity.digest(cfg) for _ in range(3)} == {identity.digest(cfg)}
    assert len(read) == 1
    monkeypatch.setattr(inputs, "_SETTLED_SECONDS", 1e9)  # too young to be trusted
    other = made(f"data.name={mails(tmp_path / 'others.csv', 'spam')}")
    assert {identity.digest(other) for _ in range(3)} == {identity.digest(other)}
    assert len(read) == 1 + 4


@pytest.mark.parametrize("changed", ["model-00001-of-00002.safetensors", "config.json", "tokenizer.json"])
def test_every_file_of_a_checkpoint_counts(tmp_path, changed):
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"):
        written(tmp_path / name, name)
    cfg = made("model.name=pretrained", f"model.checkpoint={tmp_path}")
    before = identity.digest(cfg)
    written(tmp_path / changed, "other")
    assert identity.digest(cfg) != before
    synthetic = made("model.name=pretrained", "model.task=synthetic", f"synthesis.checkpoint={tmp_path}")
    before = identity.digest(synthetic)
    written(tmp_path / changed, "another")
    assert identity.digest(synthetic) != before


@pytest.mark.parametrize(
    "overrides",
    [
        ["plugin=/nowhere/mine.py"],
        ["plugin=no_such_module.at_all"],
        ["data.name=/nowhere/mails.csv"],
        ["data.name=hub:owner/name"],
        ["data.name=no_such_data"],
        ["data.name=mails.csv?colour=red"],
        ["model.name=pretrained", "model.checkpoint=/nowhere"],
        ["model.name=pretrained", "model.checkpoint=owner/name"],
    ],
)
def test_what_is_not_there_has_a_digest_and_its_job_says_why(overrides):
    quoted = [f"{name}='{value}'" for name, _, value in (each.partition("=") for each in overrides)]
    cfg = made(*quoted, typed=as_typed)
    assert identity.digest(cfg) != identity.digest(made())
    assert set(inputs.inputs(cfg).values()) == {"absent"}


def test_a_file_that_changes_while_it_is_read_fails_its_job(tmp_path, monkeypatch):
    plugin = written(tmp_path / "mine.py", STEP.format("1.0"))
    cfg, build = made(f"plugin={plugin}"), jobs.build

    def edited(*args):
        plugin.write_text(STEP.format("0.0"))
        return build(*args)

    monkeypatch.setattr(jobs, "build", edited)
    with pytest.raises(config.ConfigError, match=r"mine\.py changed while it was read; run the same command again"):
        list(jobs.run_group([Job(cfg, tmp_path / "out", "")]))


def test_a_job_whose_saved_files_were_deleted_is_not_finished(tmp_path):
    for overrides, name in (
        (["save_model=true"], "model/trained.safetensors"),
        (["model.task=synthetic"], "synthetic-0.csv"),
    ):
        cfg, folder = made(*overrides, "num_seeds=1"), tmp_path / overrides[0]
        write_job_result(folder, [{"seed": 0, "inputs": "{}"}], identity.digest(cfg))
        assert run.finished(cfg, folder) is None
        (folder / name).parent.mkdir(exist_ok=True)
        written(folder / name, "x")
        assert run.finished(cfg, folder)
        (folder / name).unlink()
        assert run.finished(cfg, folder) is None


def test_results_of_other_code_are_made_again_unless_asked_to_keep_them(tmp_path, monkeypatch):
    cfg = made()
    row = {"seed": 0, "config": identity.written_config(cfg)}
    write_job_result(tmp_path, [row], identity.digest(cfg))
    assert run.finished(cfg, tmp_path) == [row]
    monkeypatch.setattr(inputs, "SAME_NUMBERS_SINCE", "99.0")
    assert run.finished(cfg, tmp_path) is None
    assert run.finished(made("resume=config"), tmp_path) == [row]
    assert run.finished(made("resume=config", "privacy.epsilon=2"), tmp_path) is None
    # Of before digests knew of code and files.
    write_job_result(tmp_path, [row], identity.digest(cfg).partition("-")[0])
    assert run.finished(cfg, tmp_path) is None
    assert run.finished(made("resume=config"), tmp_path) == [row]


def test_a_field_that_a_later_version_adds_makes_no_result_stale_at_its_default(tmp_path):
    cfg = made("privacy.epsilon=2")
    older = as_dict(cfg)
    del older["optimizer"]["ema"], older["synthesis"]
    row = {"seed": 0, "config": json.dumps(older)}
    digest = f"{'0' * 16}-{identity.digest(cfg).partition('-')[2]}"
    write_job_result(tmp_path, [row], digest)
    assert run.finished(cfg, tmp_path) == [row]
    for changed in ("optimizer.ema=0.9", "synthesis.num_texts=9", "privacy.epsilon=1", "seed=1"):
        assert run.finished(made("privacy.epsilon=2", changed), tmp_path) is None
    for spoilt in (None, "", "[]", "{", json.dumps({**older, "gone": 1})):
        write_job_result(tmp_path, [row | {"config": spoilt}], digest)
        assert run.finished(cfg, tmp_path) is None


def test_which_results_count_is_not_part_of_a_result():
    assert identity.digest(made("resume=config")) == identity.digest(made())
    with pytest.raises(config.ConfigError, match="resume=yes is not known; use same or config"):
        made("resume='yes'")


@pytest.mark.parametrize(
    ("overrides", "columns"),
    [
        ([], {"optimizer": "sgd(momentum=0.9)", "momentum": 0.9, "hidden": None, "plugin": None, "clipping": "flat"}),
        (
            ["optimizer=adam", "optimizer.second_decay=0.99", "optimizer.ema=0.5", "optimizer.warmup_steps=1"],
            {"optimizer": "adam(b2=0.99, eps=1e-8, warmup=1, ema=0.5)", "momentum": None},
        ),
        (["model=mlp", "model.hidden=[4,3]", "clipping=per_layer"], {"hidden": "[4, 3]", "clipping": "per_layer"}),
        (["clipping=automatic"], {"clipping": "automatic(γ=0.01)"}),
        (["clipping=adaptive"], {"clipping": "adaptive(q=0.5)"}),
        (
            [RULE.format("automatic_clipping", "0.5")],
            {"clipping": "automatic(γ=0.5)", "momentum": 0.9},
        ),
        ([RULE.format("per_layer_clipping", ""), "clipping=automatic"], {"clipping": "per_layer"}),
        ([RULE.format("group_clipping", "str.upper")], {"clipping": "groups"}),
        ([STEP.format("1.0")], {"optimizer": "mine.py:make_optimizer", "momentum": None, "clipping": "flat"}),
    ],
)
def test_a_row_names_what_really_ran(overrides, columns, tmp_path, monkeypatch):
    if overrides and "\n" in overrides[0]:
        overrides = [f"plugin={written(tmp_path / 'mine.py', overrides[0])}", *overrides[1:]]
    cfg = made(*overrides)
    read = set() if has_own_optimizer(cfg.plugin) else None
    told = naming.named(cfg, inputs.inputs(cfg), rule_of(cfg.plugin, cfg.clipping), read, cfg.model.name)
    assert {name: told[name] for name in columns} == columns
    assert (told["plugin"] or "").startswith("mine.py@" if cfg.plugin else "")


def test_a_federation_whose_server_is_a_plugin_is_not_named_after_the_configs(tmp_path):
    plugin = written(tmp_path / "mine.py", STEP.format("1.0"))
    federal = ["federated=fedavg", "optimizer=adam"]
    assert rows.algorithm(made(*federal), own=False) == "fedadam"
    assert rows.algorithm(made(*federal, f"plugin={plugin}"), own=True) == "fedavg+mine"


def test_a_row_carries_its_code_and_the_hashes_of_what_it_read(tmp_path):
    plugin = written(tmp_path / "mine.py", RULE.format("automatic_clipping", "0.5"))
    cfg = made(f"plugin={plugin}")
    (outcome,) = jobs.run_group([Job(cfg, tmp_path / "out", "")])
    (row,) = outcome.rows
    assert row["code"] == inputs.SAME_NUMBERS_SINCE
    assert json.loads(row["inputs"]) == inputs.inputs(cfg)
    assert row["clipping"] == "automatic(γ=0.5)"
    found = read_job_result(tmp_path / "out")
    assert found is not None
    assert found[1] == identity.digest(cfg)


def test_a_table_names_what_other_code_and_other_files_have_made(tmp_path, capsys):
    plugin, data = written(tmp_path / "mine.py", "x = 1\n"), mails(tmp_path / "mails.csv", "spam")
    read = {str(plugin): sha256(plugin), str(data): sha256(data), "/nowhere/a.csv": "ab"}
    row = {"epsilon": 1.0, "test_accuracy": 0.9, "code": inputs.SAME_NUMBERS_SINCE, "inputs": json.dumps(read)}
    rows = [row | {"seed": seed, "git_revision": "abc"} for seed in range(3)]
    write_job_result(tmp_path / "out" / "0", rows, "d")

    def shown():
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["results", "show", str(tmp_path / "out")])
        return capsys.readouterr().err.splitlines()

    assert shown() == []
    plugin.write_text("x = 2\n")
    rows[0] |= {"inputs": json.dumps(read | {"/nowhere/a.csv": "cd"}), "git_revision": "def"}
    rows[1] |= {"code": "0.0.1"}
    write_job_result(tmp_path / "out" / "0", rows, "d")
    told = shown()
    assert [line.partition(":")[0] for line in told] == ["note"] * 4
    assert "1 row is of dpjax 0.0.1, whose numbers may differ" in told[0]
    assert f"3 rows are of another {plugin} than the one that is there now" in told[1]
    assert "rows are of 2 different contents of /nowhere/a.csv" in told[2]
    assert "rows are of 2 git revisions: " in told[3]
    with pytest.raises(SystemExit):
        finish.finish_interrupted(tmp_path / "out")  # a sweep's own table says so too
    assert capsys.readouterr().err.splitlines()[:4] == told
    assert "other code" in " ".join(notice.text for notice in gather(tmp_path / "out").notices)


def test_seeds_of_other_code_are_another_point_and_old_rows_are_read():
    row = {"epsilon": 1.0, "config_hash": "a", "test_accuracy": 0.9}
    rows = [row | {"seed": 0, "code": "1"}, row | {"seed": 1, "code": "2"}, row | {"seed": 2}]
    assert summary(frame_of(rows))["n"].tolist() == [1, 1, 1]
    (sheet,) = sheets(frame_of(rows))
    assert {field.header: field.cells for field in sheet.fields}["code"] == ["1", "2", "–"]
    published = load(Path(__file__).parents[1] / "paper/results/cpu.parquet")
    assert [line.partition(":")[0] for line in made_by_other_code(published)] == ["rows are of 2 git revisions"]
    assert len(sheets(published)) > 0
