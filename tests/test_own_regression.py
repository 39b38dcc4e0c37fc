"""Labels that are numbers: their range, what is learnt of it, errors in their own unit, and the metric of commands."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from sklearn import metrics as reference

from dpjax.datasets import DatasetError, TableSource, load_table
from dpjax.datasets.own_tables.images import load_images
from dpjax.datasets.own_tables.inspecting import inspect
from dpjax.datasets.selection import hold_out
from dpjax.datasets.targets import Target, read_target
from dpjax.metrics import evaluate_numbers
from dpjax.models import cross_entropy_loss, logistic, squared_error_loss
from dpjax.results import load
from dpjax.results.metric import metric_of
from dpjax.results.schema import lower_is_better
from dpjax.results.sheet import sheets
from dpjax.results.table import frame_of
from dpjax.scores import ERRORS, number_scores
from experiments.best_so_far import Best
from experiments.border import as_typed
from experiments.config import CONF
from experiments.task import Told
from tests.houses import PUBLIC, house_lines, write_houses

SAID = {"area": [0, 200], "rooms": [0, 8], "town": ["a", "b", "c", "d"], "agent": "skip"}
E = (1.0, 8.0, math.inf)
QUICK = ["privacy.delta=1e-3", "privacy.accountant=rdp", "optimizer.evaluate_every=20", "optimizer.learning_rate=0.1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_houses(tmp_path / "house.csv")
    return tmp_path


def source_of(folder, lines=None, **options):
    path = write_houses(folder / "t.csv", lines)
    options = {"columns": SAID, "target": "number", "target_range": (0, 500)} | options
    return TableSource(str(path), label="price", **options)


def asked(*more, public=True):
    where = ["data=own", "data.path=house.csv", "data.label=price", "data.target=number", "model=logistic", *QUICK]
    said = [f"data.columns={PUBLIC}", "data.target_range=[0,500]"] if public else ["data.columns={agent: skip}"]
    return [*where, *said, *more]


def rows_of(folder):
    rows = load(next(folder.rglob("results.parquet")))
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def test_from_a_file_to_curves_tables_and_a_report_without_naming_a_metric(folder, main, capsys):
    words = asked("privacy.epsilon=1,8,inf", "optimizer.num_steps=40", "num_seeds=1", "name=house")
    code, out, err = main("-m", *words)
    assert code == 0, err
    rows = rows_of(folder)
    assert len(rows) == 3
    assert all(row["test_r2"] > 0.7 and 0 < row["test_mae"] < row["test_rmse"] < 60 for row in rows)
    assert {row["learnt"] for row in rows} == {None}
    of_classes = ("test_accuracy", "train_accuracy", "test_auroc", "test_f1", "test_majority", "eval_test_accuracy")
    assert {row[name] for row in rows for name in of_classes} == {None}
    assert "test R²" in out
    assert "chosen by test R²" in " ".join(out.split())
    assert (folder / "house/figures/privacy_utility_curve.png").is_file()
    from dpjax.cli import main as dpjax

    said = {}
    for words in (["results", "show"], ["results", "table"], ["plot"], ["report"], ["status"]):
        with pytest.raises(SystemExit) as done:
            dpjax([*words, str(folder / "house")])
        assert done.value.code in (0, None)
        said[words[-1]] = capsys.readouterr().out
    assert "test R²" in said["show"]
    assert "Test R²" in said["table"]
    assert "by test R²" in said["status"]
    report = next((folder / "house").glob("*.html")).read_text()
    assert "test MAE" in report


def test_the_usual_learning_rate_suits_numbers_with_and_without_privacy(folder, main):
    """At that of classes, 0.5, runs without privacy diverge, and R² is below 0 at ε=1, whatever the seed."""
    write_houses(folder / "house.csv", rows=2000)
    words = [word for word in asked("privacy.epsilon=1,8,inf", "name=usual") if "learning_rate" not in word]
    code, _, err = main("-m", *words, "model=mlp", "privacy.delta=1e-5", "optimizer.num_steps=100", "figures=false")
    assert code == 0, err
    by_epsilon = {epsilon: [row["test_r2"] for row in rows_of(folder) if row["epsilon"] == epsilon] for epsilon in E}
    assert min(by_epsilon[1.0]) > 0.9
    assert min(by_epsilon[8.0]) > 0.95
    assert min(by_epsilon[math.inf]) > 0.95
    assert sum(by_epsilon[1.0]) < sum(by_epsilon[8.0]) < sum(by_epsilon[math.inf]) + 0.01


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ([], 0.1),
        (["data.target=class", "data.target_range=[]"], 0.5),
        (["federated=fedavg"], 0.5),
        (["federated=fedsgd"], 0.1),
        (["data.target=class", "data.target_range=[]", "model=cnn"], 0.1),
        (["data.target=class", "data.target_range=[]", "model=cnn", "federated=fedavg"], 0.5),
        (["data.target=class", "data.target_range=[]", "federated=fedsgd"], 0.5),
        (["model=cnn"], 0.1),
        (["optimizer=adam"], 0.01),
        (["optimizer.learning_rate=0.5"], 0.5),
        (["optimizer=fedavgm"], 1.0),
    ],
)
def test_the_usual_learning_rate_is_that_of_central_sgd_and_of_who_says_none(words, rate):
    with initialize_config_dir(str(CONF), version_base=None):
        asked_for = ["data=own", "data.path=house.csv", "data.label=price", "data.target=number"]
        assert as_typed(compose("config", [*asked_for, *words])).optimizer.learning_rate == rate


@pytest.mark.parametrize("choice", sorted(path.stem for path in (CONF / "federated").glob("*.yaml")))
def test_clients_of_numbers_take_smaller_steps_in_each_kind_of_federation(choice):
    words = [f"federated={choice}", *(["federated.clients_per_round=9"] if choice == "central" else [])]
    numbers = ["data=own", "data.path=house.csv", "data.label=price", "data.target=number"]
    with initialize_config_dir(str(CONF), version_base=None):
        rate = [as_typed(compose("config", [*words, *more])).federated.client_learning_rate for more in ([], numbers)]
        said = as_typed(compose("config", [*words, *numbers, "federated.client_learning_rate=0.3"]))
    assert rate == [0.5, 0.5 if choice == "fedsgd" else 0.1]  # of which no client takes steps
    assert said.federated.client_learning_rate == 0.3


@pytest.mark.parametrize("algorithm", ["fedavg", "fedsgd"])
def test_the_usual_rates_of_a_federation_suit_numbers(algorithm, folder, main):
    """At 0.5 clients, and the server of fedsgd, diverge without privacy, and R² is below 0 at ε=8."""
    write_houses(folder / "house.csv", rows=4000)
    words = [word for word in asked("privacy.epsilon=8,inf", "name=usual") if "learning_rate" not in word]
    code, _, err = main(
        "-m", *words, f"federated={algorithm}", "num_seeds=2", "model=mlp", "optimizer.num_steps=100", "figures=false"
    )
    assert code == 0, err
    assert min(row["test_r2"] for row in rows_of(folder) if row["epsilon"] == 8) > 0.2
    assert min(row["test_r2"] for row in rows_of(folder) if row["epsilon"] == math.inf) > 0.9


def test_a_range_that_is_not_said_is_learnt_and_not_private(folder, main, recwarn):
    code, _, err = main(*asked("optimizer.num_steps=2", "num_seeds=1", public=False))
    assert code == 0, err
    (row,) = rows_of(folder)
    assert row["learnt"].endswith("; range of price")
    assert "say in data.columns and data.target_range" in " ".join(str(each.message) for each in recwarn)


@pytest.mark.parametrize(
    "words",
    [
        ["data.unit=agent", "data.columns.agent=", "privacy.records_per_unit=4", "data.validation=0.2"],
        [
            *("data.unit=town", "data.columns.town=", "data.split=rows", "federated=fedavg", "privacy.delta=1e-2"),
            *("federated.partition=natural", "federated.clients_per_round=2", "federated.client_learning_rate=0.01"),
        ],
    ],
    ids=["owners", "federation"],
)
def test_owners_and_clients_have_numbers_too(words, folder, main):
    kept = [f"~{word[:-1]}" if word.endswith("=") else word for word in words]
    public = (
        PUBLIC.replace(", agent: skip", "") if "data.unit=agent" in words else PUBLIC.replace("town: [a, b, c, d],", "")
    )
    words = [each for each in asked(*kept) if not each.startswith(("~", "data.columns"))]
    code, _, err = main(*words, f"data.columns={public}", "optimizer.num_steps=2", "num_seeds=1")
    assert code == 0, err
    (row,) = rows_of(folder)
    assert math.isfinite(row["test_r2"])
    assert row["unit"] == ("client" if "federated=fedavg" in words else "user")
    assert (row["validation_r2"] is None) == ("data.validation=0.2" not in words)
    assert row["client_accuracy_mean"] is None


def test_a_run_that_diverged_has_no_errors_and_is_shown_as_diverged(folder, main):
    words = asked("privacy.epsilon=inf", "optimizer.num_steps=5", "num_seeds=1", "model=mlp", "name=bad")
    code, out, err = main("-m", *words, "optimizer.learning_rate=1e12,1e13")
    assert code == 0, err
    assert "2 of 2 runs diverged" in " ".join(out.split())
    rows = rows_of(folder)
    assert {row[name] for row in rows for name in ("test_r2", "test_mae", "test_rmse")} == {None}


def test_a_loss_of_one_s_own_learns_numbers(folder, main):
    (folder / "mine.py").write_text(
        "import jax.numpy as jnp\n\n\ndef make_loss(model):\n    def loss_fn(params, example, key):\n"
        "        inputs, label = example\n        (said,) = model.apply(params, inputs, key)\n"
        "        return jnp.square(said + label), {}\n\n    return loss_fn\n"
    )
    code, _, err = main(*asked("plugin=mine.py", "privacy.epsilon=inf", "optimizer.num_steps=60", "num_seeds=1"))
    assert code == 0, err
    (row,) = rows_of(folder)
    assert row["test_r2"] < -0.5  # it learns the label turned round, as the loss says


@pytest.mark.parametrize("partition", ["dirichlet", "shards", "sampled"])
def test_clients_by_classes_are_refused(partition, folder, main):
    words = ["federated=fedavg", "federated.clients_per_round=5", "federated.num_clients=20"]
    more = ["federated.records_per_client=9"] if partition == "sampled" else []
    code, _, err = main(*asked(*words, *more, f"federated.partition={partition}"))
    assert code != 0
    assert "goes by classes, and data=house.csv has numbers to predict; use natural, iid or quantity." in err


@given(st.integers(0, 10_000), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_label_comes_back_from_its_scale(seed, low, width):
    target = Target(low, low + width)
    labels = np.random.default_rng(seed).uniform(low - width, low + 2 * width, 20)
    scaled = target.scaled(labels)
    np.testing.assert_allclose(target.unscaled(scaled), labels, atol=3e-7 * width, rtol=1e-12)
    ends = np.array([target.low, target.high])
    np.testing.assert_array_equal(target.scaled(ends), np.array([-1, 1], np.float32))
    np.testing.assert_allclose(target.unscaled(np.array([-1.0, 1.0])), ends, rtol=1e-15)


def test_training_labels_are_cut_off_at_their_range_and_test_labels_are_not(tmp_path):
    data = load_table(source_of(tmp_path, target_range=(100, 300)))
    assert data.target == Target(100, 300, "price")
    assert data.train_labels.min() == -1
    assert data.train_labels.max() == 1
    prices = {float(line.rpartition(",")[2]) for line in house_lines()}
    told = data.target.unscaled(data.test_labels)
    assert told.min() < 100 < 300 < told.max()
    assert all(min(abs(price - each) for price in prices) < 1e-3 for each in told)
    assert "training rows lie beyond the range [100, 300] of price, cut off at its ends: NOT private" in data.remarks
    assert (data.num_classes, data.class_names, data.learnt) == (1, (), "")


def test_a_learnt_range_is_of_the_training_rows_alone(tmp_path):
    data = load_table(source_of(tmp_path, target_range=()))
    assert data.learnt == "range of price"
    assert (data.train_labels.min(), data.train_labels.max()) == (-1, 1)
    rows = {bytes(row) for row in data.train_inputs}
    known = [line for line in house_lines() if encoded(line, data) in rows]
    prices = [float(line.rpartition(",")[2]) for line in known]
    assert (data.target.low, data.target.high) == (min(prices), max(prices))
    columns = {name: said for name, said in SAID.items() if name != "agent"}
    by_owner = {"target_range": (), "split": "owner", "unit": "agent", "columns": columns}
    usual = load_table(source_of(tmp_path, **by_owner))
    trains, tests = (usual.unit_names[units[0]] for units in (usual.train_units, usual.test_units))
    for agent, high in ((trains, 100000), (tests, usual.target.high)):
        odd = load_table(source_of(tmp_path, [f"20,1,a,{agent},100000", *house_lines()], **by_owner))
        assert odd.target.high == high


def encoded(line, data):
    area, rooms, town, *_ = line.split(",")
    row = [2 * float(area) / 200 - 1, 2 * float(rooms) / 8 - 1, *(float(town == each) for each in "abcd")]
    return bytes(np.array(row, np.float32))


@pytest.mark.parametrize("gone", ["p05", "p17"])
def test_without_one_person_other_rows_and_labels_are_as_they_were(gone, tmp_path):
    """With public bounds; without, everybody's labels move with the range."""
    columns = {name: each for name, each in SAID.items() if name != "agent"}
    lines = house_lines()
    lines[5], lines[17] = "199,6,a,p05,92000", "20.5,1,a,p17,-90000"
    fewer = [line for line in lines if f",{gone}," not in line]

    def labels_of(kept, **options):
        data = load_table(source_of(tmp_path, kept, unit="agent", columns=columns, split="rows", **options))
        data = hold_out(data, 0.2)[0]
        found = {}
        for unit, row, label in zip(data.train_units, data.train_inputs, data.train_labels, strict=True):
            found.setdefault(data.unit_names[unit], set()).add((bytes(row), float(label)))
        return found

    whole, less = labels_of(lines), labels_of(fewer)
    assert whole.pop(gone)
    assert whole == less
    whole, less = labels_of(lines, target_range=()), labels_of(fewer, target_range=())
    whole.pop(gone)
    assert whole != less


@pytest.mark.parametrize("rows", [2, 3, 50])
def test_errors_are_those_of_scikit_learn(rows):
    source = np.random.default_rng(rows)
    labels = source.normal(300, 80, rows)
    guesses = labels + source.normal(5, 40, rows)
    found = number_scores(guesses, labels)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(labels, guesses), rel=1e-12)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(labels, guesses), rel=1e-12)
    assert found["r2"] == pytest.approx(reference.r2_score(labels, guesses), rel=1e-12)
    assert number_scores(np.full(rows, labels.mean()), labels)["r2"] == pytest.approx(0, abs=1e-12)


def test_what_is_undefined_is_none():
    assert number_scores(np.array([1.0, 2.0]), np.array([3.0, 3.0]))["r2"] is None
    assert number_scores(np.array([1.0, np.nan]), np.array([3.0, 4.0])) == dict.fromkeys(ERRORS)
    with pytest.raises(ValueError, match="0 rows"):
        number_scores(np.zeros(0), np.zeros(0))
    one = evaluate_numbers(lambda params, inputs: inputs, jnp.zeros(()), jnp.ones((4, 1)), jnp.ones(4))
    assert (float(one["loss"]), math.isnan(one["r2"])) == (0, True)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_evaluation_counts_each_row_once(batch_size):
    source = np.random.default_rng(0)
    inputs, labels = source.normal(size=(7, 2)).astype(np.float32), source.normal(size=7).astype(np.float32)
    found = evaluate_numbers(
        lambda params, x: x @ params, jnp.array([[0.5], [-1.0]]), inputs, labels, batch_size=batch_size
    )
    said = inputs @ np.array([0.5, -1.0])
    assert found["loss"] == pytest.approx(reference.mean_squared_error(labels, said), rel=1e-5)
    assert found["r2"] == pytest.approx(reference.r2_score(labels, said), rel=1e-5)


def test_the_loss_is_of_one_example_with_one_output():
    model = logistic(1, (3,))
    params = model.init(jax.random.key(0))
    loss_fn = squared_error_loss(model)
    one = jnp.ones(3), jnp.float32(0.25)
    assert float(loss_fn(params, one, None)[0]) == 0.0625
    bad = [(jnp.ones(3), jnp.int32(1)), (jnp.ones(3), jnp.ones(1))]
    for example in bad:
        with pytest.raises(ValueError, match="takes ONE example"):
            loss_fn(params, example, None)
    two = logistic(2, (3,))
    with pytest.raises(ValueError, match="give a model of num_classes=1"):
        squared_error_loss(two)(two.init(jax.random.key(0)), one, None)
    with pytest.raises(ValueError, match="of one class nothing is learnt"):
        cross_entropy_loss(model)(params, (jnp.ones(3), jnp.int32(0)), None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "class"}, "data.target_range=[0, 500] is of data.target=number"),
        ({"classes": ("a", "b")}, "data.classes=['a', 'b'] is of data.target=class; of a number say data.target_range"),
        ({"target_range": (500, 0)}, "data.target_range=[500, 0] must be two finite numbers, the smaller first"),
        ({"target_range": (5,)}, "data.target_range=[5] must be two finite numbers"),
        ({"target_range": (0, math.inf)}, "data.target_range=[0, inf] must be two finite numbers"),
        ({"target_range": (1e17, 1e17 + 64)}, "must be two finite numbers"),
        ({"target_range": (900, 1000)}, "all labels of the rows that train are below it; give least and largest price"),
        ({"target_range": (-2, -1)}, "all labels of the rows that train are above it"),
        (
            {"columns": SAID | {"price": [0, 1]}},
            "data.columns.price is the label; say its range with data.target_range",
        ),
        ({"label": "town", "columns": {}}, "column 'town' holds no numbers, as 'c' in row 1; name another"),
        ({"target": "class", "target_range": ()}, "or say data.target=number if it is a quantity"),
    ],
)
def test_what_is_said_of_a_number_is_checked(options, sentence, tmp_path):
    with pytest.raises(DatasetError) as error:
        load_table(dataclasses.replace(source_of(tmp_path), **options))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("price", "sentence"),
    [
        ("inf", "column 'price' holds numbers and, in row 5, 'inf'"),
        ("-Infinity", "column 'price' holds numbers and, in row 5, '-Infinity'"),
        ("1e999", "holds 1e999 in row 5"),
        ("cheap", "column 'price' holds numbers and, in row 5, 'cheap'; if that stands for a missing value say"),
        ("1_000", "column 'price' holds numbers and, in row 5, '1_000'"),
    ],
)
def test_a_label_that_is_no_number_is_named_with_its_row(price, sentence, tmp_path):
    lines = house_lines()
    lines[4] = f"50,2,b,p01,{price}"
    with pytest.raises(DatasetError) as error:
        load_table(source_of(tmp_path, lines))
    assert sentence in str(error.value)


def test_a_missing_label_leaves_its_row_out_and_says_so(tmp_path):
    lines = house_lines()
    lines[4] = "50,2,b,p01,NA"
    data = load_table(source_of(tmp_path, lines))
    assert len(data.train_labels) + len(data.test_labels) == len(lines) - 1
    assert "1 rows without label (price) left out, the first of them row 5" in data.remarks
    with pytest.raises(DatasetError, match="column 'price' has no label in any row"):
        load_table(source_of(tmp_path, [f"{line.rpartition(',')[0]}," for line in lines]))
    with pytest.raises(DatasetError, match=r"all rows that train have the label 7 \(price\)"):
        load_table(source_of(tmp_path, [f"{line.rpartition(',')[0]},7" for line in lines]))


def test_looking_at_the_table_tells_the_label_s_range(tmp_path):
    found = inspect(source_of(tmp_path, target_range=()))
    assert next(words for what, words in found.facts if what == "number").startswith("price: least, median, most")
    assert found.learnt.endswith("range of price")


def test_images_have_numbers_in_the_table_beside_them(tmp_path):
    lines = ["file_name,age"]
    for i in range(40):
        Image.new("L", (4, 4), 5 * i).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{20 + i}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    asked_for = TableSource(str(tmp_path), label="age", target="number", target_range=(0, 100))
    data = load_images(asked_for)
    assert (data.learnt, data.target) == ("", Target(0, 100, "age"))
    grey = np.round(data.train_inputs[:, 0, 0, 0] * 255 / 5)
    np.testing.assert_allclose(data.target.unscaled(data.train_labels), 20 + grey, atol=1e-4)
    assert load_images(dataclasses.replace(asked_for, target_range=())).learnt == "range of age"
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(DatasetError, match=r"data\.target=number is a column of a table beside the images"):
        load_images(dataclasses.replace(asked_for, label=""))


def test_one_place_decides_the_metric():
    number = {"test_r2": 0.5, "test_mae": 3.0, "test_loss": 0.1, "train_loss": 0.1}
    assert metric_of(frame_of([number])) == "test_r2"
    assert metric_of(frame_of([number, {"test_accuracy": 0.3}])) == "test_accuracy"
    assert metric_of(frame_of([{"test_loss": 0.1}])) == "test_loss"
    assert metric_of(frame_of([{"seed": 1}])) == "test_accuracy"
    assert metric_of(frame_of([{"seed": 1, "diverged": True}])) == "test_loss"
    assert [lower_is_better(f"test_{name}") for name in ("r2", "mae", "rmse")] == [False, True, True]
    rows = [
        number | {"epsilon": 1.0, "clip_norm": c, "test_r2": r, "config_hash": str(c)}
        for c, r in ((1.0, -3.0), (2.0, 0.5))
    ]
    (sheet,) = sheets(frame_of(rows))
    assert sheet.best == [False, True]
    (sheet,) = sheets(frame_of([row | {"test_mae": 1 + row["test_r2"]} for row in rows]), "test_mae")
    assert sheet.best == [True, False]


def test_the_best_so_far_and_a_search_go_by_r2():
    best = Best()
    for name, value in (("a", -5.0), ("b", 0.5), ("c", 0.2)):
        best.note(f"x={name}", [{"epsilon": 1.0, "test_accuracy": None, "test_r2": value}])
    assert str(best) == "Best so far: test R² 0.500 at ε=1: x=b"
    assert float(
        Told([{"test_accuracy": None, "test_r2": 0.2}, {"test_accuracy": None, "test_r2": 0.4}])
    ) == pytest.approx(0.3)
    assert float(Told([{"validation_r2": 0.1, "test_r2": 0.9}])) == 0.1


@pytest.mark.parametrize("public", [True, False])
def test_a_saved_model_says_numbers_in_the_label_s_own_unit(folder, main, public):
    code, _, err = main(*asked("save_model=true", "num_seeds=1", "optimizer.num_steps=20", public=public))
    assert code == 0, err
    saved = next(folder.rglob("trained.safetensors"))
    (row,) = rows_of(folder)
    said: dict[str, Any] = {"columns": SAID, "target_range": (0.0, 500.0)} if public else {"columns": {"agent": "skip"}}
    source = TableSource("house.csv", label="price", target="number", **said)
    data = load_table(source)
    weights = load_file(saved)
    kernel = next(each for name, each in weights.items() if name.endswith("kernel"))
    bias = next(each for name, each in weights.items() if name.endswith("bias"))
    target = read_target(saved.parent)
    assert target == data.target
    told = target.unscaled((data.test_inputs @ kernel + bias)[:, 0])
    errors = np.abs(told - target.unscaled(data.test_labels))
    assert errors.mean() == pytest.approx(row["test_mae"], rel=1e-4)
    assert json.loads((saved.parent / "target.json").read_text())["learnt_from_rows"] is not public
    assert ("NOT private: " in (saved.parent / "README.md").read_text()) is not public


def test_a_model_of_classes_has_no_target_and_a_damaged_one_is_said(tmp_path):
    with pytest.raises(DatasetError, match=r"has no target\.json; it is of models that say numbers"):
        read_target(tmp_path)
    (tmp_path / "target.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"target\.json is damaged; save the model again"):
        read_target(tmp_path)


def test_the_page_tells_of_it():
    page = (Path(__file__).parents[1] / "docs/how-to/own-data.md").read_text(encoding="utf-8")
    for word in ("data.target=number", "data.target_range", "test_r2", "test_mae", "test_rmse"):
        assert word in page
