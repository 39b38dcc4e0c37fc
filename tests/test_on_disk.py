"""Tables that stay on disk: rows and results of the same table in memory, one sentence for all that is not done, and
what is stored of them: whole, as the file is now, or not at all.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from dpjax.arrow_units import arrow_units
from dpjax.datasets import DatasetError, TableSource, load_table
from dpjax.datasets.own_tables import batches, on_disk, seen_rows
from dpjax.datasets.own_tables.on_disk import load_on_disk
from experiments.config import Config, ConfigError
from experiments.validation import validate

ROWS = 400
SAID = {
    "age": {"range": [0, 110], "missing": True},
    "sex": ["f", "m"],
    "date": {"range": ["2018-01-01", "2026-01-01"]},
    "count": [0, 30],
    "small": [-2, 2],
    "note": "skip",
}
# What differs between two runs that give the same: names, and the clock.
APART = {"experiment", "config_hash", "overrides", "config", "git_revision", "timestamp", "peak_memory_mib"}


def table(rows=ROWS):
    draw = np.random.default_rng(0)
    age, small = draw.normal(50, 20, rows), draw.normal(size=rows).astype(np.float32)
    ill = np.where(age + 10 * small + draw.normal(size=rows) > 55, "yes", "no").astype(object)
    ill[7] = None
    return pa.table(
        {
            "age": pa.array(np.where(np.arange(rows) % 9 == 2, None, age.astype(object)), pa.float64()),
            "sex": [("f", "m", "?", "x")[i % 4] for i in range(rows)],
            "date": [f"20{18 + i % 6}-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(rows)],
            "count": pa.array(draw.integers(0, 40, rows), pa.int16()),
            "small": small,
            "note": [f"visit {i}" for i in range(rows)],
            "price": 100 * small + 250,
            "side": [("test" if i % 5 == 0 else "train") for i in range(rows)],
            "ill": pa.array(ill.tolist()),
        }
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(batches, "ROWS", 37)  # several batches of a small table
    monkeypatch.chdir(tmp_path)
    pq.write_table(table(), "t.parquet", row_group_size=150)
    return tmp_path


def source(path="t.parquet", **more):
    said = SAID | {"price": "skip"}
    options = {"label": "ill", "classes": ("no", "yes"), "split_column": "side", "columns": said} | more
    return TableSource(str(path), **options)


NUMBER = {"label": "price", "target": "number", "target_range": (100, 400), "classes": ()}
NUMBER |= {"columns": SAID | {"ill": "skip"}}
SOURCES = {
    "column": source(),
    "rows": source(split_column="", columns=SAID | {"price": "skip", "side": "skip"}),
    "time": source(split_column="date", split="time", split_at="2022-03-01", columns={**SAID, "price": "skip"}),
    "number": source(**NUMBER),
    "missing": source(missing=("x", "17")),
    "arrow": source("t.arrow"),
    "stream": source("s.arrow"),
    "pattern": source("part-*.parquet"),
    "files": source("both", split_column="", columns=SAID | {"price": "skip"}),
}
for each in ("time",):
    said = {name: value for name, value in SOURCES[each].columns.items() if name != "date"} | {"side": "skip"}
    SOURCES[each] = dataclasses.replace(SOURCES[each], columns=said)


def write_other_forms():
    whole = table()
    feather.write_feather(whole, "t.arrow", compression="lz4")
    with pa.ipc.new_stream("s.arrow", whole.schema) as file:
        file.write_table(whole, max_chunksize=90)
    for part in range(3):
        pq.write_table(whole.slice(part * 150, 150), f"part-{part}.parquet")
    Path("both").mkdir()
    without = whole.drop_columns(["side"])
    pq.write_table(without.slice(0, 300), "both/train.parquet")
    pq.write_table(without.slice(300), "both/test.parquet")


@pytest.mark.parametrize("kind", SOURCES)
def test_rows_are_those_in_memory_to_the_last_bit(kind):
    write_other_forms()
    known, found = load_table(SOURCES[kind]), load_on_disk(SOURCES[kind], 100)
    units = arrow_units(found.stored.path, ["x", "y"])
    rows = units.take(np.arange(units.size))
    for mine, theirs in (
        (rows["x"], known.train_inputs),
        (rows["y"], known.train_labels),
        (found.train_inputs, known.train_inputs[:100]),
        (found.train_labels, known.train_labels[:100]),
        (found.test_inputs, known.test_inputs),
        (found.test_labels, known.test_labels),
    ):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert (found.num_train, found.num_classes) == (known.num_train, known.num_classes)
    same = ("feature_names", "class_names", "split", "learnt", "target", "name", "input_shape", "task", "own", "unit")
    assert {name: getattr(found, name) for name in same} == {name: getattr(known, name) for name in same}
    assert found.target is not None or found.commonest == known.commonest
    assert set(found.remarks.split("; ")) <= set(known.remarks.split("; "))


def written(columns):
    return json.dumps(columns).replace('"', "")


def words(*more, columns=None):
    said = written(SAID | {"price": "skip"} if columns is None else columns)
    few = ["privacy.delta=1e-3", "privacy.accountant=rdp", "num_seeds=2", "optimizer.num_steps=6", "figures=false"]
    few += ["optimizer.evaluate_every=3", "data.num_evaluated=50", "model=logistic"]
    of_data = ["data=own", "data.path=t.parquet", "data.label=ill", "data.classes=[no,yes]", "data.split_column=side"]
    return [*of_data, f"data.columns={said}", *few, *more]


def results(folder, name):
    (path,) = (folder / "single" / name).rglob("result.json")
    rows = json.loads(path.read_text())
    rows = rows["rows"] if isinstance(rows, dict) else rows
    return [{key: value for key, value in row.items() if key not in APART and "seconds" not in key} for row in rows]


@pytest.mark.parametrize(
    "more",
    [
        ["lanes=map"],
        ["lanes=vmap", "optimizer.sampling=balls_in_bins"],
        ["checkpoint_seconds=60", "privacy.epsilon=inf"],
        ["data.label=price", "data.target=number", "data.target_range=[100,400]", "data.classes=[]"],
    ],
    ids=["map", "vmap", "kept", "number"],
)
def test_a_run_gives_the_numbers_of_the_same_run_in_memory(folder, main, more):
    columns = SAID | {"ill": "skip"} if "data.label=price" in more else None
    for name, extra in (("memory", []), ("disk", ["data.on_disk=true"])):
        code, _, err = main(*words(f"name={name}", *more, *extra, columns=columns))
        assert code == 0, err
    mine, theirs = results(folder, "disk"), results(folder, "memory")
    assert [len(row) > 50 for row in mine] == [True, True]
    assert [row.keys() for row in mine] == [row.keys() for row in theirs]
    for known, found in zip(theirs, mine, strict=True):
        for name, value in known.items():
            if isinstance(value, float) or (
                isinstance(value, list) and isinstance(value[0], float)
            ):  # XLA may fuse the two otherwise
                assert found[name] == pytest.approx(value, rel=1e-5), name
            else:
                assert found[name] == value, name


FIELDS = {
    "federated.clients_per_round": {"federated": {"clients_per_round": 10}},
    "data.unit": {"data": {"unit": "id"}},
    "privacy.records_per_unit": {"privacy": {"records_per_unit": 2}},
    "data.split=owner": {"data": {"split": "owner"}},
    "data.split_at": {"data": {"split": "time"}},
    "data.text": {"data": {"text": ["note"]}},
    "data.messages": {"data": {"messages": ["turns"]}},
    "data.tokens": {"data": {"tokens": "ids"}},
    "data.size": {"data": {"size": [8, 8]}},
    "data.channels": {"data": {"channels": 1}},
    "data.encoding": {"data": {"encoding": "cp1252"}},
    "data.release": {"data": {"release": ["age"]}},
    "data.validation": {"data": {"validation": 0.1}},
    "data.num_train": {"data": {"num_train": 10}},
    "model.name=pretrained": {"model": {"name": "pretrained"}},
    "model.name=scattering": {"model": {"name": "scattering"}},
    "engine": {"engine": "tuned"},
}


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_not_done_on_disk_is_refused_by_its_field(field):
    def config(stays):
        cfg = Config()
        parts = FIELDS[field] | {"data": {"name": "own", "on_disk": stays, **FIELDS[field].get("data", {})}}
        changed = {
            name: dataclasses.replace(getattr(cfg, name), **part) if isinstance(part, dict) else part
            for name, part in parts.items()
        }
        return dataclasses.replace(cfg, **changed)

    validate(config(stays=False))
    with pytest.raises(ConfigError) as error:
        validate(config(stays=True))
    said = str(error.value)
    assert said.startswith(field)
    assert "data.on_disk=true" in said
    assert said.count(".\n") == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"classes": ()}, "name the labels with data.classes"),
        ({"classes": ("no", "no")}, "names 'no' twice"),
        ({"classes": ("no",)}, "has the label 'yes', which data.classes does not name"),
        ({"columns": {}}, "does not say all of age"),
        ({"columns": SAID | {"price": "number"}}, "does not say all of price"),
        ({"columns": SAID | {"price": [900, 990]}}, "all values lie on one side"),
        ({"columns": SAID | {"price": "skip", "sex": ["a", "b"]}}, "no row has one of the values"),
        ({"columns": dict.fromkeys([*SAID, "price"], "skip")}, "skips all columns"),
        ({**NUMBER, "target_range": ()}, "data.target_range"),
        ({"label": "nothing"}, "is no column"),
        ({"path": "t.csv"}, "write it as Parquet"),
        ({"path": "gone.parquet"}, "is not there"),
        ({"path": "."}, "t.csv is none"),
        ({"path": ""}, "data.path is empty"),
        ({"split_column": "sex", "columns": SAID | {"price": "skip", "side": "skip"}}, "must say train or test"),
        ({"split": "files"}, "needs a file train and a file test"),
        ({"path": "hub:a/b"}, "none of the hub"),
    ],
)
def test_what_would_be_learnt_or_is_not_there_is_refused_and_nothing_is_stored(folder, more, said):
    Path("t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=said):
        load_on_disk(source(**more))
    assert not list(folder.glob("kept/on_disk/*"))


def test_too_many_rows_to_hold_are_refused(folder, monkeypatch):
    monkeypatch.setattr(seen_rows, "MOST_HELD", 79)
    with pytest.raises(DatasetError, match=r"more than 79 rows test .* data\.split=column"):
        load_on_disk(source())
    monkeypatch.setattr(on_disk, "MOST_HELD", 20)
    with pytest.raises(DatasetError, match=r"data\.num_evaluated=21 .* at most 20"):
        load_on_disk(source(), 21)
    assert not list(folder.glob("kept/on_disk/*"))


def test_what_is_stored_is_used_again_until_file_or_config_change(folder, monkeypatch):
    first = load_on_disk(source())
    with monkeypatch.context() as patch:
        patch.setattr(on_disk, "_store", None)  # it is not called
        assert load_on_disk(source()).stored == first.stored
    other = table().set_column(4, "small", pa.array(np.full(ROWS, 0.5, np.float32)))
    pq.write_table(other, "t.parquet")
    again = load_on_disk(source())
    assert again.stored.path != first.stored.path
    np.testing.assert_array_equal(again.test_inputs, load_table(source()).test_inputs)
    assert load_on_disk(source(missing=("x",))).stored.path not in (again.stored.path, first.stored.path)
    assert {os.stat(path).st_mode & 0o077 for path in folder.glob("kept/on_disk/*")} == {0}


def test_a_file_that_is_cut_short_is_refused_in_a_sentence(folder):
    whole = Path("t.parquet").read_bytes()
    Path("t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"t\.parquet cannot be read: .*; write or fetch it again$"):
        load_on_disk(source())
    assert not list(folder.glob("kept/on_disk/*"))
    Path("t.parquet").write_bytes(whole)
    stored = Path(load_on_disk(source()).stored.path)
    os.truncate(stored, stored.stat().st_size - 64)
    with pytest.raises(DatasetError, match="was cut short, changed or put there from elsewhere; remove"):
        load_on_disk(source())
    tested = stored.with_suffix(".npz")
    tested.unlink()
    assert load_on_disk(source()).num_train == 319
    tested.write_bytes(b"no archive")
    with pytest.raises(DatasetError, match="is damaged"):
        load_on_disk(source())


def test_what_was_stored_of_another_table_or_has_another_bit_is_refused(folder):
    """Of the same size: only what it holds tells."""
    mine = Path(load_on_disk(source()).stored.path)
    other = Path(load_on_disk(source(columns=SAID | {"price": "skip", "small": [-3, 3]})).stored.path)
    assert mine.stat().st_size == other.stat().st_size
    whole, tested = mine.read_bytes(), mine.with_suffix(".npz").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (bytes(flipped), other.read_bytes()):
        mine.write_bytes(content)
        with pytest.raises(DatasetError, match="changed or put there from elsewhere"):
            load_on_disk(source())
    mine.with_suffix(".npz").write_bytes(other.with_suffix(".npz").read_bytes())
    with pytest.raises(DatasetError, match="changed or put there from elsewhere"):
        load_on_disk(source())
    mine.write_bytes(whole)
    mine.with_suffix(".npz").write_bytes(tested)
    assert load_on_disk(source()).num_train == 319


def test_training_rows_are_evaluated_at_even_distances_where_nobody_says_how_many(monkeypatch):
    """A table may be sorted by its label."""
    known = load_table(source())
    monkeypatch.setattr(on_disk, "EVALUATED", 30)
    found = load_on_disk(source())
    rows = np.arange(30) * 318 // 29
    assert (rows[0], rows[-1], len(known.train_labels)) == (0, 318, 319)
    np.testing.assert_array_equal(found.train_inputs, known.train_inputs[rows])
    np.testing.assert_array_equal(found.train_labels, known.train_labels[rows])
    np.testing.assert_array_equal(load_on_disk(source(), 30).train_labels, known.train_labels[:30])


def test_what_is_wrong_is_named_with_its_file_and_its_row_there(folder):
    write_other_forms()
    odd = pq.read_table("part-1.parquet").to_pylist()
    odd[40]["ill"] = "perhaps"
    pq.write_table(pa.Table.from_pylist(odd), "part-1.parquet")
    with pytest.raises(DatasetError, match=r"part-1.parquet rows 38 to 74, counted from there: row 4, .*'perhaps'"):
        load_on_disk(source("part-*.parquet"))
    with pytest.raises(DatasetError, match="does not say all of count, note, price; say their range"):
        load_on_disk(source(columns={name: said for name, said in SAID.items() if name not in ("count", "note")}))


def test_tables_that_no_reader_gets_through_are_sentences(folder):
    whole = table()
    twice = pa.Table.from_arrays([*whole.columns, whole["age"]], names=[*whole.column_names, "age"])
    pq.write_table(twice, "twice.parquet")
    with pytest.raises(DatasetError, match="has 2 columns 'age'; rename or remove all but one"):
        load_on_disk(source("twice.parquet"))
    far = pa.array([10**12] * whole.num_rows, pa.timestamp("s"))
    pq.write_table(whole.append_column("far", [far]), "far.parquet")
    for load in (load_table, load_on_disk):
        with pytest.raises(DatasetError, match="column 'far' holds times outside of the years 1 to 9999"):
            load(source("far.parquet", columns=SAID | {"price": "skip", "far": "skip"}))
    with pytest.raises(DatasetError, match="has the text '1e16' beside a number"):
        load_table(source(columns=SAID | {"price": [0, "1e16"]}))
    with pytest.raises(DatasetError, match=r"price.*1e\+300"):
        load_table(source(columns=SAID | {"price": [0, 1e300]}))


def test_a_split_by_time_goes_by_numbers_that_are_written_as_words():
    whole = table()
    words = whole.append_column("week", [[str(i % 50) for i in range(whole.num_rows)]])
    pq.write_table(words, "w.parquet")
    options = {"split_column": "week", "split": "time", "split_at": "40"}
    options["columns"] = SAID | {"price": "skip", "side": "skip"}
    known, found = (load(source("w.parquet", **options)) for load in (load_table, load_on_disk))
    np.testing.assert_array_equal(known.test_inputs, found.test_inputs)


def test_a_conversion_that_is_stopped_leaves_nothing_half_made(folder, monkeypatch):
    rows = batches.Reader.rows

    def stopped(self, batch, names):
        if batch.start > 200:
            raise KeyboardInterrupt
        return rows(self, batch, names)

    with monkeypatch.context() as patch:
        patch.setattr(batches.Reader, "rows", stopped)
        with pytest.raises(KeyboardInterrupt):
            load_on_disk(source())
    assert not list(folder.glob("kept/on_disk/*"))
    script = "import os, sys; from tests.test_on_disk import *\n"
    script += "batches.Reader.rows = lambda *given: os.kill(os.getpid(), 9)\nload_on_disk(source())"
    root = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -9
    (left,) = folder.glob("kept/on_disk/.*")
    assert left.suffix == ".tmp"
    load_on_disk(source())
    assert sorted(path.suffix for path in folder.glob("kept/on_disk/*")) == [".arrow", ".npz"]
    assert not list(folder.glob("kept/on_disk/.*"))


MEASURED = """
import sys, threading, time
from experiments import run
def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024
most = [0.0]
def watch():
    while True:
        most[0] = max(most[0], held())
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
try:
    run.main()
finally:
    print("MOST", most[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(folder):
    draw, features = np.random.default_rng(0), 20
    columns = {f"f{i}": [-4, 4] for i in range(features)}

    def made(rows, path):
        writer = None
        for start in range(0, rows, 100_000):
            x = draw.normal(size=(100_000, features))
            data = {f"f{i}": x[:, i] for i in range(features)} | {"ill": np.where(x[:, 0] > 0, "yes", "no")}
            batch = pa.table(data | {"side": np.where((start + np.arange(100_000)) % 50 == 0, "test", "train")})
            writer = writer or pq.ParquetWriter(path, batch.schema)
            writer.write_table(batch)
        writer.close()

    def most(rows):
        made(rows, "large.parquet")
        asked = words("data.path=large.parquet", "data.on_disk=true", "num_seeds=1", columns=columns)
        asked += [f"results_dir={folder}", f"name=r{rows}", "privacy.delta=1e-8", "optimizer.sampling_rate=0.00002"]
        root = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *asked],
            env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout.split("MOST")[1])

    bytes_of_inputs = 1_900_000 * features * 8 / 2**20
    grown = most(2_000_000) - most(100_000)
    assert grown < bytes_of_inputs / 3
