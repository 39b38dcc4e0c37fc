"""No table forgets a job that failed, until it has been run again and finished."""

import json

import pytest

from dpjax.cli import main
from dpjax.results import load, write_job_result
from dpjax.results.failures import read_failures, write_failure


@pytest.fixture
def sweep(tmp_path):
    for epsilon in (1.0, 8.0):
        row = {"epsilon": epsilon, "seed": 0, "test_accuracy": 0.9, "config_hash": str(epsilon)}
        write_job_result(tmp_path / str(epsilon), [row], "d")
    write_failure(tmp_path / "3.0", "mine", "privacy.epsilon=3", "it ran out of memory")
    return tmp_path


@pytest.mark.parametrize("command", [["results", "show"], ["plot", "--format", "svg"]])
def test_commands_name_it_show_the_rest_and_end_with_status_1(sweep, command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, str(sweep)])
    assert end.value.code == 1
    printed = capsys.readouterr()
    assert "left out: failed: privacy.epsilon=3: it ran out of memory" in printed.err
    assert "0.900" in printed.out or "privacy_utility_curve.svg" in printed.out


def test_a_later_result_takes_its_place(sweep):
    assert load(sweep).attrs["unreadable"] == ["failed: privacy.epsilon=3: it ran out of memory"]
    row = {"epsilon": 3.0, "seed": 0, "test_accuracy": 0.9}
    write_job_result(sweep / "3.0", [row], "d")
    assert load(sweep).attrs["unreadable"] == []
    assert len(load(sweep)) == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{half", "is cut short or not what dpjax writes"),
        ('{"format": "other"}', "was not written by dpjax"),
        ('{"format": "dpjax-failure", "version": 9}', "has format version 9, this dpjax reads 1"),
    ],
)
def test_a_note_that_cannot_be_read_is_named(tmp_path, content, why):
    (tmp_path / "failure.json").write_text(content)
    assert read_failures(tmp_path) == ([], [f"{tmp_path / 'failure.json'} {why}"])


def test_a_folder_that_cannot_be_written_is_no_second_failure(tmp_path):
    (tmp_path / "file").write_text("")
    assert write_failure(tmp_path / "file" / "job", "mine", "a=1", "x") is None


def test_rows_of_an_older_schema_are_read_and_foreign_ones_named(tmp_path):
    write_job_result(tmp_path / "old", [{"epsilon": 1.0, "seed": 0, "test_accuracy": 0.9, "gone": "x"}], "d")
    foreign = {"format": "dpjax-result", "version": 1, "digest": "d", "rows": [{"epsilon": "one"}]}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "result.json").write_text(json.dumps(foreign))
    newer = json.loads((tmp_path / "old" / "result.json").read_text()) | {"version": 2}
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "result.json").write_text(json.dumps(newer))
    frame = load(tmp_path)
    assert frame["gone"].tolist() == ["x"]
    assert len(frame) == 1
    assert len(frame.attrs["unreadable"]) == 2
    assert any("format version 2" in line for line in frame.attrs["unreadable"])
    assert any("column 'epsilon'" in line for line in frame.attrs["unreadable"])


@pytest.mark.parametrize("command", [["results", "show"], ["plot", "--format", "svg"], ["report"]])
def test_points_that_a_ledger_refused_are_counted_and_are_no_error(tmp_path, command, capsys):
    row = {"epsilon": 1.0, "delta": 1e-5, "seed": 0, "test_accuracy": 0.9, "config_hash": "1"}
    write_job_result(tmp_path / "1", [row], "d")
    for epsilon in (3, 8):
        why = "data clinic has spent all."
        write_failure(tmp_path / str(epsilon), "mine", f"privacy.epsilon={epsilon}", why, refused=True)
    with pytest.raises(SystemExit) as end:
        main([*command, str(tmp_path)])
    assert end.value.code == 0
    said = capsys.readouterr().err
    assert "2 points were refused by the ledger" in said
    assert "data clinic has spent all." in said
    assert "failed" not in said
    write_failure(tmp_path / "9", "mine", "privacy.epsilon=9", "it ran out of memory")
    with pytest.raises(SystemExit):
        main([*command, str(tmp_path)])
    assert "2 points were refused" in capsys.readouterr().err


def test_a_sweep_of_which_all_was_refused_says_so(tmp_path, capsys):
    write_failure(tmp_path / "3", "mine", "privacy.epsilon=3", "data clinic has spent all.", refused=True)
    for command in (["results", "show"], ["plot"]):
        with pytest.raises(SystemExit):
            main([*command, str(tmp_path)])
        told = capsys.readouterr().err.strip()
        assert told == f"error: no point of {tmp_path} has run: 1 point was refused by the ledger: " + (
            "data clinic has spent all"
        )
    with pytest.raises(SystemExit):
        main(["status", str(tmp_path)])
    assert "0 jobs finished, 0 failed\n  note: 1 point was refused by the ledger: data" in capsys.readouterr().out
