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
