"""Units on disk: the numbers of the same units in memory, and one sentence for each way a file can be wrong."""

import os
import re
import threading
from contextlib import suppress
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from dpjax import HParams, Population, example_gradient, fixed_size_sampler, make_train, poisson_sampler
from dpjax.arrow_units import ArrowFileError, arrow_units, store_parquet
from dpjax.sampling import balls_in_bins_sampler, shuffled_sampler
from dpjax.stored_units import StoredUnits
from experiments.error_words import explain, is_expected

ROWS, STEPS = 300, 6
X = np.random.default_rng(0).normal(size=(ROWS, 3, 2)).astype(np.float32)
Y = (np.arange(ROWS) % 3).astype(np.int32)
FAILED = (ValueError, jax.errors.JaxRuntimeError)  # what JAX makes of an error in a callback
POINT = HParams(learning_rate=0.3, clip_norm=1.0, noise_multiplier=0.5)


def table(rows=slice(None), **more):
    x = X[rows]
    pairs = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 2)
    return pa.table({"x": pa.FixedSizeListArray.from_arrays(pairs, 3), "y": pa.array(Y[rows]), **more})


def written(path, data, *, stream=False, rows=70):
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), data.schema) as file:
        file.write_table(data, max_chunksize=rows)
    return path


@pytest.fixture
def path(tmp_path):
    return written(tmp_path / "units.arrow", table())


def loss_fn(params, unit, key):
    logits = unit["x"].reshape(-1) @ params
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, unit["y"])
    return loss, {"loss": loss}


def run(units, sampler):
    return make_train(
        lambda key: 0.1 * jax.random.normal(key, (6, 3)),
        example_gradient(loss_fn),
        units,
        sampler=sampler,
        num_steps=STEPS,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
    )


@pytest.mark.parametrize(
    "sampler",
    [
        poisson_sampler(ROWS, 0.1, num_steps=STEPS),
        fixed_size_sampler(ROWS, 20),
        shuffled_sampler(ROWS, 20),
        balls_in_bins_sampler(ROWS, STEPS, num_steps=STEPS),
    ],
    ids=lambda sampler: sampler.sampling.name,
)
def test_a_run_is_that_of_the_same_units_in_memory(path, sampler):
    memory = jax.jit(run({"x": X, "y": Y}, sampler))(POINT, jax.random.key(1))
    stored = jax.jit(run(arrow_units(path), sampler))(POINT, jax.random.key(1))
    np.testing.assert_allclose(stored[0].params, memory[0].params, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(stored[1].report.cohort_size, memory[1].report.cohort_size)


def test_lanes_and_stretches_read_their_own_cohorts(path):
    sampler = poisson_sampler(ROWS, 0.1, num_steps=STEPS)
    keys = jnp.stack([jax.random.key(seed) for seed in range(3)])
    points = jax.tree.map(lambda x: jnp.full(3, x), POINT)
    memory, stored = run({"x": X, "y": Y}, sampler), run(arrow_units(path), sampler)
    expected = jax.vmap(memory)(points, keys)[0].params
    np.testing.assert_allclose(jax.vmap(stored)(points, keys)[0].params, expected, rtol=0, atol=1e-6)
    for lane in range(3):
        point = POINT, keys[lane]
        progress = stored.begin(*point)
        for start, stop in ((0, 2), (2, 5), (5, STEPS)):
            progress = jax.jit(stored.advance)(progress, start, stop, *point)
        np.testing.assert_allclose(stored.finish(progress, *point)[0].params, expected[lane], rtol=0, atol=1e-6)


def test_weights_go_with_units_on_disk(path):
    weights = np.arange(1.0, ROWS + 1) / np.arange(1.0, ROWS + 1).sum()
    sampler = poisson_sampler(ROWS, 0.1, num_steps=STEPS)
    found = [
        jax.jit(run(Population(units, weights=weights), sampler))(POINT, jax.random.key(0))[0].params
        for units in ({"x": X, "y": Y}, arrow_units(path))
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)


def test_no_more_is_read_than_is_drawn_and_it_is_read_ahead():
    asked, threads = [], set()

    def take(rows):
        asked.append(len(rows))
        threads.add(threading.current_thread().name.partition("_")[0])
        return {"x": X[rows], "y": Y[rows]}

    like = {"x": jax.ShapeDtypeStruct((3, 2), np.float32), "y": jax.ShapeDtypeStruct((), np.int32)}
    sampler = poisson_sampler(ROWS, 0.1, num_steps=STEPS)
    _, history = jax.block_until_ready(jax.jit(run(StoredUnits(like, ROWS, take), sampler))(POINT, jax.random.key(0)))
    sizes = history.report.cohort_size.tolist()
    assert asked[:STEPS] == sizes  # and of the cohort after the last, which is read for nothing
    assert len(asked) <= STEPS + 1
    assert "cohorts" in threads


def test_files_and_streams_follow_each_other(tmp_path):
    paths = [
        written(tmp_path / "a.arrow", table(slice(0, 100))),
        written(tmp_path / "b.arrow", table(slice(100, 180)), stream=True),
        written(tmp_path / "c.arrow", table(slice(180, ROWS)), rows=9),
    ]
    units = arrow_units(paths)
    rows = np.random.default_rng(1).permutation(ROWS)
    found = units.take(rows)
    assert units.size == ROWS
    np.testing.assert_array_equal(found["x"], X[rows])
    np.testing.assert_array_equal(found["y"], Y[rows])


def test_parquet_becomes_an_arrow_file(tmp_path):
    lists = pa.table({"x": X.reshape(ROWS, 6).tolist(), "y": Y})
    pq.write_table(lists.slice(0, 200), tmp_path / "a.parquet")
    pq.write_table(lists.slice(200), tmp_path / "b.parquet")
    store_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "all.arrow", rows=64)
    units = arrow_units(tmp_path / "all.arrow", columns=["y", "x"])
    found = units.take(np.array([250, 3]))
    np.testing.assert_allclose(found["x"], X.reshape(ROWS, 6)[[250, 3]])
    assert found["y"].tolist() == Y[[250, 3]].tolist()
    assert [file.name for file in tmp_path.glob("*.part")] == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.with_name("none.arrow"), "it can't be opened"),
        (lambda p: (p.write_bytes(b""), p)[1], "it can't be opened"),
        (lambda p: (p.write_text("age,ill\n1,2\n" * 50), p)[1], "it is no whole Arrow file"),
        (lambda p: (cut(p), p)[1], "it is no whole Arrow file"),
        (lambda p: written(p, table(z=pa.array([None, *range(ROWS - 1)]))), "column 'z' has 1 empty cells"),
        (lambda p: written(p, table(z=pa.array(["a"] * ROWS))), "column 'z' is of type string"),
        (lambda p: written(p, table(z=pa.array([[1]] * ROWS))), "column 'z' is of type list<item: int64>"),
        (lambda p: written(p, table(slice(0, 0))), "there is no row"),
        (lambda p: written(p, table(z=pa.array([[]] * ROWS, pa.list_(pa.int32(), 0)))), "'z' is of lists of size 0"),
        (lambda p: written(p, table(z=pa.array([True] * ROWS))), "column 'z' is of type bool"),
        (lambda p: written(p, table(z=pa.array(Y).dictionary_encode())), "column 'z' is of type dictionary"),
        (lambda p: written(p, table(z=pa.array([Decimal("1.5")] * ROWS))), "column 'z' is of type decimal"),
        (lambda p: written(p, table(z=pa.array(Y).cast(pa.date32()))), "column 'z' is of type date32"),
        (lambda p: written(p, table().append_column("y", pa.array(Y))), "there are two columns 'y'"),
        (lambda p: (pq.write_table(table(), p), p)[1], "it is no whole Arrow file .* convert it with store_parquet"),
        (lambda p: (p.write_bytes(b"FEA1" + b"\0" * 200 + b"FEA1"), p)[1], "it is no whole Arrow file"),
        (lambda p: (feather.write_feather(table(), p, compression="zstd"), p)[1], "its columns are compressed"),
    ],
    ids=[
        "missing",
        "empty",
        "csv",
        "cut",
        "nulls",
        "words",
        "lists",
        "no rows",
        "size 0",
        "bool",
        "dictionary",
        "decimal",
        "date",
        "twice",
        "parquet",
        "feather 1",
        "compressed",
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_sentence(path, make, said):
    with pytest.raises(ArrowFileError, match=said) as caught:
        arrow_units(make(path))
    assert "\n" not in str(caught.value)
    assert ".arrow: " in str(caught.value)


def test_a_stream_that_is_cut_short_is_refused(tmp_path):
    path = written(tmp_path / "s.arrow", table(), stream=True)
    cut(path)
    with pytest.raises(ArrowFileError, match="it is no whole Arrow file"):
        arrow_units(path)


def test_a_stream_that_ends_between_two_batches_is_cut_short_too(tmp_path):
    path = written(tmp_path / "s.arrow", table(), stream=True)
    whole = path.read_bytes()
    for end in range(0, len(whole), 8):
        path.write_bytes(whole[:end])
        with pytest.raises(ArrowFileError, match=r"cut short|no whole Arrow file|can't be opened"):
            arrow_units(path)
    path.write_bytes(whole + whole)
    with pytest.raises(ArrowFileError, match=f"{len(whole)} bytes follow the end of the stream"):
        arrow_units(path)
    path.write_bytes(whole)
    assert arrow_units(path).size == ROWS


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.uint64])
def test_numbers_of_64_bits_are_those_of_memory_or_refused(tmp_path, kind):
    numbers = (np.arange(ROWS) * (1.1 if kind is np.float64 else 7)).astype(kind)
    units = arrow_units(written(tmp_path / "a.arrow", pa.table({"z": numbers})))
    rows, mask = jnp.array([3, 0, 299]), jnp.array([True, False, True])
    read = jax.jit(lambda: units.cohort(rows, mask, rows, mask).units["z"])
    in_memory = jnp.asarray(numbers)
    assert read().dtype == in_memory.dtype
    assert read().tolist() == [in_memory[3], 0, in_memory[299]]
    numbers[299] = {np.float64: 1e300, np.int64: -(2**40), np.uint64: 2**63}[kind]
    units = arrow_units(written(tmp_path / "b.arrow", pa.table({"z": numbers})))
    with pytest.raises(FAILED, match=r"a unit holds .*32 can't; store it smaller"):
        jax.block_until_ready(units.cohort(rows, mask, rows, mask).units["z"])


KINDS = ["float16", "float32", "float64", "int8", "uint8", "int16", "uint32", "int64"]


def read_by_arrow(path, rows):
    with path.open("rb") as file:
        data = pa.ipc.open_file(file).read_all().take(rows)
    return {name: np.array(data[name].to_pylist()) for name in data.column_names}


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_every_width_is_read_as_arrow_reads_it(tmp_path, batch):
    numbers = np.arange(1_000)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(7_000, dtype=np.float16) % 999), 7)
    wide = {kind: numbers.astype(kind) for kind in KINDS}
    path = written(tmp_path / "a.arrow", pa.table({"lists": lists, **wide}).slice(13, 900), rows=batch)
    rows = np.random.default_rng(0).integers(0, 900, 300)
    found = arrow_units(path).take(rows)
    for name, values in read_by_arrow(path, rows).items():
        np.testing.assert_array_equal(found[name], values)


def test_a_bit_that_is_flipped_in_what_arrow_says_of_a_file_is_a_sentence_or_changes_nothing(tmp_path):
    path = written(tmp_path / "a.arrow", table().select(["y"]), rows=1)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.integers(8, len(whole), 600):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with suppress(ArrowFileError):  # and no other
            units = arrow_units(path)
            units.take(np.arange(units.size))


def test_columns_that_are_missing_or_differ_are_refused(path, tmp_path):
    with pytest.raises(ArrowFileError, match="there is no column 'age'; it has"):
        arrow_units(path, columns=["age"])
    with pytest.raises(ArrowFileError, match="columns or their types differ"):
        arrow_units([path, written(tmp_path / "b.arrow", table(z=pa.array(Y)))])
    with pytest.raises(ArrowFileError, match=re.escape("columns=[] leaves nothing of a unit")):
        arrow_units(path, columns=[])
    with pytest.raises(ArrowFileError, match="names no Arrow file"):
        arrow_units([])


@pytest.mark.parametrize("change", [lambda p: os.utime(p, (0, 0)), lambda p: p.unlink()], ids=["touched", "gone"])
def test_a_file_that_changes_while_it_is_read_ends_the_run_in_a_sentence(path, change):
    units = arrow_units(path)
    train = jax.jit(run(units, poisson_sampler(ROWS, 0.1, num_steps=STEPS)))
    jax.block_until_ready(train(POINT, jax.random.key(0)))
    change(path)
    with pytest.raises(FAILED, match="it was changed while it was read"):
        jax.block_until_ready(train(POINT, jax.random.key(3)))


def test_a_run_outside_of_jit_raises_the_files_own_error_and_a_config_says_its_sentence_alone(path):
    units = arrow_units(path)
    train = run(units, poisson_sampler(ROWS, 0.1, num_steps=STEPS))
    jax.block_until_ready(train(POINT, jax.random.key(0)))
    progress = train.begin(POINT, jax.random.key(0))
    os.utime(path, (0, 0))
    with pytest.raises(ArrowFileError, match="it was changed while it was read"):
        train(POINT, jax.random.key(3))
    with pytest.raises(ArrowFileError, match="it was changed while it was read"):
        train.advance(progress, 0, 2, POINT, jax.random.key(3))
    with pytest.raises(jax.errors.JaxRuntimeError) as failed:
        jax.block_until_ready(jax.jit(train)(POINT, jax.random.key(3)))
    assert is_expected(failed.value)
    said = explain(failed.value)
    assert said.startswith(f"{path}: it was changed while it was read")
    assert said.endswith("begin the run anew with a file that stays as it is.")
    assert "Traceback" not in said


def test_numbers_of_64_bits_are_read_as_jax_holds_them(tmp_path):
    wide = pa.table({"x": pa.array([0.1, 0.2, 0.3]), "y": pa.array([1, 2, 2**33])})
    units = arrow_units(written(tmp_path / "wide.arrow", wide))
    both = jnp.ones(2, bool)
    cohort = units.cohort(jnp.array([1, 0]), both, jnp.array([0, 1]), both)
    assert {name: str(value.dtype) for name, value in cohort.units.items()} == {"x": "float32", "y": "int32"}
    np.testing.assert_array_equal(cohort.units["x"], np.array([0.2, 0.1], np.float32))
    with pytest.raises(FAILED, match=r"a unit holds 8589934592, which int32 can.t"):
        jax.block_until_ready(units.cohort(jnp.array([2, 0]), both, jnp.array([0, 1]), both))


def test_parquet_that_fits_no_file_is_refused(tmp_path):
    pq.write_table(pa.table({"x": [[1], [1, 2]]}), tmp_path / "a.parquet")
    with pytest.raises(ArrowFileError, match=re.escape("lists of column 'x' have several lengths, such as [1, 2]")):
        store_parquet([tmp_path / "a.parquet"], tmp_path / "a.arrow")
    assert not (tmp_path / "a.arrow").exists()
    with pytest.raises(ArrowFileError, match="it was not written"):
        store_parquet([tmp_path / "none.parquet"], tmp_path / "a.arrow")


def test_units_on_disk_are_what_they_are_said_to_be():
    like = jax.ShapeDtypeStruct((2,), np.float32)
    with pytest.raises(TypeError, match="take"):
        StoredUnits(like, 3, 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="size"):
        StoredUnits(like, 0, lambda rows: rows)
    with pytest.raises(TypeError, match=r"give a jax\.ShapeDtypeStruct a leaf"):
        StoredUnits({}, 3, lambda rows: rows)
    wrong = StoredUnits(like, 3, lambda rows: np.zeros((len(rows), 2)))
    with pytest.raises(FAILED, match=re.escape("take gave float64[2, 2] for 2 units")):
        jax.block_until_ready(wrong.cohort(jnp.arange(2), jnp.ones(2, bool), jnp.arange(2), jnp.ones(2, bool)))
    with pytest.raises(ValueError, match=r"units hold 300 units but sampler\.population=200"):
        run(StoredUnits(like, ROWS, lambda rows: rows), fixed_size_sampler(200, 5))


def test_a_stream_is_refused_with_the_reason():
    with pytest.raises(TypeError, match=r"is a stream, which gives its rows in its own order .* give arrow_units"):
        run(Population(row for row in X), fixed_size_sampler(ROWS, 5))


def test_two_files_in_one_are_refused_where_arrow_reads_the_first_without_a_word(tmp_path):
    paths = [tmp_path / f"{number}.arrow" for number in range(2)]
    for number, path in enumerate(paths):
        table = pa.table({"x": np.full(64, number, np.float32)})
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table, max_chunksize=40)
    joined = tmp_path / "joined.arrow"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    assert pa.ipc.open_file(joined.read_bytes()).read_all().num_rows == 64
    with pytest.raises(ArrowFileError, match="several Arrow files one after the other"):
        arrow_units(joined)
    assert arrow_units(paths).size == 128
