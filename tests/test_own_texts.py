"""Texts of one's own with labels: split as tables are, called as they are written, nobody moved by another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from dpjax.datasets import DatasetError
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.texts import load_texts

RNG = np.random.default_rng(3)
ROWS: list[dict[str, Any]] = [
    {
        "review": f"text number {i}", "second": f"another {i}", "stars": ["007", "7"][i % 2],
        "who": f"u{RNG.integers(40):02d}", "when": f"2024-{1 + i % 12:02d}-01", "part": ["train", "test"][i % 5 == 0],
    }
    for i in range(200)
]  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def source(path: str, **more: Any) -> TableSource:
    return TableSource(path, label="stars", unit="who", classes=("007", "7"), **more)


def test_labels_keep_their_names_and_owners_stay_on_one_side(tmp_path):
    data = load_texts(source(write(tmp_path / "r.parquet", ROWS)), ["review"])
    assert data.class_names == ("007", "7")
    assert data.learnt == ""
    assert data.train_units is not None
    assert data.test_units is not None
    assert not set(data.train_units) & set(data.test_units)
    by_text = {row["review"]: row for row in ROWS}
    for text, label, unit in zip(data.train_inputs, data.train_labels, data.train_units, strict=True):
        assert by_text[text]["stars"] == data.class_names[label]
        assert by_text[text]["who"] == data.unit_names[unit]
    assert len(data.train_inputs) + len(data.test_inputs) == 200


def test_a_table_without_one_owner_differs_in_that_owners_texts_alone(tmp_path):
    whole = load_texts(source(write(tmp_path / "r.parquet", ROWS)), ["review"])
    gone = ROWS[0]["who"]
    fewer = load_texts(source(write(tmp_path / "f.parquet", [r for r in ROWS if r["who"] != gone])), ["review"])
    theirs = {row["review"] for row in ROWS if row["who"] == gone}
    assert set(whole.train_inputs) - set(fewer.train_inputs) <= theirs
    assert set(whole.test_inputs) - set(fewer.test_inputs) <= theirs
    assert set(fewer.train_inputs) <= set(whole.train_inputs)
    assert set(fewer.test_inputs) <= set(whole.test_inputs)


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ({"split": "rows"}, "rows 80/20 by a hash of what they hold"),
        ({"split_column": "part"}, "as part says"),
        ({"split_column": "when", "split_at": "2024-10-01"}, "2024-10-01"),
    ],
)
def test_the_split_is_the_one_that_is_said(tmp_path, said, how):
    data = load_texts(source(write(tmp_path / "r.parquet", ROWS), **said), ["review"])
    assert how in data.split
    assert data.learnt == ""
    if "split_column" in said:
        tested = {r["review"] for r in ROWS if (r["part"] == "test" if how == "as part says" else r["when"] >= how)}
        assert set(data.test_inputs) == tested


def test_pairs_and_classes_that_are_not_said(tmp_path):
    path = write(tmp_path / "r.parquet", ROWS)
    data = load_texts(replace(source(path), classes=()), ["review", "second"])
    assert data.train_inputs.shape[1] == 2
    assert data.learnt == "classes of stars"


@pytest.mark.parametrize(
    ("change", "columns", "sentence"),
    [
        ({}, ["reviw"], "'reviw' is no column; did you mean 'review'"),
        ({}, ["review", "review"], "must be one column of texts, two of pairs, or three of prompt"),
        ({}, ["review", "second", "part", "when"], "must be one column of texts, two of pairs, or three of prompt"),
        ({"label": ""}, ["review"], r"data.classes=\['.*'\] names classes; say data.label=COLUMN too"),
        ({}, ["stars"], "is the label"),
        ({"label": "strs"}, ["review"], "did you mean 'stars'"),
        ({"unit": "stars"}, ["review"], "has two roles"),
        ({"classes": ("7", "8")}, ["review"], "row 1 has the label '007'"),
        ({"split": "time"}, ["review"], "data.split=time needs a column to go by"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, change, columns, sentence):
    path = write(tmp_path / "r.parquet", ROWS)
    with pytest.raises(DatasetError, match=sentence):
        load_texts(replace(source(path), **change), columns)


def test_an_empty_text_and_a_number_are_no_texts(tmp_path):
    path = write(tmp_path / "r.parquet", [*ROWS, ROWS[0] | {"review": " "}])
    with pytest.raises(DatasetError, match="row"):
        load_texts(source(path), ["review"])
    path = write(tmp_path / "n.parquet", [row | {"review": i} for i, row in enumerate(ROWS)])
    with pytest.raises(DatasetError, match="it must hold texts"):
        load_texts(source(path), ["review"])
