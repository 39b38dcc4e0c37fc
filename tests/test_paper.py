"""The paper: every published row stands in a table, tables follow from results alone, and what is missing is named."""

import math
import re

import pytest

from dpjax.results import ResultsError
from dpjax.results.table import frame_of
from experiments.config import CONF
from experiments.leaderboard import declare
from paper import figures, gather, latex, numbers, references, studies, tables
from paper.accounting import accounting_rows
from paper.profiles import PROFILES, Study, needed
from paper.published import Comparison
from paper.training import training_rows


def trained(experiment, accuracy, seed=0, dataset="fashion_mnist", **more):
    row = {"experiment": experiment, "dataset": dataset, "test_accuracy": accuracy, "seed": seed, "epsilon": 3.0}
    return row | more


def test_every_row_of_the_list_is_compared_and_every_exact_one_agrees():
    exact = accounting_rows()
    every = [*exact, *training_rows(frame_of([trained("quickstart", 0.5)]))]
    assert {row.row for row in every} == set(range(1, 24))
    assert [row for row in exact if row.verdict != "agrees"] == []
    assert all(row.exact for row in exact)


def test_every_source_has_an_entry_in_the_bibliography():
    named = [row.source for row in [*accounting_rows(), *training_rows(frame_of([trained("quickstart", 0.5)]))]]
    named += [method.paper for method in declare.methods().values() if method.paper]
    assert [source for source in named if not references.cite(source)] == []
    text = (gather.FOLDER.parent / "main.tex").read_text()
    cited = {*references.SOURCES.values(), *re.findall(r"\\cite\{(\w+)\}", text)}
    assert cited == references.known()  # none is missing, and none stands there unread


def test_a_value_that_is_off_says_so():
    assert Comparison(1, "", "", 1.26, 1.27, tolerance=0.005).verdict == "OFF"
    assert Comparison(17, "", "", 89.7, 88.9, lowest=89.0).verdict == "target missed"
    assert Comparison(16, "", "", 95.0, 80.0, difference="other digits").verdict == "other data"
    assert Comparison(16, "", "", 95.0, 93.0).verdict == "differs"
    assert Comparison(16, "", "", 95.0, math.nan).verdict == "failed"


def test_trained_rows_are_found_by_what_ran():
    frame = frame_of(
        [trained("published_scattering", a, s) for s, a in enumerate((0.89, 0.90))]
        + [trained("published_tutorial", 0.8, noise_multiplier=1.3, sampling_rate=256 / 60_000)]
        + [trained("published_tutorial", 0.7, noise_multiplier=1.3, sampling_rate=240 / 60_000)]
        + [trained("published_tutorial", 0.95, dataset="mnist", noise_multiplier=1.1, sampling_rate=256 / 60_000)]
        + [trained("published_solvers", 0.6, partition="dirichlet(0.5)", algorithm="fedprox(0.01)", epsilon=math.inf)]
    )
    found = {(row.row, row.source.split(",")[0], row.quantity): row for row in training_rows(frame)}
    linear = found[17, "Tramèr and Boneh", "ScatterNet + linear, Fashion-MNIST, ε=3 by RDP"]
    assert linear.ours == pytest.approx(89.5)
    assert linear.spread == pytest.approx(0.7071, abs=1e-3)
    assert linear.verdict == "target met"
    tutorial = [row for row in found.values() if row.row == 16 and row.ours is not None]
    assert [(row.ours, row.verdict) for row in tutorial] == [
        (pytest.approx(80.0), "other data"),
        (pytest.approx(95.0), "differs"),  # on MNIST itself there is no excuse
        (pytest.approx(70.0), "other data"),
    ]
    prox = found[20, "Li et al.", "fedprox, 10 clients, Dirichlet(0.5)"]
    assert prox.ours == pytest.approx(60.0)


def test_tables_escape_what_latex_and_markdown_would_read():
    table = tables.Table("t", "50 % of ε_1 & more.", ["a|b"], [["x_1 | 5 %"], [], ["±"]], "l", frozenset({(0, 0)}))
    assert tables.to_markdown(table).splitlines()[2] == r"| **x_1 \| 5 %** |"
    written = tables.to_latex(table)
    assert r"\textbf{x\_1 \textbar{} 5 \%}" in written
    assert r"50 \% of $\varepsilon$\_1 \& more." in written
    assert written.count(r"\midrule") == 3


def width(table, side=708.0, letter=4.8, gap=6.0):
    """Points that a table takes of the landscape page's 708, at LaTeX's scriptsize; cells that wrap as wide as told."""
    total = gap * len(table.headers)
    for column, (header, kind) in enumerate(zip(table.headers, table.align, strict=True)):
        share = re.search(r"p\{(.*)\\linewidth\}", tables._WRAPPED.get(kind, ""))
        words = [len(row[column]) for row in table.rows if row]
        total += float(share[1]) * side if share else letter * max(len(header), *words)
    return total


def test_wide_tables_stay_on_the_page():
    found = [tables.accounting_table(accounting_rows())]
    found.append(tables.training_table(training_rows(frame_of([trained("quickstart", 0.5)]))))
    for table in found:
        assert width(table) <= 708, table.name
    assert width(found[0]._replace(align="rllrrrl")) > 708  # as it was, and LaTeX said so


def test_every_profile_names_configs_that_are_there():
    for profile in PROFILES.values():
        for study in profile.studies:
            assert (CONF / "experiment" / f"{study.experiment}.yaml").exists()
        assert len({study.name for study in profile.studies}) == len(profile.studies)
    assert needed(PROFILES["smoke"]) == ([], [])


def test_a_study_without_its_data_is_named_with_the_command_and_stops_no_other(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(studies, "_run_study", lambda study, folder: ran.append(study.name) or 0)
    profile = PROFILES["smoke"]._replace(
        studies=(Study("quickstart", data=("no_such",), models=("neither",)), Study("dp_ftrl")), tasks=()
    )
    missing = studies.run_profile(profile, tmp_path, tell=lambda line: None)
    assert ran == ["dp_ftrl"]
    assert [tuple(one) for one in missing] == [
        ("quickstart", "fetch it first: dpjax data fetch no_such; dpjax models fetch neither")
    ]


def test_a_study_whose_runs_failed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "_run_study", lambda study, folder: 1)
    profile = PROFILES["smoke"]._replace(studies=(Study("dp_ftrl"),), tasks=())
    (missing,) = studies.run_profile(profile, tmp_path, tell=lambda line: None)
    assert missing.name == "dp_ftrl"


@pytest.fixture
def smoke(tmp_path, monkeypatch):
    """The paper of a made-up table, in a folder of its own and without LaTeX."""
    import shutil

    from paper import __main__ as command

    monkeypatch.setattr(gather, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(latex.shutil, "which", lambda name: None)
    monkeypatch.setattr(command, "accounting_rows", lambda: [Comparison(1, "a", "b", 1.0, 1.0, 0.1)])
    shutil.copyfile(command.HERE / "main.tex", tmp_path / "main.tex")
    monkeypatch.setattr(command, "HERE", tmp_path)
    rows = []
    for epsilon in (1.0, 8.0, math.inf):
        for seed in (0, 1):
            run = trained("quickstart", 0.9 - 0.1 / epsilon, seed, dataset="digits", clip_norm=1.0) | {
                "epsilon": epsilon
            }
            own = {"config_hash": f"{epsilon}", "stage": "study", "model": "mlp", "unit": "example", "delta": 1e-5}
            rows.append(run | own)
    gather.write(frame_of(rows), "smoke")
    return command


def test_the_paper_is_rebuilt_byte_for_byte_from_its_table(smoke, tmp_path, capsys):
    def files():
        folder = tmp_path / "build" / "smoke"
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert smoke._rebuild(PROFILES["smoke"], []) == 0
    first = files()
    assert smoke._rebuild(PROFILES["smoke"], []) == 0
    assert first == files()
    assert "figures/curve.pdf" in {str(path) for path in first}
    said = capsys.readouterr()
    assert "no PDF: LaTeX is not on this machine" in said.out
    assert "left out: correlated: the profile has no rows of dp_ftrl" in said.err


def test_what_is_missing_or_off_ends_in_status_1(smoke, monkeypatch, capsys):
    missing = [studies.Missing("published_tutorial", "fetch it first: dpjax data fetch fashion_mnist")]
    assert smoke._rebuild(PROFILES["smoke"], missing) == 1
    assert "left out: published_tutorial: fetch it first" in capsys.readouterr().err
    monkeypatch.setattr(smoke, "accounting_rows", lambda: [Comparison(1, "a", "b", 1.0, 2.0, 0.1)])
    assert smoke._rebuild(PROFILES["smoke"], []) == 1
    assert "OFF: row 1, b: published 1.0, ours 2.0" in capsys.readouterr().err


def test_the_abstract_tells_of_nothing_that_was_not_run():
    def told(*rows):
        made = numbers.macros("smoke", "minutes", frame_of([trained("quickstart", 0.5)]), rows, frame_of([]))
        return made["Recipes"], made["Board"]

    linear = Comparison(17, "a", "ScatterNet + linear, Fashion-MNIST, ε=3 by RDP", 89.7, 89.61, unit="%")
    cnn = Comparison(17, "a", "CNN, Fashion-MNIST, ε=3 by RDP", 86.0, None, unit="%")
    assert told(cnn) == ("Published recipes of training were not run in this profile.", "No leaderboard was run.")
    only = "On Fashion-MNIST at $\\varepsilon \\le 3$ a linear model on scattering coefficients reaches 89.6"
    assert told(linear, cnn)[0] == only + "\\,\\% (published: 89.7\\,\\%)."
    assert " and a CNN reaches 86.1" in told(linear, cnn._replace(ours=86.1))[0]


def test_a_profile_that_nobody_ran_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(gather, "FOLDER", tmp_path)
    with pytest.raises(ResultsError, match="run `make paper PROFILE=cpu` first"):
        gather.read("cpu")
    with pytest.raises(ResultsError, match="there are no results below"):
        gather.gather(tmp_path)


def test_a_figure_without_its_columns_is_skipped_by_name(tmp_path):
    frame = frame_of([trained("quickstart", 0.9, dataset="digits")])
    drawn = figures.draw_all(frame, tmp_path, formats=("svg",))
    assert any(line.startswith("curve: needs two finite values") for line in drawn.skipped)


def test_numbers_of_the_text_are_macros():
    text = (gather.FOLDER.parent / "main.tex").read_text()
    made = numbers.macros("smoke", "minutes", frame_of([trained("quickstart", 0.5)]), [], frame_of([]))
    for name in made:
        assert name.isalpha()
    used = set(re.findall(r"\\((?:Num|Profile|Recipes|Board)[A-Za-z]*)", text))
    assert used <= set(made)
