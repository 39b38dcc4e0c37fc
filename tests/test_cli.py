"""The command line teaches, answers at once, and refuses in one sentence."""

import json
import math
import os
import re
import subprocess
import sys
import time
from importlib.metadata import entry_points

import pytest

from dpjax import accounting
from dpjax._version import __version__
from dpjax.caches import cache_file
from dpjax.cli import app, main
from dpjax.cli.app import run
from dpjax.results import write_job_result

RUN = ["--sampling-rate", "0.25", "--num-steps", "100", "--delta", "1e-5"]
POPULATION = ["--population", "1000", "--expected-cohort-size", "250", "--epochs", "25", "--delta", "1e-5"]
COMMANDS = ["epsilon", "calibrate", "data", "results", "status", "report", "plot", "cache", "new"]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Runs the command line in this process: (status, stdout, stderr)."""
    monkeypatch.setenv("DPJAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        out, err = capsys.readouterr()
        code = stop.value.code
        assert isinstance(code, int)
        return code, out, err

    return run


@pytest.fixture
def sweep(tmp_path):
    for epsilon in (1.0, 8.0, math.inf):
        row = {"config_hash": str(epsilon), "dataset": "digits", "unit": "example", "epsilon": epsilon, "delta": 1e-5}
        rows = [row | {"seed": s, "test_accuracy": 0.9 + s / 100} for s in range(2)]
        write_job_result(tmp_path / "sweep" / str(epsilon), rows, "d")
    return tmp_path / "sweep"


def test_version_answers_in_half_a_second():
    command = [sys.executable, "-c", "from dpjax.cli import main; main()", "--version"]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        times.append(time.perf_counter() - start)
        assert out == f"dpjax {__version__}\n"
    assert min(times) < 0.5  # measured: 0.05 s


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom dpjax.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'jax', 'pandas', 'numpy', 'scipy', 'matplotlib', 'dp_accounting', 'wandb', 'hydra', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for word in (*COMMANDS, "unit", "adjacency", "noise multiplier"):
        assert word in out


@pytest.mark.parametrize(
    "words", [[c] for c in COMMANDS] + [["results", c] for c in ("show", "columns", "export")], ids=" ".join
)
def test_every_command_shows_a_worked_example(call, words):
    status, out, _ = call(*words, "--help")
    assert status == 0
    assert f"dpjax {' '.join(words)} " in out.split("Usage")[1].split("\n", 1)[1]
    assert "Example" in out


def test_help_cuts_no_word_on_a_narrow_terminal(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("epsilon", "calibrate", "status", "report", "compare", "plot", "generate"):
        status, out, _ = call(command, "--help")
        assert (status, "…" in out) == (0, False), command
    _, out, _ = call("epsilon", "--help")
    words = re.findall(r"[\w-]+", out)
    for word in ("--expected-cohort-size", *accounting.mechanism.ADJACENCIES, *accounting.SAMPLINGS):
        assert word in words


def test_worked_examples_of_the_accountant_run(call):
    for command in ("epsilon", "calibrate"):
        _, out, _ = call(command, "--help")
        examples = re.findall(rf"^ +dpjax ({command} .*?) *$", out, re.MULTILINE)
        assert len(examples) == 2
        for example in examples:
            words = example.split()
            status, printed, err = call(*words, *(["--accountant", "rdp"] if "--accountant" not in words else []))
            assert (status, err) == (0, ""), example
            assert "-DP per" in printed


def test_epsilon_agrees_with_the_library_and_makes_the_claim(call):
    mechanism = accounting.Mechanism(
        unit="example", adjacency="zero_out", sampling=accounting.Poisson(0.25), noise_multiplier=4.0, num_steps=100
    )
    status, out, _ = call("epsilon", "--noise-multiplier", "4", *RUN, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["epsilon_pld"] == pytest.approx(accounting.epsilon(mechanism, 1e-5, "pld"))
    assert found["epsilon_rdp"] == pytest.approx(accounting.epsilon(mechanism, 1e-5, "rdp"))
    _, text, _ = call("epsilon", "--noise-multiplier", "4", *RUN)
    assert text.splitlines()[2] == found["claim"]
    assert found["claim"].endswith("example, zero_out, Poisson q=0.25, 100 steps; tuning not accounted")


@pytest.mark.parametrize("command", [["epsilon", "--noise-multiplier", "4"], ["calibrate", "--epsilon", "8"]])
@pytest.mark.parametrize("sampling", list(accounting.SAMPLINGS))
def test_the_relation_is_the_librarys_default_and_can_be_chosen(call, command, sampling):
    words = [*command, "--num-steps", "40", "--delta", "1e-5", "--population", "1000", "--accountant", "rdp", "--json"]
    words += ["--sampling", sampling, *([] if sampling == "full" else ["--sampling-rate", "0.1"])]

    def relation(*given):
        status, out, _ = call(*words, *given)
        assert status == 0
        found = json.loads(out)
        return (found if isinstance(found, dict) else found[0])["adjacency"]

    assert relation() == accounting.default_adjacency(sampling)
    assert relation("--adjacency", "replace_one") == "replace_one"
    if sampling not in ("shuffled", "cyclic"):
        assert relation("--adjacency", "add_or_remove_one") == "add_or_remove_one"


def test_a_cohort_and_epochs_say_what_a_rate_and_steps_say(call):
    results = [
        json.loads(call("epsilon", "--noise-multiplier", "4", *words, "--accountant", "rdp", "--json")[1])
        for words in (RUN, POPULATION)
    ]
    assert results[0]["epsilon_rdp"] == results[1]["epsilon_rdp"]
    assert "epsilon_pld" not in results[0]


def test_no_noise_is_valid_json_and_claims_nothing(call):
    _, out, _ = call("epsilon", "--noise-multiplier", "0", *RUN, "--accountant", "rdp", "--json")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["epsilon_rdp"] == "inf"
    assert found["claim"].startswith("not private")


def test_calibrate_takes_commas_and_repeats_in_the_order_given(call):
    status, out, err = call("calibrate", "--epsilon", "4,1", "--epsilon", "inf", *RUN, "--accountant", "rdp")
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()[1:4]]
    assert [row[0] for row in rows] == ["4", "1", "∞"]
    four, one, none = (float(row[1]) for row in rows)
    claims = [
        call("calibrate", "--epsilon", x, *RUN, "--accountant", "rdp")[1].splitlines()[-1] for x in ("inf,4", "4")
    ]
    assert claims[0] == claims[1].removesuffix("; the others alike")  # of what is private, wherever it stands
    assert out.splitlines()[-1] == f"{claims[1]}; the others alike"
    assert none == 0 < four < one
    _, text, _ = call("calibrate", "--epsilon", "1", *RUN, "--accountant", "rdp", "--json")
    (row,) = json.loads(text)
    assert row["noise_multiplier"] <= one  # printed rounded up: never too little noise
    assert row["noise_multiplier"] == pytest.approx(one, abs=2e-5)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["epsilon", "--noise-multiplier", "1"], ["--delta"]),
        (["epsilon", "--noise-multiplier", "-1", *RUN], ["--noise-multiplier -1.0", "≥ 0"]),
        (["epsilon", "--noise-multiplier", "x", *RUN], ["--noise-multiplier", "'x'", "--help"]),
        (["epsilon", "--noise-multiplier", "1", *RUN, "--unit", "person"], ["--unit 'person' is not known", "example"]),
        (
            ["epsilon", "--noise-multiplier", "1", *RUN, "--sampling-rate", "2"],
            ["--sampling-rate 2.0 must be in"],
        ),
        (
            ["epsilon", "--noise-multiplier", "1", *RUN, "--delta", "2"],
            ["--delta 2.0 must be in (0, 1)", "probability"],
        ),
        (["epsilon", "--noise-multiplier", "1", *RUN, "--epochs", "3"], ["--num-steps 100 and --epochs", "either"]),
        (["epsilon", "--noise-multiplier", "1", *RUN[2:]], ["--sampling-rate is missing", "--expected-cohort-size"]),
        (
            ["epsilon", "--noise-multiplier", "1", "--delta", "1e-5", "--sampling-rate", ".1"],
            ["--num-steps is missing"],
        ),
        (["epsilon", "--noise-multiplier", "1", *RUN[2:], "--expected-cohort-size", "9"], ["needs --population"]),
        (["epsilon", "--noise-multiplier", "1", *POPULATION, "--population", "9"], ["--expected-cohort-size 250"]),
        (["epsilon", "--noise-multiplier", "1", *POPULATION, "--delta", ".01"], ["--delta 0.01", "1 / --population"]),
        (["epsilon", "--noise-multiplier", "1", *POPULATION, "--epochs", "0"], ["--epochs 0"]),
        (["epsilon", "--noise-multiplier", "1", *RUN, "--sampling", "shuffled"], ["--population None"]),
        (
            ["epsilon", "--noise-multiplier", "1", *RUN, "--sampling", "full"],
            ["--sampling-rate 0.25", "set it to 1"],
        ),
        (["calibrate", "--epsilon", "1,two", *RUN], ["--epsilon 1,two", "0.5,1,2,inf"]),
        (["calibrate", "--epsilon", "0", *RUN], ["--epsilon 0", "positive"]),
        (["calibrate", "--epsilon", ",", *RUN], ["error: --epsilon is empty"]),
        (["epsilon", "--noise", "1.1", *RUN], ["No such option: --noise: it is --noise-multiplier here"]),
        (["calibrat"], ["calibrat", "Did you mean 'calibrate'", "dpjax --help"]),
        (["results", "show", "/nowhere"], ["/nowhere", "folder of a sweep"]),
        (["plot", "/nowhere"], ["/nowhere", "folder of a sweep"]),
    ],
)
def test_a_mistake_is_one_sentence_with_flag_value_and_fix(call, words, parts):
    status, out, err = call(*words)
    assert status in (1, 2)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    for part in parts:
        assert part in err


@pytest.mark.parametrize(("noise", "found"), [("1e-300", "∞"), ("1e-90", "∞"), ("1e300", "0")])
def test_noise_that_squares_to_nothing_or_to_inf_has_its_epsilon(call, noise, found):
    status, out, err = call("epsilon", "--noise-multiplier", noise, *RUN)
    assert (status, err) == (0, "")
    assert f"RDP  ε = {found}" in out
    assert f"PLD  ε = {found}" in out


def test_what_was_released_before_is_in_epsilon_and_in_the_claim(call):
    run = ["--noise-multiplier", "6", "--sampling-rate", "0.25", "--num-steps", "100", "--delta", "1e-5", "--json"]
    status, out, _ = call("epsilon", *run, "--release-noise-multiplier", "10", "--release-delta", "1e-10")
    assert status == 0
    row = json.loads(out)
    assert row["epsilon_pld"] == pytest.approx(1.7259, rel=1e-3)
    assert "ε includes counts, released with noise multiplier 10" in row["claim"]
    assert json.loads(call("epsilon", *run)[1])["epsilon_pld"] < row["epsilon_pld"] - 0.04
    status, _, err = call("epsilon", *run, "--release-delta", "1e-10")
    assert status == 1
    assert "--release-delta 1e-10 is of --release-noise-multiplier" in err


def test_a_tiny_epsilon_is_refused_at_once(call):
    status, _, err = call("calibrate", "--epsilon", "1e-9", *RUN)
    assert status == 1
    assert err.startswith("error: --epsilon 1e-09 is below the 0.001 that PLD's grid resolves; give at least 0.001")


def test_a_bug_keeps_its_traceback(monkeypatch, call):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(accounting, "epsilon", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        app.run(["epsilon", "--noise-multiplier", "1", *RUN])


def test_show_prints_each_form(call, sweep):
    status, out, err = call("results", "show", str(sweep))
    assert (status, err) == (0, "")
    assert "digits, per example" in out
    assert "∞ (non-private)" in out
    assert call("results", "show", str(sweep), "--markdown")[1].startswith("**digits, per example**")
    assert r"\toprule" in call("results", "show", str(sweep), "--latex")[1]
    header, *lines = call("results", "show", str(sweep), "--csv")[1].splitlines()
    assert "test_accuracy_mean" in header
    assert len(lines) == 3
    status, _, err = call("results", "show", str(sweep), "--csv", "--latex")
    assert status == 1
    assert "exclude each other" in err


def test_show_names_files_it_left_out(call, sweep):
    (sweep / "8.0" / "result.json").write_text("{")
    status, out, err = call("results", "show", str(sweep))
    assert status == 1
    assert err == f"left out: {sweep / '8.0' / 'result.json'} is cut short or not JSON\n"
    assert "non-private" in out


def test_columns_and_export(call, sweep, tmp_path):
    assert "clip_norm" in call("results", "columns")[1]
    assert "| `clip_norm` | float | L2 norm |" in call("results", "columns", "--markdown")[1]
    status, out, _ = call("results", "export", str(sweep), "--out", str(tmp_path / "tables"))
    assert status == 0
    names = ["results.parquet", "results.json", "summary.csv", "table.md", "table.tex"]
    assert out.splitlines() == [str(tmp_path / "tables" / name) for name in names]


def test_plot_is_found_by_its_entry_point(call, sweep):
    assert "plot" in entry_points(group="dpjax.commands").names
    status, out, err = call("plot", str(sweep), "--format", "png")
    assert status == 0
    assert out == f"{sweep / 'figures' / 'privacy_utility_curve.png'}\n"
    assert "skipped epsilon_clip_heatmap: " in err
    status, _, err = call("plot", str(sweep), "--figure", "accuracy_by_clients")
    assert status == 1
    assert "column 'clients_per_round'" in err


def test_commands_that_cannot_be_imported_say_so(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "dpjax.cli.hub_tables", None)
    status, _, err = call("data", "list")
    assert status == 1
    assert err.startswith("error: dpjax data cannot be loaded")


def test_a_pipe_that_closes_is_no_error(sweep):
    command = f'{sys.executable} -c "from dpjax.cli import main; main()" results columns | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ)
    assert "Traceback" not in done.stderr


def test_the_cache_is_shown_and_cleared_kind_by_kind(call, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # of the test run
    for kind, name in (("calibration", "a"), ("programs", "b"), ("programs", "c")):
        (tmp_path / "cache" / kind).mkdir(parents=True, exist_ok=True)
        cache_file(tmp_path / "cache" / kind, kind, name).write_bytes(bytes(3 * 2**19))
    (tmp_path / "cache" / "datasets").mkdir()
    mine = [tmp_path / "cache" / name for name in ("datasets/mine.csv", "programs/main.c", "calibration/camera.json")]
    for path in mine:
        path.write_text("1,2")
    status, out, _ = call("cache", "show")
    assert status == 0
    assert re.search(r"programs +2 +3\.0 MiB +just now", out), out
    assert re.search(r"autotune +0 +0 KiB +never", out)
    assert f"Kept in {tmp_path / 'cache'}.\nOf programs, at most 1,024.0 MiB are kept (DPJAX_PROGRAM_CACHE_MIB)" in out
    assert call("cache", "clear", "programs")[1] == "programs: 2 files removed, 3.0 MiB\n"
    assert re.search(r"calibration +1 ", call("cache", "show")[1])
    status, out, _ = call("cache", "clear")
    assert "calibration: 1 files removed, 1.5 MiB" in out
    assert "programs: 0 files removed, 0 KiB" in out
    assert all(path.read_text() == "1,2" for path in mine)


def test_the_cache_says_what_of_it_is_not_used(call, monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # of the test run
    assert "once there is something to keep" in call("cache", "show")[1]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/jaxs")
    assert "Programs are kept by JAX itself, in /jaxs" in call("cache", "show")[1]
    monkeypatch.setenv("DPJAX_PROGRAM_CACHE_MIB", "0")
    assert "No programs are kept or read" in call("cache", "show")[1]
    monkeypatch.setenv("DPJAX_PROGRAM_CACHE_MIB", "-1")
    status, _, err = call("cache", "show")
    assert status == 1
    assert err.startswith("error: DPJAX_PROGRAM_CACHE_MIB='-1' is no size")
    monkeypatch.delenv("DPJAX_PROGRAM_CACHE_MIB")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DPJAX_CACHE_DIR", str(tmp_path / "file"))
    assert "which is no folder: nothing is kept" in call("cache", "show")[1]


def test_a_cache_of_another_name_is_refused(call):
    status, _, err = call("cache", "clear", "programms")
    assert status == 1
    assert "KIND='programms' is not known" in err
    assert "perhaps 'programs'" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["epsilon", "--sigma", "1"], "it is --noise-multiplier here; see dpjax epsilon --help"),
        (["epsilon", "--batch-size", "1"], "it is --expected-cohort-size here"),
        (["epsilon", "--steps", "1"], "it is --num-steps here"),
        (
            ["results", "show", "x", "--spread", "ci"],
            "table and dpjax plot take it; see dpjax results show",
        ),
        (["compare", "x", "--ci"], "it is --spread elsewhere"),
        (["results", "table", "x", "--name"], "requires an argument; see dpjax results table --help"),
        (["results", "show", "x", "--latex", "siunitx"], "--latex siunitx is nothing to this command"),
        (["results", "export", "x", "y"], "--out is not given"),
        (["plot", "x", "y"], "--out is not given"),
    ],
)
def test_an_option_in_other_words_is_answered_by_ours_and_by_the_right_page(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "xy":
        write_job_result(tmp_path / name / "a", [{"epsilon": 1.0, "seed": 0, "test_accuracy": 0.9}], name)
    assert run(words) != 0
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["results", "table"], ["results", "show"]])
@pytest.mark.parametrize("latex", [["--latex"], ["--latex", "booktabs"], ["--latex=booktabs"]])
def test_latex_is_asked_for_with_and_without_a_word(words, latex, capsys, tmp_path):
    write_job_result(tmp_path / "a", [{"epsilon": 1.0, "seed": s, "test_accuracy": 0.9} for s in (0, 1)], "a")
    for order in ([str(tmp_path), *latex], [*latex, str(tmp_path)]):
        assert run([*words, *order]) == 0
        assert "toprule" in capsys.readouterr().out
