"""Rows that lie encrypted: read in memory alone, by whoever has the keys, and opened by whoever may see them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from dpjax.cli.app import run
from dpjax.datasets.raw_columns import columns_at, columns_of
from dpjax.datasets.sealed_rows import SEALED
from dpjax.encryption.keys import add_key, keys_from
from dpjax.encryption.rotation import rewrap
from dpjax.fetching.sources import DatasetError
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.identity import user
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import new_signing_key
from experiments import inputs
from tests.patients import write_patients
from tests.policies import grant


@pytest.fixture
def keys(tmp_path, monkeypatch):
    source = f"file:{tmp_path / 'keys'}"
    add_key(source)
    monkeypatch.setenv("DPJAX_KEYS", source)
    monkeypatch.delenv("DPJAX_LEDGER", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    return source


def _written(folder, ending):
    file = write_patients(folder / "patients.csv", rows=120) or folder / "patients.csv"
    if ending == ".csv":
        return file
    table = pyarrow.csv.read_csv(file)
    made = folder / f"patients{ending}"
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, made)
    elif ending == ".feather":
        pyarrow.feather.write_feather(table, made)
    elif ending == ".csv.gz":
        import gzip

        made.write_bytes(gzip.compress(file.read_bytes()))
    elif ending == ".jsonl":
        table.to_pandas().to_json(made, orient="records", lines=True)
    return made


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".jsonl", ".parquet", ".feather"])
def test_a_sealed_table_is_read_as_the_open_one_and_holds_nothing_of_it(keys, tmp_path, ending, capsys):
    file = _written(tmp_path, ending)
    before, content = columns_at(str(file)), file.read_bytes()
    assert run(["data", "protect", str(file), "--remove"]) == 0
    assert not file.exists()
    sealed = file.with_name(file.name + ".sealed")
    after = columns_at(str(sealed))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert fingerprint_of(before).same(fingerprint_of(after))
    raw = sealed.read_bytes()
    pieces = {content[i : i + 12] for i in range(0, len(content) - 12, 12)}
    assert not any(piece in raw for piece in pieces if len(set(piece)) > 4)  # zeros are everywhere
    assert run(["data", "open", str(sealed), "--to", str(tmp_path / "back")]) == 0
    assert (tmp_path / "back").read_bytes() == content
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o600


def test_no_row_is_read_twice_by_whatever_names_several_files(keys, tmp_path):
    (tmp_path / "data").mkdir()
    file = _written(tmp_path / "data", ".csv")
    alone = len(columns_at(str(file))["age"])
    twins = {
        "is there open and sealed": lambda: run(["data", "protect", str(file)]),
        "are one file by a link": lambda: os.symlink(file, tmp_path / "data/patients-1.csv"),
        "one file by a link": lambda: os.link(file, tmp_path / "data/patients_2.csv"),
        "are both called .patients.; keep one": lambda: _written(tmp_path / "data", ".csv.gz"),
    }
    for words, add in twins.items():
        before = {*(tmp_path / "data").rglob("*.*")}
        add()
        for path in ("data", "data/*", "data/patients*", "dat*/**/*"):
            with pytest.raises(DatasetError, match=words):
                assert len(columns_at(str(tmp_path / path))["age"]) == alone
        for made in {*(tmp_path / "data").rglob("*.*")} - before:
            made.unlink()
        assert len(columns_at(str(tmp_path / "data/pat*"))["age"]) == alone


def test_without_the_key_or_with_another_it_is_not_read(keys, tmp_path, monkeypatch, capsys):
    file = _written(tmp_path, ".csv")
    assert run(["data", "protect", str(file)]) == 0
    sealed = str(file) + ".sealed"
    monkeypatch.delenv("DPJAX_KEYS")
    with pytest.raises(DatasetError, match="no key is named"):
        columns_at(sealed)
    other = f"file:{tmp_path / 'other'}"
    add_key(other)
    monkeypatch.setenv("DPJAX_KEYS", other)
    with pytest.raises(DatasetError, match="was sealed with key"):
        columns_at(sealed)
    assert run(["data", "open", sealed, "--to", str(tmp_path / "back")]) == 1
    assert not (tmp_path / "back").exists()
    monkeypatch.setenv("DPJAX_KEYS", keys)
    damaged = bytearray(Path(sealed).read_bytes())
    damaged[-30] ^= 1
    Path(sealed).write_bytes(damaged)
    with pytest.raises(DatasetError, match="cannot be read"):
        columns_at(sealed)
    assert run(["data", "open", sealed, "--to", str(tmp_path / "back")]) == 1
    assert not (tmp_path / "back").exists()


def test_another_key_for_the_same_rows_makes_no_other_run(keys, tmp_path):
    file = _written(tmp_path, ".csv")
    assert run(["data", "protect", str(file)]) == 0
    sealed = tmp_path / "patients.csv.sealed"
    before, raw = inputs._sha256(sealed), sealed.read_bytes()
    add_key(keys)
    assert rewrap(sealed, keys_from(keys))
    assert sealed.read_bytes() != raw
    os.utime(sealed, (1, 1))
    assert inputs._sha256(sealed) == before
    shutil.copy(file, tmp_path / "again.csv")
    assert run(["data", "protect", str(tmp_path / "again.csv")]) == 0
    assert inputs._sha256(tmp_path / "again.csv.sealed") != before


def test_a_run_on_sealed_rows_is_the_run_on_the_open_ones(keys, tmp_path, main):
    from safetensors.numpy import load_file

    rng, file = np.random.default_rng(0), tmp_path / "patients.csv"
    lines = [f"{rng.uniform(20, 80):.3f},{rng.normal():.4f},{'yn'[i % 2]}" for i in range(120)]
    file.write_text("age,score,ill\n" + "\n".join(lines))
    assert run(["data", "protect", str(file)]) == 0
    models = []
    for i, path in enumerate((file, f"{file}.sealed")):
        code, _, err = main(
            *("data=own", f"data.path={path}", "data.label=ill", "model=logistic", "optimizer.num_steps=3"),
            *("num_seeds=1", "figures=false", "privacy.accountant=rdp", "privacy.delta=1e-3", "save_model=true"),
            *("data.columns={age:[0,100],score:[-4,4]}", "data.classes=[n,y]"),
            folder=tmp_path / f"results{i}",
        )
        assert code == 0, err
        [saved] = (tmp_path / f"results{i}").rglob("model/*.safetensors")
        models.append(load_file(saved))
    for name, value in models[0].items():
        np.testing.assert_array_equal(value, models[1][name])


def test_what_is_sealed_already_or_no_table_is_told(keys, tmp_path, capsys):
    file = _written(tmp_path, ".csv")
    assert run(["data", "protect", str(file)]) == 0
    (tmp_path / "other").mkdir()
    other = write_patients(tmp_path / "other/patients.csv", rows=7) or tmp_path / "other/patients.csv"
    shutil.copy(f"{file}.sealed", f"{other}.sealed")
    for command, words in {
        ("protect", str(other)): "patients.csv.sealed is there already, and holds other rows; take one of the two away",
        ("protect", f"{file}.sealed"): "is no file of rows that is open",
        ("protect", str(tmp_path / "none.csv")): "is no file of rows that is open",
        ("open", str(file), "--to", "x"): "is no sealed file of rows",
        ("open", f"{file}.sealed", "--to", str(file)): "is there already; name another",
    }.items():
        assert run(["data", *command]) == 1
        assert words in " ".join(capsys.readouterr().err.split())


def test_of_sensitive_data_only_who_may_see_the_rows_opens_them_and_it_is_noted(keys, tmp_path, monkeypatch, capsys):
    file = _written(tmp_path, ".csv")
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    olga = new_signing_key()
    ledger = create_ledger(who="olga", key=olga)
    rows = fingerprint_of(columns_at(str(file)))
    ledger.set_budget("clinic", rows, unit="example", adjacency="zero_out", epsilon=2, delta=1e-5, sensitive=True)
    owner = grant(["olga"], "owner", ["*"])
    ledger.set_policy(owner + grant([user()], "custodian"))
    assert run(["data", "protect", str(file)]) == 0
    assert run(["data", "open", f"{file}.sealed", "--to", str(tmp_path / "back")]) == 1
    assert "to read its rows takes the role owner" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "back").exists()
    assert run(["data", "inspect", str(file)]) == 1
    Ledger().approve(ledger.set_policy(owner + grant([user()], "owner")))
    assert run(["data", "open", f"{file}.sealed", "--to", str(tmp_path / "back")]) == 0
    records = [each for each in ledger.records() if each["action"] != "signer"]
    did = [(each["action"], each["detail"].get("action")) for each in records]
    assert did[-6:] == [
        ("deny", "raw"),
        ("deny", "raw"),
        *((each, None) for each in ("propose", "settle", "policy")),
        ("access", "raw"),
    ]
    assert ("access", "protect") in did


def _damaged(folder):
    """Files of rows that no ledger can know again."""
    packed = np.array([{}, 1], object), np.array([np.nan, 1]), np.zeros((0, 2))
    for number, array in enumerate(packed):
        np.savez(folder / f"{number}.npz", x=array)
    pyarrow.parquet.write_table(
        pyarrow.table({"a": pyarrow.array([b"\xe9"]).view(pyarrow.string())}), folder / "words.parquet"
    )
    for name, content in {
        "ragged.csv": b"a,b\n1,2\n3\n",
        "twice.csv": b"a,a\n1,2\n",
        "empty.csv": b"",
        "header.csv": b"a,b\n",
        "western.csv": "a,b\né,1\n".encode("cp1252"),
        "damaged.parquet": b"PAR1xxxxPAR1",
        "damaged.feather": b"ARROW1xxxx",
        "damaged.json": b'{"a": 1',
        "damaged.csv.gz": b"\x1f\x8bxx",
    }.items():
        (folder / name).write_bytes(content)
    np.save(folder / "nan.npy", np.array([np.nan]))
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


def test_what_can_not_be_read_is_told_before_it_is_taken_away_and_given_back(keys, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="olga", key=new_signing_key())
    written = _damaged(tmp_path / "data")
    assert len(written) == 14
    for name, content in written.items():
        sealed, back = tmp_path / f"data/{name}.sealed", tmp_path / f"back-{name}"
        assert run(["data", "protect", str(tmp_path / "data" / name), "--remove"]) == 0
        assert f"{name} can't be known again by a ledger (" in capsys.readouterr().err
        assert run(["data", "open", str(sealed), "--to", str(back)]) == 0, name
        assert back.read_bytes() == content
    records = [each for each in ledger.records() if each["action"] == "access"]
    assert [each["detail"]["file"] for each in records] == [f"{name}.sealed" for name in written]
    assert {each["detail"]["unread"] for each in records} == {"not read"}
    ledger.verify()


@pytest.mark.parametrize("owned", [["clinic"], ["cancer"], ["clinic", "cancer"]])
def test_what_can_not_be_read_or_is_a_part_is_given_to_whoever_may_read_all(keys, tmp_path, monkeypatch, owned):
    file = _written(tmp_path, ".csv")
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="olga", key=new_signing_key())
    budget = {"unit": "example", "adjacency": "zero_out", "epsilon": 2, "delta": 1e-5}
    for name, rows in (("clinic", columns_at(str(file))), ("cancer", columns_of("breast_cancer"))):
        ledger.set_budget(name, fingerprint_of(rows), **budget, sensitive=True)
    lines = file.read_text().splitlines()
    (tmp_path / "ragged.csv").write_text("\n".join([*lines, "one more"]))
    (tmp_path / "part.csv").write_text("\n".join(lines[:60]))
    ledger.set_policy(grant(["olga"], "owner", ["*"]) + grant([user()], "owner", owned))
    for name in ("ragged.csv", "part.csv"):
        sealed, back = tmp_path / f"{name}.sealed", tmp_path / f"back-{name}"
        assert run(["data", "protect", str(tmp_path / name)]) == 0
        assert run(["data", "open", str(sealed), "--to", str(back)]) == 2 - len(owned)
        assert back.exists() == (len(owned) == 2)
        assert run(["data", "inspect", str(tmp_path / name)]) == 1
    did = [each["action"] for each in ledger.records()]
    assert (did.count("access"), did.count("deny")) == ((2, 0) if len(owned) == 2 else (0, 2))
    ledger.verify()


@pytest.mark.parametrize("splits", [False, True])
def test_what_the_hub_s_library_saved_is_read_sealed_as_open(keys, tmp_path, splits, monkeypatch):
    saved = {"state.json": {"_data_files": []}, "dataset_info.json": {"features": {"y": {"names": ["ill"]}}}}
    folder = tmp_path / "saved"
    for name in ("train", "test") if splits else ("",):
        (folder / name).mkdir(parents=True, exist_ok=True)
        table = pyarrow.table({"x": np.arange(9.0), "y": np.arange(9) % 2})
        with pyarrow.ipc.new_stream(str(folder / name / "data-00000-of-00001.arrow"), table.schema) as stream:
            stream.write_table(table)
        for about, content in saved.items():
            (folder / name / about).write_text(json.dumps(content))
    if splits:
        (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    before = columns_at(str(folder))
    assert run(["data", "protect", str(folder), "--remove"]) == 0
    assert all(each.name.endswith(".sealed") for each in folder.rglob("*.*"))  # names of classes too
    after = columns_at(str(folder))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert run(["data", "inspect", str(folder), "--label", "y"]) == 0
    monkeypatch.delenv("DPJAX_KEYS")
    with pytest.raises(DatasetError, match="no key is named"):
        columns_at(str(folder))


def test_what_a_folder_leaves_open_is_told_and_a_link_stops_before_anything_is_touched(keys, tmp_path, capsys):
    folder, outside = tmp_path / "data", tmp_path / "outside.csv"
    (folder / "deep").mkdir(parents=True)
    for file in (outside, folder / "a.csv", folder / "z.csv"):
        file.write_text("a,b\n1,2\n")
    (folder / "m.csv").symlink_to(outside)
    before = sorted(folder.iterdir())
    assert run(["data", "protect", str(folder), "--remove"]) == 1
    assert "m.csv is a link, and taking it away leaves the rows open" in " ".join(capsys.readouterr().err.split())
    assert sorted(folder.iterdir()) == before
    (folder / "m.csv").unlink()
    assert run(["data", "protect", str(folder), "--remove"]) == 0
    assert "left open" not in capsys.readouterr().err
    (folder / "b.csv").write_text("a,b\n1,2\n")
    (folder / "linked").symlink_to(tmp_path)
    for name in ("notes.txt", "rows.xlsx", "deep/part.gz", "not.sealed", ".hidden", "z.log"):
        (folder / name).write_text("rows")
    assert run(["data", "protect", str(folder), "--remove"]) == 0
    told = "left open, as no run reads them sealed: .hidden, deep/part.gz, linked (a link), not.sealed, notes.txt and 2"
    assert f"{told} more" in " ".join(capsys.readouterr().err.split())


def test_rows_of_the_registry_that_are_sensitive_are_shown_to_their_owners_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="olga", key=new_signing_key())
    rows = fingerprint_of(columns_of("breast_cancer"))
    budget = {"unit": "example", "adjacency": "zero_out", "epsilon": 2, "delta": 1e-5}
    ledger.set_budget("cancer", rows, **budget, sensitive=True)
    assert run(["data", "show", "breast_cancer"]) == 1
    said = capsys.readouterr()
    assert "the ledger has no policy that lets anybody read its rows" in said.err
    assert "class balance" not in said.out
    assert run(["data", "show", "digits"]) == 0
    ledger.set_policy(grant(["olga"], "owner", ["*"]) + grant([user()], "owner", ["cancer"]))
    assert run(["data", "show", "breast_cancer"]) == 0
    assert ledger.records()[-1]["action"] == "access"


@pytest.mark.parametrize("command", ["show", "budget"])
def test_columns_of_a_table_that_are_taken_for_texts_are_the_same_rows(keys, tmp_path, monkeypatch, capsys, command):
    file = write_patients(tmp_path / "patients.csv", rows=120) or tmp_path / "patients.csv"
    assert run(["data", "protect", str(file), "--remove"]) == 0
    sealed = f"{file}.sealed"
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="olga", key=new_signing_key())
    budget = {"unit": "example", "adjacency": "zero_out", "epsilon": 2, "delta": 1e-5}
    ledger.set_budget("clinic", fingerprint_of(columns_at(sealed)), **budget, sensitive=True)
    column, label = list(columns_at(sealed))[1], "diagnosis"
    assert label in columns_at(sealed)
    capsys.readouterr()
    for name in (f"{sealed}?text={column}&label={label}", f"{sealed}?text={column}", sealed):
        if command == "show":
            assert run(["data", "show", name]) == 1
        else:
            assert run(["ledger", "budget", "mine", "--data", name, "--epsilon", "9", "--delta", "1e-3"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert column not in said.err.replace(name, "")
    assert ledger.names() == ["clinic"]


def test_a_run_on_a_pattern_that_names_rows_open_and_sealed_is_refused(keys, tmp_path, main):
    file = _written(tmp_path, ".csv")
    assert run(["data", "protect", str(file)]) == 0
    code, _, err = main(
        *("data=own", f"data.path='{file}*'", "data.label=ill", "model=logistic", "optimizer.num_steps=3"),
        *("num_seeds=1", "figures=false"),
        folder=tmp_path / "results",
    )
    assert code == 1
    assert "patients.csv is there open and sealed; take one of the two away" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.bin", "rows", "folder/rows.csv", "rows.json.gz"])
def test_a_sealed_table_under_another_name_is_said_to_be_sealed(keys, tmp_path, name):
    sealed = _protected(tmp_path)
    (tmp_path / "folder").mkdir()
    misnamed = sealed.rename(tmp_path / name)
    asked = misnamed.parent if "/" in name else misnamed
    with pytest.raises(DatasetError, match=rf"is sealed, and must be called so to be opened; rename it to .*{SEALED}"):
        columns_at(str(asked))
    assert misnamed.read_bytes()  # nothing is touched


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x/0.png", "texts/a/1.txt"])
def test_sealed_arrays_images_and_texts_under_another_name_are_said_to_be_sealed(keys, tmp_path, name):
    sealed = _protected(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    misnamed = sealed.rename(tmp_path / name)
    asked = misnamed.parent if name.endswith(".png") else tmp_path / "texts" if name.endswith(".txt") else misnamed
    with pytest.raises(DatasetError, match=r"is sealed, and must be called so to be opened; rename it to"):
        columns_at(str(asked))


def test_rows_that_lie_open_under_another_name_are_not_said_to_be_away(keys, tmp_path, capsys):
    rows, other = tmp_path / "rows.csv", tmp_path / "copy of rows.csv"
    rows.write_text("a,b\n1,2\n")
    os.link(rows, other)
    assert run(["data", "protect", str(rows), "--remove"]) == 0
    said = capsys.readouterr()
    assert f"took this name of {rows} away" in " ".join(said.out.split())
    assert "warning: the rows lie open still under 1 other name of that file (a hard link)" in " ".join(
        said.err.split()
    )
    assert other.exists()


def _protected(folder):
    rows = folder / "patients.csv"
    rows.write_text("age,ill\n1,2\n3,4\n")
    assert run(["data", "protect", str(rows), "--remove"]) == 0
    return rows.with_name("patients.csv.sealed")
