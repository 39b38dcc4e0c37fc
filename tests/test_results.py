"""Results files are whole or absent, come back exactly, and say what they claim."""

import errno
import json
import logging
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dpjax import results
from dpjax.cli import main
from dpjax.results import COLUMNS, SCHEMA, ResultsError, TableSpec, claim, paper_table
from dpjax.results.claims import delta_sentence, small, small_delta
from dpjax.results.sheet import sheets
from dpjax.results.show import to_latex, to_markdown, to_rich
from dpjax.results.summarize import IDENTITY, run_twice
from dpjax.results.table import frame_of, load, write_frame

INF = math.inf
COMMON = {
    "experiment": "quickstart",
    "dataset": "digits",
    "model": "mlp",
    "unit": "example",
    "adjacency": "add_or_remove_one",
    "sampling": "poisson",
    "sampling_rate": 0.25,
    "num_steps": 100,
    "delta": 1e-5,
    "accountant": "pld",
    "tuning_accounted": False,
    "overflow_count": 0,
}


def point(epsilon: float, clip: float, accuracies: list[float], **more) -> list[dict]:
    row = COMMON | {
        "config_hash": f"{epsilon}-{clip}-{more.get('clients_per_round')}",
        "overrides": f"privacy.epsilon={epsilon},privacy.clip_norm={clip}",
        "epsilon": epsilon,
        "epsilon_pld": epsilon,
        "epsilon_rdp": epsilon * 1.08,
        "noise_multiplier": 0.0 if epsilon == INF else 3 / epsilon,
        "clip_norm": clip,
    }
    return [row | more | {"seed": s, "test_accuracy": a, "test_loss": 1 - a} for s, a in enumerate(accuracies)]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    points = [
        point(1.0, 0.1, [0.88, 0.90, 0.92]),
        point(1.0, 1.0, [0.90, 0.91, 0.92]),
        point(10.0, 0.1, [0.94, 0.95, 0.96]),
        point(10.0, 1.0, [0.95, 0.95, 0.95]),
        point(INF, INF, [0.97, 0.98, 0.97]),
        point(2.0, 1.0, [0.8, 0.82], unit="client", clients_per_round=10, num_clients=100),
        point(2.0, 1.0, [0.9, 0.92], unit="client", clients_per_round=50, num_clients=100),
    ]
    for number, rows in enumerate(points):
        results.write_job_result(tmp_path / f"job{number}", rows, f"digest{number}")
    return tmp_path


def test_the_schema_has_the_columns_of_the_design():
    wanted = """
    experiment config_hash overrides seed git_revision unit adjacency sampling sampling_rate num_steps epsilon partition
    delta epsilon_pld epsilon_rdp noise_multiplier clip_norm learning_rate clients_per_round num_clients
    overflow_count rejected_count test_accuracy train_accuracy test_loss train_loss wall_seconds compile_seconds
    peak_memory_mib device dataset model accountant capacity population tuning_accounted dpjax_version
    jax_version python_version timestamp config clipping final_clip_norm eval_steps eval_test_accuracy eval_test_loss
    train_loss_curve
    algorithm aggregation client_accuracy_mean client_accuracy_p10 client_accuracy_std
    dropped_count aborted_count wrapped_count
    aggregation_error uplink_bytes encrypt_seconds add_seconds decrypt_seconds
    noise epsilon_per_report noise_cohort_size robust corruption compression records_per_unit
    tuning checkpoint trained_parameters max_length cut_share epoch_seconds tokens_per_second
    validation_accuracy validation_loss eval_clip_norm eval_mean_norm eval_clipped_share eval_signal_to_noise
    norm_counts_first norm_counts_last method diverged optimizer momentum hidden loss plugin code inputs
    owners rows_per_owner dtype overflow_probability abort_probability noise_dimension noise_levels noise_shares
    num_units secret_cohorts learnt released release_noise_multiplier release_delta split
    test_majority test_balanced_accuracy test_auroc test_auprc test_f1 test_calibration_error
    test_r2 test_mae test_rmse train_r2 validation_r2 ledger ledger_run
    canaries pseudonymised exposure exposure_before exposures exposures_before canary_copies canary_candidates
    """
    assert set(wanted.split()) == set(SCHEMA)
    assert len(SCHEMA) == len(COLUMNS)
    assert all(column.meaning.endswith(".") for column in COLUMNS)


FLOATS = st.floats(allow_nan=False) | st.sampled_from([INF, -INF])
CELLS = {
    "str": st.text(),
    "json": st.text(),
    "int": st.integers(-(2**53), 2**53),
    "float": FLOATS,
    "bool": st.booleans(),
    "floats": st.lists(FLOATS | st.none()),
    "ints": st.lists(st.integers(-(2**53), 2**53)),
}


@settings(max_examples=40, deadline=None)
@given(row=st.fixed_dictionaries({}, optional={c.name: CELLS[c.dtype] | st.none() for c in COLUMNS}))
def test_what_is_written_is_valid_json_and_comes_back_exactly(row, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    path = results.write_job_result(folder, [row], "d")
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert results.read_job_result(folder) == ([row], "d")


def test_nan_arrays_and_unknown_columns_come_back(tmp_path):
    row = {
        "test_loss": np.float32("nan"),
        "eval_steps": np.arange(3),
        "eval_test_loss": np.array([0.5, INF]),
        "note": "inf is a word here",
        "extra": {"deep": [1, -INF]},
        "config": {"privacy": {"epsilon": INF}},
        "tuning_accounted": np.bool_(True),
    }
    results.write_job_result(tmp_path, [row], "d")
    found = results.read_job_result(tmp_path)
    assert found is not None
    back = found[0][0]
    assert math.isnan(back.pop("test_loss"))
    assert json.loads(back.pop("config")) == {"privacy": {"epsilon": "inf"}}
    assert back == {
        "eval_steps": [0, 1, 2],
        "eval_test_loss": [0.5, INF],
        "note": "inf is a word here",
        "extra": {"deep": [1, -INF]},
        "tuning_accounted": True,
    }


@pytest.mark.parametrize(
    ("column", "value"),
    [("seed", 1.5), ("epsilon", "one"), ("eval_steps", 3), ("tuning_accounted", 1), ("x", object())],
)
def test_a_value_that_does_not_fit_is_named(tmp_path, column, value):
    with pytest.raises(ResultsError, match=f"column '{column}' .*: give it"):
        results.write_job_result(tmp_path, [{column: value}], "d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path, monkeypatch, where):
    results.write_job_result(tmp_path, [{"seed": 0}], "old")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, where, full)
    with pytest.raises(
        ResultsError, match=r"result\.json: No space left on device; free space .* run the same command"
    ):
        results.write_job_result(tmp_path, [{"seed": 1}], "new")
    assert results.read_job_result(tmp_path) == ([{"seed": 0}], "old")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_ctrl_c_in_mid_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        results.write_job_result(tmp_path, [{"seed": 1}], "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    ["", '{"format": "dpjax-result", "rows": [{"se', "[]", '{"a": 1}', '{"format": "dpjax-result", "version": 99,'
     ' "digest": "d", "rows": []}'],
)  # fmt: skip
def test_a_spoilt_file_counts_as_absent_with_one_line(tmp_path, caplog, content):
    (tmp_path / "result.json").write_text(content)
    with caplog.at_level(logging.WARNING, "dpjax.results"):
        assert results.read_job_result(tmp_path) is None
    (record,) = caplog.records
    assert str(tmp_path / "result.json") in record.getMessage()
    assert "\n" not in record.getMessage()
    frame = results.collect(tmp_path)
    assert len(frame) == 0
    assert str(tmp_path / "result.json") in frame.attrs["unreadable"][0]
    with pytest.raises(ResultsError, match="that can be read"):
        results.load(tmp_path)


def told_of(rows: list[dict], console_width: int = 400) -> str:
    """What a terminal is shown of rows."""
    with (console := Console(width=console_width)).capture() as capture:
        console.print(to_rich(sheets(frame_of(rows)), console_width))
    return capture.get()


def test_what_does_not_beat_one_answer_to_all_rows_is_said_with_what_to_try():
    rate = {"learning_rate": 0.5, "test_majority": 0.11}
    stuck = [*point(8.0, 1.0, [0.1, 0.12], **rate), *point(INF, 1.0, [0.1, 0.1], **rate)]
    said = told_of(stuck)
    assert "Nothing is learnt at ε=8 and ∞ (test accuracy 0.110 ± 0.014, where always" in said
    assert "try a lower optimizer.learning_rate, such as 0.05, then another privacy.clip_norm" in said
    assert "Nothing is learnt at ε=∞ (" in told_of(stuck[2:])  # without a private row too
    one_good = [*stuck, *point(8.0, 0.1, [0.9, 0.9], **rate)]
    assert "Nothing is learnt at ε=∞ (" in told_of(one_good)
    assert "Nothing is learnt" not in told_of([*point(8.0, 1.0, [0.5, 0.4], **rate), *point(INF, 1.0, [0.9], **rate)])
    ranks = point(8.0, 1.0, [0.93, 0.93], test_majority=0.93, test_auroc=0.8)  # of a rare class it tells apart
    assert "Nothing is learnt" not in told_of(ranks)
    assert "Nothing is learnt" in told_of([row | {"test_auroc": 0.5} for row in ranks])
    clients = {"clients_per_round": 10, "unit": "client", "algorithm": "fedavg"}
    assert "try a lower federated.client_learning_rate then" in told_of([row | clients for row in stuck])
    assert "try a lower optimizer" in told_of([row | clients | {"algorithm": "fedsgd"} for row in stuck])
    assert "Nothing is learnt" not in told_of([row | clients | {"algorithm": "personalized"} for row in stuck])
    numbers = [row | {"test_accuracy": None, "test_majority": None, "test_r2": -0.2} for row in stuck]
    assert "Nothing is learnt at ε=8 and ∞ (test R² -0.200 ± 0.000 is no better" in told_of(numbers)


def test_a_star_on_one_class_alone_is_said_though_the_scores_rank_well():
    said = "At ε=3 the starred point answers the commonest class alone (balanced accuracy 0.500): read test AUROC"
    alone = {"test_majority": 0.926, "test_auroc": 0.78, "test_balanced_accuracy": 0.5}
    constant = point(3.0, 0.3, [float(np.float32(0.926))] * 3, **alone)
    told = told_of(constant)
    assert said in told
    assert "Nothing is learnt" not in told
    assert said not in told_of([*constant[:2], constant[2] | {"test_accuracy": 0.93, "test_balanced_accuracy": 0.54}])
    assert said not in told_of([row | {"test_balanced_accuracy": 0.52} for row in constant])
    better = point(3.0, 1.0, [0.94] * 3, **(alone | {"test_balanced_accuracy": 0.8}))
    assert said not in told_of([*constant, *better])  # no star stands there
    thirds = [row | {"test_balanced_accuracy": 1 / 3} for row in constant]
    assert "(balanced accuracy 0.333)" in told_of(thirds)


def test_a_star_that_ranks_the_wrong_way_round_is_said():
    row = point(3.0, 0.3, [0.7, 0.7], test_majority=0.6, test_balanced_accuracy=0.6)
    told = [told_of([each | {"test_auroc": auroc} for each in row]) for auroc in (0.0, 0.4, 0.47)]
    assert "At ε=3 the starred point ranks the test rows the wrong way round (test AUROC 0.000," in told[0]
    assert ["the wrong way round" in each for each in told] == [True, True, False]


@pytest.mark.parametrize(
    "words",
    [
        ["results", "show", "--metric", "test_aurco"],
        ["results", "export", "--metric", "test_aurco"],
        ["results", "table", "--rows", "epsilon", "--metric", "test_aurco"],
        ["results", "show", "--select", "test_aurco>0.5"],
        ["compare", "--by", "clip_norm", "--metric", "test_aurco"],
        ["compare", "--by", "test_aurco"],
        ["plot", "--metric", "test_aurco"],
        ["plot", "--y", "test_aurco"],
    ],
)
def test_a_mistyped_column_is_answered_in_one_wording_by_each_command(words, tmp_path, capsys):
    rows = [row | {"test_auroc": 0.9} for clip in (0.1, 1.0) for row in point(8.0, clip, [0.9, 0.8])]
    results.table.write_frame(frame_of(rows), tmp_path)
    names = 2 if words[0] == "results" else 1
    with pytest.raises(SystemExit, match="1"):
        main([*words[:names], str(tmp_path), *words[names:]])
    assert "there is no column test_aurco: did you mean test_auroc?" in " ".join(capsys.readouterr().err.split())


def test_collect_orders_by_meaning_and_fills(sweep):
    frame = results.collect(sweep)
    assert len(frame) == 19
    assert list(frame.columns) == [column.name for column in COLUMNS]
    central = frame[frame["unit"] == "example"]
    assert central["epsilon"].is_monotonic_increasing
    assert central["seed"].tolist()[:3] == [0, 1, 2]
    assert central["clients_per_round"].isna().all()
    assert frame["num_clients"].dtype == "Int64"
    assert frame["jax_version"].isna().all()


def test_collect_skips_hidden_folders(sweep):
    results.write_job_result(sweep / ".hydra", [{"seed": 9}], "d")
    assert len(results.collect(sweep)) == 19


def test_both_tables_hold_the_same_rows(sweep, tmp_path):
    rows = [{"seed": 0, "eval_test_loss": [1.0, INF], "epsilon": INF, "odd": 1}, {"seed": 1, "odd": "text"}]
    results.write_job_result(sweep / "more", rows, "d")
    frame = results.collect(sweep)
    for path in results.write_table(sweep):
        again = results.load(path)
        assert len(again) == len(frame)
        for name in ("seed", "epsilon", "test_accuracy", "num_clients", "unit"):
            pd.testing.assert_series_equal(again[name], frame[name])
        assert [list(c) for c in again["eval_test_loss"] if c is not None] == [[1.0, INF]]
    # A table that was passed on without its jobs is read too.
    other = tmp_path / "elsewhere"
    other.mkdir()
    (sweep / "results.parquet").rename(other / "results.parquet")
    assert len(results.load(other)) == len(frame)


def test_summary_is_the_mean_and_sample_deviation_per_point(sweep):
    points = results.summary(results.collect(sweep))
    assert len(points) == 7
    row = points[(points["epsilon"] == 1.0) & (points["clip_norm"] == 0.1)].iloc[0]
    assert row["n"] == 3
    assert row["test_accuracy_mean"] == pytest.approx(0.90)
    assert row["test_accuracy_std"] == pytest.approx(0.02)
    best = points[points["best"]]
    found = {(r["unit"], r["epsilon"]): (r["clip_norm"], r["clients_per_round"]) for r in best.to_dict("records")}
    assert found["example", 1.0][0] == 1.0
    assert found["client", 2.0] == (1.0, 50)
    assert set(IDENTITY) <= set(points.columns)


def test_summary_takes_lower_losses_as_better():
    rows = point(1.0, 0.1, [0.9]) + point(1.0, 1.0, [0.8])
    points = results.summary(frame_of(rows), "test_loss")
    assert points[points["best"]]["clip_norm"].tolist() == [0.1]
    assert points["test_accuracy_std"].isna().all()


def test_summary_counts_a_seed_once_by_its_latest_row():
    old = point(1.0, 0.1, [0.5, 0.5], timestamp="2026-01-01T00:00:00+00:00")
    new = point(1.0, 0.1, [0.9], timestamp="2026-01-02T00:00:00+00:00")
    for rows in (old + new, new + old):
        row = results.summary(frame_of(rows)).iloc[0]
        assert (row["n"], row["test_accuracy_mean"]) == (2, pytest.approx(0.7))


@pytest.mark.parametrize("broken", [math.nan, INF])
def test_mean_deviation_and_number_are_of_the_same_seeds(broken):
    rows = point(1.0, 0.1, [0.9, 0.92, 0.94])
    rows[2] |= {"test_loss": broken, "test_accuracy": 0.0}
    (row,) = results.summary(frame_of(rows)).to_dict("records")
    assert (row["n"], row["diverged"]) == (3, 1)
    assert row["test_accuracy_mean"] == pytest.approx(np.mean([0.9, 0.92, 0.0]))
    assert row["test_accuracy_std"] == pytest.approx(np.std([0.9, 0.92, 0.0], ddof=1))
    assert not math.isfinite(row["test_loss_mean"])
    assert math.isnan(row["test_loss_std"])


@pytest.mark.parametrize("epsilon", [1.0, INF])
def test_a_run_that_diverged_says_so_in_every_table(epsilon, tmp_path, capsys):
    rows = [*point(epsilon, 0.1, [0.9, 0.0, 0.0]), *point(epsilon, 0.5, [0.9, 0.9, 0.9])]
    for row in rows[1:3]:
        row["diverged"] = True
    (sheet,) = sheets(frame_of(rows))
    shown = {field.header: field.cells for field in sheet.fields}
    assert shown["diverged"] == ["2 of 3", "–"]
    assert "2 of 6 runs diverged" in " ".join(sheet.notes)
    for option in ([], ["--markdown"], ["--latex"]):
        results.write_job_result(tmp_path / "0", rows, "d")
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["results", "show", str(tmp_path), *option])
        assert "2 of 6 runs diverged" in capsys.readouterr().out
    whole = [row | {"diverged": False} for row in rows]
    assert not [f for f in sheets(frame_of(whole))[0].fields if f.header == "diverged"]


def secure(epsilon: float, aborted: list[int], dropped: list[int]) -> list[dict]:
    told = [{"aborted_count": a, "dropped_count": d, "wrapped_count": 0} for a, d in zip(aborted, dropped, strict=True)]
    rows = point(epsilon, 1.0, [0.5] * len(told), clients_per_round=10, aggregation="secure", num_steps=20)
    return [row | each for row, each in zip(rows, told, strict=True)]


def test_aborted_rounds_and_dropped_clients_are_summed_shown_and_told(tmp_path, capsys):
    plain = point(4.0, 1.0, [0.9, 0.9], clients_per_round=10, aggregation="plain", num_steps=20)
    rows = [*secure(1.0, [15, 0], [243, 100]), *secure(2.0, [0, 0], [3, 4]), *plain]
    points = results.summary(frame_of(rows)).set_index("epsilon")
    assert points["aborted_count"].tolist()[:2] == [15, 0]
    assert points["dropped_count"].tolist()[:2] == [343, 7]
    assert points.loc[4.0, ["aborted_count", "dropped_count"]].isna().all()  # nothing to abort is not 0
    (sheet,) = sheets(frame_of(rows))
    shown = {field.header: field.cells for field in sheet.fields}
    assert (shown["aborted"], shown["dropped"]) == (["15", "0", "–"], ["343", "7", "–"])
    assert "wrapped" not in shown
    results.write_job_result(tmp_path / "0", rows, "d")
    for option in ([], ["--markdown"], ["--latex"]):
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["results", "show", str(tmp_path), *option])
        told = " ".join(capsys.readouterr().out.split())
        assert "15 of 80 rounds were aborted" in told
        assert "350 clients dropped out" in told
    calm = sheets(frame_of([*secure(1.0, [0, 0], [0, 0]), *plain]))[0]
    assert not {"aborted", "dropped"} & {field.header for field in calm.fields}
    assert not [note for note in calm.notes if "aborted" in note or "dropped" in note]


@pytest.mark.parametrize(("column", "told"), [("wrapped_count", "left the ring"), ("rejected_count", "not finite")])
def test_whatever_is_counted_is_told_with_what_to_do(column, told):
    rows = [row | {column: 2} for row in point(1.0, 1.0, [0.5, 0.5])]
    (sheet,) = sheets(frame_of(rows))
    assert any(told in note and note.startswith("4 ") for note in sheet.notes)


def test_a_point_that_diverged_is_the_best_only_where_all_did():
    lower, higher = point(1.0, 0.1, [0.5, 0.5]), point(1.0, 0.5, [0.9, 0.9])
    higher[0]["diverged"] = True
    best = results.summary(frame_of(lower + higher)).set_index("clip_norm")["best"]
    assert best.to_dict() == {0.1: True, 0.5: False}
    lower[1]["diverged"] = True
    points = results.summary(frame_of(lower + higher))
    assert points["best"].sum() == 1  # for a chart, which crosses it out
    (sheet,) = sheets(frame_of(lower + higher))
    assert sheet.best == [False, False]  # and no star


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"trained_parameters": 1027, "population": 1438},
            ["1,027 parameters trained", "100 steps", "population 1438 examples"],
        ),
        ({"trained_parameters": 1, "population": 1}, ["1 parameter trained", "100 steps", "population 1 example"]),
        ({"unit": "user", "records_per_unit": 8, "population": 328}, ["population 328 records"]),
        ({"unit": "user", "records_per_unit": 1, "population": 50}, ["population 50 users"]),
        ({"unit": "client", "clients_per_round": 5, "population": 40}, ["100 rounds", "population 40 clients"]),
    ],
)
def test_a_count_that_all_rows_share_says_what_it_counts(more, told):
    rows = point(8.0, 1.0, [0.9]) + point(1.0, 1.0, [0.8])
    (sheet,) = sheets(frame_of([row | more for row in rows]))
    parts = sheet.notes[0].rstrip(".").split("; ")
    assert set(told) <= set(parts)
    bare = [part for part in parts if re.fullmatch(r"(trained|num steps|population) [\d,]+", part)]
    assert not bare


@pytest.mark.parametrize(
    ("plain", "private", "told"),
    [
        ([0.70, 0.72], [0.90, 0.92], True),
        ([0.89, 0.91], [0.90, 0.92], False),  # within their deviations
        ([0.70], [0.90], False),  # whose spread nobody knows
        ([0.95, 0.97], [0.90, 0.92], False),
    ],
)
def test_runs_without_privacy_that_are_outdone_by_private_ones_are_no_ceiling(plain, private, told, tmp_path, capsys):
    rows = point(8.0, 1.0, private) + point(1.0, 1.0, [0.5] * len(private)) + point(INF, INF, plain)
    (sheet,) = sheets(frame_of(rows))
    said = "Without privacy test accuracy is 0.710 ± 0.014, worse than 0.910 ± 0.014 at ε=8: runs that do not clip"
    assert any(note.startswith(said) for note in sheet.notes) == told
    assert any("no ceiling" in note for note in sheet.notes) == told
    (by_loss,) = sheets(frame_of(rows), "test_loss")  # of which the smaller is the better
    assert any("no ceiling" in note for note in by_loss.notes) == told
    both = [*rows, *point(INF, INF, [0.97, 0.98], learning_rate=0.1)]
    assert not any("no ceiling" in note for note in sheets(frame_of(both))[0].notes)
    diverged = [*rows, *point(INF, INF, [0.97, 0.98], learning_rate=0.1, diverged=True)]
    assert not any("no ceiling" in note for note in sheets(frame_of(diverged))[0].notes)


def test_what_older_rows_do_not_say_of_divergence_their_losses_do():
    rows = [{"seed": 0, "test_loss": math.nan}, {"seed": 1, "test_loss": 0.5}, {"seed": 2, "test_loss": None}]
    assert frame_of(rows)["diverged"].tolist() == [True, pd.NA, pd.NA]


def test_a_reference_without_delta_joins_its_family():
    bare = [row | {"delta": None, "sampling": None} for row in point(INF, INF, [0.97])]
    assert len(sheets(frame_of(point(1.0, 1.0, [0.9]) + bare))) == 1


def test_summary_names_a_missing_column(sweep):
    with pytest.raises(ResultsError, match=r"there is no column accuracy: did you mean test_accuracy\?"):
        results.summary(results.collect(sweep), "accuracy")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            COMMON | {"epsilon": 1.0, "epsilon_pld": 0.97},
            "(ε=0.97 PLD, δ=1e-5)-DP per example, add_or_remove_one, Poisson q=0.25, 100 steps; tuning not accounted",
        ),
        (
            COMMON | {"epsilon": 1.0, "epsilon_rdp": 0.97001, "clients_per_round": 5, "unit": "client",
                      "tuning_accounted": True, "overflow_count": 2},
            "(ε=0.971 RDP, δ=1e-5)-DP per client, add_or_remove_one, Poisson q=0.25, 100 rounds; tuning accounted; "
            "2 steps overflowed their slots",
        ),
        (COMMON | {"epsilon": INF}, "not private (ε=∞), example, add_or_remove_one, Poisson q=0.25, 100 steps"),
        ({"epsilon": 1.0}, "no ε was computed"),
        # What was asked for claims nothing if the mechanism that ran has none.
        ({"epsilon": 1.0, "epsilon_pld": INF}, "not private (ε=∞)"),
    ],
)  # fmt: skip
def test_claim(row, sentence):
    assert claim(row) == sentence
    assert claim(frame_of([row]).iloc[0]) == sentence


@given(st.floats(1e-3, 1e5))
def test_a_claimed_epsilon_is_never_rounded_down(epsilon):
    stated = float(claim({"epsilon_pld": epsilon}).split("=")[1].split(" ")[0])
    assert epsilon * (1 - 1e-8) <= stated <= epsilon * 1.011


@pytest.mark.parametrize("width", [30, 60, 100, 200])
def test_show_marks_the_best_and_the_reference_at_any_width(sweep, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(to_rich(sheets(results.collect(sweep)), width))
    text = capture.get()
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count("★ 0.9") == 5  # for each finite ε, of which one has two equal means, and the reference
    assert ("non-private" in text) == (width >= 60)
    assert ("ε RDP" in text.split("Left out")[0]) == (width >= 100)
    assert "tuning is not accounted" in " ".join(text.split())


def test_the_reference_is_shown_once_though_each_clip_norm_ran_it():
    rows = [row for hash in "ab" for row in point(INF, INF, [0.97, 0.98], config_hash=hash)]
    (sheet,) = sheets(frame_of(point(1.0, 1.0, [0.9, 0.9]) + rows))
    assert sheet.private == [True, False]
    assert "overrides" not in [field.header for field in sheet.fields]


def plain_run(clip_norm: float, momentum: float, seed: int) -> dict:
    config = {
        "privacy": {"clip_norm": clip_norm},
        "optimizer": {"momentum": momentum},
        "seed": seed,
        "figures": not seed,
    }
    (row,) = point(
        INF,
        INF,
        [0.97 + seed / 1000],
        config_hash=str(config),
        optimizer=f"sgd({momentum})",
        config=json.dumps(config | {"seed": seed}),
    )
    return row | {"seed": seed, "overrides": f"privacy.clip_norm={clip_norm} seed={seed} figures={not seed}"}


def test_references_that_differ_in_what_privacy_alone_reads_are_one_point():
    rows = [plain_run(0.3, 0.5, 0), plain_run(0.2, 0.5, 7), plain_run(1.0, 0.5, 7)]
    (sheet,) = sheets(frame_of(point(1.0, 1.0, [0.9, 0.9]) + rows))
    assert sheet.private == [True, False]
    shown = {field.header: field.cells for field in sheet.fields}
    assert shown["test accuracy"] == ["0.900 ± 0.000", "0.974 ± 0.005"]  # seed 7 ran twice, and counts once
    assert not {"seed", "figures", "overrides"} & set(shown)


def test_references_of_other_optimizers_stay_two_points():
    rows = [plain_run(0.3, 0.5, 0), plain_run(0.3, 0.9, 7)]
    (sheet,) = sheets(frame_of(rows))
    assert len(sheet.best) == 2


def test_seed_and_figures_are_no_columns_that_tell_rows_apart():
    rows = [
        row
        for v, seed, figures in (("a", 0, "true"), ("b", 7, "false"))
        for row in point(
            1.0, 1.0, [0.9], config_hash=v, overrides=f"optimizer.nesterov={v} seed={seed} figures={figures}"
        )
    ]
    (sheet,) = sheets(frame_of(rows))
    assert [field.header for field in sheet.fields if field.header in ("nesterov", "seed", "figures")] == ["nesterov"]


def test_rows_that_differ_in_nothing_shown_are_told_apart_by_their_overrides():
    rows = [row for v in "ab" for row in point(1.0, 1.0, [0.9], config_hash=v, overrides=f"optimizer.momentum={v}")]
    (sheet,) = sheets(frame_of(rows))
    assert sheet.fields[1][:2] == ("momentum", ["a", "b"])


@pytest.mark.parametrize("name", ["method", "mine", "momentum", "max_length", "inputs", "config_hash"])
def test_no_two_rows_look_the_same_whatever_column_they_differ_in(name):
    values = {"momentum": (0.1, 0.2), "max_length": (10, 20)}.get(name, ("aaaaaaaaab", "aaaaaaaaac"))
    rows = [{"epsilon": 1.0, "test_accuracy": 0.9, name: value} for value in values]
    rows = [row | {"config_hash": row["mine"]} for row in rows] if name == "mine" else rows
    (sheet,) = sheets(frame_of(rows))
    assert len({tuple(field.cells[i] for field in sheet.fields) for i in range(2)}) == 2
    assert name.replace("_", " ") in {field.header for field in sheet.fields}


def test_columns_of_ones_own_tell_rows_apart_where_points_have_one_value_of_them():
    rows = [
        {"epsilon": e, "config_hash": c, "seed": s, "test_accuracy": 0.9, "flag": c == "a", "list": [1], "seen": s}
        for e in (1.0, math.inf)
        for c in "ab"
        for s in range(2)
    ]
    (sheet,) = sheets(frame_of(rows))
    cells = {field.header: field.cells for field in sheet.fields}
    assert cells["flag"] == ["True", "False"] * 2
    assert not {"list", "seen"} & set(cells)


def test_a_seed_that_was_run_twice_with_different_results_is_told_by_every_command(tmp_path, capsys):
    row = {"epsilon": 1.0, "dataset": "digits", "config_hash": "a"}
    rows = [row | {"seed": s, "test_accuracy": a} for s, a in ((0, 0.8), (1, 0.81), (1, 0.91), (2, 0.8), (2, 0.8))]
    results.write_job_result(tmp_path / "a", rows, "a")
    told = "eed 1 of ε=1 was run twice, with different results: the latest counts"
    for words in (["results", "show"], ["results", "table"], ["status"], ["report"]):
        with pytest.raises(SystemExit):
            main([*words, str(tmp_path)])
        out, err = capsys.readouterr()
        assert (out + err).count(told) == 1
        assert "seed 2" not in out + err
    other = [each | {"config_hash": "b", "test_accuracy": each["test_accuracy"] + 0.01 * each["seed"]} for each in rows]
    results.write_job_result(tmp_path / "b", [each for each in other if each["seed"] != 1], "b")
    for words in ([tmp_path / "a", tmp_path / "b"], [tmp_path / "a", "--by", "config_hash"]):
        with pytest.raises(SystemExit):
            main(["compare", *map(str, words)])
        err = capsys.readouterr().err
        assert (told in err) == (len(words) == 2), err
    more = [*rows, *[{**each, "epsilon": 2.0} for each in rows]]
    (several,) = run_twice(frame_of(more))
    assert several.startswith("2 seeds were run more than once")


def test_a_list_among_the_overrides_stays_whole():
    rows = [
        row
        for v in ("[64,32]", "[8]")
        for row in point(1.0, 1.0, [0.9], config_hash=v, overrides=f"optimizer.momentum=1 model.hidden={v} seed=1")
    ]
    (sheet,) = sheets(frame_of(rows))
    assert sheet.fields[1][:2] == ("hidden", ["[64,32]", "[8]"])


def test_a_narrow_terminal_keeps_what_tells_rows_apart():
    rows = [row for rate in (0.1, 0.2) for row in point(1.0, 1.0, [0.9], config_hash=str(rate), learning_rate=rate)]
    (sheet,) = sheets(frame_of(rows))
    console = Console(width=60)
    with console.capture() as capture:
        console.print(to_rich([sheet], 60))
    assert "learning rate" in capture.get().splitlines()[1]


def test_markdown_and_latex_hold_every_point(sweep):
    laid_out = sheets(results.collect(sweep))
    markdown, latex = to_markdown(laid_out), to_latex(laid_out)
    assert markdown.count("\n| ") == 7 + 2
    assert "**0.910 ± 0.010**" in markdown
    assert r"$\mathbf{0.910} \pm 0.010$" in latex
    assert r"add\_or\_remove\_one" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert all(line.count("&") == line.replace(r"\&", "").count("&") for line in latex.splitlines())
    assert latex.isascii()


def test_results_import_neither_jax_nor_pandas_before_a_table_is_asked_for():
    code = (
        "import sys, dpjax.results as r; assert 'pandas' not in sys.modules; r.collect; "
        "assert not {'jax', 'matplotlib', 'wandb', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "other",
    [{"adjacency": "zero_out"}, {"unit": "client"}, {"sampling": "shuffled"}, {"delta": 1e-6}, {"dataset": "adult"}],
)
def test_epsilons_of_different_claims_never_share_a_table(other):
    rows = point(1.0, 1.0, [0.8]) + point(1.0, 1.0, [0.9], config_hash="b", **other)
    assert [len(sheet.best) for sheet in sheets(frame_of(rows))] == [1, 1]
    assert len(sheets(frame_of(point(1.0, 1.0, [0.8]) + point(2.0, 1.0, [0.9])))) == 1


def test_an_accountant_that_claims_nothing_beside_one_that_does_says_why():
    rows = point(8.0, 1.0, [0.8], epsilon_rdp=INF) + point(1.0, 1.0, [0.8]) + point(INF, INF, [0.9])
    (sheet,) = sheets(frame_of(rows))
    (note,) = [note for note in sheet.notes if "∞" in note]
    assert note.startswith("ε RDP is ∞ where ε is 8: its bound lies above the ε that the capacity")
    (sheet,) = sheets(frame_of(point(1.0, 1.0, [0.8]) + point(INF, INF, [0.9])))
    assert [note for note in sheet.notes if "∞" in note] == []


def test_what_texts_and_messages_cost_stands_beside_what_they_buy():
    costs = {"tokens_per_second": 2_160.4, "epoch_seconds": 126.0, "peak_memory_mib": 6_550.2}
    rows = point(1.0, 1.0, [0.8], **costs) + point(INF, INF, [0.9], **costs)
    (sheet,) = sheets(frame_of(rows))
    shown = {field.header: field.cells for field in sheet.fields}
    assert shown["tokens / s"] == ["2,160"] * 2
    assert (shown["s / epoch"][0], shown["MiB"][0]) == ("126", "6,550")
    (sheet,) = sheets(frame_of(point(1.0, 1.0, [0.9], peak_memory_mib=1.0, epoch_seconds=2.0)))
    assert not {"MiB", "s / epoch"} & {field.header for field in sheet.fields}
    sent = [
        row
        for tuning, size in (("lora(8)", 297_992.0), ("full", 90_255_368.0))
        for row in point(1.0, 1.0, [0.8], config_hash=tuning, tuning=tuning, clients_per_round=9, uplink_bytes=size)
    ]
    (sheet,) = sheets(frame_of(sent))
    console = Console(width=70)
    with console.capture() as capture:
        console.print(to_rich([sheet], 70))
    assert "90,300,000" in capture.get()


@pytest.mark.parametrize("misfit", ["abc", True, 1.5])
def test_a_table_with_one_cell_that_its_column_cannot_hold_is_none(tmp_path, misfit):
    """Also behind cells that equal it: True is 1, and of equal cells one is tried."""
    rows = [{"seed": 1, "epsilon": 1.0}, {"seed": 1, "epsilon": 1.0}, {"seed": misfit, "epsilon": 1.0}]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"format": "dpjax-results", "version": 1, "rows": rows}), encoding="utf-8")
    with pytest.raises(results.ResultsError, match="'seed' holds int"):
        results.load(path)


def test_of_equal_means_each_has_a_star_as_each_is_bold_in_a_papers_table():
    rows = [
        {"epsilon": 1.0, "clip_norm": c, "config_hash": str(c), "seed": s, "test_accuracy": a}
        for c, a in ((0.1, 0.9), (0.3, 0.9), (1.0, 0.5))
        for s in range(2)
    ]
    (sheet,) = sheets(frame_of(rows))
    assert sheet.best == [True, True, False]
    (block,) = paper_table(frame_of(rows), TableSpec(rows=("clip_norm",), columns="epsilon", bold="mean")).blocks
    assert [cell.bold for cell in block.columns[1].cells] == sheet.best


@pytest.mark.parametrize("units", [1, 8, 60, 1438, 2_333, 60_000, 2_600_000, 10**9])
def test_the_delta_that_a_warning_names_is_one_that_nothing_is_said_of(units):
    fix = small_delta(units)
    assert fix < 1 / units
    assert fix <= 1e-5
    assert delta_sentence(fix, units, "user") == ""
    assert delta_sentence(0.5, units, "user").endswith(f"; take {small(fix)} or less")


def test_a_parquet_table_is_read_by_columns_as_its_rows_are(tmp_path):
    rows = [
        {"seed": 1, "epsilon": 2.0, "test_loss": math.nan, "eval_steps": [1, 2], "note": "x", "unit": "example"},
        {"seed": 0, "epsilon": math.inf, "test_loss": 0.5, "num_steps": 7, "note": "y", "diverged": False},
        {"seed": 2, "epsilon": 1.0, "test_loss": math.inf, "train_loss_curve": [0.5, None], "note": "z"},
        {"seed": 3, "clip_norm": 0.1, "unit": "client"},
    ]
    write_frame(frame_of(rows), tmp_path)
    path = tmp_path / "results.parquet"
    table = pq.read_table(path)
    by_rows = frame_of(table.to_pylist())
    pd.testing.assert_frame_equal(load(path), by_rows)
    # Of before there was the column, and of fewer columns.
    for names in (["diverged"], ["diverged", "unit", "eval_steps", "num_steps"]):
        pq.write_table(table.drop_columns(names), path)
        pd.testing.assert_frame_equal(load(path), frame_of(table.drop_columns(names).to_pylist()))
    # Of another type: cell by cell, as ever.
    pq.write_table(table.set_column(table.column_names.index("seed"), "seed", pa.array([1.0, 0.0, 2.0, 3.0])), path)
    assert str(load(path)["seed"].dtype) == "Int64"
    pq.write_table(table.set_column(table.column_names.index("seed"), "seed", pa.array(["a", "b", "c", "d"])), path)
    with pytest.raises(ResultsError, match="results column 'seed' holds int"):
        load(path)


@pytest.mark.parametrize("points", [400, 401])
def test_of_more_rows_than_anybody_reads_the_best_stay_and_the_rest_is_counted(points):
    rows = [
        {"seed": 0, "epsilon": 1.0, "clip_norm": 1.0 + i, "config_hash": str(i), "test_accuracy": 0.5 + i / 10_000}
        for i in range(points)
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(to_rich(sheets(frame_of(rows)), 100))
    text = capture.get()
    whole = points <= 400
    assert len(re.findall(r"^1 ", text, re.MULTILINE)) == (points if whole else 1)
    assert "★ 0.540" in text
    assert ("400 of 401 points left out, which are not the best of their ε" in text) != whole
    assert to_markdown(sheets(frame_of(rows))).count("\n| 1 |") == points
