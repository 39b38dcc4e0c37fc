"""The device kit: everything once in small shapes, and what it does when time, memory or patience ends."""

import itertools
import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.device import memory, report, side
from benchmarks.device.__main__ import main as kit
from benchmarks.device.memory import DoesNotFit, failure
from benchmarks.device.plan import PLAN, TURNS, Piece, small
from benchmarks.device.session import Report, Session
from benchmarks.device.works import LLAMAS, TINY, WORKS

STEPS = Piece("a", "First", "steps", ("ordinary", "auto", "materialize"), least=10.0, most=60.0)
LANES = Piece("b", "Second", "lanes", ("map", "vmap"), least=10.0, most=60.0)
NUMBERS = {"ms": 2.0, "compile_s": 1.0, "temp_bytes": 2**20, "whole_bytes": 2**21}


def session(ask, folder, *, seconds=1e6, clock=None):
    lines = []
    made = Session(
        ask,
        lambda found: report.write(found, folder, "device"),
        lines.append,
        seconds=seconds,
        tiny=False,
        clock=clock or itertools.count().__next__,
    )
    return made, lines


def answering(rows=None):
    """A measuring side without a device: ``rows`` has what is not as usual."""

    def ask(request, seconds):
        if "machine" in request:
            return {"device": "1 × imagined"}
        if request["contestant"] == TURNS:
            return {"auto": {"median_ms": 3.0, "p10_ms": 2.5, "p90_ms": 3.5, "rounds": 9}}
        row = (rows or {}).get(request["contestant"], NUMBERS)
        if isinstance(row, BaseException):
            raise row
        return dict(row)

    return ask


def kept(folder):
    return json.loads((folder / "device.json").read_text())["pieces"]


def test_small_shapes_run_to_their_end(tmp_path, capsys):
    pieces = ("mlp", "noise", "sweep")
    assert kit(["--tiny", "--only", ",".join(pieces), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "device_tiny.json").read_text())
    plan = {piece.name: piece for piece in small(PLAN) if piece.name in pieces}
    assert list(found["pieces"]) == list(plan)
    for name, piece in plan.items():
        rows = found["pieces"][name]["rows"]
        assert list(rows) == list(piece.contestants)
        whole = {key: row for key, row in rows.items() if key not in ("opacus_ghost", "jax_privacy")}
        assert all(row["median_ms"] > 0 and row["compile_s"] > 0 for row in whole.values()), whole
        assert all(row["whole_bytes"] > row["temp_bytes"] >= 0 for row in whole.values())
    engines = found["pieces"]["mlp"]["rows"]
    assert all(engines[name]["deviation"] < 1e-5 for name in ("auto", "bookkeeping", "materialize"))
    assert "--tiny" in engines["opacus_ghost"]["error"]
    assert (tmp_path / "device_tiny.md").read_text() in capsys.readouterr().out


@pytest.mark.slow
def test_every_small_piece_gives_numbers(tmp_path):
    assert kit(["--tiny", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "device_tiny.json").read_text())
    without = {
        (piece, name)
        for piece, entry in found["pieces"].items()
        for name, row in entry["rows"].items()
        if "median_ms" not in row and name not in ("opacus_ghost", "jax_privacy")
    }
    assert (len(found["pieces"]), without) == (len(small(PLAN)), set())


def test_what_runs_out_of_memory_is_a_row_and_the_others_go_on(tmp_path):
    error = RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7 bytes | now")
    run, _ = session(answering({"auto": failure(error)}), tmp_path)
    rows = run.run([STEPS])[2]["a"]["rows"]
    assert rows["auto"]["out_of_memory"]
    assert rows["materialize"]["ms"] == 2.0
    text = (tmp_path / "device.md").read_text()
    assert "It ran out of memory (RuntimeError: RESOURCE_EXHAUSTED" in text
    assert {len(re.findall(r"\|", line)) for line in text.splitlines() if line.startswith("|")} == {11}


def test_failures_are_one_sentence():
    assert failure(DoesNotFit("It needs 9.0 GiB, and 1.0 GiB are there."))["out_of_memory"]
    assert failure(ModuleNotFoundError("no", name="jax_privacy")) == {"error": "jax_privacy is not installed here."}
    assert failure(TypeError("no\ngradient")) == {"error": "TypeError: no gradient."}
    assert "out_of_memory" not in failure(ValueError("a room"))


def test_weights_that_do_not_fit_are_never_drawn(monkeypatch):
    monkeypatch.setattr("benchmarks.device.works.device_bytes", lambda: 2.0**30)
    with pytest.raises(DoesNotFit, match=r"weights need .* GiB, and 1.0 GiB are there"):
        WORKS["llama_1.5b"]()


def test_a_program_that_does_not_fit_is_not_run(monkeypatch):
    from benchmarks.device import steps

    monkeypatch.setattr(steps, "device_bytes", lambda: 1.0)
    bench = steps.Bench("mlp", small=True)
    row = bench.row("ordinary")
    assert row["out_of_memory"]
    assert "It needs" in row["error"]
    assert not bench.built


def test_a_mark_that_did_not_rise_is_nobodys(monkeypatch):
    monkeypatch.setattr(memory, "peak_bytes", lambda: 7)
    assert memory.risen(5) == {"peak_bytes": 7}
    assert memory.risen(7) == memory.risen(None) == {}


def test_time_that_is_used_up_leaves_lines_that_say_so(tmp_path):
    now, asked = [0.0], []

    def ask(request, seconds):
        asked.append((request.get("contestant", "machine"), seconds))
        now[0] += 30.0
        return answering()(request, seconds)

    run, lines = session(ask, tmp_path, seconds=130.0, clock=lambda: now[0])
    pieces = run.run([STEPS, LANES]).pieces
    # Of the 100 s after the first answer the first piece has half, and the last all that is left.
    assert asked == [("machine", 130.0), ("ordinary", 50.0), ("auto", 20.0), ("map", 40.0), ("vmap", 10.0)]
    late = "0 s were left for it, and it takes 10 s or more."
    assert pieces["a"]["rows"] == {"ordinary": NUMBERS, "auto": NUMBERS, "materialize": {"skipped": late}}
    assert pieces["b"]["rows"] == {"map": NUMBERS, "vmap": NUMBERS}
    assert sum(late in line for line in lines) == 1
    assert kept(tmp_path) == pieces


def test_what_there_was_no_time_for_is_named_with_the_minutes_that_it_takes(tmp_path):
    now = [0.0]

    def ask(request, seconds):
        now[0] += min(30.0, seconds)
        if seconds < 30.0:
            raise TimeoutError
        return answering()(request, seconds)

    run, _ = session(ask, tmp_path, seconds=130.0, clock=lambda: now[0])
    run.run([STEPS, LANES])
    # Three rows and turns of the first, 96 s, then two of the second, 60 s; the first has half while the other waits.
    assert run.left_out() == (
        "no time was left for 2 of 3 rows of a, 1 of 2 rows of b, which take 3.5 minutes or more: run it with "
        "--only a,b --minutes 3.5; what was measured stays."
    )
    now[0] = 0.0
    again, _ = session(ask, tmp_path, seconds=60 * 3.5, clock=lambda: now[0])
    again.run([STEPS, LANES])
    assert again.left_out() == ""


def test_a_run_that_ends_before_it_began_names_all_pieces(tmp_path):
    now = [0.0]

    def ask(request, seconds):
        now[0] += seconds
        raise TimeoutError

    run, lines = session(ask, tmp_path, seconds=0.6, clock=lambda: now[0])
    run.run([STEPS, LANES])
    assert lines == ["nothing is measured: It took longer than the 0.6 s it had, and was given up."]
    assert run.left_out().startswith(
        "no time was left for a, b, which take 1.5 minutes or more: run it with --only a,b"
    )


def test_what_takes_too_long_by_itself_is_not_told_to_lack_time(tmp_path):
    run, _ = session(answering({"auto": TimeoutError()}), tmp_path)
    run.run([STEPS, LANES])
    assert run.left_out() == ""


def children_of(process):
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_measuring_process_too_and_keeps_what_is_finished(tmp_path, number, status):
    words = ["-m", "benchmarks.device", "--tiny", "--only", "mlp,noise", "--out", str(tmp_path)]
    run = subprocess.Popen(
        [sys.executable, *words],
        cwd=Path(__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit "ignore"
    )
    assert run.stderr is not None
    for line in run.stderr:
        if "mlp: auto" in line:  # the ordinary step is measured, and its row written
            break
    (measuring,) = children_of(run.pid)
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == status, said
    assert "interrupted; what was finished is in" in said
    assert "Traceback" not in said
    assert not Path(f"/proc/{measuring}").exists()
    pieces = json.loads((tmp_path / "device_tiny.json").read_text())["pieces"]
    assert pieces["mlp"]["rows"]["ordinary"]["ms"] > 0
    assert pieces["noise"]["rows"]["matrix"] == {"skipped": "It was interrupted before."}


def test_what_takes_too_long_is_given_up(tmp_path):
    run, _ = session(answering({"auto": TimeoutError()}), tmp_path)
    rows = run.run([STEPS]).pieces["a"]["rows"]
    assert rows["auto"]["error"] == "It took longer than the 60 s it had, and was given up."
    assert rows["materialize"]["ms"] == 2.0


def test_an_interrupt_keeps_what_is_finished(tmp_path):
    run, _ = session(answering({"materialize": KeyboardInterrupt()}), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.run([STEPS, LANES])
    rows = kept(tmp_path)["a"]["rows"]
    assert (rows["ordinary"], rows["auto"]) == (NUMBERS, NUMBERS)
    assert rows["materialize"] == kept(tmp_path)["b"]["rows"]["map"] == {"skipped": "It was interrupted before."}


def test_every_row_is_on_disk_before_the_next_is_asked_for(tmp_path):
    def ask(request, seconds):
        if request.get("contestant") == "auto":
            assert kept(tmp_path)["a"]["rows"] == {"ordinary": NUMBERS}
        return answering()(request, seconds)

    session(ask, tmp_path)[0].run([STEPS])


def test_turns_replace_what_one_timing_said(tmp_path):
    session(answering(), tmp_path)[0].run([STEPS])
    assert kept(tmp_path)["a"]["rows"]["auto"] == NUMBERS | {
        "median_ms": 3.0, "p10_ms": 2.5, "p90_ms": 3.5, "rounds": 9,
    }  # fmt: skip
    assert "| dpjax auto | 3.000 | 2.500–3.500 | 1.50 | 1.0 | 1.0 | 2.0 |" in (tmp_path / "device.md").read_text()


def test_without_a_device_every_row_says_so(tmp_path):
    run, _ = session(lambda request, seconds: {"error": "no driver."}, tmp_path)
    assert run.run([LANES]).pieces["b"]["rows"]["map"] == {"skipped": "Nothing was measured: no driver."}


class Scripted:
    """A process in the place of a side's: says what it is given, hangs at None, ends at an exception."""

    begun = 0

    def __init__(self, answers):
        self.answers = answers
        self.killed = False

    def __call__(self, *arguments):
        type(self).begun += 1
        return self

    def tell(self, request):
        pass

    def hear(self, seconds):
        answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            raise TimeoutError
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self):
        self.killed = True


@pytest.mark.parametrize(("first", "begun"), [({"ms": 1.0}, 1), ({"out_of_memory": True}, 2), (side.Ended(), 2)])
def test_a_process_is_begun_anew_after_it_was_lost_or_its_memory_ran_out(monkeypatch, first, begun):
    scripted = Scripted([first, {"ms": 2.0}])
    monkeypatch.setattr(Scripted, "begun", 0)
    monkeypatch.setattr(side, "Side", scripted)
    measuring = side.Measuring({})
    if isinstance(first, side.Ended):
        assert "ended without a word" in measuring.ask({"piece": "a"}, 5.0)["error"]
    else:
        assert measuring.ask({"piece": "a"}, 5.0) == first
    assert measuring.ask({"piece": "b"}, 5.0) == {"ms": 2.0}
    assert Scripted.begun == begun


def test_a_process_that_hangs_is_ended(monkeypatch):
    scripted = Scripted([])
    monkeypatch.setattr(side, "Side", scripted)
    with pytest.raises(TimeoutError):
        side.Measuring({}).ask({"piece": "a"}, 0.0)
    assert scripted.killed


def test_each_work_of_the_plan_is_known_and_has_its_size():
    steps = {piece.name for piece in PLAN if piece.kind == "steps"}
    assert steps == set(WORKS)
    assert {piece.name for piece in small(PLAN) if piece.kind == "steps"} == set(TINY)
    sizes = {}
    for name, arch in LLAMAS.items():
        attention = 2 * arch.head_width * (arch.num_heads + arch.num_kv_heads)
        block = arch.width * (attention + 3 * arch.hidden_width)
        sizes[name] = round((arch.vocab_size * arch.width + arch.num_layers * block) / 1e6)
    assert sizes == {"135m": 134, "360m": 362, "1.5b": 1544}


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        kit(["--tiny", "--out", str(tmp_path / "file")])
    assert end.value.code == 2
    assert "file can't be written (File exists); choose another folder." in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--only", "mlp,nothing"], ["--only", " ,"], ["--minutes", "0"], ["--minutes", "nan"]]
)
def test_words_that_make_no_sense_are_refused(words, capsys):
    with pytest.raises(SystemExit) as done:
        kit(words)
    assert done.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_shorter_run_replaces_what_it_measures_and_nothing_else(tmp_path):
    def run(machine, **milliseconds):
        pieces = {
            name: {"title": name, "kind": "steps", "rows": {"auto": {"skipped": "late"} if ms is None else {"ms": ms}}}
            for name, ms in milliseconds.items()
        }
        report.write(report.Report({"device": machine}, False, pieces), tmp_path, "device")
        found = json.loads((tmp_path / "device.json").read_text())["pieces"]
        return {name: piece["rows"]["auto"].get("ms") for name, piece in found.items()}

    assert run("a", mlp=None) == {"mlp": None}
    assert run("a", mlp=1.0, noise=2.0) == {"mlp": 1.0, "noise": 2.0}
    assert run("a", mlp=None, noise=3.0, cnn=None) == {"mlp": 1.0, "noise": 3.0, "cnn": None}
    assert run("b", mlp=None) == {"mlp": 1.0, "noise": 3.0, "cnn": None}
    assert run("b", mlp=4.0) == {"mlp": 4.0}


def test_help_names_every_piece_and_shows_commands(capsys):
    with pytest.raises(SystemExit):
        kit(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {piece.name}" in said for piece in PLAN)
    assert "python -m benchmarks.device --tiny" in said


def test_an_empty_report_is_written_too():
    assert "did not answer" in report.markdown(Report({}, False, {}))
