"""With everything said, a table of one's own without one person differs in that person's rows and in nothing else."""

import dataclasses

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from dpjax.datasets import DatasetError, TableSource, load_table
from dpjax.datasets.selection import bounded, hold_out, subset
from dpjax.scores import scores
from experiments.config import DataConf
from experiments.inputs import data_inputs

SAID = {"x": [0, 1000], "day": {"range": ["2020-01-01", "2022-01-01"]}, "kind": ["a", "b"]}


def lines_of(owners=60, rows=10):
    lines = []
    for owner in range(owners):
        for row in range(rows):
            i = owner * rows + row
            lines.append(f"p{owner:02d},{i},2021-{1 + i % 12:02d}-{1 + i % 28:02d},{'ab'[i % 2]},{'ny'[i % 3 == 0]}")
    return lines


def loaded(folder, lines, name="t.csv", **options):
    (folder / name).write_text("who,x,day,kind,ill\n" + "\n".join(lines) + "\n")
    options = {"unit": "who", "columns": SAID, "classes": ("n", "y")} | options
    return load_table(TableSource(str(folder / name), "ill", **options))


def rows_by_owner(data, which=slice(None), side="train"):
    """Owner → their rows as a set; x tells them apart."""
    units = getattr(data, f"{side}_units")[which]
    found = {}
    for unit, row in zip(units, getattr(data, f"{side}_inputs")[which], strict=True):
        found.setdefault(data.unit_names[unit], set()).add(row.tobytes())
    return found


@pytest.mark.parametrize("options", [{}, {"split": "rows"}, {"split_column": "day", "split_at": "2021-10-01"}])
@pytest.mark.parametrize("gone", ["p05", "p59", "p00"])
def test_without_one_owner_everybody_else_is_as_they_were(options, gone, tmp_path):
    columns = {name: each for name, each in SAID.items() if name != options.get("split_column")}
    whole = loaded(tmp_path, lines_of(), columns=columns, **options)
    fewer = loaded(tmp_path, [line for line in lines_of() if line[:3] != gone], columns=columns, **options)
    assert whole.learnt == fewer.learnt == ""
    for side in ("train", "test"):
        before, after = rows_by_owner(whole, side=side), rows_by_owner(fewer, side=side)
        before.pop(gone, None)
        assert before == after
    kept = rows_by_owner(whole, bounded(whole, 4)), rows_by_owner(fewer, bounded(fewer, 4))
    kept[0].pop(gone, None)
    assert kept[0] == kept[1]  # and whoever has too many keeps the same
    assert max(map(len, kept[0].values())) == 4
    held = [rows_by_owner(hold_out(data, 0.2)[0]) for data in (whole, fewer)]
    held[0].pop(gone, None)
    assert held[0] == held[1]


def test_without_one_row_other_rows_stay_on_their_side(tmp_path):
    whole = loaded(tmp_path, lines_of(), unit="", columns=SAID | {"who": "skip"})
    fewer = loaded(tmp_path, lines_of()[1:], unit="", columns=SAID | {"who": "skip"})
    sides = [
        [{row.tobytes() for row in part} for part in (data.train_inputs, data.test_inputs)] for data in (whole, fewer)
    ]
    assert sum(len(a ^ b) for a, b in zip(*sides, strict=True)) == 1


def test_a_split_by_the_dates_of_all_is_learnt(tmp_path):
    columns = {"x": SAID["x"], "kind": SAID["kind"]}
    data = loaded(tmp_path, lines_of(), columns=columns, split="time", split_column="day")
    assert data.learnt == "where the last fifth by day begins"
    assert "owners who are tested train too" in data.remarks


def test_a_range_of_dates_that_is_said_says_how_they_are_written(tmp_path):
    lines = [line.replace("2021-", "").replace("-", "/") + "" for line in lines_of()]
    odd = [",".join([*(p := line.split(","))[:2], f"{p[2]}/2021", *p[3:]]) for line in lines]
    with pytest.raises(DatasetError, match="holds dates and, in row 1"):
        loaded(tmp_path, odd)
    form = {"day": {"range": ["2020-01-01", "12/31/2021"], "form": "%m/%d/%Y"}}
    assert loaded(tmp_path, odd, columns=SAID | form).learnt == ""
    read = loaded(tmp_path, odd, columns=SAID | {"day": "date"}, name="u.csv")
    assert "how dates are written of day" in read.learnt


def test_one_owner_under_two_names_is_refused(tmp_path):
    lines = [line.replace("p", "", 1) for line in lines_of()]
    lines[3] = "00.0" + lines[3][2:]
    with pytest.raises(DatasetError, match=r"owners '00' and '00.0' are one number"):
        loaded(tmp_path, lines)


def test_files_that_a_pattern_names_are_hashed_one_by_one(tmp_path):
    for part in ("1", "2"):
        (tmp_path / f"v-{part}.csv").write_text(f"a,y\n{part},n\n")
    asked = DataConf(name="own", path=str(tmp_path / "v-*.csv"), label="y")
    before = data_inputs(asked)
    assert sorted(before) == [str(tmp_path / "v-1.csv"), str(tmp_path / "v-2.csv")]
    (tmp_path / "v-1.csv").write_text("a,y\n1,y\n")
    assert data_inputs(asked) != before


def test_a_class_is_ranked_by_its_chance_among_all():
    from sklearn.metrics import roc_auc_score

    logits = np.random.default_rng(0).normal(size=(200, 4))
    labels = np.random.default_rng(1).integers(0, 4, 200)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.mean([roc_auc_score(labels == k, chances[:, k]) for k in range(4)])
    assert scores(logits, labels)["auroc"] == pytest.approx(expected, abs=1e-12)
    assert scores(np.array([[1.0, 1.1, -9], [1.0, 0.9, 0.9]]), np.array([0, 1]))["auroc"] == 0.5
    assert scores(np.array([[1.0, 0.0]]), np.array([0]))["f1"] is None


@pytest.mark.parametrize(
    ("columns", "classes", "sentence"),
    [
        ({"kind": [True, False]}, ("n", "y"), "YAML reads yes and no as truth values"),
        ({"kind": ["A", "B"]}, ("n", "y"), "no row has one of the values that it names (A, B; rows have 'a')"),
        ({"x": [2000, 3000]}, ("n", "y"), "all values lie on one side of its range"),
        ({"kind": [None, "a"]}, ("n", "y"), "must be words"),
        ({"x": {"range": []}}, ("n", "y"), "must be two ends"),
        ({"x": {"range": 5}}, ("n", "y"), "must be two ends"),
        ({"day": {"kind": "date", "form": "%d.%d.%Y"}}, ("n", "y"), "holds dates and"),
        ({"ill": ["n", "y"]}, ("n", "y"), "is the label; say its values with data.classes"),
        ({}, ("n", "y", "n"), "names 'n' twice"),
        ({}, ("False", "True"), "YAML reads yes and no as truth values"),
    ],
)
def test_what_would_make_columns_of_zeros_is_refused(columns, classes, sentence, tmp_path):
    with pytest.raises(DatasetError) as error:
        loaded(tmp_path, lines_of(), columns=SAID | columns, classes=classes)
    assert sentence in str(error.value)


def test_what_is_said_wins_over_the_words_for_missing(tmp_path):
    lines = [line.replace(",a,", ",NA,") for line in lines_of()]
    data = loaded(tmp_path, lines, columns=SAID | {"kind": ["NA", "b"]})
    assert data.train_inputs[:, data.feature_names.index("kind=NA")].sum() > 100
    named = [line.replace(",n", ",NA") for line in lines_of()]
    assert len(loaded(tmp_path, named, classes=("NA", "y")).remarks) == 0


def test_truth_values_of_parquet_are_said_as_yaml_says_them(tmp_path):
    rows = {"a": [i % 2 == 0 for i in range(90)], "y": ["ny"[i % 3 == 0] for i in range(90)], "i": list(range(90))}
    parquet.write_table(pyarrow.table(rows), tmp_path / "t.parquet")
    data = load_table(
        TableSource(str(tmp_path / "t.parquet"), "y", columns={"a": [False, True], "i": "skip"}, classes=("n", "y"))
    )
    assert data.feature_names == ("a=false", "a=true")
    assert (data.train_inputs.sum(1) == 1).all()


def test_numbers_that_no_float_tells_apart_are_names(tmp_path):
    lines = [line.replace(f",{i},", f",{2**60 + i % 7},", 1) for i, line in enumerate(lines_of())]
    data = loaded(tmp_path, lines, columns={name: SAID[name] for name in ("day", "kind")})
    assert "x" not in data.feature_names
    with pytest.raises(DatasetError, match="past what a float tells apart"):
        loaded(tmp_path, lines)


def test_an_instant_is_one_number_in_every_zone():
    from dpjax.datasets.own_tables.kinds import read_column

    values = ["2020-01-15T23:30:00-05:00", "2020-01-16T04:30:00Z", "2020-01-16T04:30:00+00:00"]
    found = read_column(pyarrow.table({"t": values}), "t", "it:").floats()
    np.testing.assert_allclose(found, 18277 + 4.5 / 24, atol=1e-9)


def test_rows_that_pandas_numbered_are_the_same_with_gaps(tmp_path):
    lines = lines_of()
    whole, gaps = (
        [f"{i},{line}" for i, line in enumerate(lines) if keep(i)] for keep in (lambda i: True, lambda i: i != 9)
    )
    names = []
    for rows in (whole, gaps):
        (tmp_path / "t.csv").write_text(",who,x,day,kind,ill\n" + "\n".join(rows) + "\n")
        names.append(load_table(TableSource(str(tmp_path / "t.csv"), "ill", unit="who", columns=SAID)).feature_names)
    assert names[0] == names[1]


def test_a_german_table_is_read_as_it_is(tmp_path):
    rows = [f"{20 + i % 60};{i % 50},5;{'öü'[i % 2]};{'ny'[i % 3 == 0]}" for i in range(600)]
    (tmp_path / "t.csv").write_bytes(("Alter;Größe;Art;krank\n" + "\n".join(rows) + "\n").encode("cp1252"))
    source = TableSource(str(tmp_path / "t.csv"), "krank", encoding="cp1252", decimal=",")
    said = {"Alter": [0, 110], "Größe": [0, 60], "Art": ["ö", "ü"]}
    data = load_table(dataclasses.replace(source, columns=said, classes=("n", "y")))
    assert (data.learnt, len(set(data.train_inputs[:, 1].tolist()))) == ("", 50)
    with pytest.raises(DatasetError, match=r"say data\.encoding=cp1252"):
        load_table(dataclasses.replace(source, encoding=None))
    with pytest.raises(DatasetError, match=r"Say data\.decimal=','"):
        load_table(dataclasses.replace(source, decimal="."))


def test_many_columns_take_no_longer_than_their_rows(tmp_path):
    import time

    names = [f"c{i}" for i in range(3000)]
    rows = [[*(str((i * j) % 7) for j in range(3000)), "ny"[i % 2]] for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(",".join(row) for row in [[*names, "y"], *rows]) + "\n")
    began = time.process_time()
    load_table(TableSource(str(tmp_path / "t.csv"), "y"))
    assert time.process_time() - began < 8  # 2 s; where each column looked through all names, 7 s for these alone


def test_a_shuffle_of_all_rows_is_learnt_from_them(tmp_path):
    data = loaded(tmp_path, lines_of())
    assert subset(data, 50).learnt == "which rows are kept"
    assert subset(data, None).learnt == ""
