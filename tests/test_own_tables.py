"""Tables of one's own: kinds of columns, what is learnt from rows and said so, splits, and every way to be wrong."""

import dataclasses
import random
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpjax.datasets import DatasetError
from dpjax.datasets.own_tables.inspecting import inspect
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.plans import encode, plan_of, read_said
from dpjax.datasets.own_tables.reading import load_table
from dpjax.datasets.own_tables.source import TableSource
from dpjax.results.claims import claim
from experiments.config import DataConf
from experiments.inputs import data_inputs

COLUMNS = ["visit", "patient_id", "hospital", "date", "age", "sex", "smoker", "bmi", "ill"]
PUBLIC = {
    "age": [0, 110],
    "bmi": {"range": [10, 50], "missing": True},
    "sex": ["f", "m"],
    "smoker": ["never", "former", "current"],
    "hospital": "skip",
    "date": {"range": ["2018-01-01", "2026-01-01"]},
    "visit": "skip",
}


def patients(rows=400, seed=0):
    """Lines of a table of visits, and the names above them."""
    source = random.Random(seed)
    lines = []
    for i in range(rows):
        age, bmi = source.randrange(18, 95), round(source.gauss(27, 5), 1)
        smoker = source.choice(["never", "former", "current", ""])
        ill = "yes" if age + 2 * bmi + source.gauss(0, 10) > 110 else "no"
        day = f"20{source.randrange(18, 25)}-{source.randrange(1, 13):02d}-{source.randrange(1, 29):02d}"
        who, where = f"P{source.randrange(rows // 3):04d}", source.choice("ABCD")
        lines.append([i, who, where, day, age, source.choice("fm"), smoker, bmi if i % 7 else "NA", ill])
    return [COLUMNS, *lines]


def written(folder, lines, name="patients.csv"):
    path = folder / name
    path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    return str(path)


@pytest.fixture
def source(tmp_path):
    return TableSource(
        written(tmp_path, patients()), label="ill", unit="patient_id", columns=PUBLIC, classes=("no", "yes")
    )


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("age", ["34", "51", "7"], "number"),
        ("age", ["34.5", "NA", "1e3", "-.5"], "number"),
        ("zip", ["007", "107", "007"], "category"),
        ("sex", ["f", "m", "f", "?"], "category"),
        ("flag", ["0", "1", "1"], "number"),
        ("seen", ["2024-01-31", "2023-12-01"], "date"),
        ("seen", ["2024-01-31T10:00:00Z", "2023-12-01T23:59:59Z"], "date"),
        ("seen", ["31.01.2024", "01.12.2023"], "date"),
        ("seen", ["01/31/2024", "12/01/2023"], "date"),
        ("seen", ["20240131", "20231201"], "date"),
        ("patient_id", [str(i) for i in range(100)], "identifier"),
        ("code", [f"x{i}" for i in range(100)], "identifier"),
        ("note", [f"patient {i} feels well" for i in range(100)], "text"),
        ("country", ["at"] * 5, "constant"),
        ("year", ["2024"] * 5, "constant"),
        ("nothing", ["", "NA", "null"], "empty"),
    ],
)
def test_a_column_is_what_its_values_say(name, values, kind):
    assert read_column(pyarrow.table({name: values}), name, "it:").kind == kind


def test_typed_columns_of_parquet_keep_their_type():
    import datetime
    import decimal

    table = pyarrow.table(
        {
            "number": [1.5, None, 3.0],
            "whole": pyarrow.array([1, 2, 2**31], pyarrow.int64()),
            "truth": [True, False, None],
            "day": [datetime.date(2024, 1, 31), None, datetime.date(2024, 2, 1)],
            "moment": [datetime.datetime(2024, 1, 31, 10), datetime.datetime(2024, 2, 1), None],
            "money": [decimal.Decimal("1.50"), None, decimal.Decimal("2")],
            "kind": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
        }
    )
    kinds = {name: read_column(table, name, "it:").kind for name in table.column_names}
    assert kinds == {
        "number": "number",
        "whole": "number",
        "truth": "category",
        "day": "date",
        "moment": "date",
        "money": "number",
        "kind": "category",
    }
    assert read_column(table, "day", "it:").floats()[0] == 19753  # days from 1970-01-01


def test_what_a_config_says_is_all_that_inputs_are_made_of(source, tmp_path):
    data = load_table(source)
    assert data.learnt == ""
    lines = patients()
    odd = [lines[0], [9999, "P9999", "Z", "2031-01-01", 131, "x", "pipe", 99, "yes"], *lines[1:]]
    other = load_table(dataclasses.replace(source, path=written(tmp_path, odd, "odd.csv")))
    assert other.feature_names == data.feature_names
    left = other.train_inputs[[who != "P9999" for who in np.array(other.unit_names)[other.train_units]]]
    order = np.lexsort(data.train_inputs.T), np.lexsort(left.T)
    np.testing.assert_array_equal(data.train_inputs[order[0]], left[order[1]])
    assert np.abs(other.train_inputs).max() <= 1


def test_what_is_read_off_the_rows_is_named_and_claims_say_so(source):
    columns = {name: said for name, said in PUBLIC.items() if name not in ("age", "smoker")}
    data = load_table(dataclasses.replace(source, columns=columns, classes=()))
    assert data.learnt == (
        "range of age; values of smoker; which values are missing of age and smoker; kind of age and smoker; "
        "classes of ill"
    )
    row = {"epsilon": 1.0, "epsilon_pld": 1.0, "delta": 1e-5, "unit": "user", "learnt": data.learnt}
    assert claim(row).endswith(f"; NOT private: {data.learnt}, read off the rows")
    assert "NOT private" not in claim(row | {"learnt": None})


def test_ranges_and_values_come_from_training_rows_alone(tmp_path):
    lines = [["seen", "x", "kind", "ill"]]
    lines += [[f"2020-01-{1 + i % 28:02d}", i % 10, "ab"[i % 2], "ny"[i % 3 == 0]] for i in range(80)]
    lines += [["2021-01-01", 1000, "c", "ny"[i % 2]] for i in range(20)]
    data = load_table(TableSource(written(tmp_path, lines), "ill", split="time", split_column="seen"))
    assert data.feature_names == ("x", "kind=a", "kind=b")
    assert set(data.test_inputs[:, 0]) == {1.0}
    assert not data.test_inputs[:, 1:].any()  # a value that nobody trained on is none of the known
    assert len(data.test_labels) == 20


def test_no_owner_is_on_both_sides_and_none_moves_for_another(source, tmp_path):
    def sides(path):
        data = load_table(dataclasses.replace(source, path=path))
        names = np.array(data.unit_names)
        train, test = set(names[data.train_units]), set(names[data.test_units])
        assert not train & test
        assert data.num_train_units == len(train)
        return train, test

    lines = patients()
    train, test = sides(source.path)
    gone = sorted(train)[3]
    fewer = sides(written(tmp_path, [line for line in lines if line[1] != gone], "fewer.csv"))
    assert fewer == (train - {gone}, test)


def test_splits_by_column_files_and_rows(tmp_path):
    lines = patients()
    fold = [[*lines[0], "fold"], *([*line, "test" if i % 4 == 0 else "train"] for i, line in enumerate(lines[1:]))]
    by_column = load_table(TableSource(written(tmp_path, fold), "ill", split_column="fold"))
    assert len(by_column.test_labels) == 100
    folder = tmp_path / "files"
    folder.mkdir()
    written(folder, [lines[0], *lines[1::4]], "test.csv")
    written(folder, [lines[0], *(line for i, line in enumerate(lines[1:]) if i % 4)], "train.csv")
    by_files = load_table(TableSource(str(folder), "ill"))
    np.testing.assert_array_equal(by_files.test_labels, by_column.test_labels)
    np.testing.assert_array_equal(by_files.train_inputs, by_column.train_inputs)
    few = load_table(TableSource(written(tmp_path, lines), "ill", unit="hospital", split="rows"))
    assert few.num_train_units == 4
    assert set(few.test_units) == set(range(4))


def test_labels_keep_their_names(tmp_path):
    def classes(labels):
        lines = [["x", "stars", "number"], *([i % 7, labels[i % len(labels)], i] for i in range(60))]
        data = load_table(TableSource(written(tmp_path, lines), "stars"))
        assert [data.class_names[label] for label in data.train_labels[:3]]
        return data.class_names

    assert classes(["1", "2", "3", "4", "5"]) == ("1", "2", "3", "4", "5")
    assert classes(["007", "7"]) == ("007", "7")
    assert classes(["10", "9"]) == ("9", "10")


@given(st.lists(st.sampled_from(["1", "2.5", "-3", "NA", "1e9"]), min_size=2, max_size=9), st.integers(0, 8))
def test_what_a_row_becomes_depends_on_itself(words, row):
    row %= len(words)
    column = read_column(pyarrow.table({"x": words}), "x", "it:", kind="number")
    alone = read_column(pyarrow.table({"x": [words[row]]}), "x", "it:", kind="number")
    plan = plan_of(column, read_said({"x": {"range": [-2, 2], "missing": True}}, "it:")["x"], np.ones(len(words), bool))
    np.testing.assert_array_equal(encode([column], [plan])[row], encode([alone], [plan])[0])


WRONG = {
    "no header": ("1,34,f,yes\n2,51,m,no\n", "first line holds values, as '1'"),
    "two headers": ("a,b,ill\na,b,ill\n1,2,y\n2,3,n\n", "row 1 repeats the names"),
    "units below the names": (
        "age,bmi,ill\nyears,kg,unit\n" + "3,4,1\n" * 9,
        "row 1 ('years', 'kg', 'unit') is a second line",
    ),
    "ragged": ("a,b,ill\n1,2,y\n1,2,3,n\n", "line 3 has 4 fields where the first names 3"),
    "mixed": ("a,ill\n" + "1,y\n2,n\n" * 9 + "high,y\n", "column 'a' holds numbers and, in row 19, 'high'"),
    "decimal commas": ("a;ill\n" + "1,5;y\n2;n\n" * 9, "is its comma a decimal point or between thousands"),
    "a quote closed too late": ('a,b,ill\n"1,2,y\n3,4,n\n5,6,y\n7",8,n\n', "column 'a' of row 1 holds whole lines"),
    "a quote never closed": ('a,b,ill\n1,2,y\n"3,4,n\n', "quote"),
    "a column twice": ("a,a,ill\n1,2,y\n", "2 columns 'a'"),
    "a column without a name": ("a,,ill\n1,2,y\n", "column 2 has no name"),
    "all missing": (
        "a,b,ill\n" + "".join(f"NA,x{i},{'yn'[i % 2]}\n" for i in range(99)),
        "no column is left that a model can read",
    ),
    "one class": ("a,ill\n" + "1,y\n2,y\n" * 9, "all rows have the label 'y'"),
    "no label anywhere": ("a,ill\n" + "1,\n2,NA\n" * 9, "has no label in any row"),
    "0 rows": ("a,ill\n", "holds no rows"),
    "empty": ("", "it is empty"),
    "an id as label": ("a,ill\n" + "".join(f"{i % 5},x{i}\n" for i in range(99)), "99 different values in 99 rows"),
    "no such column": ("a,il\n1,y\n2,n\n", "data.label='ill' is no column; did you mean 'il'?"),
    "past a float": ("a,ill\n1e999,y\n2,n\n3,y\n4,n\n", "past what a float tells apart"),
    "dates of two kinds": ("a,ill\n" + "01/02/2024,y\n03/04/2024,n\n" * 9, "which %d/%m/%Y and %m/%d/%Y both read"),
    "a date that is none": (
        "a,ill\n" + "2024-01-31,y\n2024-02-01,n\n" * 9 + "soon,y\n",
        "holds dates and, in row 19, 'soon'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_wrong_is_refused_in_one_sentence(wrong, tmp_path):
    text, sentence = WRONG[wrong]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DatasetError) as error:
        load_table(TableSource(str(path), "ill"))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_without_label_or_owner_are_left_out_and_counted(tmp_path):
    lines = patients()
    lines[5][8], lines[9][8], lines[11][1] = "", "NA", ""
    data = load_table(TableSource(written(tmp_path, lines), "ill", unit="patient_id"))
    assert data.remarks.startswith(
        "2 rows without label (ill) left out, the first of them row 5; 1 rows without owner (patient_id) left out"
    )
    assert len(data.train_labels) + len(data.test_labels) == 397


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"age": [120, 0]}, "must rise"),
        ({"age": "nubmer"}, "did you mean number?"),
        ({"age": {"rnage": [0, 1]}}, "did you mean range?"),
        ({"sex": ["f", "f", "m"]}, "'f' twice"),
        ({"age": 3}, "must be a range as [0, 120]"),
        ({"date": {"kind": "date", "range": ["soon", "later"]}}, "must be two dates"),
        ({"agee": [0, 1]}, "data.columns='agee' is no column; did you mean 'age'?"),
        ({"sex": "number"}, "column 'sex' holds no numbers, as 'm' in row 1"),
    ],
)
def test_what_is_said_of_columns_is_checked(source, columns, sentence):
    with pytest.raises(DatasetError) as error:
        load_table(dataclasses.replace(source, columns=columns))
    assert sentence in str(error.value)


def test_looking_at_a_table_says_what_would_be_learnt_and_how_to_say_it(source):
    found = inspect(dataclasses.replace(source, columns={}, classes=()))
    looks = {look.name: look for look in found.columns}
    assert looks["patient_id"].kind == "owner"
    assert looks["ill"].kind == "label"
    assert looks["bmi"].missing == 58
    assert found.learnt.startswith("range of date, age and bmi")
    assert dict(found.facts)["test"].endswith("owners (patient_id) 80/20 by a hash of their names")


def test_what_is_proposed_holds_no_value_of_the_rows_and_is_whole_once_it_is_filled_in(source):
    import yaml

    blank = "\n".join(inspect(dataclasses.replace(source, columns={}, classes=())).config)
    other = inspect(dataclasses.replace(source, columns={}, classes=()))
    values = {word for look in other.columns for word in re.split(r",? |, | to ", look.values)} - {"", "…"}
    assert not {value for value in values if re.search(rf"(?<![\w.-]){re.escape(value)}(?![\w.-])", _said(blank))}
    filled = blank.replace("records_per_unit: ???", "records_per_unit: 4").replace(
        "classes: ???", "classes: ['no', 'yes']"
    )
    filled = filled.replace("hospital: ???", "hospital: [A, B, C, D]")
    filled = filled.replace("values: ???", "values: [never, former, current]")
    for kind, known in (("least", "[0, 120]"), ("first", "{range: [2000-01-01, 2030-01-01]}"), ("its v", "[f, m]")):
        filled = re.sub(rf"\?\?\?  # {kind}", f"{known}  # {kind}", filled)
    said = yaml.safe_load(filled.replace("missing: ???", "missing: true"))["data"]
    assert said.pop("name") == "own"
    known = {"classes": tuple(said.pop("classes")), "columns": said.pop("columns")} | said
    assert load_table(TableSource(**known)).learnt == ""


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([f"{100 + 3 * i}" for i in range(60)], "numbers; say data.target=number"),
        ([f"{i}.99" for i in range(15)], "numbers; say data.target=number"),
        ([*(f"{100 + 3 * i}" for i in range(60)), ">500"], "numbers and '>500'; say data.target=number"),
        ([f"20{i:02d}" for i in range(25)], "numbers; say data.target=number"),
        ([f"2024-01-{i:02d}" for i in range(1, 29)], "dates, and no classes"),
    ],
)
def test_many_numbers_or_dates_are_no_classes_unless_they_are_named(tmp_path, labels, sentence):
    path = written(tmp_path, [["x", "y"], *([i % 7, labels[i % len(labels)]] for i in range(1200))])
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        load_table(TableSource(path, label="y"))
    assert load_table(TableSource(path, label="y", classes=tuple(labels))).num_classes == len(labels)


@pytest.mark.parametrize("labels", [[str(i) for i in range(62)], [str(i / 2) for i in range(1, 11)], ["1", "2.5", "9"]])
def test_numbers_that_may_be_classes_are(tmp_path, labels):
    path = written(tmp_path, [["x", "y"], *([i % 7, labels[i % len(labels)]] for i in range(1200))])
    data = load_table(TableSource(path, label="y"))
    assert data.num_classes == len(labels)
    assert ("62 numbers are taken for classes" in data.remarks) == (len(labels) == 62)


def test_a_name_of_a_column_that_no_line_holds_is_still_yaml(tmp_path):
    import yaml

    pyarrow.parquet.write_table(
        pyarrow.table({"a\nb": [i % 9 for i in range(40)], "y": ["n", "p"] * 20}), tmp_path / "odd.parquet"
    )
    config = inspect(TableSource(str(tmp_path / "odd.parquet"), label="y")).config
    assert "a\nb" in yaml.safe_load("\n".join(config))["data"]["columns"]


def _said(config):
    return re.sub(r"#.*|  path: .*", "", config)


def test_a_column_by_hand_is_encoded_without_a_file():
    column = Column("age", "number", np.array([0, -1]), ("30",), np.array([30.0]))
    plan = plan_of(column, read_said({"age": [0, 120]}, "it:")["age"], np.ones(2, bool))
    assert encode([column], [plan]).tolist() == [[-0.5], [0.0]]


def test_a_table_is_the_same_in_every_form(source, tmp_path):
    import gzip
    from pathlib import Path

    import pyarrow.csv
    import pyarrow.feather
    from pyarrow import parquet

    expected = load_table(source)
    table = pyarrow.csv.read_csv(source.path, convert_options=pyarrow.csv.ConvertOptions(null_values=["", "NA"]))
    content = Path(source.path).read_bytes()
    parquet.write_table(table, tmp_path / "a.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "w") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    with pyarrow.CompressedOutputStream(str(tmp_path / "a.csv.zst"), "zstd") as file:
        file.write(content)
    (tmp_path / "a.tsv").write_bytes(content.replace(b",", b"\t"))
    (tmp_path / "semicolons.csv").write_bytes(content.replace(b",", b";"))
    table.to_pandas().to_json(tmp_path / "a.jsonl", orient="records", lines=True, date_format="iso")
    names, *rows = content.splitlines(keepends=True)
    (tmp_path / "part-1.csv").write_bytes(names + b"".join(rows[:150]))
    (tmp_path / "part-2.csv").write_bytes(names + b"".join(rows[150:]))
    forms = [
        "a.parquet",
        "a.feather",
        "a.arrow",
        "a.csv.gz",
        "a.csv.zst",
        "a.tsv",
        "a.jsonl",
        "semicolons.csv",
        "part-*.csv",
    ]
    for form in forms:
        found = load_table(dataclasses.replace(source, path=str(tmp_path / form)))
        np.testing.assert_array_equal(found.train_inputs, expected.train_inputs, err_msg=form)
        np.testing.assert_array_equal(found.test_labels, expected.test_labels, err_msg=form)


def test_what_the_hub_s_library_saves_is_read(source, tmp_path):
    datasets = pytest.importorskip("datasets")
    lines = patients()
    parts = {"train": lines[1:301], "test": lines[301:]}
    made = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict({name: [str(row[i]) for row in rows] for i, name in enumerate(COLUMNS)})
            for split, rows in parts.items()
        }
    )
    made.save_to_disk(tmp_path / "saved")
    found = load_table(dataclasses.replace(source, path=str(tmp_path / "saved"), unit=""))
    assert (len(found.train_labels), len(found.test_labels)) == (300, 100)
    made["train"].save_to_disk(tmp_path / "one")
    assert len(load_table(dataclasses.replace(source, path=str(tmp_path / "one"), unit="")).train_labels) > 200


STRAY = [f"{30 + i}\t{'fm'[i % 2]}\tP{i // 2}\t{['no', 'yes'][i % 3 == 0]}\tseen" for i in range(40)]


@pytest.mark.parametrize(
    ("field", "column", "sentence"),
    [
        (1, "sex", "column 'sex' holds 'f' in row 1 and '\"f\"' in row 5"),
        (2, "who", "column 'who' holds 'P2' in row 6 and '\"P2\"' in row 5"),
        (3, "ill", "column 'ill' holds 'no' in row 2 and '\"no\"' in row 5"),
    ],
)
def test_a_stray_quote_in_a_tsv_does_not_make_two_values_or_two_owners_of_one(tmp_path, field, column, sentence):
    def source(rows):
        (tmp_path / "t.tsv").write_text("\n".join(["age\tsex\twho\till\tnote", *rows]))
        return TableSource(str(tmp_path / "t.tsv"), label="ill", unit="who", columns={"age": [0, 120], "note": "skip"})

    rows = [row.split("\t") for row in STRAY]
    rows[4][field] = f'"{rows[4][field]}"'
    enclosed = load_table(source(map("\t".join, rows)))  # without a stray one quotes enclose
    assert enclosed.unit_names == load_table(source(STRAY)).unit_names
    rows[9][4] = '"seen'
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        load_table(source(map("\t".join, rows)))


def test_an_asterisk_may_stand_for_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [row.replace("\t", ",") for row in STRAY]
    for place, some in (("north", rows[:20]), ("south", rows[20:]), (".hidden", rows)):
        (tmp_path / "data" / place).mkdir(parents=True)
        (tmp_path / "data" / place / "visits.csv").write_text("\n".join(["age,sex,who,ill,note", *some]))
        (tmp_path / "data" / place / "other.txt").write_text("nothing")
    (tmp_path / "whole.csv").write_text("\n".join(["age,sex,who,ill,note", *rows]))
    columns = {"age": [0, 120], "note": "skip"}
    whole = load_table(TableSource("whole.csv", label="ill", unit="who", columns=columns))
    for path in (
        "data/*/visits.csv",
        "data/*th/*.csv",
        "*/*/visits.csv",
        "**/visits.csv",
        f"{tmp_path}/*/*/visits.csv",
    ):
        read = load_table(TableSource(path, label="ill", unit="who", columns=columns))
        np.testing.assert_array_equal(read.train_inputs, whole.train_inputs)
        assert read.unit_names == whole.unit_names
    hashed = data_inputs(DataConf(name="own", path="data/*/visits.csv"))
    assert set(hashed) == {"data/north/visits.csv", "data/south/visits.csv"}
    assert "absent" not in hashed.values()
    with pytest.raises(DatasetError, match="no file is called so; look at the pattern"):
        load_table(TableSource("data/*/visit.csv", label="ill"))
    (tmp_path / "data" / "south" / "visits.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"data/north/visits\.csv and data/south/visits\.csv do not have the same"):
        load_table(TableSource("data/*/visits.csv", label="ill"))


@pytest.mark.parametrize("label", ["", "ill"])
def test_a_number_that_is_often_a_code_for_missing_is_told_when_a_table_is_looked_at(tmp_path, label):
    file = tmp_path / "patients.csv"
    rows = [(20 + i % 60, 80 + i % 40, i % 100, "ny"[i % 2]) for i in range(200)]
    rows[17] = (-999, 9999, 99, "n")
    file.write_text("age,weight,share,ill\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    said = [text for what, text in inspect(TableSource(str(file), label=label)).facts if what == "code?"]
    assert said == [
        "age has -999 in 1 row, far from all others (20 to 79): if that stands for a missing value, say "
        "data.missing=[-999]",
        "weight has 9999 in 1 row, far from all others (80 to 119): if that stands for a missing value, say "
        "data.missing=[9999]",
    ]
    mended = inspect(TableSource(str(file), label=label, missing=("-999", "9999")))
    assert [what for what, _ in mended.facts].count("code?") == 0
    assert mended.columns[0].missing == 1


WARDS = ("Charité, Berlin", "County General, Ward 3", "Hôpital Nord, Lyon", "East", "West", "Hill")


def wards(tmp_path, rows=240, **more):
    """A table of hospitals whose names hold commas."""
    lines = ["hospital,age,ill"] + [f'"{WARDS[i % 6]}",{20 + i % 60},{"ny"[i // 6 % 2]}' for i in range(rows)]
    (tmp_path / "wards.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return TableSource(str(tmp_path / "wards.csv"), **({"label": "ill"} | more))


def test_names_with_commas_stand_in_quotes_wherever_values_are_listed(tmp_path):
    names = '"Charité, Berlin", "County General, Ward 3"'
    found = inspect(wards(tmp_path))
    assert '"Charité, Berlin", ' in next(each.values for each in found.columns if each.name == "hospital")
    assert '"Charité, Berlin" 40 (17%)' in dict(inspect(wards(tmp_path, label="hospital")).facts)["6 classes"]
    asked = {"columns": {"age": [0, 110], "hospital": "category"}, "classes": ("n", "y"), "release": ("hospital",)}
    released = load_table(wards(tmp_path, **asked, release_noise_multiplier=0.5)).released
    assert f"values of hospital {names}, East and 3 more" in released.words
    with pytest.raises(DatasetError, match=re.escape(f"does not name ({names}); name it too, or take such rows out")):
        load_table(wards(tmp_path, label="hospital", classes=WARDS[:2]))
    with pytest.raises(DatasetError, match=re.escape(f"values that it names ({names.replace('C', 'K')}; rows have")):
        load_table(wards(tmp_path, columns={"hospital": [name.replace("C", "K") for name in WARDS[:2]]}))
    (tmp_path / "wards.csv").write_text('"age, years",ill\n' + "1,n\n2,y\n" * 20)
    with pytest.raises(DatasetError, match=r'it has "age, years", ill$'):
        load_table(TableSource(str(tmp_path / "wards.csv")))


def test_a_class_of_test_rows_alone_is_said_to_be_so(tmp_path):
    lines = [f"{i},{'ab'[i % 2]},train" for i in range(60)] + [f"{i},{'abc'[i % 3]},test" for i in range(30)]
    (tmp_path / "t.csv").write_text("x,y,side\n" + "\n".join(lines) + "\n")
    source = TableSource(str(tmp_path / "t.csv"), label="y", split_column="side")
    assert (
        "1 of 3 classes has no row to train on, as 'c', and is in test rows alone: no run can learn it; choose another "
        "data.split, or take such rows out" in load_table(source).remarks
    )
    with pytest.raises(DatasetError, match=r"row 63, a test row, has the label 'c', which data.classes does not name"):
        load_table(dataclasses.replace(source, classes=("a", "b")))
    with pytest.raises(DatasetError, match=r"row 2 has the label 'b', which data.classes does not name"):
        load_table(dataclasses.replace(source, classes=("a", "c")))
