"""Tables of many rows: worked out by what rows share, written column by column, and read in place of 10,000 files."""

import json
import math
import os
import random

import numpy as np
import pandas as pd
import pytest

from dpjax import results
from dpjax.report.config_leaves import config_leaves
from dpjax.report.contents import gather
from dpjax.report.packing import pack
from dpjax.report.page import as_json as as_page_json
from dpjax.report.thinning import CURVE_BYTES, thinned
from dpjax.results import load, result_files, table_files
from dpjax.results.as_json import as_json
from dpjax.results.claims import claim
from dpjax.results.distinct import Distinct, Table
from dpjax.results.frames import frame_of
from dpjax.results.result_files import write_job_result
from dpjax.results.schema import encode
from dpjax.results.table import collected_with, write_frame
from dpjax.results.table_files import read_table


def any_rows(number, seed=0):
    draw = random.Random(seed)
    choose = {
        "epsilon": [0.5, 1.0, math.inf, None],
        "epsilon_pld": [0.4871, None],
        "epsilon_rdp": [0.5123, None, math.inf],
        "delta": [1e-5, None],
        "unit": ["example", "client"],
        "sampling": ["poisson", None],
        "sampling_rate": [0.25, 0.1],
        "num_steps": [10, 20],
        "learnt": ["range of age", None],
        "overflow_count": [0, 3, None],
        "tuning_accounted": [True, False, None],
        "test_accuracy": [0.5, 0.25, float("nan")],
        "own": [True, 1, 1.0, "1", None, [1, 2], {"a": 1}],
    }
    return [{"seed": i} | {name: draw.choice(values) for name, values in choose.items()} for i in range(number)]


def test_what_rows_share_is_what_each_row_says_by_itself():
    frame = frame_of(any_rows(400))
    table = Table(frame)
    for function in (claim, lambda row: row.get("own"), lambda row: (row["seed"], row.get("none"), "own" in row)):
        wanted = [function(row) for row in table.records()]
        assert table.each(function).told() == wanted
    assert [type(cell) for cell in table.each(lambda row: row["own"]).told()] == [
        type(row["own"]) for row in table.records()
    ]


def test_a_function_is_called_for_kinds_of_rows_and_not_for_rows():
    calls = []

    def described(row):
        calls.append(1)
        return f"{row['unit']}{row.get('learnt') if row['epsilon'] == 1.0 else ''}"

    table = Table(frame_of(any_rows(3000)))
    assert table.each(described).told() == [described(row) for row in table.records()]
    # Two units × five ε, looked at again where the first row did not read all: never once a row.
    assert len(calls) - 3000 < 60


def test_missing_cells_of_all_kinds_are_none_and_others_are_as_python_has_them():
    table = Table(frame_of([{"seed": 1, "epsilon": 1.0, "plugin": "a", "diverged": True}, {"seed": None}]))
    row, empty = sorted(table.records(), key=lambda row: row["seed"] is None)
    assert (row["seed"], row["epsilon"], row["plugin"], row["diverged"]) == (1, 1.0, "a", True)
    assert type(row["seed"]) is int
    assert type(row["diverged"]) is bool
    assert all(empty[name] is None for name in ("seed", "epsilon", "plugin", "eval_steps"))


def test_json_is_that_of_the_rows_to_the_letter():
    rows = [row | {"eval_test_loss": [0.5, math.nan, math.inf], "eval_steps": []} for row in any_rows(50)]
    rows += [{"seed": 99, "config": '{"a": "é"}', "own": [{"b": [1, {}]}, []]}, {"seed": 98, "norm_counts": [1, 2]}]
    frame = frame_of(rows)
    cells = [{name: encode(name, cell) for name, cell in row.items()} for row in Table(frame).records()]
    document = {"format": "dpjax-results", "version": 1, "rows": cells}
    assert as_json(frame).decode() == json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n"


@pytest.fixture
def folder(tmp_path):
    for job in range(3):
        rows = [
            {"seed": seed, "epsilon": 1.0, "test_accuracy": 0.5, "overrides": f"job={job}", "mine": job + 0.5,
             "config": "{}", "timestamp": "2026-01-01"} for seed in range(2)
        ]  # fmt: skip
        write_job_result(tmp_path / f"job-{job}", rows, "digest")
    results.write_table(tmp_path)
    return tmp_path


def parsed(monkeypatch, folder):
    """How many files are parsed to load a folder, and the rows."""
    seen = []
    whole = result_files.parse_job_file
    monkeypatch.setattr("dpjax.results.table.parse_job_file", lambda path: seen.append(path) or whole(path))
    return results.load(folder), seen


def test_a_table_of_these_very_jobs_is_read_in_their_place(folder, monkeypatch):
    frame, seen = parsed(monkeypatch, folder)
    assert not seen
    (folder / "results.parquet").unlink()
    slow, seen = parsed(monkeypatch, folder)
    assert len(seen) == 3
    pd.testing.assert_frame_equal(frame, slow)


@pytest.mark.parametrize(
    "cells",
    [
        (True, 1),
        ("a", 1),
        ([1, 2], "a", None),
        ({"a": 1}, [], math.inf),
        ("a", math.nan, 1, None),
        ([1], ["a"]),
        ({}, {}),
        ([{}],),
    ],
    ids=str,
)
def test_cells_of_mixed_kinds_are_read_from_the_table_as_from_the_jobs(cells, tmp_path):
    for seed, cell in enumerate(cells):
        write_job_result(tmp_path / f"job-{seed}", [{"seed": seed, "epsilon": 1.0, "own": cell}], "digest")
    slow = results.load(tmp_path)
    parquet, _ = results.write_table(tmp_path)
    for quick in (results.load(tmp_path), results.load(parquet)):
        pd.testing.assert_frame_equal(quick, slow)
        assert [(type(cell), str(cell)) for cell in quick["own"]] == [(type(cell), str(cell)) for cell in slow["own"]]


def rewrite(folder):
    write_job_result(folder / "job-1", [{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.9}], "digest")


def add(folder):
    write_job_result(folder / "job-9", [{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.9}], "digest")


def remove(folder):
    (folder / "job-1" / "result.json").unlink()


def cut(folder):
    path = folder / "job-1" / "result.json"
    path.write_bytes(path.read_bytes()[:-20])


def move(folder):
    (folder / "job-1").rename(folder / "job-7")


def touch(folder):
    os.utime(folder / "job-1" / "result.json", (1, 1))


@pytest.mark.parametrize("change", [rewrite, add, remove, cut, move, touch])
def test_a_table_of_other_jobs_is_not_read(folder, change, monkeypatch):
    change(folder)
    frame, seen = parsed(monkeypatch, folder)
    assert seen
    assert frame["test_accuracy"].max() == (0.9 if change in (rewrite, add) else 0.5)
    assert bool(frame.attrs["unreadable"]) == (change is cut)


def test_a_damaged_table_is_no_loss_where_the_jobs_are_there(folder):
    path = folder / "results.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    assert len(results.load(folder)) == 6


def test_rows_that_were_chosen_are_never_taken_for_all(folder):
    frame, collected = collected_with(folder)
    assert collected is not None
    results.table.write_frame(frame[frame["seed"] == 0], folder)
    assert len(results.load(folder)) == 6


def test_a_report_says_the_same_of_a_table_and_of_its_jobs(folder):
    quick = gather(folder)
    (folder / "results.parquet").unlink()
    slow = gather(folder)
    assert as_page_json(pack(quick, "")) == as_page_json(pack(slow, ""))
    assert quick.notices == slow.notices
    assert any("of an older schema" in notice.text for notice in quick.notices)


def curves(runs, evaluations):
    draw = np.random.default_rng(0)
    steps = list(range(1, evaluations + 1))
    rows = [{"seed": i, "eval_steps": steps, "eval_test_loss": draw.random(evaluations).tolist()} for i in range(runs)]
    return Table(frame_of(rows))


def test_curves_of_few_runs_are_whole():
    table = curves(20, 30)
    lists, notice = thinned(table, [])
    assert notice is None
    first = json.loads(lists.spelt[lists.places["eval_test_loss"][0]])
    np.testing.assert_allclose(first, table["eval_test_loss"].cells[0], atol=1e-4)


def test_curves_of_many_runs_lose_evaluations_and_then_runs_but_for_the_best():
    lists, notice = thinned(curves(20_000, 60), [])
    assert sum(map(len, lists.spelt)) <= CURVE_BYTES
    assert notice is not None
    assert "evaluations" in notice.text
    assert "runs have curves" not in notice.text
    assert None not in lists.places["eval_test_loss"]
    lists, notice = thinned(curves(300_000, 8), [299_999])
    assert sum(map(len, lists.spelt)) <= CURVE_BYTES
    assert notice is not None
    assert "of 300,000 runs have curves" in notice.text
    places = lists.places["eval_test_loss"]
    assert places[299_999] is not None
    assert places[0] is not None
    assert places[299_998] is None


def test_of_many_pairs_those_with_a_verdict_are_shown_and_the_others_counted(tmp_path, capsys):
    from dpjax.cli.app import run

    rows = [
        {"seed": s, "epsilon": 1.0, "learning_rate": rate / 1000, "config_hash": f"{rate}", "algorithm": name,
         "test_accuracy": 0.5 + 0.3 * (rate == 499) * (name == "b") + 0.001 * ((s * 7 + rate * (name == "b")) % 3)}
        for rate in range(500) for s in range(4) for name in "ab"
    ]  # fmt: skip
    results.table.write_frame(frame_of(rows), tmp_path)
    assert run(["compare", str(tmp_path), "--by", "algorithm"]) == 0
    said = capsys.readouterr().out
    assert said.count("b is better") == 1
    assert "100 of 500 pairs left out: --csv and --markdown show all." in said


def test_an_export_has_the_curves_though_tables_that_are_shown_do_without(tmp_path, capsys):
    from dpjax.cli.app import run

    rows = [{"seed": s, "epsilon": 1.0, "test_accuracy": 0.5, "eval_steps": [1, 2], "eval_test_loss": [0.5, 0.25]}
            for s in range(2)]  # fmt: skip
    results.table.write_frame(frame_of(rows), tmp_path)
    assert results.load(tmp_path, curves=False)["eval_test_loss"].isna().all()
    assert run(["results", "export", str(tmp_path)]) == 0
    assert results.load(tmp_path)["eval_test_loss"].tolist() == [[0.5, 0.25]] * 2


def test_a_report_is_the_same_of_a_table_that_is_left_in_arrow(tmp_path, monkeypatch):
    """Columns of lists with missing cells, missing numbers and empty ones, configs that many rows share."""
    rows = [
        {"config_hash": f"h{i // 3}", "seed": i % 3, "epsilon": 1.0, "test_accuracy": 0.5 + i / 100}
        | {"config": json.dumps({"a": {"b": i // 3}}), "eval_steps": [5, 10] if i % 4 else []}
        | ({"eval_test_accuracy": [None, 0.5 + i], "norm_counts_first": [i // 2, 3]} if i % 5 else {})
        for i in range(20)
    ]
    folder = tmp_path / "sweep"
    folder.mkdir()
    write_frame(frame_of(rows), folder)
    compact = gather(folder).frame
    assert isinstance(compact["eval_steps"].dtype, pd.ArrowDtype)
    told = Table(compact)
    plain = Table(load(folder))
    for name in plain.names:
        assert told[name].told() == plain[name].told()
        assert told[name].some(np.array([7, 0])) == plain[name].some(np.array([7, 0]))
    assert len(told["eval_steps"].cells) == 2
    packed = as_page_json(pack(gather(folder), ""))
    monkeypatch.setattr(table_files, "read_table", lambda path, compact: read_table(path))
    assert as_page_json(pack(gather(folder), "")) == packed


@pytest.mark.parametrize("spelt", [json.dumps, lambda config: json.dumps(config, separators=(",", ":"))])
def test_leaves_of_configs_are_those_of_each_by_itself(spelt):
    draw = random.Random(3)
    configs = [
        {"seed": i // 7, "optimizer": {"rate": draw.choice([1, 12, 1.5]), "of": draw.choice(["a, b", '}"', "ä"])}}
        | ({"hidden": draw.choice([[], [64], [64, 32]]), "empty": {}, "deep": {"a": {"b": draw.choice([None, True])}}})
        for i in range(60)
    ]
    for config in configs[::9]:
        del config["deep"]
    texts: dict[str, int] = {}
    cells = [*map(spelt, configs), None, "{", "[1]", '{"seed": 1', '{"seed":12}']
    found = config_leaves(Distinct(np.arange(len(cells)), cells), texts)
    words = list(texts)
    told = {
        name: each["v"] if "v" in each else [each["all"]] * len(cells) if "all" in each else
        [None if place is None else words[place] for place in each["t"]] for name, each in found.items()
    }  # fmt: skip
    for i, config in enumerate(configs):
        flat = {"seed": config["seed"], "optimizer.rate": config["optimizer"]["rate"]}
        flat |= {"optimizer.of": config["optimizer"]["of"], "hidden": json.dumps(config["hidden"]), "empty": "{}"}
        flat |= {"deep.a.b": config["deep"]["a"]["b"]} if "deep" in config else {}
        assert {name: told[name][i] for name in flat} == flat
        assert all(column[i] is None for name, column in told.items() if name not in flat)
    assert told["seed"][-1] == 12
    assert told["config"][-4] == "{"
