"""Rows that are known again, whatever was done to their file; and rows that are others', whatever they share."""

import datetime
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from dpjax.datasets.raw_columns import columns_at
from dpjax.fingerprints import KIND, Fingerprint, fingerprint_of

CANCER = pd.DataFrame(load_breast_cancer(return_X_y=True)[0])
LOADERS = {"breast_cancer": load_breast_cancer, "diabetes": load_diabetes, "iris": load_iris, "wine": load_wine}


def _of(frame: pd.DataFrame) -> Fingerprint:
    return fingerprint_of({str(i): frame.iloc[:, i].to_numpy() for i in range(frame.shape[1])})


def _known(a: Fingerprint, b: Fingerprint) -> bool:
    return a.shares(b) > 0 and b.shares(a) > 0


PARTS = {
    "a split": lambda frame: frame.sample(455, random_state=0),
    "a split with its row numbers": lambda frame: frame.sample(455, random_state=0).reset_index(),
    "a column and a row less": lambda frame: frame.iloc[1:, 1:],
    "half of the columns and of the rows": lambda frame: frame.sample(280, random_state=1).iloc[:, ::2],
    "a column of one's own beside": lambda frame: frame.sample(400, random_state=2).assign(group=[*range(20)] * 20),
    "ids beside": lambda frame: frame.assign(id=[f"P{i:04d}" for i in range(len(frame))]).iloc[5:],
    "rounded labels away, columns turned": lambda frame: frame.iloc[::-1, -2::-1].head(300),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_known(part):
    assert _known(_of(CANCER), _of(PARTS[part](CANCER)))


def test_a_copy_with_row_numbers_is_the_same():
    assert _of(CANCER.sample(frac=1, random_state=0).reset_index()).same(_of(CANCER))


@pytest.mark.parametrize("a", LOADERS)
@pytest.mark.parametrize("b", LOADERS)
def test_other_tables_are_not_known(a, b):
    found = _known(_of(LOADERS[a](as_frame=True).frame), _of(LOADERS[b](as_frame=True).frame))
    assert found == (a == b)


def _survey(seed: int, ids: list, columns: int = 8, choices: int = 6) -> Fingerprint:
    drawn = np.random.default_rng(seed).integers(choices, size=(columns, len(ids)))
    return fingerprint_of({"id": ids} | {f"q{i}": drawn[i] for i in range(columns)})


IDS = {
    "numbers": [*range(300)],
    "later numbers": [*range(5000, 5300)],
    "words": [f"P{i:04d}" for i in range(300)],
    "days": [datetime.date(2020, 1, 1) + datetime.timedelta(i) for i in range(300)],
    "days as words": [str(datetime.date(2020, 1, 1) + datetime.timedelta(i)) for i in range(300)],
    "each third number": [*range(0, 900, 3)],
    "tens": [*range(0, 3000, 10)],
    "hours": pd.date_range("2025-01-01", periods=300, freq="h").to_numpy(),
    "hours as words": [*map(str, pd.date_range("2025-01-01", periods=300, freq="h"))],
    "minutes of another notation": [*pd.date_range("2025-01-01", periods=300, freq="5min").strftime("%d.%m.%Y %H:%M")],
    "months": [*map(str, pd.date_range("2000-01-01", periods=300, freq="MS").date)],
    "percentiles": (np.arange(300) + 0.5) / 300,
    "rounded percentiles": [f"{(i + 0.5) / 300:.4f}" for i in range(300)],
    "single precision": np.linspace(0, 1, 300, dtype=np.float32),
    "affixes": [f"P-{i:05d}-{'abc'[i % 3]}" for i in range(300)],
    "numbers around": [f"clinic 7 / {i} / {i % 4}" for i in range(300)],
    "each in two rows": [*range(1000, 1150)] * 2,
}
UNEVEN = {
    "squares": [i * i for i in range(300)],
    "times of a market": [str(pd.Timestamp("2025-01-01") + pd.Timedelta(seconds=i**2 % 86399)) for i in range(300)],
    "drawn names": [f"{i * 2654435761 % 2**32:x}" for i in range(300)],
}


@pytest.mark.parametrize("ids", IDS)
def test_tables_that_share_a_numbering_are_others(ids):
    one, other = _survey(0, IDS[ids]), _survey(1, IDS[ids], columns=9)
    assert not one.same(other)
    assert one.shares(other) == other.shares(one) == 0
    one, other = _survey(0, IDS[ids], 2, 2), _survey(1, IDS[ids], 2, 2)
    assert not one.same(other)
    assert one.shares(other) == other.shares(one) == 0
    drawn = np.random.default_rng(5).normal(size=(2, 300))
    one, other = (fingerprint_of({"id": IDS[ids], "value": drawn[i]}) for i in range(2))
    assert one.shares(other) == other.shares(one) == 0


@pytest.mark.parametrize("shared", UNEVEN)
def test_one_column_that_is_the_same_makes_no_tables_one(shared):
    drawn = np.random.default_rng(5).normal(size=(2, 300))
    one, other = (fingerprint_of({"t": UNEVEN[shared], "value": drawn[i], "kind": drawn[i] > 0}) for i in range(2))
    assert not one.same(other)
    assert one.shares(other) == other.shares(one) == 0
    one, other = _survey(0, UNEVEN[shared], 2, 2), _survey(1, UNEVEN[shared], 2, 2)
    assert one.shares(other) == other.shares(one) == 0
    alone = fingerprint_of({"t": UNEVEN[shared]})
    assert alone.shares(fingerprint_of({"time": UNEVEN[shared][:200]})) > 0


def test_texts_tell_rows_alone():
    texts = [f"the patient of room {i * i} came to see us, and left after {i} hours" for i in range(100)]
    one, other = (
        fingerprint_of({"text": texts, "label": label}) for label in (["no", "yes"] * 50, ["ill", "well"] * 50)
    )
    assert one.same(other)
    assert fingerprint_of({"text": texts[:50] * 2, "label": [*range(10)] * 10}).shares(one) > 0


DAYS = pd.date_range("1950-01-01", periods=400, freq="37D")
AMOUNTS = np.round(np.random.default_rng(3).normal(2000, 900, size=400), 2)
COMMAS = [f"{amount:.2f}".replace(".", ",") for amount in AMOUNTS]
SAME = {
    "decimal commas": (AMOUNTS, COMMAS),
    "points that part thousands": (AMOUNTS, [f"{x:,.2f}".translate({44: 46, 46: 44}) for x in AMOUNTS]),
    "commas that part thousands": (AMOUNTS, [f"{x:,.2f}" for x in AMOUNTS]),
    "thin spaces": (AMOUNTS, [f" {x:,.2f} ".replace(",", "\u2009").replace(".", ",") for x in AMOUNTS]),
    "apostrophes and signs": (AMOUNTS, [f"{x:+,.2f}".replace(",", "\u2019").replace("-", "\u2212") for x in AMOUNTS]),
    "exponents": (AMOUNTS, [f"{x:.9e}".upper() for x in AMOUNTS]),
    "units": (AMOUNTS, [f"{x} kg" for x in COMMAS]),
    "currency": (AMOUNTS, [f"${x}" for x in COMMAS]),
    "percent": (AMOUNTS, [f"{x}%" for x in AMOUNTS]),
    "whole thousands": ([i * 7919 for i in range(400)], [f"{i * 7919:,}" for i in range(400)]),
    "three decimals": (np.arange(400) / 1000 * 7, [f"{i * 7 / 1000:.3f}".replace(".", ",") for i in range(400)]),
    "days with points": (DAYS.date, [f"{day:%d.%m.%Y}" for day in DAYS]),
    "days with slashes": (DAYS.date, [f"{day:%d/%m/%Y}" for day in DAYS]),
    "days with the month first": (DAYS.date, [f"{day:%m/%d/%Y}" for day in DAYS]),
    "moments with points": ([f"{day} 10:30:00" for day in DAYS.date], [f"{day:%d.%m.%Y} 10:30" for day in DAYS]),
    "yes and no": ([True, False, None, False] * 100, ["Yes", "no", "NA", "No"] * 100),
    "y and n": ([1, 0, 0, float("nan")] * 100, ["Y", "N", "n", "-"] * 100),
    "nothing": ([3.5, None, 4, None] * 100, ["3,5", "n/a", "4,0", "?"] * 100),
    "days and moments": (DAYS.date, DAYS.to_numpy("datetime64[ns]")),
    "moments of other units": (DAYS.to_numpy("datetime64[s]"), DAYS.to_numpy("datetime64[ns]")),
    "moments and words": (DAYS.to_numpy("datetime64[ns]"), [f"{day} 00:00:00" for day in DAYS.date]),
    "words of both forms": ([f"{day}T10:30:00.500" for day in DAYS.date], [f"{day} 10:30:00.5Z" for day in DAYS.date]),
    "bytes and words": ([b"row %d x" % (i * i) for i in range(400)], [f"Row {i * i} x" for i in range(400)]),
}


@pytest.mark.parametrize("how", SAME)
def test_a_value_is_the_same_in_every_type(how):
    noise = np.random.default_rng(0).normal(size=400)
    a, b = (fingerprint_of({"x": values, "y": noise}) for values in SAME[how])
    assert a.digest == b.digest


def test_a_comma_is_what_its_table_says():
    """A copy whose numbers all have three decimals, beside others by which commas part decimals."""
    numbers = 1 + np.random.default_rng(0).integers(1000, 99_000, 200) / 1000
    words = [f"{x:.3f}".replace(".", ",") for x in numbers]
    copy = fingerprint_of({"x": words, "y": COMMAS[:200]})
    assert copy.digest == fingerprint_of({"x": numbers, "y": AMOUNTS[:200]}).digest
    assert fingerprint_of({"x": words}).digest == fingerprint_of({"x": np.round(numbers * 1000)}).digest


def test_a_copy_with_decimal_commas_is_the_same(tmp_path):
    path = tmp_path / "copy.csv"
    CANCER.add_prefix("measured ").to_csv(path, sep=";", decimal=",", index=False)
    assert fingerprint_of(columns_at(str(path))).same(_of(CANCER))


REPEATED = {
    "a class balanced": lambda frame, random: pd.concat([frame, *[frame[frame.iloc[:, 0] > 13]] * 2]),
    "three times": lambda frame, random: pd.concat([frame] * 3),
    "drawn three times as often": lambda frame, random: frame.sample(3 * len(frame), replace=True, random_state=random),
    "drawn as often": lambda frame, random: frame.sample(len(frame), replace=True, random_state=random),
}


@pytest.mark.parametrize("how", REPEATED)
@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("ids", [False, True])
def test_rows_that_repeat_are_looked_at_once(how, numbered, ids):
    frame = CANCER.assign(id=range(5000, 5000 + len(CANCER))) if ids else CANCER
    copy = REPEATED[how](frame, 0).drop(columns=[3])
    assert _known(_of(frame), _of(copy.reset_index(drop=True).reset_index() if numbered else copy))
    few = _of(frame.iloc[:, [0, 1, 2, 4]])
    assert _known(few, _of(REPEATED[how](frame.iloc[:, [0, 1, 2, 4]], 0).iloc[:, 1:]))


def test_few_values_that_repeat_are_others_too():
    random = np.random.default_rng(0)
    ages = [{"age": random.integers(18, 90, 1000), "price": random.choice(np.arange(40) ** 2, 1000)} for _ in range(2)]
    assert fingerprint_of(ages[0]).shares(fingerprint_of(ages[1])) == 0
    assert fingerprint_of({"price": ages[0]["price"]}).shares(fingerprint_of({"price": ages[1]["price"]})) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_images_are_known_by_their_pixels(tmp_path, mode):
    random = np.random.default_rng(0)
    for folder in ("one", "again", "other"):
        (tmp_path / folder).mkdir()
    for i in range(5):
        deep = mode == "I;16"
        drawn = [random.integers(65536 if deep else 256, size=(8, 8), dtype=np.uint16) for _ in range(2)]
        one, other = (Image.fromarray(x) if deep else Image.fromarray(x.astype(np.uint8)).convert(mode) for x in drawn)
        one.save(tmp_path / "one" / f"{i}.png")
        one.save(tmp_path / "again" / f"x{9 - i}.png", compress_level=0)
        other.save(tmp_path / "other" / f"{i}.png")
    before = {"file": [hashlib.sha256(each.read_bytes()).hexdigest() for each in (tmp_path / "one").iterdir()]}
    one, again, other = (fingerprint_of(columns_at(str(tmp_path / each))) for each in ("one", "again", "other"))
    assert one.same(again)
    assert one.shares(other) == again.shares(other) == 0
    assert one.same(_as_before(before))
    assert _as_before(before).same(one)


def test_what_is_no_whole_picture_is_known_by_its_file(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    assert [*columns_at(str(tmp_path))["file"].before][1] == [*columns_at(str(tmp_path))["file"].now][1]


def test_truth_is_the_same_in_every_type():
    truth = np.arange(40) % 3 == 0
    kinds = truth, truth.astype(object), truth.astype(int), [str(each) for each in truth], truth.astype(np.float32)
    assert len({fingerprint_of({"t": kind, "n": np.arange(40) ** 2}).digest for kind in kinds}) == 1


@settings(max_examples=50)
@given(st.integers(60, 300), st.integers(3, 12), st.integers(0, 2**32 - 1), st.floats(0.3, 1), st.data())
def test_any_part_of_continuous_columns_is_known(rows, columns, seed, share, data):
    """Whatever rows and at least three columns, in any order, with numbers of the rows and noise beside."""
    random = np.random.default_rng(seed)
    table = random.normal(size=(rows, columns))
    kept = data.draw(st.permutations(range(columns)))[: data.draw(st.integers(3, columns))]
    chosen = random.permutation(rows)[: max(20, int(share * rows))]
    part = {str(i): table[chosen, i] for i in kept} | {"n": chosen, "group": chosen % 3}
    whole = fingerprint_of({str(i): table[:, i] for i in range(columns)})
    assert _known(whole, fingerprint_of(part))
    assert Fingerprint.from_json(whole.as_json()) == whole
    other = fingerprint_of({str(i): random.normal(size=rows) for i in range(columns)})
    assert whole.shares(other) == 0


NOTATIONS = {
    "as they are": lambda x: x,
    "single precision": lambda x: x.astype(np.float32),
    "words": lambda x: [str(each) for each in x],
    "decimal commas": lambda x: [f" {each}".replace(".", ",") for each in x],
    "thousands and units": lambda x: [f"{each:,.3f} mm" for each in x],
    "exponents": lambda x: [f"{each:+.9E}" for each in x],
}


@settings(max_examples=50, deadline=None)
@given(st.integers(60, 300), st.integers(3, 6), st.integers(0, 2**32 - 1), st.floats(0.3, 1), st.data())
def test_what_is_done_to_a_table_leaves_it_known(rows, columns, seed, share, data):
    """Rows chosen, repeated, in another order; columns dropped, in another order and notation; a numbering beside."""
    random = np.random.default_rng(seed)
    table = np.round(random.normal(0, 3000, size=(rows, columns)), 3)
    whole = fingerprint_of({str(i): table[:, i] for i in range(columns)})
    kept = data.draw(st.permutations(range(columns)))[: data.draw(st.integers(3, columns))]
    chosen = random.permutation(rows)[: max(20, int(share * rows))]
    if data.draw(st.booleans()):
        chosen = np.concatenate([chosen, random.choice(chosen, data.draw(st.integers(0, 3 * len(chosen))))])
    beside = data.draw(st.sampled_from([None, np.arange(len(chosen)), np.linspace(0, 1, len(chosen))]))
    copy = {str(i): NOTATIONS[data.draw(st.sampled_from([*NOTATIONS]))](table[chosen, i]) for i in kept}
    assert _known(whole, fingerprint_of(copy if beside is None else {"beside": beside} | copy))


@settings(max_examples=50, deadline=None)
@given(st.integers(60, 300), st.integers(0, 2**32 - 1), st.integers(1, 4), st.data())
def test_tables_that_share_times_and_counts_alone_are_others(rows, seed, columns, data):
    random = np.random.default_rng(seed)
    start, step = data.draw(st.integers(0, 10**9)), data.draw(st.integers(1, 10**5))
    counted = start + step * np.arange(rows)
    shared = {
        "n": counted,
        "t": counted.astype("datetime64[s]"),
        "w": [f"{each}-x" for each in counted],
        "f": counted / 7,
    }
    kept = data.draw(st.sets(st.sampled_from([*shared]), min_size=1))
    one, other = (
        fingerprint_of(
            {name: shared[name] for name in kept} | {f"v{i}": random.normal(size=rows) for i in range(columns)}
        )
        for _ in range(2)
    )
    assert not one.same(other)
    assert one.shares(other) == other.shares(one) == 0


BEFORE = json.loads(Path(__file__).with_name("fingerprints_before.json").read_text())


def table_of_before() -> dict[str, list]:
    """Of which ``fingerprints_before.json`` has the fingerprint of kind 1."""
    squares = [i * i % 997 for i in range(60)]
    return {
        "hour": [f"2025-01-{1 + i // 24:02}T{i % 24:02}:00" for i in range(60)],
        "paid": [f"{i},5" for i in squares],
        "ill": ["yes", "NA", "no"] * 20,
        "age": [i * 7 % 61 for i in squares],
        "weight": [i * i / 7 for i in squares],
    }


def test_a_fingerprint_of_before_knows_its_rows():
    """Words, missing values and times were taken in another way; what a ledger has of then is known by that."""
    kept, now = Fingerprint.from_json(json.dumps(BEFORE)), fingerprint_of(table_of_before())
    assert kept.kind == 1
    assert now.kind == KIND
    assert now.digest != kept.digest
    assert now.same(kept)
    assert kept.same(now)
    part = fingerprint_of({name: column[:40] for name, column in table_of_before().items() if name != "ill"})
    assert _known(part, kept)
    again = Fingerprint.from_json(now.as_json())
    assert again == now._replace(before=None)


def _as_before(columns: dict) -> Fingerprint:
    """Of columns that every kind takes in the same way."""
    return fingerprint_of(columns)._replace(kind=1, alone=(), before=None)


def test_fingerprints_of_before_are_read():
    before = '[3, "ab", "AQAAAAAAAAA=", "", ""]'
    assert Fingerprint.from_json(before) == Fingerprint(3, "ab", (1,), (), ())


def test_texts_of_a_few_words_tell_rows_as_long_ones_do():
    source = np.random.default_rng(3)
    letters = [" ".join(f"w{i}" for i in source.integers(60, size=source.integers(3, 9))) for _ in range(300)]
    kinds = source.integers(3, size=300)
    one = fingerprint_of({"text": letters[:240], "kind": kinds[:240]})
    assert one.shares(fingerprint_of({"text": letters[200:], "kind": kinds[200:]})) > 0
    visits = [f"visit no {i}" for i in range(240)]
    other = source.normal(size=(2, 240))
    one, other = (fingerprint_of({"visit": visits, "value": values}) for values in other)
    assert not one.shares(other)
