"""One fact is told in one wording: by tables of a terminal, Markdown and LaTeX, by figures and by the report."""

import math
from typing import Any

import pytest

from dpjax.report.contents import gather
from dpjax.report.packing import pack
from dpjax.results import TableSpec, paper_table, write_job_result
from dpjax.results.claims import told_epsilon
from dpjax.results.remarks import TEST_ROWS, TEST_ROWS_OF_BUDGET, is_unnoised
from dpjax.results.sheet import sheets
from dpjax.results.show import to_latex, to_markdown
from dpjax.results.table import frame_of
from experiments import plots

IDS = "who made the ids is not known"
USERS: Any = {"unit": "user", "records_per_unit": 4, "population": 3582, "num_units": 1267, "partition": "natural"}


def run(epsilon: float = 3.0, seed: int = 0, **more: Any) -> dict[str, Any]:
    row = {"experiment": "e", "dataset": "digits", "model": "mlp", "unit": "example", "adjacency": "zero_out"}
    row |= {"sampling": "poisson", "delta": 1e-5, "epsilon": epsilon, "epsilon_pld": epsilon, "seed": seed}
    row |= {"test_accuracy": 0.9 + seed / 100, "train_accuracy": 0.95, "clip_norm": 1.0, "config_hash": f"{epsilon}"}
    return row | more


def everywhere(rows, tmp_path, asked=TableSpec(show=("epsilon", "test_accuracy", "train_accuracy"))):  # noqa: B008
    """What each kind of output says of rows."""
    frame = frame_of(rows)
    for number, row in enumerate(rows):
        write_job_result(tmp_path / str(number), [row], "d")
    laid_out = sheets(frame)
    table = paper_table(frame, asked)
    latex = paper_table(frame, TableSpec(show=asked.show, format="latex")).render()
    packed = pack(gather(tmp_path), "now")
    return {
        "show": " ".join(laid_out[0].notes),
        "show --markdown": to_markdown(laid_out),
        "show --latex": to_latex(laid_out).replace(r"$\varepsilon$", "ε").replace(r"$^\dagger$", "†"),
        "table": table.render(),
        "table --latex": latex.replace(r"$\varepsilon$", "ε").replace(r"$^\dagger$", "†"),
        "report": packed["families"][0]["notes"],
    }


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (USERS, "ε protects each of 1,267 users"),
        ({"unit": "client", "population": 8, "clients_per_round": 4}, "ε protects each of 8 clients"),
        (USERS, "Natural: each user's own rows, as in the data"),
        (USERS | {"unit": "client", "clients_per_round": 4}, "Natural: each client's own rows, as in the data"),
        ({}, TEST_ROWS.rstrip(".")),
        ({"ledger": "5e1f", "ledger_run": "ab"}, TEST_ROWS_OF_BUDGET.rstrip(".")),
        ({}, "†: NOT private: of training rows without noise, in no ε"),
        ({"checkpoint": f"file.whl; {IDS}"}, f"Of the checkpoint: {IDS}"),
    ],
)
def test_what_numbers_rest_on_is_said_in_every_output(more, sentence, tmp_path):
    rows = [run(seed=seed, **more) for seed in range(2)]
    for output, told in everywhere(rows, tmp_path).items():
        assert sentence in told, output
    figure = plots.draw("privacy_utility_curve", frame_of([*rows, run(1.0, **more)]), "test_accuracy")
    words = " ".join(text.get_text() for text in figure.axes[0].texts).replace("\n", " ")
    assert (sentence in words) == (not sentence.startswith("†"))


def test_test_rows_of_data_with_a_budget_are_not_said_to_be_public(tmp_path):
    paid = [run(seed=seed, ledger="5e1f", ledger_run=f"{seed}") for seed in range(2)]
    for output, told in everywhere(paid, tmp_path).items():
        assert TEST_ROWS.rstrip(".") not in told, output
    some = " ".join(sheets(frame_of([*paid, run(1.0)]))[0].notes)  # of a table of both, both are said
    assert TEST_ROWS in some
    assert TEST_ROWS_OF_BUDGET in some
    reference = " ".join(sheets(frame_of([run(math.inf, ledger="5e1f", ledger_run="x")]))[0].notes)
    assert TEST_ROWS_OF_BUDGET in reference  # with or without an ε


def test_units_are_not_counted_by_their_records_and_examples_need_no_sentence(tmp_path):
    of_records = run(**USERS | {"num_units": None})
    for rows in ([of_records], [run(population=1438)], [run(math.inf, population=9, unit="client")]):
        assert "protects each" not in " ".join(sheets(frame_of(rows))[0].notes)


def test_runs_without_privacy_alone_have_nothing_that_epsilon_leaves_out():
    assert TEST_ROWS not in sheets(frame_of([run(math.inf)]))[0].notes


def test_what_is_not_private_has_one_mark_in_every_output(tmp_path):
    for output, told in everywhere([run(seed=seed) for seed in range(2)], tmp_path).items():
        assert output in ("show", "report") or "train accuracy†" in told, output
        assert "test accuracy†" not in told
    packed = pack(gather(tmp_path), "now")
    labels = {each["name"]: each["label"] for each in (*packed["columns"], *packed["metrics"])}
    assert labels["train_accuracy"] == "train accuracy†"
    called = TableSpec(show=("train_accuracy",), name={"train_accuracy": "fit"})
    assert "fit†" in paper_table(frame_of([run()]), called).render()
    data = paper_table(frame_of([run()]), TableSpec(show=("epsilon", "train_accuracy"), format="csv")).render()
    assert data.splitlines()[0].split(",")[1] == "train accuracy"  # a program's word for it
    figure = plots.draw("privacy_utility_curve", frame_of([run(e) for e in (1.0, 3.0)]), "train_accuracy")
    assert figure.axes[0].get_ylabel() == "train accuracy†"
    assert "†: NOT private" in " ".join(text.get_text() for text in figure.axes[0].texts)


def test_the_mark_is_of_what_training_rows_gave_and_not_of_what_a_run_cost():
    assert [
        name for name in ("train_loss", "validation_accuracy", "client_accuracy_p10", "cut_share") if is_unnoised(name)
    ]
    assert not [name for name in ("test_loss", "wall_seconds", "overflow_count", "uplink_bytes") if is_unnoised(name)]


@pytest.mark.parametrize("epsilon", [2.5806, 2.58000001, 1 / 3, 0.123456, 12345.6])
def test_a_computed_epsilon_is_rounded_up_and_the_same_in_every_output(epsilon, tmp_path):
    rows = [run(epsilon, seed, epsilon_pld=None, epsilon_rdp=epsilon, accountant="rdp") for seed in range(2)]
    told = f"{told_epsilon(epsilon):g}"
    assert float(told) >= epsilon
    laid_out = sheets(frame_of(rows))[0]
    cells = {field.header: field.cells for field in laid_out.fields}
    assert cells["ε"] == cells["ε RDP"] == [told]
    table = paper_table(frame_of(rows), TableSpec(show=("epsilon", "epsilon_rdp", "test_accuracy"))).blocks[0]
    assert [column.cells[0].text for column in table.columns[:2]] == [told, told]
    for number, row in enumerate(rows):
        write_job_result(tmp_path / str(number), [row], "d")
    assert pack(gather(tmp_path), "now")["cells"]["epsilon"]["all"] == float(told)


def test_points_whose_epsilon_reads_the_same_share_a_cell_and_the_better_is_in_it():
    rows = [run(e, s, test_accuracy=a + s / 100) for e, a in ((2.5806, 0.5), (2.5899, 0.8)) for s in range(2)]
    (block,) = paper_table(frame_of(rows), TableSpec(rows=("model",), columns="epsilon")).blocks
    assert [(column.header, column.cells[0].text) for column in block.columns[1:]] == [("ε = 2.59", "0.805")]


@pytest.mark.parametrize("delta", [1 / 30_000, 1e-5, 1.23456749e-6])
def test_delta_is_never_told_smaller_than_it_is(delta):
    note = sheets(frame_of([run(delta=delta)]))[0].notes[0]
    assert float(note.partition("δ=")[2].partition(";")[0]) >= delta * (1 - 1e-12)
