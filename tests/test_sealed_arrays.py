"""Arrays and images that lie sealed: read as the open ones are, in memory alone, and never beside them."""

import os

import numpy as np
import pytest
from PIL import Image

from dpjax.cli.app import run
from dpjax.datasets.own_tables.array_files import is_arrays, read_arrays, read_splits
from dpjax.datasets.own_tables.images import is_images, load_images
from dpjax.datasets.own_tables.on_disk import load_on_disk
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.raw_columns import columns_at
from dpjax.encryption.keys import add_key
from dpjax.fetching.sources import DatasetError
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.identity import user
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import new_signing_key
from experiments import inputs

X = np.arange(120, dtype=np.float32).reshape(40, 3)
Y = np.arange(40) % 2


@pytest.fixture
def keys(tmp_path, monkeypatch):
    source = f"file:{tmp_path / 'keys'}"
    add_key(source)
    monkeypatch.setenv("DPJAX_KEYS", source)
    monkeypatch.delenv("DPJAX_LEDGER", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    return source


def one_file(folder):
    np.savez(folder / "rows.npz", x=X, y=Y)
    return folder / "rows.npz"


def arrays_one_by_one(folder):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return folder


def a_file_for_each_split(folder):
    np.savez(folder / "train.npz", x=X[:30], y=Y[:30])
    np.savez(folder / "test.npz", x=X[30:], y=Y[30:])
    return folder


def images(folder, beside=False):
    for i in range(20):
        path = folder / ("" if beside else "ab"[i % 2]) / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((5, 4), 9 * i, np.uint8)).save(path)
    if beside:
        lines = [f"{i:02}.png,{'ab'[i % 2]}" for i in range(20)]
        (folder / "metadata.csv").write_text("file_name,kind\n" + "\n".join(lines))
    return folder


def sealed_of(place):
    return place if place.is_dir() else place.with_name(place.name + ".sealed")


@pytest.mark.parametrize("made", [one_file, arrays_one_by_one, a_file_for_each_split])
def test_sealed_arrays_are_the_open_ones_to_a_run_and_to_a_ledger(keys, tmp_path, made):
    (tmp_path / "data").mkdir()
    place = made(tmp_path / "data")
    arrays, tests = read_splits(place, "here")
    columns = columns_at(str(place))
    assert run(["data", "protect", str(place), "--remove"]) == 0
    for path in (tmp_path / "data").iterdir():
        assert path.name.endswith(".sealed")
        assert X[:4].tobytes() not in path.read_bytes()
    place = sealed_of(place)
    assert is_arrays(place)
    again, tests_again = read_splits(place, "here")
    assert list(arrays) == list(again)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])
    assert (tests is None) == (tests_again is None)
    assert tests is None or (tests == tests_again).all()
    assert fingerprint_of(columns).same(fingerprint_of(columns_at(str(place))))
    assert set(inputs._files_at(place, "data")) != set()
    assert "absent" not in inputs._files_at(place, "data").values()


@pytest.mark.parametrize("beside", [False, True], ids=["folders of classes", "a table beside"])
def test_sealed_images_are_the_open_ones_to_a_run_and_to_a_ledger(keys, tmp_path, beside):
    (tmp_path / "data").mkdir()
    place = images(tmp_path / "data", beside)
    source = TableSource(str(place), label="kind" if beside else "")
    before, columns, content = load_images(source), columns_at(str(place)), (place / "metadata.csv")
    assert run(["data", "protect", str(place), "--remove"]) == 0
    assert not content.exists()
    assert all(path.name.endswith(".sealed") for path in place.rglob("*") if path.is_file())
    assert is_images(str(place))
    after = load_images(source)
    for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert before.class_names == after.class_names
    assert fingerprint_of(columns).same(fingerprint_of(columns_at(str(place))))


@pytest.mark.parametrize("made", [arrays_one_by_one, a_file_for_each_split, images])
def test_what_is_there_open_and_sealed_is_not_read_twice(keys, tmp_path, made):
    (tmp_path / "data").mkdir()
    place = made(tmp_path / "data")
    assert run(["data", "protect", str(place)]) == 0
    with pytest.raises(DatasetError, match="is there open and sealed; take one of the two away"):
        load_images(TableSource(str(place))) if made is images else read_splits(place, "here")


@pytest.mark.parametrize("pattern", ["rows.npz*", "*/rows.npz*", "*"])
def test_a_pattern_does_not_read_arrays_twice(keys, tmp_path, pattern):
    (tmp_path / "data/a").mkdir(parents=True)
    place = one_file(tmp_path / ("data/a" if "/" in pattern else "data"))
    assert run(["data", "protect", str(place)]) == 0
    whole = tmp_path / "data" / pattern
    with pytest.raises(DatasetError, match=r"rows\.npz is there open and sealed; take one of the two away"):
        read_arrays(whole, "here")
    place.unlink()
    assert len(read_arrays(whole, "here")["y"]) == len(Y)


@pytest.mark.parametrize("made", [a_file_for_each_split, images])
def test_a_link_to_another_file_is_not_read_beside_it(tmp_path, made):
    (tmp_path / "data").mkdir()
    place = made(tmp_path / "data")
    one = next(path for path in sorted(place.rglob("*")) if path.is_file())
    for link in (os.symlink, os.link):
        again = one.with_name(one.stem + "-1" + one.suffix)
        link(one, again)
        with pytest.raises(DatasetError, match="are one file by a link; take the link away"):
            load_images(TableSource(str(place))) if made is images else read_splits(place, "here")
        again.unlink()


@pytest.mark.parametrize("made", [one_file, arrays_one_by_one, images])
def test_without_the_key_they_are_not_read_and_the_key_is_said(keys, tmp_path, monkeypatch, made):
    (tmp_path / "data").mkdir()
    place = made(tmp_path / "data")
    assert run(["data", "protect", str(place), "--remove"]) == 0
    place = sealed_of(place)
    add_key(f"file:{tmp_path / 'other'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'other'}")
    for read in (columns_at, lambda path: load_images(TableSource(path)) if made is images else read_splits(place, "")):
        with pytest.raises(DatasetError, match=r"was sealed with key \w+…, which file:.*other does not hold; name the"):
            read(str(place))
    monkeypatch.setenv("DPJAX_KEYS", keys)
    damaged = next(path for path in [place, *place.rglob("*")] if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="was changed after it was sealed"):
        columns_at(str(place))


def test_a_run_on_sealed_arrays_is_the_run_on_the_open_ones_and_leaves_none_of_them_open(keys, tmp_path, main):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=(rows := rng.uniform(-1, 1, (120, 3)).astype(np.float32)), y=np.arange(120) % 2)
    assert run(["data", "protect", str(tmp_path / "rows.npz")]) == 0
    models = []
    for path in ("rows.npz", "rows.npz.sealed"):
        code, _, err = main(
            *("data=own", f"data.path={tmp_path / path}", "model=logistic", "optimizer.num_steps=3", "num_seeds=1"),
            *("privacy.accountant=rdp", "privacy.delta=1e-5", "save_model=true", "data.columns={x:[-1,1]}"),
            "data.classes=[0,1]",
            folder=tmp_path / f"results of {path}",
        )
        assert code == 0, err
        [saved] = (tmp_path / f"results of {path}").rglob("model/*.safetensors")
        models.append(saved.read_bytes())
        (tmp_path / "rows.npz").unlink(missing_ok=True)
    assert models[0] == models[1]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or rows[:2].tobytes() not in path.read_bytes()


def test_a_store_on_disk_can_not_be_read_sealed_and_says_so(keys, tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"x": X[:, 0], "y": Y}), tmp_path / "rows.parquet")
    assert run(["data", "protect", str(tmp_path / "rows.parquet"), "--remove"]) == 0
    source = TableSource(str(tmp_path / "rows.parquet.sealed"), label="y", columns={"x": [0, 120]}, classes=("0", "1"))
    with pytest.raises(DatasetError, match=r"rows\.parquet\.sealed is sealed; leave data\.on_disk false"):
        load_on_disk(source)


@pytest.mark.parametrize("made", [arrays_one_by_one, images])
def test_one_file_of_sensitive_data_is_opened_by_none_but_who_may_see_the_whole(
    keys, tmp_path, monkeypatch, capsys, made
):
    (tmp_path / "data").mkdir()
    place = made(tmp_path / "data")
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="olga", key=new_signing_key())
    rows = fingerprint_of(columns_at(str(place)))
    ledger.set_budget("scans", rows, unit="example", adjacency="zero_out", epsilon=2, delta=1e-5, sensitive=True)
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "none.db"))
    assert run(["data", "protect", str(place), "--remove"]) == 0
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    one = next(path for path in sorted(place.rglob("*.sealed")))
    assert run(["data", "open", str(one), "--to", str(tmp_path / "back")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "data scans is sensitive, and the ledger has no policy that lets anybody read its rows" in said
    assert not os.path.lexists(tmp_path / "back")
    for role, status in (("custodian", 1), ("owner", 0)):
        grants = "".join(
            f"[[grant]]\nto = ['{who}']\nrole = '{what}'\ndata = ['*']\n"
            for who, what in (("olga", "owner"), (user(), role))
        )
        if proposal := ledger.set_policy(grants):
            Ledger().approve(proposal)  # as a custodian, who then is none
        assert run(["data", "open", str(one), "--to", str(tmp_path / "back")]) == status
    assert one.name.startswith(("x.npy", "00.png"))
    assert (tmp_path / "back").stat().st_size > 50
