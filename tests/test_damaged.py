"""Damaged, absurd and doubled result files: named one by one, the good rows kept, status not 0, never a traceback."""

import contextlib
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from dpjax.cli import main
from dpjax.report.contents import gather
from dpjax.results import COLUMNS, ResultsError, load, read_job_result, summary, write_job_result, write_table
from dpjax.results.compare import compare
from dpjax.results.failures import read_failures, write_failure
from dpjax.results.table import frame_of
from experiments import plots
from experiments.figures import runs
from experiments.figures.look import Look

COMMANDS = {
    "show": ["results", "show"],
    "markdown": ["results", "show", "--markdown"],
    "csv": ["results", "show", "--csv"],
    "export": ["results", "export"],
    "compare": ["compare", "--by", "clip_norm"],
    "report": ["report"],
    "plot": ["plot", "--format", "svg"],
}


def rows(clip_norm: float, epsilon: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    row = {"epsilon": epsilon, "clip_norm": clip_norm, "config_hash": f"{clip_norm}-{epsilon}", "delta": 1e-5, **more}
    return [row | {"seed": seed, "test_accuracy": 0.8 + clip_norm / 10 + seed / 100} for seed in range(3)]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for clip_norm in (0.1, 1.0):
        for epsilon in (1.0, 2.0):
            write_job_result(tmp_path / f"sweep/{clip_norm}-{epsilon}", rows(clip_norm, epsilon), "d")
    return tmp_path / "sweep"


def ended(command: str, folder: Path, out: Path, capsys: Any) -> tuple[object, str]:
    extra = {"export": ["--out", str(out)], "report": ["--out", str(out / "r.html")], "plot": ["--out", str(out)]}
    with pytest.raises(SystemExit) as end:
        main([*COMMANDS[command], str(folder), *extra.get(command, [])])
    printed = capsys.readouterr()
    return end.value.code, printed.out + printed.err


def damaged(value: Any = None, **cells: Any) -> str:
    made: Any = [rows(0.5)[0] | cells] if value is None else value
    return json.dumps({"format": "dpjax-result", "version": 1, "digest": "d", "rows": made})


ABSURD = {
    "empty": "",
    "cut": damaged()[:-9],
    "not text": "\udcff\udcfe",
    "no rows": damaged([]),
    "a row that is none": damaged([1]),
    "nested file": "[" * 100_000,
    "nested objects": '{"a":' * 50_000,
    "nested cell": damaged(note="DEEP").replace('"DEEP"', "[" * 900 + "]" * 900),
    "nested a little too deep": damaged(note="DEEP").replace('"DEEP"', "[" * 30 + "]" * 30),
    "integer past 64 bits": damaged(seed=2**64),
    "integer past 64 bits in a column of its own": damaged(note=2**70),
    "integer past floats": damaged(test_accuracy=10**400),
    "integer past Python's digits": damaged(note="LONG").replace('"LONG"', "9" * 5000),
    "half a character": damaged(overrides="\ud800"),
    "half a character in a column of its own": damaged(note="\ud800"),
    "texts for numbers": damaged(test_accuracy="high", epsilon="one"),
    "a list for a number": damaged(seed=[1]),
    "true for a number": damaged(epsilon=True),
    "a number for a text": damaged(dataset=3),
}


@pytest.mark.parametrize("absurd", ABSURD)
def test_one_absurd_file_costs_its_own_rows_alone(sweep, absurd, tmp_path, capsys):
    (sweep / "bad").mkdir()
    (sweep / "bad/result.json").write_bytes(ABSURD[absurd].encode("utf-8", "surrogatepass"))
    frame = load(sweep)
    assert len(frame) == 12
    (told,) = frame.attrs["unreadable"]
    assert "bad/result.json" in told
    assert len(told) < 500
    assert "\n" not in told
    assert read_job_result(sweep / "bad") is None
    assert not gather(sweep).is_complete
    for command in ("show", "compare"):
        code, printed = ended(command, sweep, tmp_path / "out", capsys)
        assert code == 1
        assert "bad/result.json" in printed
        assert "Traceback" not in printed


def test_every_command_survives_every_kind_at_once(sweep, tmp_path, capsys):
    for number, absurd in enumerate(ABSURD.values()):
        (sweep / f"bad{number}").mkdir()
        (sweep / f"bad{number}/result.json").write_bytes(absurd.encode("utf-8", "surrogatepass"))
        (sweep / f"bad{number}/failure.json").write_bytes(absurd.encode("utf-8", "surrogatepass"))
    (sweep / "progress.json").write_text(ABSURD["nested file"])
    for command in COMMANDS:
        code, printed = ended(command, sweep, tmp_path / "out", capsys)
        assert code == 1, command
        assert "Traceback" not in printed
        assert all(f"bad{number}" in printed for number in range(len(ABSURD))) or command == "report"


def test_an_old_table_does_not_stand_in_for_jobs_that_cannot_be_read(sweep, tmp_path, capsys):
    write_table(sweep)
    for path in sweep.rglob("result.json"):
        path.write_text("{half")
    for command in COMMANDS:
        code, printed = ended(command, sweep, tmp_path / "out", capsys)
        assert code == 1, command
        assert "result.json" in printed
        assert "0.91" not in printed
    with pytest.raises(ResultsError, match=r"no result\.json that can be read \(.*result\.json is cut short"):
        load(sweep)


def test_a_job_without_rows_is_not_written_and_not_finished(tmp_path):
    with pytest.raises(ResultsError, match="has no rows: give one for each seed"):
        write_job_result(tmp_path, [], "d")
    (tmp_path / "result.json").write_text(damaged([]))
    assert read_job_result(tmp_path) is None


@pytest.mark.parametrize("seconds", [-10_000_000, 10_000_000])
def test_success_clears_a_failure_whatever_the_clock_says(tmp_path, seconds):
    job = tmp_path / "job"
    failure = write_failure(job, "mine", "a=1", "no memory")
    assert failure is not None
    old = failure.read_bytes()
    write_job_result(job, rows(0.1), "d")
    assert not failure.exists()
    failure.write_bytes(old)  # as where it could not be removed
    os.utime(failure, (failure.stat().st_mtime + seconds,) * 2)
    assert read_failures(tmp_path) == ([], [])
    # It failed again after it had succeeded.
    write_failure(job, "mine", "a=1", "no memory")
    os.utime(failure, (failure.stat().st_mtime + seconds,) * 2)
    assert [each.error for each in read_failures(tmp_path)[0]] == ["no memory"]
    write_job_result(job, rows(0.2), "d")
    assert read_failures(tmp_path) == ([], [])


def test_a_damaged_result_is_no_success(tmp_path):
    write_failure(tmp_path / "job", "mine", "a=1", "no memory")
    (tmp_path / "job/result.json").write_text("{half")
    assert [each.error for each in read_failures(tmp_path)[0]] == ["no memory"]


@pytest.mark.parametrize("by", ["config", "seed", "test_accuracy", "eval_steps", "clip_norm"])
@pytest.mark.parametrize("metric", ["seed", "clip_norm", "test_accuracy"])
def test_any_two_columns_compare_or_are_refused_in_one_sentence(by, metric):
    every = [row | {"config": str(c), "eval_steps": [int(c)]} for c in (1.0, 2.0) for row in rows(c)]
    if metric == "seed" or metric == by:
        with pytest.raises(ResultsError, match=f"metric '{metric}' is what runs are told apart by"):
            compare(frame_of(every), by, metric=metric)
        return
    with contextlib.suppress(ResultsError):
        compare(frame_of(every), by, metric=metric)


def test_a_seed_that_is_there_twice_counts_once(sweep):
    once = load(sweep)
    for path in list(sweep.iterdir()):
        copy = sweep / f"copy of {path.name}"
        copy.mkdir()
        (copy / "result.json").write_bytes((path / "result.json").read_bytes())
    twice = load(sweep)
    assert len(twice) == 2 * len(once)
    assert summary(twice)["n"].tolist() == summary(once)["n"].tolist() == [3] * 4
    assert compare(twice, "clip_norm").differences == compare(once, "clip_norm").differences
    more = {
        "norm_counts_first": [1] * 34,
        "norm_counts_last": [1] * 34,
        "eval_steps": [1],
        "eval_signal_to_noise": [1.0],
    }
    run = [row | more for row in rows(0.1)]
    for name in ("norm_histograms", "signal_to_noise"):
        one, two = (plots.draw(name, frame_of(each)) for each in (run, run + run))
        for first, second in zip(one.axes[0].get_lines(), two.axes[0].get_lines(), strict=True):
            assert list(first.get_ydata()) == list(second.get_ydata())
    (shown,) = runs._shown(frame_of(run + run), "test_accuracy", Look(), "norm_counts_first")
    assert len(shown[2]) == 3


def mutated(rng: random.Random) -> bytes:
    """A result file with something done to it: bytes lost or changed, a cell of another kind."""
    text = damaged()
    match rng.randrange(6):
        case 0:
            return text[: rng.randrange(len(text))].encode()
        case 1:
            spoilt = bytearray(text.encode())
            for _ in range(rng.randrange(1, 6)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            return bytes(spoilt)
        case 2:
            document = json.loads(text)
            document[rng.choice(["format", "version", "digest", "rows"])] = rng.choice(VALUES)
            return json.dumps(document).encode()
        case _:
            column = rng.choice([*(column.name for column in COLUMNS), "note", "n", "side", "best", "claim", "family"])
            return damaged(**{column: rng.choice(VALUES)}).encode()


VALUES: list[Any] = [None, True, -1, 0, 2**63, -(2**80), 1e308, "", "inf", "nan", "x" * 300, "\u0000", "π|&$\\", []]
VALUES += [[1], [None], ["inf", 2], [[1]], {}, {"a": 1}, {"": {"b": [2]}}, 0.5, "-inf"]


@pytest.mark.parametrize("seed", range(3))
def test_no_mutation_of_a_result_file_is_worth_a_traceback(seed, sweep, tmp_path, capsys):
    rng = random.Random(seed)
    for number in range(25):
        (sweep / f"bad{number}").mkdir()
        (sweep / f"bad{number}/result.json").write_bytes(mutated(rng))
    frame = load(sweep)
    assert len(frame) >= 12
    refused = {line.split("/result.json")[0].rpartition("/")[2] for line in frame.attrs["unreadable"]}
    assert 5 < len(refused) < 25  # some are none the worse for it
    for command in COMMANDS:
        code, printed = ended(command, sweep, tmp_path / "out", capsys)
        assert code == 1, command
        assert "Traceback" not in printed
        assert all(name in printed for name in refused) or command == "report"
