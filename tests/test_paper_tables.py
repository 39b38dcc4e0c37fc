"""``dpjax results table``: what is in a cell, what is bold, and what the caption owes; in every format."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
import scipy.stats

from dpjax.cli import main
from dpjax.results import ResultsError, TableSpec, load_all, paper_table, write_job_result
from dpjax.results.paper.spec import read_spec, write_spec
from dpjax.results.sheet import sheets
from dpjax.results.table import frame_of

METHODS = ("dpsgd", "dpftrl", "dpadam", "dpmf")
EPSILONS = (1.0, 8.0)
COMMON = {
    "dataset": "digits",
    "model": "mlp",
    "unit": "example",
    "adjacency": "zero_out",
    "sampling": "poisson",
    "delta": 1e-5,
    "accountant": "pld",
    "tuning_accounted": False,
    "clip_norm": 1.0,
}
BY = TableSpec(rows=("method",), columns="epsilon")


def run(method, epsilon, seed, accuracy, **more):
    row = COMMON | {"method": method, "epsilon": epsilon, "epsilon_pld": epsilon, "seed": seed}
    settings = {name: value for name, value in more.items() if name != "diverged"}
    row |= {"config_hash": f"{method}{epsilon}{settings}", "test_accuracy": accuracy, "test_loss": 1 - accuracy}
    return row | more


def values(seeds=5):
    """(method, ε) → accuracy by seed: seeds move all methods together, as a paired test expects."""
    rng = np.random.default_rng(3)
    common = {epsilon: rng.normal(0, 0.02, seeds) for epsilon in EPSILONS}
    means = {"dpsgd": 0.80, "dpftrl": 0.799, "dpadam": 0.77, "dpmf": 0.60}
    return {
        (method, epsilon): means[method] + epsilon / 100 + common[epsilon] + rng.normal(0, 0.004, seeds)
        for method, epsilon in itertools.product(METHODS, EPSILONS)
    }


def rows_of(by_point):
    return [run(m, e, seed, x) for (m, e), each in by_point.items() for seed, x in enumerate(each)]


def call(*words):
    """The exit status of a command; what it prints is captured by pytest."""
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    return stopped.value.code


def bold_of(table):
    """(method, heading) of the bold cells of its only block."""
    (block,) = table.blocks
    names = [cell.text for cell in block.columns[0].cells]
    metrics = [column for column in block.columns if column.is_metric]
    return {(n, c.header) for c in metrics for n, cell in zip(names, c.cells, strict=True) if cell.bold}


def only(table):
    (block,) = table.blocks
    return block, " ".join(block.notes)


@pytest.mark.parametrize("confidence", [0.95, 0.6])
def test_bold_are_the_best_and_what_a_paired_test_with_holm_does_not_show_to_be_worse(confidence):
    given, wanted, tested = values(), set(), []
    for epsilon in EPSILONS:
        top = max(METHODS, key=lambda m: given[m, epsilon].mean())
        wanted.add((top, epsilon))
        for method in METHODS:
            if method != top:
                p = scipy.stats.ttest_rel(given[top, epsilon], given[method, epsilon]).pvalue
                tested.append((p, method, epsilon))
    for rank, (p, _, _) in enumerate(sorted(tested)):
        if p > (1 - confidence) / (len(tested) - rank):
            wanted |= {(method, epsilon) for _, method, epsilon in sorted(tested)[rank:]}
            break
    table = paper_table(frame_of(rows_of(given)), TableSpec(rows=("method",), columns="epsilon", confidence=confidence))
    assert bold_of(table) == {(method, f"ε = {epsilon:g}") for method, epsilon in wanted}
    assert 2 < len(wanted) < 7  # neither the best alone nor all
    assert f"6 comparisons corrected by Holm; {confidence:.0%} confidence" in only(table)[1].replace(" %", "%")


def test_bold_mean_is_the_best_alone_and_of_a_loss_the_lowest():
    given = values()
    best = {(max(METHODS, key=lambda m: given[m, e].mean()), f"ε = {e:g}") for e in EPSILONS}
    for metric in ("test_accuracy", "test_loss"):
        spec = TableSpec(rows=("method",), columns="epsilon", metric=(metric,), bold="mean")
        assert bold_of(paper_table(frame_of(rows_of(given)), spec)) == best
    table = paper_table(frame_of(rows_of(given)), TableSpec(rows=("method",), columns="epsilon", bold="none"))
    assert bold_of(table) == set()
    assert "Bold" not in only(table)[1]


def test_without_two_common_seeds_the_best_alone_is_bold_and_the_caption_says_why():
    rows = [run("dpsgd", 1.0, s, 0.9 + s / 99) for s in (0, 1)] + [run("dpftrl", 1.0, s, 0.9) for s in (1, 2)]
    table = paper_table(frame_of(rows), BY)
    assert bold_of(table) == {("dpsgd", "ε = 1")}
    assert "no test was possible" in only(table)[1]
    rows += [run("dpmf", 1.0, s, 0.905 + s / 99 - s / 999) for s in (0, 1)]
    table = paper_table(frame_of(rows), BY)
    assert ("dpftrl", "ε = 1") not in bold_of(table)
    assert "1 cell has fewer than two seeds in common" in only(table)[1]


def test_a_diverged_point_is_bold_only_where_all_are():
    rows = [run("dpsgd", 1.0, s, 0.99, diverged=s == 0) for s in range(3)]
    rows += [run("dpftrl", 1.0, s, 0.5 + s / 99) for s in range(3)]
    table = paper_table(frame_of(rows), BY)
    assert bold_of(table) == {("dpftrl", "ε = 1")}
    assert "×: 1 of 6 runs diverged" in only(table)[1]
    assert "0.990 ± 0.000 ×" in table.render()
    both = paper_table(frame_of([row | {"diverged": True} for row in rows]), BY)
    assert ("dpsgd", "ε = 1") in bold_of(both)


@pytest.mark.filterwarnings("error")
def test_a_mean_that_is_not_finite_is_bold_only_where_none_is():
    losses = {"dpsgd": [0.5, 0.6, 0.7], "dpftrl": [0.9, math.inf, 0.8], "dpadam": [0.5, 0.61, 0.7]}
    rows = [run(m, 1.0, s, 0.9) | {"test_loss": x} for m, each in losses.items() for s, x in enumerate(each)]
    spec = TableSpec(rows=("method",), columns="epsilon", metric=("test_loss",))
    table = paper_table(frame_of(rows), spec)
    assert bold_of(table) == {("dpsgd", "ε = 1"), ("dpadam", "ε = 1")}
    assert "1 cell is of values that are not finite: no test was possible there." in only(table)[1]
    assert table.blocks[0].columns[1].cells[1].text == "∞"
    everywhere = paper_table(frame_of([row | {"test_loss": math.inf} for row in rows]), spec)
    assert {name for name, _ in bold_of(everywhere)} == set(losses)


def test_differences_that_are_equal_at_every_seed_are_said_to_have_no_t_test():
    for seeds, bold in ((3, {"dpsgd", "dpftrl"}), (7, {"dpsgd"})):
        rows = [run(m, 1.0, s, x + s / 50) for m, x in (("dpsgd", 0.85), ("dpftrl", 0.8)) for s in range(seeds)]
        table = paper_table(frame_of(rows), BY)
        assert {name for name, _ in bold_of(table)} == bold
        assert "1 comparison has the same difference at every seed: no t-test was possible there" in only(table)[1]


def test_comparisons_are_counted_by_metric():
    rows = [row | {"test_loss": None} if row["method"] == "dpmf" else row for row in rows_of(values())]
    spec = TableSpec(rows=("method",), columns="epsilon", metric=("test_accuracy", "test_loss"))
    counted = "10 comparisons, 6 of test accuracy and 4 of test loss, corrected by Holm for each metric"
    assert counted in only(paper_table(frame_of(rows), spec))[1]


@pytest.mark.parametrize("spread", ["ci", "std", "sem"])
def test_what_stands_after_plus_minus_is_scipys(spread):
    given = values()
    spec = TableSpec(rows=("method",), columns="epsilon", spread=spread, confidence=0.9)
    block, caption = only(paper_table(frame_of(rows_of(given)), spec))
    for column, epsilon in zip(block.columns[1:], EPSILONS, strict=True):
        for cell, method in zip(column.cells, [c.text for c in block.columns[0].cells], strict=True):
            x = given[method, epsilon]
            low, high = scipy.stats.t.interval(0.9, len(x) - 1, x.mean(), scipy.stats.sem(x))
            wanted = {"ci": (high - low) / 2, "std": x.std(ddof=1), "sem": scipy.stats.sem(x)}[spread]
            assert (cell.mean, cell.width) == (pytest.approx(x.mean()), pytest.approx(wanted))
    words = {"ci": "half of the 90 % confidence interval", "std": "standard deviation", "sem": "standard error"}
    assert f"mean ± {words[spread]}" in caption
    assert "over 5 seeds" in caption


def test_seeds_are_a_range_where_they_differ_and_one_has_no_spread():
    rows = [run("dpsgd", 1.0, 0, 0.9), *[run("dpftrl", 1.0, s, 0.8 + s / 99) for s in range(3)]]
    block, caption = only(paper_table(frame_of(rows), BY))
    assert [cell.spread for cell in block.columns[1].cells] == ["", "0.010"]
    assert "over 1 to 3 seeds" in caption


def test_order_and_names_are_those_asked_for():
    spec = TableSpec(
        rows=("method=dpmf|dpsgd",),
        columns="epsilon=8|1",
        metric=("test_loss", "test_accuracy"),
        name={"dpsgd": "DP-SGD", "test_accuracy": "Accuracy", "method": "Method", "8": "loose"},
        digits={"test_accuracy": 1},
        percent=True,
    )
    block, _ = only(paper_table(frame_of(rows_of(values())), spec))
    heads = [(column.group, column.header) for column in block.columns]
    assert heads[0] == ("", "Method")
    assert heads[1:] == [(g, h) for g in ("test loss", "Accuracy") for h in ("loose", "ε = 1")]
    assert [cell.text for cell in block.columns[0].cells] == ["dpmf", "DP-SGD"]
    accuracy, loss = block.columns[3].cells[1], block.columns[1].cells[1]
    assert accuracy.text == f"{100 * values()['dpsgd', 8.0].mean():.1f}"
    assert loss.text == f"{1 - values()['dpsgd', 8.0].mean():.3f}"


def test_a_line_per_point_has_the_columns_that_are_shown_in_their_order():
    spec = TableSpec(show=("test_loss", "epsilon", "method", "test_accuracy"))
    block, _ = only(paper_table(frame_of(rows_of(values())), spec))
    assert [column.header for column in block.columns] == ["test loss", "ε", "method", "test accuracy"]
    assert [cell.text for cell in block.columns[1].cells] == ["1"] * 4 + ["8"] * 4
    unasked, _ = only(paper_table(frame_of(rows_of(values()))))
    assert [column.header for column in unasked.columns] == ["ε", "method", "test accuracy"]


def clipped():
    return [
        run("dpsgd", 1.0, s, 0.7 + c / 10 + s / 99, clip_norm=c, test_auroc=0.9 - c / 10)
        for c in (0.5, 1.0)
        for s in range(3)
    ]


def test_points_that_share_a_cell_are_its_best_and_the_caption_says_over_what():
    spec = TableSpec(rows=("method",), columns="epsilon", metric=("test_accuracy", "test_auroc"))
    block, caption = only(paper_table(frame_of(clipped()), spec))
    assert [column.cells[0].text for column in block.columns[1:]] == ["0.810", "0.800"]  # both of clip norm 1
    assert "Each cell is the best over clip norm, by the mean of test accuracy" in caption
    shown = TableSpec(rows=("method", "clip_norm"), columns="epsilon")
    assert "best over" not in only(paper_table(frame_of(clipped()), shown))[1]
    with pytest.raises(ResultsError, match="differ in clip_norm"):
        paper_table(frame_of(clipped()), TableSpec(rows=("method",), columns="epsilon", over="each"))


def test_a_cell_shows_a_diverged_point_only_where_there_is_no_other():
    rows = [row | {"diverged": row["clip_norm"] == 1.0} for row in clipped()]
    block, caption = only(paper_table(frame_of(rows), BY))
    assert block.columns[1].cells[0][:4] == ("0.760", "0.010", False, False)
    assert "diverged" not in caption


def own():
    rows = [
        run("dpsgd", 1.0, s, 0.7 + i / 10 + s / 99, mine=word, share=i / 2, flag=i == 0, sets=[1, i], mixed=mixed)
        for i, (word, mixed) in enumerate((("p", 1), ("q", "two"), (None, None)))
        for s in range(3)
    ]
    return [row | {"measured": row["seed"] / 7, "who": f"w{row['seed'] % 2}"} for row in rows]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("mine", ["p", "q", "–"]),
        ("share", ["0", "0.5", "1"]),
        ("flag", ["True", "False"]),
        ("mixed", ["1", "two", "–"]),
    ],
)
def test_a_column_of_ones_own_is_a_row_or_a_column_as_any_other(name, cells):
    for spec in (TableSpec(rows=(name,)), TableSpec(show=(name, "test_accuracy"))):
        block, _ = only(paper_table(frame_of(own()), spec))
        assert [cell.text for cell in block.columns[0].cells] == cells
    block, _ = only(paper_table(frame_of(own()), TableSpec(rows=("method",), columns=name)))
    assert len(block.columns) == 1 + len(cells)


def test_columns_of_ones_own_are_shown_unasked_named_where_hidden_and_split_points_where_asked_for():
    frame = frame_of(own())
    assert only(paper_table(frame))[0].columns[1].header in ("mine", "share")
    assert "best over mine, share, flag and mixed" in only(paper_table(frame, BY))[1]
    block, caption = only(paper_table(frame, TableSpec(rows=("mine", "who"))))
    assert len(block.columns[0].cells) == 6
    assert "over 1 to 2 seeds" in caption
    for name, words in (("sets", "sets holds more than one number or word a run"), ("measured", "which is measured")):
        with pytest.raises(ResultsError, match=words):
            paper_table(frame, TableSpec(rows=(name,)))
    metric, _ = only(paper_table(frame, TableSpec(show=("mine", "measured"))))
    assert metric.columns[1].cells[0].text == "0.143"


def test_points_that_differ_in_no_column_are_not_pooled_either():
    rows = [row | {"clip_norm": 1.0} for row in clipped()]
    assert "best over settings outside the columns" in only(paper_table(frame_of(rows), BY))[1]


@pytest.mark.parametrize(
    ("column", "other"),
    [("dataset", "adult"), ("unit", "user"), ("adjacency", "add_or_remove_one"), ("sampling", "full"), ("delta", 1e-6)],
)
def test_families_are_tables_of_their_own_unless_they_are_on_an_axis(column, other):
    rows = [*rows_of(values()), *[row | {column: other} for row in rows_of(values())]]
    apart = paper_table(frame_of(rows), BY)
    assert len(apart.blocks) == 2
    assert apart.blocks[0][:2] != apart.blocks[1][:2]  # title and notes
    together, _ = only(paper_table(frame_of(rows), TableSpec(rows=(column, "method"), columns="epsilon")))
    assert len(together.columns[0].cells) == 8
    # Each family has its own best.
    worse = [row | {"test_accuracy": row["test_accuracy"] - 0.3} if row[column] == other else row for row in rows]
    bold = paper_table(frame_of(worse), TableSpec(rows=(column, "method"), columns="epsilon", bold="mean"))
    assert [sum(cell.bold for cell in each.cells) for each in bold.blocks[0].columns[2:]] == [2, 2]


@pytest.mark.parametrize("how", ["mean", "best"])
def test_models_that_are_laid_out_side_by_side_are_compared(how):
    rows = [
        run("dpsgd", e, s, base + s / 99, model=model)
        for model, base in (("cnn", 0.9), ("mlp", 0.2))
        for e in EPSILONS
        for s in range(9)
    ]
    for spec in (TableSpec(rows=("model",), columns="epsilon"), TableSpec(rows=("epsilon",), columns="model")):
        block, notes = only(paper_table(frame_of(rows), dataclasses.replace(spec, bold=how)))
        cells = [(column.header, cell.bold) for column in block.columns for cell in column.cells if column.is_metric]
        assert sum(bold for _, bold in cells) == 2
        assert "Bold: the best mean of each ε" in notes
    assert [bold for header, bold in cells if header == "mlp"] == [False, False]


def test_a_table_in_which_nothing_compares_says_why_nothing_is_bold():
    rows = [run("dpsgd", e, s, 0.9, dataset=d) for d in ("digits", "adult") for e in EPSILONS for s in range(3)]
    table = paper_table(frame_of(rows), TableSpec(rows=("dataset",), columns="epsilon", bold="mean"))
    assert not any(cell.bold for column in only(table)[0].columns for cell in column.cells)
    assert "Nothing is bold, for what differs in dataset does not compare." in only(table)[1]
    table = paper_table(frame_of(rows), TableSpec(rows=("dataset",), columns="epsilon", bold="none"))
    assert "Nothing is bold" not in only(table)[1]


def test_epsilons_never_share_a_cell():
    table = paper_table(frame_of(rows_of(values())), TableSpec(rows=("method",)))
    assert [block.title for block in table.blocks] == [f"digits, mlp, per example, ε = {e}" for e in (1, 8)]


def test_a_caption_states_what_epsilon_rests_on():
    rows = rows_of(values())
    caption = only(paper_table(frame_of(rows), BY))[1]
    assert caption.startswith("δ=1e-5; zero_out; Poisson sampling; accountant PLD. ")
    assert "Hyper-parameter tuning is not accounted." in caption
    paid = only(paper_table(frame_of([row | {"tuning_accounted": True} for row in rows]), BY))[1]
    assert "Hyper-parameter tuning is accounted." in paid
    learnt = only(paper_table(frame_of([row | {"learnt": "range of age"} for row in rows]), BY))[1]
    assert "NOT private, and in no ε: range of age" in learnt
    above = only(paper_table(frame_of([row | {"epsilon_pld": row["epsilon"] + 0.5} for row in rows]), BY))[1]
    assert "above the one asked for, by up to 0.5" in above
    plain = [row | {"epsilon": math.inf, "epsilon_pld": math.inf} for row in rows if row["epsilon"] == 8]
    assert "ε = ∞ is not private." in only(paper_table(frame_of(rows + plain), BY))[1]


@pytest.mark.parametrize("metric", ["test_accuracy", "test_auroc"])
def test_a_caption_says_what_an_accuracy_is_read_against_and_where_infinity_is_no_ceiling(metric):
    told = {"test_majority": 0.88}
    rows = [run("dpsgd", e, seed, y + 0.001 * (2 * seed - 1), **told) | {"test_auroc": y + 0.001 * (2 * seed - 1)}
            for e, y in ((1, 0.88), (8, 0.925), (math.inf, 0.918)) for seed in range(2)]  # fmt: skip
    table = paper_table(frame_of(rows), TableSpec(rows=("clip_norm",), columns="epsilon", metric=(metric,)))
    caption = only(table)[1]
    assert ("Always saying the commonest class: test accuracy 0.880; see test AUROC." in caption) == (
        metric == "test_accuracy"
    )
    assert "worse than 0.925 ± 0.001 at ε=8" in caption
    assert "∞ is no ceiling here." in caption
    as_latex = table._replace(spec=dataclasses.replace(table.spec, format="latex")).render()
    assert ("commonest class" in as_latex) == (metric == "test_accuracy")
    # A model without privacy is the ceiling of that model, and of no other beside it.
    other = [row | {"model": "cnn", "config_hash": "cnn"} for row in rows if row["epsilon"] == 8]
    beside = [row for row in rows if row["epsilon"] != 8] + other
    laid_out = paper_table(frame_of(beside), TableSpec(rows=("model",), columns="epsilon", metric=(metric,)))
    assert "no ceiling" not in only(laid_out)[1]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("noise_cohort_size", 1e6, "SIMULATED, with the noise of 1,000,000 clients a round."),
        ("secret_cohorts", True, "relies on who takes part staying secret: it does not hold against the server."),
    ],
)
def test_what_epsilon_assumes_is_said_of_all_and_of_some(column, value, words):
    rows = rows_of(values())
    for some, of in ((METHODS, "ε "), (METHODS[:1], "ε of 2 of 8 points ")):
        given = frame_of([row | {column: value} if row["method"] in some else row for row in rows])
        assert f"{of}is {words}".replace("is relies", "relies") in only(paper_table(given, BY))[1]
        (sheet,) = sheets(given)
        assert f"{of}is {words}".replace("is relies", "relies") in sheet.notes


def test_a_missing_delta_is_said_and_rows_without_privacy_state_nothing_of_it():
    rows = rows_of(values())
    nameless = frame_of([row | {"delta": None} for row in rows])
    assert only(paper_table(nameless, BY))[1].startswith("δ not stated; zero_out; ")
    assert sheets(nameless)[0].notes[0].startswith("δ not stated; zero_out; ")
    assert only(paper_table(frame_of(rows), TableSpec(rows=("delta", "method"), columns="epsilon")))[1].startswith(
        "zero_out; "
    )
    plain = frame_of([row | {"epsilon": math.inf, "epsilon_pld": math.inf} for row in rows if row["epsilon"] == 8])
    for notes in (only(paper_table(plain, BY))[1], " ".join(sheets(plain)[0].notes)):
        assert not re.search("δ|zero_out|PLD", notes)


def folder(tmp_path, name, rows=None):
    write_job_result(tmp_path / name / "job", rows or rows_of(values()), "digest")
    return str(tmp_path / name)


def test_rows_of_two_folders_are_not_seeds_of_one_point(tmp_path):
    worse = [row | {"test_accuracy": row["test_accuracy"] - 0.3} for row in rows_of(values())]
    frame = load_all([folder(tmp_path, "mine"), folder(tmp_path, "theirs", worse)])
    block, caption = only(paper_table(frame, BY))
    assert "best over sweep" in caption
    assert {cell.text for cell in block.columns[1].cells if cell.bold} <= {f"{x.mean():.3f}" for x in values().values()}
    both, _ = only(paper_table(frame, TableSpec(rows=("sweep", "method"), columns="epsilon", bold="mean")))
    assert [cell.text for cell in both.columns[0].cells] == ["mine"] * 4 + ["theirs"] * 4


ODD = "100 % of_{DP} & more #1"


def lines_of_latex(text):
    """Checks braces and ampersands; gives the lines between the rules, without their ends."""
    for sign, other in ("{}", "[]"):
        bare = re.sub(r"\\[{}%&#_$]", "", text)
        assert bare.count(sign) == bare.count(other)
    body = re.search(r"\\toprule\n(.*)\\bottomrule", text, re.DOTALL)
    assert body
    lines = [line.strip() for line in body[1].splitlines() if line.strip().endswith(r"\\")]
    cells = [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]
    spans = [sum(int((re.search(r"multicolumn\{(\d+)\}", c) or [0, 1])[1]) for c in line) for line in cells]
    assert len(set(spans)) == 1, spans
    kinds = re.search(r"\\begin\{tabular\}\{(.*)\}\n", text)
    assert kinds
    assert len(re.findall(r"[lr]|S\[[^]]*\]", re.sub(r"S\[[^]]*\]", "S[]", kinds[1]))) == spans[0]
    return kinds[1], [[cell.strip() for cell in line] for line in cells]


@pytest.mark.parametrize("style", ["booktabs", "siunitx"])
@pytest.mark.parametrize("spread", ["std", "none"])
def test_latex_lines_have_as_many_cells_as_there_are_columns(style, spread):
    rows = [*rows_of(values()), *[run("dpsgd", 64.0, s, 0.9, diverged=True, test_loss=None) for s in range(2)]]
    rows += [run("wide", 1.0, s, 0.2 + s / 2) for s in range(2)]  # ± 0.354, of three digits where others have two
    spec = TableSpec(
        rows=("method",), columns="epsilon", metric=("test_accuracy", "test_loss"), name={"dpsgd": ODD},
        format="latex", latex=style, spread=spread,
    )  # fmt: skip
    text = paper_table(frame_of(rows), spec).render()
    assert text.startswith("% Needs \\usepackage{booktabs")
    assert (r"\sisetup{separate-uncertainty, detect-weight" in text) == (style == "siunitx")
    kinds, lines = lines_of_latex(text)
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}" in text
    assert lines[2][0] == r"100 \% of\_\{DP\} \& more \#1"
    if style == "booktabs":
        return
    formats = re.findall(r"S\[table-format=(\d)\.(\d)(?:\((\d)\))?\]", kinds)
    for i, line in itertools.product(range(1, 3), lines[2:]):
        number = re.fullmatch(r"(?:\\bfseries )?(\d+)\.(\d+)(?: \\pm (\d+\.\d+))?", line[i])
        if number is None:
            assert re.fullmatch(r"\{.*\}", line[i])
            continue
        whole, places, unsure = formats[i - 1]
        assert (len(number[1]), len(number[2])) <= (int(whole), int(places))
        assert (number[3] is None) == (spread == "none") == (unsure == "")
        assert number[3] is None or len(number[3].replace(".", "").lstrip("0")) <= int(unsure)


def test_markdown_and_csv_have_the_same_cells_and_csv_all_families():
    rows = [*rows_of(values()), *[row | {"dataset": "adult"} for row in rows_of(values())]]
    spec = TableSpec(rows=("method",), columns="epsilon", bold="mean")
    import csv
    import dataclasses

    lines = list(
        csv.DictReader(paper_table(frame_of(rows), dataclasses.replace(spec, format="csv")).render().split("\n"))
    )
    assert len(lines) == 8
    assert {line["dataset"] for line in lines} == {"digits", "adult"}
    assert lines[0]["ε = 1"] == f"{values()[lines[0]['method'], 1.0].mean():.3f}"
    markdown = paper_table(frame_of(rows), dataclasses.replace(spec, format="markdown")).render()
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert markdown.count("**") == 2 * (2 + 4)  # two titles, and the best of two ε in each


def test_names_stay_texts_in_latex_and_in_markdown(tmp_path, capsys):
    odd = "<script>|a&b|$x$"
    rows = [row | {"method": odd, "dataset": odd} for row in rows_of(values()) if row["method"] == "dpsgd"]
    rows += [row | {"method": "b", "dataset": odd} for row in rows_of(values()) if row["method"] == "dpmf"]
    mine = folder(tmp_path, "mine", rows)
    latex = r"\textless{}script\textgreater{}\textbar{}a\&b\textbar{}\$x\$"
    markdown = r"&lt;script&gt;\|a&amp;b\|\$x\$"
    for words in (["results", "table", mine], ["results", "show", mine], ["compare", mine, "--by", "method"]):
        asked = ["--format", "latex"] if words[1] == "table" else ["--latex"]
        call(*words, *asked)
        told = capsys.readouterr().out
        assert latex in told
        assert "<script>" not in told
        call(*words, *(["--format", "markdown"] if words[1] == "table" else ["--markdown"]))
        told = capsys.readouterr().out
        assert markdown in told
        assert "<script>" not in told


def test_a_specification_comes_back_and_gives_the_same_bytes(tmp_path):
    spec = TableSpec(
        rows=("method=dpsgd|dpmf",), columns="epsilon", metric=("test_accuracy",), name={"dpsgd": "DP-SGD ∞", "8": "e"},
        digits={"test_accuracy": 2}, percent=True, spread="ci", confidence=0.9, bold="mean", over="each",
        select="epsilon<=8", format="latex", latex="siunitx",
    )  # fmt: skip
    for each in (spec, TableSpec(), TableSpec(show=("epsilon",), digits=0)):
        first = write_spec(each, tmp_path / "first.yaml")
        assert read_spec(first) == each
        assert write_spec(read_spec(first), tmp_path / "second.yaml").read_bytes() == first.read_bytes()
    frame = frame_of(rows_of(values()))
    assert paper_table(frame, read_spec(write_spec(spec, tmp_path / "a"))).render() == paper_table(frame, spec).render()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rowz: [method]", "key 'rowz' that is none: did you mean rows?"),
        ("- rows", "write keys and values"),
        ("rows: [", "is no YAML"),
        ("rows: method", "rows='method' is not a list of names"),
        ("percent: 3", "percent=3 is not true or false: write true or false"),
        ("digits: many", "digits='many' is not a whole number"),
        ("confidence: 1", "confidence is 1.0"),
        ("spread: cii", "spread='cii' is not known"),
        ("name: {8: [a]}", None),
    ],
)
def test_a_specification_that_is_none_is_refused(tmp_path, text, words):
    (tmp_path / "table.yaml").write_text(text)
    if words is None:
        assert read_spec(tmp_path / "table.yaml").name == {"8": "['a']"}
        return
    with pytest.raises((ResultsError, ValueError), match=re.escape(words)):
        read_spec(tmp_path / "table.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--rows methodd", "did you mean method?"),
        ("--rows method --metric test_acuracy", "did you mean test_accuracy?"),
        ("--rows method --metric test_auroc", "no values in column 'test_auroc'"),
        ("--rows partition", "no values in column 'partition'"),
        ("--rows method --metric clip_norm", "is no result"),
        ("--rows test_loss", "which is measured"),
        ("--columns epsilon", "has no rows beside it"),
        ("--rows method --columns method", "name method twice"),
        ("--rows method --columns epsilon,unit", "names several"),
        ("--rows method=dpsdg", "no row has method=dpsdg"),
        ("--show method --rows method", "exclude each other"),
        ("--show config", "neither a setting nor a result"),
        ("--rows sweep", "give several"),
        ("--metric test_loss --percent", "percent is of fractions, which test_loss is not"),
        ("--metric uplink_bytes --rows epsilon", "no values"),
        ("--digits 1.5", "--digits '1.5' is no number of digits"),
        ("--digits 99", "from 0 to 12"),
        ("--digits test_loss=1", "which the table does not show"),
        ("--rows method --name dpsdg=X", "did you mean dpsgd?"),
        ("--name dpsgd", "is no name"),
        ("--name dpsgd=a --name dpsgd=b", "two names"),
        ("--rows method,,epsilon", "empty name"),
        ("--format latx", "perhaps 'latex'"),
        ("--format csv --latex siunitx", "latex=siunitx is nothing to format=csv"),
        ("--select epsilon<0", "no row passes"),
        ("--confidence 1", "between 0 and 1"),
        ("--spec nowhere.yaml", "cannot be read"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert call("results", "table", folder(tmp_path, "sweep"), *arguments.split()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_what_is_no_specification_no_report_and_no_folder_is_not_written_over(tmp_path, capsys):
    mine = folder(tmp_path, "mine")
    result = tmp_path / "mine/job/result.json"
    before = result.read_bytes()
    for words in (
        ["results", "table", mine, "--save", str(result)],
        ["report", mine, "--out", str(result)],
        ["results", "export", mine, "--out", str(result)],
    ):
        assert call(*words) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert f"{words[-2]} {result}" in err
        assert result.read_bytes() == before
    spec, page = str(tmp_path / "table.yaml"), str(tmp_path / "a.html")
    for _ in range(2):  # what is one is
        assert call("results", "table", mine, "--save", spec) == 0
        assert call("report", mine, "--out", page) == 0
    capsys.readouterr()


def test_the_command_from_end_to_end(tmp_path, capsys):
    assert call("results", "table", "/nowhere") == 1
    assert "there is no /nowhere" in capsys.readouterr().err
    mine, theirs = folder(tmp_path, "mine"), folder(tmp_path, "theirs")
    command = ["results", "table", mine, theirs, "--rows", "sweep,method", "--columns", "epsilon", "--percent"]
    command += ["--name", "dpsgd=DP-SGD", "--name", "test_accuracy=Accuracy (%)", "--select", "epsilon<=2"]
    command += ["--spread", "ci", "--digits", "test_accuracy=2", "--save", str(tmp_path / "specs/table.yaml")]
    assert call(*command) == 0
    text = capsys.readouterr().out
    assert re.search(r"^mine +DP-SGD +★ 8\d\.\d\d ± \d\.\d\d$", text, re.MULTILINE)
    assert "★: the best mean" in text
    assert "ε = 8" not in text
    assert call("results", "table", mine, theirs, "--spec", str(tmp_path / "specs/table.yaml")) == 0
    assert capsys.readouterr().out == text
    latex = ["--latex", "siunitx", "--bold", "mean"]
    assert call("results", "table", mine, theirs, "--spec", str(tmp_path / "specs/table.yaml"), *latex) == 0
    lines_of_latex(capsys.readouterr().out)
    assert call("results", "table", mine, "--rows", "method", "--columns", "epsilon", "--format", "csv") == 0
    out, err = capsys.readouterr()
    assert out.startswith("method,ε = 1,ε = 1 ±,ε = 8,ε = 8 ±\n")
    assert "note: digits, mlp, per example: δ=1e-5" in err


def test_show_and_export_take_several_folders_and_a_selection(tmp_path, capsys):
    mine, theirs = folder(tmp_path, "mine"), folder(tmp_path, "theirs")
    assert call("results", "show", mine, theirs, "--select", "epsilon=8 method=dpsgd") == 0
    out = capsys.readouterr().out
    assert out.count("± ") >= 2
    assert "mine" in out
    assert "theirs" in out
    assert call("results", "export", mine, theirs) == 1
    assert "--out is not given" in capsys.readouterr().err
    assert call("results", "export", mine, theirs, "--select", "epsilon=8", "--out", str(tmp_path / "all")) == 0
    again = load_all([tmp_path / "all"])
    assert set(again["sweep"]) == {"mine", "theirs"}
    assert set(again["epsilon"]) == {8.0}


@pytest.mark.parametrize("command", ["--rows sweep --columns epsilon", "--columns epsilon", "--rows partition"])
def test_what_an_error_names_works_with_these_rows(command, tmp_path, capsys):
    rows = [
        run(None, e, s, 0.8 + s / 99, clip_norm=c, config_hash=f"{e}{c}")
        for e in EPSILONS
        for c in (0.3, 1.0)
        for s in (0, 1)
    ]
    write_job_result(tmp_path / "one/job", rows, "d")
    assert call("results", "table", str(tmp_path / "one"), *command.split()) == 1
    hint = re.search(r"(?:such as (?:rows=)?|or say )(\w+)", capsys.readouterr().err.rpartition(": ")[2])
    assert hint is not None
    assert call("results", "table", str(tmp_path / "one"), "--rows", hint[1], "--columns", "epsilon") == 0


def test_a_hint_at_a_column_or_metric_is_at_one_that_has_values():
    frame = frame_of([run(None, 1.0, s, 0.8, clip_norm=c, config_hash=str(c)) for c in (0.3, 1.0) for s in (0, 1)])
    for spec, words in (
        (TableSpec(show=("sweep", "epsilon")), "or leave it out"),
        (TableSpec(rows=("sweep", "clip_norm")), "or leave it out"),
        (TableSpec(rows=("methodd",)), "there is no column methodd, and method has no values here"),
        (TableSpec(metric=("test_auroc",)), "choose one that has, such as test_accuracy or test_loss"),
        (TableSpec(show=("config",)), "show such as epsilon, clip_norm, test_accuracy"),
    ):
        with pytest.raises(ResultsError, match=re.escape(words)):
            paper_table(frame, spec)


@pytest.mark.parametrize(
    ("column", "other"),
    [("model", "cnn"), ("delta", 1e-6), ("adjacency", "replace_one"), ("sampling", "full"), ("partition", "iid")],
)
def test_each_of_several_tables_is_titled_by_what_it_differs_in(column, other, tmp_path):
    rows = [*rows_of(values(2)), *[row | {column: other} for row in rows_of(values(2))]]
    titles = [block.title for block in paper_table(frame_of(rows), BY).blocks]
    shown = [sheet.title for sheet in sheets(frame_of(rows))]
    for told in (titles, shown):
        assert len(set(told)) == 2
        named = [("δ" if column == "delta" else column) in title for title in told]
        assert any(named) if column == "partition" else all(named)  # central runs have none, and nothing is said of it
        assert not any("–" in title for title in told)


@pytest.mark.parametrize("column", ["released", "learnt", "capacity"])
def test_runs_without_privacy_stay_in_the_row_of_what_is_laid_out(column):
    said = ("range of age", "range of bmi") if column != "capacity" else (10, 20)
    plain = {"noise_multiplier": 0.0, "clip_norm": math.inf, "config": "{}"}
    rows = [
        run("dpsgd", e, s, 0.8, config_hash=f"{e} {value}", **{column: value}, **(plain if e == math.inf else {}))
        for value in said
        for e in (1.0, math.inf)
        for s in (0, 1)
    ]
    block, _ = only(paper_table(frame_of(rows), TableSpec(rows=(column,), columns="epsilon")))
    cells = {c.header: [cell.text for cell in c.cells] for c in block.columns}
    assert cells["ε = ∞"] == cells["ε = 1"] == ["0.800", "0.800"]


def test_a_caption_has_rate_and_steps_where_all_points_agree_in_them():
    rows = [row | {"sampling_rate": 0.123456, "num_steps": 1500} for row in rows_of(values())]
    caption = only(paper_table(frame_of(rows), BY))[1]
    assert caption.startswith("δ=1e-5; zero_out; Poisson sampling, q=0.123; 1500 steps; accountant PLD. ")
    two = [row | {"num_steps": 100 * (1 + (row["method"] == "dpsgd"))} for row in rows]
    assert "q=0.123; accountant PLD. " in only(paper_table(frame_of(two), BY))[1]
    rounds = [row | {"clients_per_round": 8.0} for row in rows]
    assert "; 1500 rounds; " in only(paper_table(frame_of(rounds), BY))[1]


def hinted(rows, words, tmp_path, capsys):
    for number, row in enumerate(rows):
        write_job_result(tmp_path / str(number), [row], "d")
    with pytest.raises(SystemExit, match="0"):
        main(["results", "table", str(tmp_path), *words])
    return capsys.readouterr()


def test_tables_that_differ_in_a_column_say_how_to_be_one(tmp_path, capsys):
    rows = [
        row | {"model": model, "config_hash": f"{row['config_hash']}-{model}"}
        for row in rows_of(values())
        for model in ("mlp", "cnn")
    ]
    words = ["--rows", "method", "--columns", "epsilon"]
    told = hinted(rows, words, tmp_path, capsys)
    assert "note: these are 2 tables, for model differs: add model to --rows to have them in one." in told.err
    words[1] = "method,model"
    assert "tables" not in hinted([], words, tmp_path, capsys).err


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ("test_accuracy", ""),
        ("test_accuracy,test_loss", "% About 320 pt wide, where one of two columns has some 240: write table*"),
        (
            "test_accuracy,test_loss,test_auroc,test_f1",
            "pt wide, where a page has some 345: make a table",
        ),
    ],
)
def test_a_table_too_wide_for_its_page_says_so(metrics, sentence, tmp_path, capsys):
    rows = [row | {"test_loss": 0.1, "test_auroc": 0.9, "test_f1": 0.8} for row in rows_of(values())]
    told = hinted(rows, ["--rows", "method", "--columns", "epsilon", "--metric", metrics, "--latex"], tmp_path, capsys)
    assert sentence in told.out
    assert ("pt wide" in told.out) == ("pt wide" in told.err) == bool(sentence)
    assert sentence.lstrip("% A") in told.err
