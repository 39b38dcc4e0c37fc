"""What lies sealed gets no open copy by any command that reads results, unless its user says --open."""

from pathlib import Path

import pytest

from dpjax.cli.app import _COMMANDS, _load, run
from dpjax.encryption.keys import add_key
from dpjax.results import ResultsError, load
from dpjax.results.open_copies import refuse_open_copy, sealed_at
from dpjax.results.result_files import write_job_result
from dpjax.results.table import write_table
from paper.gather import gather

ACCURACY = 0.8125  # as text begins with 0.81
PRINTS = (
    ("results", "show"),
    ("results", "show", "--csv"),
    ("results", "table", "--show", "epsilon,test_accuracy", "--save", "{out}/spec.yaml"),
    ("compare", "--by", "clip_norm"),
    ("status",),
)
"""These write no score."""
WRITES = (
    ("results", "export"),
    ("results", "export", "--out", "{out}"),
    ("report",),
    ("report", "--out", "{out}/report.html"),
    ("plot", "--format", "svg"),
    ("plot", "--format", "svg", "--out", "{out}", "--figure", "privacy_utility_curve"),
    ("plot", "--x", "epsilon", "--y", "test_accuracy", "--format", "svg", "--out", "{out}"),
)
SERVES = (("report", "--watch", "--port", "0"),)
ONE_RUN = {("release",)}
"""Takes a job's folder, and leaves scores where they are."""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    add_key(f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    (tmp_path / "out").mkdir()
    row = {"method": "dpsgd", "delta": 1e-5, "unit": "example", "adjacency": "zero_out", "dataset": "d"}
    for number, epsilon in enumerate((1.0, 2.0, 1.0, 2.0)):
        rows = [
            row | {"seed": seed, "epsilon": epsilon, "clip_norm": 1.0 + number // 2, "test_accuracy": ACCURACY}
            for seed in range(2)
        ]
        write_job_result(tmp_path / f"sweep/{number}", rows, f"d{number}", seal=True)
    write_table(tmp_path / "sweep")
    return tmp_path / "sweep"


def words(command, sweep):
    first = 2 if command[0] == "results" else 1
    rest = [word.format(out=sweep.parent / "out") for word in command[first:]]
    return [*command[:first], str(sweep), *rest]


def holds(folder):
    """All that is there, and what holds the score, or draws it, open."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return files, [path.name for path, content in files.items() if b"0.81" in content or b"<svg" in content]


@pytest.mark.parametrize("command", PRINTS, ids=" ".join)
def test_what_prints_is_allowed_and_leaves_nothing_open(sweep, command, capsys):
    run(words(command, sweep))
    said = capsys.readouterr()
    assert "is sealed" not in said.err
    assert said.out
    assert holds(sweep.parent)[1] == []


@pytest.mark.parametrize("command", WRITES, ids=" ".join)
def test_what_writes_is_refused_without_a_trace_until_it_is_asked_for(sweep, command, capsys, monkeypatch):
    before, bare = holds(sweep.parent)
    assert bare == []
    with monkeypatch.context() as patch:
        patch.delenv("DPJAX_KEYS")  # nothing is opened to find out
        for place in (sweep, sweep / "results.parquet", sweep / "results.json"):
            assert run(words(command, place)) == 1
            said = " ".join(capsys.readouterr().err.split())
            assert said.startswith(f"error: {place} is sealed, and ")
            assert "would lie open; add --open if it may, or look at the results with `dpjax results show`." in said
    assert holds(sweep.parent)[0] == before
    run([*words(command, sweep), "--open"])
    assert "is sealed" not in capsys.readouterr().err
    made = [path for path in holds(sweep.parent)[0] if path not in before]
    assert holds(sweep.parent)[1]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}


@pytest.mark.parametrize("command", SERVES, ids=" ".join)
def test_a_page_that_all_users_of_the_machine_may_read_is_refused_too(sweep, command, capsys):
    assert run(words(command, sweep)) == 1
    assert "the page would lie open" in " ".join(capsys.readouterr().err.split())


def test_with_a_wrong_key_a_report_is_refused_and_the_one_that_is_there_stays(sweep, tmp_path, monkeypatch, capsys):
    run(["report", str(sweep), "--open"])
    before = (sweep / "report.html").read_bytes()
    assert str(ACCURACY).encode() in before
    add_key(f"file:{tmp_path / 'other'}")
    for source in (f"file:{tmp_path / 'other'}", ""):
        monkeypatch.setenv("DPJAX_KEYS", source)
        for place in (sweep, sweep / "results.parquet", sweep / "results.json"):
            for out in ([], ["--watch", "--port", "0"], ["--out", str(sweep / "report.html")]):
                capsys.readouterr()
                assert run(["report", str(place), "--open", *out]) == 1
                said = capsys.readouterr()
                assert said.err.startswith("error: ")
                assert "key" in said.err
                assert said.out == ""
        assert (sweep / "report.html").read_bytes() == before


def test_one_sealed_job_among_open_ones_is_enough(sweep, tmp_path):
    write_job_result(tmp_path / "mixed/a", [{"seed": 0, "epsilon": 1.0}], "d")
    refuse_open_copy([tmp_path / "mixed"], "all", allowed=False)
    write_job_result(tmp_path / "mixed/b/c", [{"seed": 1, "epsilon": 1.0}], "e", seal=True)
    with pytest.raises(ResultsError, match="mixed is sealed, and all would lie open"):
        refuse_open_copy([tmp_path / "mixed"], "all", allowed=False)
    assert not sealed_at(tmp_path / "mixed/a")


def test_what_is_published_of_them_is_refused(sweep, tmp_path):
    assert len(load(sweep)) == 8
    with pytest.raises(ResultsError, match=r"the paper's table would lie open; run it without governance\.seal"):
        gather(tmp_path)


def test_the_table_above_names_every_command_that_takes_results():
    """A new one must be put among those that print, or those that refuse."""

    def leaves(command, path):
        for name, below in getattr(command, "commands", {}).items():
            yield from leaves(below, (*path, name))
        if not getattr(command, "commands", {}):
            yield path, command

    taking = set()
    for name, found in _COMMANDS.items():
        for path, command in leaves(_load(name, found.target), (name,)):
            for each in command.params:
                help = (getattr(each, "help", "") or "").lower()
                if each.param_type_name == "argument" and ("sweep" in help or "of a job" in help):
                    taking.add(path)
    named = {command[: 2 if command[0] == "results" else 1] for command in (*PRINTS, *WRITES, *SERVES)}
    assert taking | {("plot",)} == named | ONE_RUN


def test_a_sweep_that_is_open_needs_no_leave(tmp_path, capsys):
    write_job_result(tmp_path / "sweep/0", [{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.5}], "d")
    assert run(["results", "export", str(tmp_path / "sweep"), "--out", str(tmp_path / "out")]) == 0
    assert Path(tmp_path, "out", "results.json").exists()
