"""Which side a row is on depends on the row: whatever others do to the types, the order and the number of columns."""

import datetime
import json

import numpy as np
import pandas as pd
import pyarrow
import pytest

from dpjax.datasets import TableSource, load_table
from dpjax.datasets.own_tables import contents
from dpjax.datasets.own_tables.contents import contents_of
from dpjax.datasets.own_tables.kinds import read_column

ROWS = [{"age": 20 + i % 70, "x": i / 7, "big": 10**12 + i, "ill": "ny"[i % 2]} for i in range(400)]
ODD = {
    "missing": {"age": None, "x": 0.5, "big": 1, "ill": "n"},
    "broken": {"age": 2.5, "x": 0.5, "big": 1, "ill": "n"},
    "one field more": {"age": 3, "x": 0.5, "big": 1, "ill": "y", "note": "z"},
    "one field first": {"also": 1, "age": 3, "x": 0.5, "big": 1, "ill": "y"},
}


def written(folder, rows, form):
    path = folder / f"{len(rows)}.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pd.DataFrame(rows).to_parquet(path)
    return str(path)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("odd", ODD)
def test_one_row_more_moves_no_other_to_the_other_side(tmp_path, form, odd):
    def tests_of(rows):
        columns = {"age": {"range": [0, 110], "missing": True}, "x": [0, 60], "big": [0, 10**13]}
        columns |= {name: "skip" for row in rows for name in row if name in ("note", "also")}
        data = load_table(TableSource(written(tmp_path, rows, form), "ill", classes=("n", "y"), columns=columns))
        return {tuple(row) for row in np.round(data.test_inputs, 5).tolist()}

    # In front, as the first row has the first say of what columns there are.
    apart = tests_of(ROWS) ^ tests_of([ODD[odd], *ROWS])
    assert len(apart) <= 1


def test_equal_values_of_other_types_are_equal_and_others_are_not():
    def one(**values):
        return contents_of(pyarrow.table({name: [value] for name, value in values.items()}))[0]

    assert one(a=5) == one(a=5.0) == one(a=np.float32(5))
    assert one(a=datetime.date(2024, 1, 2)) == one(a=datetime.datetime(2024, 1, 2))
    assert one(a=5, b=None) == one(b=float("nan"), a=5) == one(a=5, b="")
    assert one(a=True) != one(a=1)
    assert one(a="5") != one(a=5)
    assert len({one(a=5), one(b=5), one(a=-5), one(a=2**60), one(a=0.5), one(a="x")}) == 6


def test_typed_numbers_are_places_among_the_words_that_they_are_written_as():
    parts = [[2.5, None, -0.0], [0.0, 2.5, float("nan"), 7.0]]
    read = read_column(pyarrow.table({"x": pyarrow.chunked_array(parts)}), "x", "it:", missing=["7"])
    assert read.values == ("2.5", "0")
    assert read.codes.tolist() == [0, -1, 1, 1, 0, -1, -1]
    assert read.numbers is not None
    assert read.numbers.tolist() == [2.5, 0.0]


def test_rows_are_told_alike_whatever_part_of_the_table_they_are_read_in(monkeypatch):
    table = pyarrow.Table.from_pylist([*ROWS, *ODD.values()])
    whole = contents_of(table)
    monkeypatch.setattr(contents, "_AT_ONCE", 7)
    assert contents_of(table) == whole
    assert len(set(whole)) > len(ROWS)
