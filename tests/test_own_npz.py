"""Arrays of one's own in an .npz file: columns, images, names that say what they are for, and every way to be wrong."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from dpjax.datasets import DatasetError, TableSource, load_table
from dpjax.datasets.own_tables.arrays import load_array_images, read_arrays
from dpjax.datasets.own_tables.inspecting import inspect
from dpjax.results import load
from experiments.config import ConfigError, DataConf
from experiments.inputs import data_inputs
from experiments.own_data import load_own

QUICK = ["privacy.delta=1e-3", "privacy.accountant=rdp", "optimizer.num_steps=30", "num_seeds=1", "model=logistic"]


def features(rows=300, width=4):
    """Vectors whose class depends on the first two, of owners with six rows each."""
    source = np.random.default_rng(0)
    x = source.normal(size=(rows, width)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] + 0.3 * source.normal(size=rows) > 0).astype(np.int64)
    return {"x": x, "y": y, "user_id": np.array([f"u{i % (rows // 6):02d}" for i in range(rows)])}


def written(folder, arrays, name="features.npz"):
    np.savez(folder / name, **arrays)
    return str(folder / name)


def rows_of(folder):
    rows = load(next(folder.rglob("results.parquet")))
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def test_vectors_are_trained_on_and_what_is_learnt_of_them_is_said(tmp_path, main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, features())
    where = ["data=own", "data.path=features.npz", "data.label=y", "data.unit=user_id", "privacy.records_per_unit=6"]
    code, _, err = main(*where, "data.columns={x: [-3, 3]}", "data.classes=['0','1']", "privacy.epsilon=inf", *QUICK)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert row["test_accuracy"] > 0.8
    assert (row["learnt"], row["dataset"], row["unit"]) == (None, "features.npz", "user")
    code, _, err = main(*where, *QUICK, folder=tmp_path / "two")
    assert code == 0, err
    (row,) = rows_of(tmp_path / "two")
    assert row["learnt"].startswith("range of x_0, x_1, x_2 and x_3;")
    assert row["learnt"].endswith("classes of y")


def test_a_number_may_be_predicted_of_vectors(tmp_path, main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = features()
    written(tmp_path, {"x": arrays["x"], "y": 10 * arrays["x"][:, 0] + 50})
    where = ["data=own", "data.path=features.npz", "data.target=number", "data.target_range=[0, 100]"]
    code, _, err = main(*where, "data.columns={x: [-3, 3]}", "privacy.epsilon=inf", *QUICK)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert row["test_r2"] > 0.8
    assert row["learnt"] is None


def test_a_matrix_becomes_columns_that_hold_its_numbers(tmp_path):
    arrays = features()
    data = load_table(TableSource(written(tmp_path, arrays), "y", unit="user_id", columns={"x": [-4, 4]}))
    assert data.feature_names == ("x_0", "x_1", "x_2", "x_3")
    assert (data.num_units, data.unit, data.class_names) == (50, "user_id", ("0", "1"))
    named = np.concatenate([data.train_inputs, data.test_inputs]), np.concatenate([data.train_labels, data.test_labels])
    order, known = np.lexsort(named[0].T), np.lexsort(arrays["x"].T)
    np.testing.assert_allclose(4 * named[0][order], arrays["x"][known], atol=1e-6)
    np.testing.assert_array_equal(named[1][order], arrays["y"][known])


@pytest.mark.parametrize("dtype", ["f2", ">f8", "f4", "i1", ">i4", "u8", "?"])
def test_numbers_of_any_width_and_order_of_bytes_are_the_same_numbers(dtype, tmp_path):
    values = np.tile([[0, 1], [1, 0], [1, 1]], (20, 1))
    labels = np.tile(["a", "b"], 30)
    said = {"x": [0, 1]} if dtype != "?" else {"x": ["true"]}
    data = load_table(TableSource(written(tmp_path, {"x": values.astype(dtype), "y": labels}), columns=said))
    found = sorted(map(tuple, np.concatenate([data.train_inputs, data.test_inputs]).tolist()))
    scaled = 2 * values - 1 if dtype != "?" else values
    assert found == sorted(map(tuple, scaled.astype(float).tolist()))


def test_arrays_that_are_called_so_are_label_and_owner(tmp_path):
    x, y, who = features().values()
    data = load_table(TableSource(written(tmp_path, {"features": x, "labels": y, "owner": who})))
    assert data.unit == "owner"
    assert data.split.startswith("owners (owner)")
    assert data.feature_names == tuple(f"features_{i}" for i in range(4))
    said = load_table(TableSource(written(tmp_path, {"features": x, "y": y, "labels": y}), label="labels"))
    assert said.feature_names[-1].startswith("y")


def test_words_bytes_and_dates_are_read_as_in_a_table(tmp_path):
    days = np.arange("2024-01-01", "2024-03-01", dtype="M8[D]")
    arrays = {
        "day": days,
        "sex": np.tile([b"f", "männlich".encode()], 30),
        "y": np.tile(["no", "yes", "no"], 20),
    }
    data = load_table(TableSource(written(tmp_path, arrays)))
    assert data.feature_names == ("day", "sex=f", "sex=männlich")
    assert data.class_names == ("no", "yes")


def pictures(rows=60, size=(5, 4)):
    source = np.random.default_rng(0)
    kinds = np.arange(rows) % 2
    pixels = source.integers(0, 100, (rows, *size)) + 150 * kinds.reshape(-1, *[1] * len(size))
    return {"images": pixels.astype(np.uint8), "labels": np.array(["night", "day"])[kinds]}


@pytest.mark.parametrize("size", [(5, 4), (5, 4, 3)])
def test_more_dimensions_are_images(size, tmp_path):
    path = written(tmp_path, pictures(size=size))
    data = load_own(DataConf(name="own", path=path, classes=["night", "day"]))
    assert (data.task, data.input_shape, data.learnt) == ("image", (5, 4, size[2] if len(size) == 3 else 1), "")
    assert data.train_inputs.dtype == np.float32
    assert 0 <= data.train_inputs.min() < data.train_inputs.max() <= 1
    bright = data.train_inputs.mean((1, 2, 3)) > 0.5
    np.testing.assert_array_equal(data.train_labels == 1, bright)
    arrays = pictures(size=size)
    arrays["images"] = arrays["images"] / 255
    same = load_own(DataConf(name="own", path=written(tmp_path, arrays, "f.npz"), classes=["night", "day"]))
    assert len(same.train_labels) + len(same.test_labels) == 60


def test_images_are_trained_on(tmp_path, main):
    path = written(tmp_path, pictures())
    code, _, err = main("data=own", f"data.path={path}", "privacy.epsilon=inf", *QUICK)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert row["test_accuracy"] > 0.9
    assert row["learnt"] == "classes of labels"


def test_without_one_person_other_rows_stay_as_they_were(tmp_path):
    arrays = features()
    said = {"unit": "user_id", "columns": {"x": [-4, 4]}, "classes": ("0", "1")}

    def rows_by_owner(kept):
        path = written(tmp_path, {name: array[kept] for name, array in arrays.items()})
        data = load_table(TableSource(path, "y", **said))
        assert data.learnt == ""
        found = {}
        for side in ("train", "test"):
            units, rows = getattr(data, f"{side}_units"), getattr(data, f"{side}_inputs")
            for unit, row in zip(units, rows, strict=True):
                found.setdefault((side, data.unit_names[unit]), set()).add(bytes(row))
        return found

    whole = rows_by_owner(np.ones(300, bool))
    less = rows_by_owner(arrays["user_id"] != "u07")
    gone = [key for key in whole if key[1] == "u07"]
    assert len(gone) == 1
    del whole[gone[0]]
    assert whole == less


class Trap:
    """What unpickling would run."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


BAD = {
    "objects": (
        {"x": np.array([Trap(), Trap()], object), "y": np.arange(2)},
        "x holds Python objects, which could run",
    ),
    "fields": ({"x": np.zeros(9, [("a", "f4"), ("b", "f4")])}, "x has fields (a, b); save each as an array of its own"),
    "complex": ({"x": np.zeros((9, 2), complex)}, "x is of complex128, which no model reads; save its real and"),
    "times": ({"x": np.zeros(9, "m8[s]")}, "x is of timedelta64[s], which no model reads"),
    "lengths": ({"x": np.zeros((9, 2)), "y": np.arange(8)}, "x has 9 rows and y 8; each must have a row for each"),
    "nan": ({"x": np.array([[0, 1], [0, np.nan]]), "y": np.arange(2)}, "x holds NaN or an infinite number in row 2"),
    "infinite": ({"x": np.zeros(3), "y": np.array([1, 2, -np.inf])}, "y holds NaN or an infinite number in row 3"),
    "empty": ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "its arrays are empty; save rows"),
    "no columns": ({"x": np.zeros((9, 0)), "y": np.arange(9)}, "x has no columns; leave it out"),
    "nothing": ({}, "holds no arrays; save inputs and labels"),
    "scalar": ({"x": np.float32(3), "y": np.arange(9)}, "x is one number; give [rows]"),
    "dimensions": ({"x": np.zeros((9, 2, 2, 2, 2))}, "x is of 5 dimensions; give [rows]"),
    "bytes": ({"x": np.array([b"\xff", b"a"]), "y": np.arange(2)}, "x holds bytes that are not UTF-8"),
    "twice": ({"x": np.zeros((9, 2)), "x_0": np.zeros(9), "y": np.arange(9)}, "has 2 columns 'x_0'"),
    "no label": ({"x": np.zeros((9, 99))}, "Say data.label=COLUMN; it has x_0, x_1, x_2 and 96 more"),
    "one hot": ({"x": np.zeros((9, 2)), "y": np.eye(9)}, "data.label='y' is no column"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_array_of_rows_is_refused_in_one_sentence(case, tmp_path):
    arrays, sentence = BAD[case]
    with pytest.raises(DatasetError) as error:
        load_table(TableSource(written(tmp_path, arrays)))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


BAD_IMAGES = {
    "colours first": (
        {"images": np.zeros((9, 3, 8, 8), np.uint8)},
        "move the colours to the end, as numpy.moveaxis(images",
    ),
    "many colours": (
        {"images": np.zeros((9, 8, 8, 7), np.uint8)},
        "has the shape [9, 8, 8, 7], and so 7 colours; give",
    ),
    "not scaled": ({"images": np.full((9, 8, 8), 200.0)}, "holds pixels from 200 to 200, first in row 1; give bytes"),
    "words": ({"images": np.full((9, 8, 8), "a")}, "holds <U1, and no pixels"),
    "beside": (
        {"images": np.zeros((9, 8, 8), np.uint8), "age": np.arange(9)},
        "beside which age is not read; leave it",
    ),
    "two": ({"images": np.zeros((9, 8, 8)), "masks": np.zeros((9, 8, 8))}, "beside which masks is not read"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_what_is_no_image_is_refused_in_one_sentence(case, tmp_path):
    arrays, sentence = BAD_IMAGES[case]
    source = TableSource(written(tmp_path, arrays | {"labels": np.arange(9) % 2}))
    with pytest.raises(DatasetError) as error:
        load_array_images(source)
    assert sentence in str(error.value)
    with pytest.raises(DatasetError, match="images is of images"):
        load_table(source)
    for label, words in (("kind", "no array 'kind' is there"), ("images", "no array 'images' of one dimension")):
        with pytest.raises(DatasetError, match=words):
            load_array_images(dataclasses.replace(source, label=label))


def test_a_file_that_is_none_is_refused(tmp_path):
    whole = written(tmp_path, features())
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes((tmp_path / "features.npz").read_bytes()[:-900])
    text = tmp_path / "text.npz"
    text.write_text("a,b\n1,2\n")
    alone = tmp_path / "alone.npz"
    with alone.open("wb") as file:
        np.save(file, np.zeros(3))
    other = tmp_path / "other.npz"
    with zipfile.ZipFile(other, "w") as made:
        made.writestr("readme.txt", "no array")
    huge = tmp_path / "huge.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(huge, "w") as made:
        made.writestr("x.npy", header.getvalue())
    for path in (damaged, text, alone, huge):
        with pytest.raises(DatasetError, match=r"is damaged or no \.npz file; save it again with numpy\.savez"):
            load_table(TableSource(str(path)))
    with pytest.raises(DatasetError, match=r"readme\.txt is no array"):
        load_table(TableSource(str(other)))
    with pytest.raises(DatasetError, match="is no file; paths begin in the folder"):
        load_table(TableSource(str(tmp_path / "gone.npz")))
    with pytest.raises(DatasetError, match="is one array without its labels; save both in one file"):
        load_own(DataConf(name="own", path=str(tmp_path / "x.npy"), label="y"))
    for field, value in (("decimal", ","), ("encoding", "cp1252"), ("size", [2, 2]), ("channels", 1)):
        with pytest.raises(ConfigError, match=rf"data\.{field}=.* is not read of arrays"):
            load_own(dataclasses.replace(DataConf(name="own", path=whole), **{field: value}))
    images = written(tmp_path, pictures(), "images.npz")
    with pytest.raises(ConfigError, match=r"data\.columns=.* is not read of images"):
        load_own(DataConf(name="own", path=images, columns={"x": "skip"}))


def test_arrays_are_looked_at_as_tables_are(tmp_path, capsys):
    found = inspect(TableSource(written(tmp_path, features()), unit="user_id"))
    assert [each.kind for each in found.columns] == ["number"] * 4 + ["label", "owner"]
    assert [line for line in found.config if " x" in line] == [
        "    x: ???  # least and largest, as [0, 120], of all its columns"
    ]
    said = inspect(TableSource(written(tmp_path, features()), unit="user_id", columns={"x": [-3, 3]})).config
    assert [line for line in said if " x" in line] == ["    x: [-3, 3]"]
    parts = inspect(TableSource(written(tmp_path, features()), unit="user_id", columns={"x_1": [-3, 3]})).config
    assert [line.split(":")[0].strip() for line in parts if " x" in line] == ["x_0", "x_1", "x_2", "x_3"]
    from dpjax.cli import main as dpjax

    for arrays, words in ((features(), "x_3"), (pictures(), "60 images of 5×4, grey")):
        with pytest.raises(SystemExit) as done:
            dpjax(["data", "inspect", written(tmp_path, arrays)])
        assert done.value.code in (0, None)
        assert words in capsys.readouterr().out


def test_a_folder_of_single_arrays_is_read_as_one_file_of_them(tmp_path, main):
    for kind, arrays in (("vectors", features()), ("images", pictures())):
        (tmp_path / kind).mkdir()
        for name, array in arrays.items():
            np.save(tmp_path / kind / f"{name}.npy", array)
        whole = load_own(DataConf(name="own", path=written(tmp_path, dict(sorted(arrays.items())), f"{kind}.npz")))
        parts = load_own(DataConf(name="own", path=str(tmp_path / kind)))
        np.testing.assert_array_equal(whole.train_inputs, parts.train_inputs)
        np.testing.assert_array_equal(whole.test_labels, parts.test_labels)
    np.save(tmp_path / "vectors" / "y.npy", np.zeros(3))
    with pytest.raises(DatasetError, match="must have a row for each example"):
        load_own(DataConf(name="own", path=str(tmp_path / "vectors")))
    with pytest.raises(DatasetError, match=r"or put x\.npy and y\.npy in a folder of their own and name that"):
        load_own(DataConf(name="own", path=str(tmp_path / "vectors" / "x.npy"), label="y"))
    files = f"data.path=[{tmp_path / 'vectors' / 'x.npy'},{tmp_path / 'vectors' / 'y.npy'}]"
    code, _, err = main("data=own", files, "data.label=y")
    assert (code, "error: data.path is one path; put the files in a folder, as train" in err) == (2, True), err


def test_another_content_of_a_single_array_is_other_data(tmp_path):
    from experiments.inputs import _files_at

    for name, array in features().items():
        np.save(tmp_path / f"{name}.npy", array)
    before = _files_at(tmp_path, "data")
    np.save(tmp_path / "y.npy", 1 - features()["y"])
    assert set(before) == {str(tmp_path / f"{name}.npy") for name in features()}
    assert _files_at(tmp_path, "data") != before


def test_compressed_files_are_read_too(tmp_path):
    np.savez_compressed(tmp_path / "small.npz", **features())
    assert set(read_arrays(tmp_path / "small.npz", "it:")) == {"x", "y", "user_id"}


def parted(folder, arrays, names, rows):
    folder.mkdir(exist_ok=True)
    ends = [0, *rows, len(arrays["y"])]
    for name, low, high in zip(names, ends[:-1], ends[1:], strict=True):
        np.savez(folder / name, **{key: array[low:high] for key, array in arrays.items()})
    return folder


@pytest.mark.parametrize("images", [False, True])
def test_files_of_a_pattern_are_one_file(tmp_path, images):
    arrays = features() | ({"x": np.arange(300 * 12).astype(np.uint8).reshape(300, 4, 3)} if images else {})
    parted(tmp_path / "a", arrays, ["part-1.npz", "part-2.npz"], [170])
    fields = {"name": "own", "label": "y", "unit": "user_id", "classes": ["0", "1"]}
    fields |= {} if images else {"columns": {"x": [-3, 3]}}
    whole = load_own(DataConf(path=written(tmp_path, arrays), **fields))
    for path in ("a/part-*.npz", "*/part-?*.npz", "a"):
        read = load_own(DataConf(path=str(tmp_path / path), **fields))
        np.testing.assert_array_equal(read.train_inputs, whole.train_inputs)
        np.testing.assert_array_equal(read.test_labels, whole.test_labels)
        assert read.unit_names == whole.unit_names
    hashed = data_inputs(DataConf(name="own", path=str(tmp_path / "a")))
    assert [path.rpartition("/")[2] for path in hashed] == ["part-1.npz", "part-2.npz"]


@pytest.mark.parametrize("images", [False, True])
def test_a_folder_has_a_file_that_trains_and_one_that_tests(tmp_path, images):
    arrays = features() | ({"x": np.arange(300 * 12).astype(np.uint8).reshape(300, 4, 3)} if images else {})
    parted(tmp_path / "a", arrays, ["test.npz", "train-1.npz", "train-2.npz"], [60, 200])
    fields = {"name": "own", "path": str(tmp_path / "a"), "label": "y", "classes": ["0", "1"]}
    fields |= {"unit": "user_id"} if images else {"columns": {"x": [-3, 3], "user_id": "skip"}}
    data = load_own(DataConf(**fields))
    assert data.split == "train and test as the files have them"
    assert len(data.test_labels) == 60
    assert data.test_labels.sum() == arrays["y"][:60].sum()
    mixed = load_own(DataConf(**fields, split="rows"))
    assert len(mixed.train_labels) + len(mixed.test_labels) == 300
    assert mixed.split == "rows 80/20 by a hash of what they hold"


def test_token_ids_are_split_by_the_files_as_well(tmp_path):
    arrays = {"ids": np.arange(300 * 4).reshape(300, 4) % 50, "y": features()["y"]}
    parted(tmp_path / "a", arrays, ["test.npz", "train.npz"], [60])
    data = load_own(DataConf(name="own", path=str(tmp_path / "a"), tokens="ids"))
    assert [row.tolist() for row in data.test_inputs] == arrays["ids"][:60].tolist()


@pytest.mark.parametrize(
    ("second", "name", "sentence"),
    [
        ({"x": np.zeros((5, 4)), "y": np.zeros(5, int)}, "test", "only one has 'user_id'"),
        (
            {"x": np.zeros((5, 3)), "y": np.zeros(5, int), "user_id": ["u"] * 5},
            "test",
            r"x is float32 \[rows, 4\]",
        ),
        (
            {"x": np.zeros((5, 4)), "y": np.zeros(5), "user_id": np.full(5, "u")},
            "test",
            r"y is int64 \[rows\] in train",
        ),
        ({"x": np.zeros((5, 4)), "y": np.zeros(5, int), "user_id": np.full(5, "u")}, "rest", "call one train and one"),
        ({"x": np.array([[np.nan] * 4])}, "test", r"test\.npz x holds NaN"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, second, name, sentence):
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a" / "train.npz", **features())
    np.savez(tmp_path / "a" / f"{name}.npz", **second)
    with pytest.raises(DatasetError, match=sentence):
        load_own(DataConf(name="own", path=str(tmp_path / "a"), label="y"))


def test_one_file_has_no_split_and_a_pattern_may_name_nothing(tmp_path):
    path = written(tmp_path, {"x": np.zeros((20, 4, 4)), "y": np.arange(20) % 2})
    with pytest.raises(DatasetError, match=r"data\.split=files needs a file train and a file test in a folder"):
        load_own(DataConf(name="own", path=path, label="y", split="files"))
    with pytest.raises(DatasetError, match="no file is called so; look at the pattern"):
        load_own(DataConf(name="own", path=str(tmp_path / "none-*.npz"), label="y"))
