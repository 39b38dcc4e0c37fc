"""Which side a row is on depends on the row: whatever others do to the types, the order and the number of columns."""

import datetime
import json

import numpy as np
import pandas as pd
import pyarrow
import pytest

from dpjax.datasets import TableSource, load_table
from dpjax.datasets.own_tables.contents import contents_of

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
