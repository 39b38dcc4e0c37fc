"""Whole texts: arrays, cache, splits and decoders on a few made-up bytes; hub and own files in folders made here."""

import bz2
import dataclasses
import functools
import http.server
import io
import json
import re
import sys
import threading
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dpjax import datasets
from dpjax.cli import data as command
from dpjax.datasets import fetched_copies, hub, own, registry, row_files, tables, texts
from dpjax.datasets.entries import Entry, HubSource, RawArrays
from dpjax.datasets.readers import icd10, licences, mails, news, reviews
from dpjax.datasets.splits import split_large_units, split_whole_groups
from dpjax.fetching import archives, download
from dpjax.fetching.folders import workspace_in
from dpjax.fetching.sources import DatasetError, PackageSource

DOCUMENTS = [entry.name for entry in registry.ENTRIES.values() if entry.task == "document"]
FETCHABLE = ["rotten_tomatoes", "spam_assassin", "bbc_news", "reuters_r8", "licences", "drug_reviews", "icd10"]

some_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

# --- arrays of texts ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(some_text, some_text), max_size=6), st.booleans())
@settings(max_examples=50, deadline=None)
def test_texts_survive_packing(rows, pairs):
    array = texts.text_array(rows, columns=2) if pairs else texts.text_array([first for first, _ in rows])
    content, ends = texts.pack(array)
    assert (content.dtype, ends.dtype, ends.shape) == (np.uint8, np.int64, array.shape)
    back = texts.unpack(content, ends)
    assert texts.is_text(back)
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()


def test_packed_arrays_that_do_not_belong_together_are_refused():
    content, ends = texts.pack(texts.text_array(["ab", "cde"]))
    for wrong in (ends + 1, ends[:1], np.array([6, 5])):
        with pytest.raises(ValueError, match="do not fit"):
            texts.unpack(content, wrong)


def test_empty_texts_are_counted_and_the_first_is_named():
    texts.check_texts(texts.text_array([]), "train")
    texts.check_texts(texts.text_array([["a", "b"]], columns=2), "train")
    with pytest.raises(DatasetError, match=r"^train row 1 is an empty text; leave those out$"):
        texts.check_texts(texts.text_array([["a", "b"], ["c", "\t"]], columns=2), "train")
    with pytest.raises(DatasetError, match="row 0 is an empty text, and 2 more"):
        texts.check_texts(texts.text_array(["", " \n", "\u3000"]), "train")


def raw_texts(pairs: bool = False) -> RawArrays:
    train, test = ["naïve café ☕", "b", "𝒟𝒫"], ["ünï"]
    if pairs:
        arrays = [texts.text_array([(each, each[::-1]) for each in part], columns=2) for part in (train, test)]
    else:
        arrays = [texts.text_array(part) for part in (train, test)]
    return RawArrays(arrays[0], np.array([0, 1, 0], np.int32), arrays[1], np.array([1], np.int32))


def document_entry(raw: RawArrays, **fields) -> Entry:
    known = {
        "name": "tiny_texts",
        "title": "Tiny texts",
        "summary": "",
        "task": "document",
        "input_shape": raw.train_inputs.shape[1:],
        "num_train": len(raw.train_labels),
        "num_test": len(raw.test_labels),
        "class_names": ("no", "yes"),
        "licence": "CC0",
        "citation": "",
        "encoding": "",
        "sources": (HubSource("nobody/tiny", text_columns=("text",)),),
        "content_sha256": None,
        "encode": texts.keep_texts,
    }
    return Entry(**(known | fields))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def store(raw: RawArrays, monkeypatch, **fields) -> tuple[Entry, Path]:
    entry = document_entry(raw, content_sha256=fetched_copies.content_sha256(raw), **fields)
    monkeypatch.setitem(registry.ENTRIES, entry.name, entry)
    folder = fetched_copies.cache_folder()
    with workspace_in(folder, entry.name) as workspace:
        path = fetched_copies.write_copy(entry, raw, {"kind": "hub", "source": "made here"}, workspace, folder)
    return entry, path


@pytest.mark.parametrize("pairs", [False, True])
def test_the_cache_gives_texts_back_without_pickles_and_read_only(monkeypatch, pairs):
    raw = raw_texts(pairs)
    entry, path = store(raw, monkeypatch)
    with np.load(path, allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored.files} == {"U", "u", "i"}
    data = datasets.load(entry.name)
    assert data.input_shape == ((2,) if pairs else ())
    for ours, theirs in zip(raw[:4], (data.train_inputs, data.train_labels, data.test_inputs), strict=False):
        assert ours.tolist() == theirs.tolist()
        assert not theirs.flags.writeable
    assert isinstance(data.train_inputs.dtype, np.dtypes.StringDType)
    with pytest.raises(ValueError, match="read-only"):
        data.train_inputs[0] = "other"


def test_an_empty_part_can_be_kept(monkeypatch):
    raw = raw_texts()._replace(test_inputs=texts.text_array([]), test_labels=np.zeros(0, np.int32))
    entry, _ = store(raw, monkeypatch)
    assert datasets.load(entry.name).test_inputs.shape == (0,)


def test_the_digest_of_texts_sees_every_character_every_border_and_the_shape():
    assert (
        fetched_copies.content_sha256(raw_texts()) == "0452f7dbe0aef1c43ec6179eb240ee633cd8cfb9ad3bd1f6e4f6cf0b2ca24272"
    )
    seen = {fetched_copies.content_sha256(raw_texts()), fetched_copies.content_sha256(raw_texts(pairs=True))}
    for train in (["ab", "c", "d"], ["a", "bc", "d"], ["a", "bc", "e"], [["ab", "c", "d"]]):
        array = np.array(train, np.dtypes.StringDType())
        seen.add(fetched_copies.content_sha256(raw_texts()._replace(train_inputs=array)))
    assert len(seen) == 6


def test_a_damaged_copy_of_texts_says_how_to_get_one(monkeypatch):
    entry, path = store(raw_texts(), monkeypatch)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[damaged.find("café".encode())] ^= 1
    for content in (whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"cannot be read .* `dpjax data fetch tiny_texts --force`"):
            datasets.load(entry.name)


# --- splits -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_groups_stay_together_and_every_row_is_used(rows):
    groups, labels = (np.array(column) for column in zip(*rows, strict=True))
    split = split_whole_groups(np.arange(len(rows)), labels, groups)
    assert sorted([*split.train_inputs, *split.test_inputs]) == list(range(len(rows)))
    assert not set(groups[split.train_inputs]) & set(groups[split.test_inputs])
    np.testing.assert_array_equal(split.train_labels, labels[split.train_inputs])
    assert split.train_units is None


def test_groups_are_split_by_their_commonest_class():
    groups = np.repeat(np.arange(30), 3)
    labels = np.where(np.arange(90) % 3 == 0, 2, groups // 20)
    split = split_whole_groups(np.arange(90), labels, groups)
    assert sorted(np.unique(groups[split.test_inputs]) // 20) == [0] * 4 + [1] * 2


@given(st.lists(st.integers(0, 12), min_size=5, max_size=80))
@settings(max_examples=50, deadline=None)
def test_large_units_are_in_both_parts_and_small_ones_in_one(owners):
    owners = np.array(owners)
    split = split_large_units(np.arange(len(owners)), owners % 2, owners, min_rows=5)
    assert sorted([*split.train_inputs, *split.test_inputs]) == list(range(len(owners)))
    number = {}
    for inputs, units in ((split.train_inputs, split.train_units), (split.test_inputs, split.test_units)):
        for row, unit in zip(inputs, units, strict=True):
            assert number.setdefault(owners[row], unit) == unit
        assert (np.diff(units) >= 0).all()
    assert sorted(number.values()) == list(range(split.num_units))
    assert sorted(set(split.train_units.tolist())) == list(range(split.num_train_units))
    both = set(split.train_units.tolist()) & set(split.test_units.tolist())
    counts = np.bincount(owners)
    assert both == {number[owner] for owner in np.flatnonzero(counts >= 5)}


# --- archives and npm ---------------------------------------------------------------------------------------------


def test_many_files_are_pinned_by_one_hash(tmp_path):
    files = {f"p/data/{i}.txt": f"text {i}".encode() for i in range(3)}
    path = tmp_path / "p-1.0-py3-none-any.whl"

    def write(content: dict[str, bytes]) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, each in reversed(content.items()):
                archive.writestr(name, each)

    members = {"p/data/*.txt": archives.tree_sha256(files)}
    write(files | {"p/data/other.md": b"", "p/data/": b""})
    assert list(archives.read_members(path, members)) == sorted(files)
    renamed = {name.replace("2", "3"): content for name, content in files.items()}
    for wrong in (files | {"p/data/4.txt": b""}, dict(list(files.items())[:2]), renamed, {"p/x": b""}):
        write(wrong)
        with pytest.raises(DatasetError, match=r"p/data/\*\.txt in p-1\.0.* has sha256"):
            archives.read_members(path, members)


def npm_source(tarball: bytes, files: dict[str, bytes]) -> PackageSource:
    digests = {path: archives.sha256_of(content) for path, content in files.items()}
    return PackageSource(
        "npm", "@owner/mails", "1.0", archives.sha256_of(tarball), len(tarball), digests, lambda files: raw_texts()
    )


def tarball_of(files: dict[str, bytes]) -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


FILES = {"package/data/mails.txt": b"a mail"}


def test_npm_packs_the_pinned_version_and_runs_no_script(tmp_path, monkeypatch):
    (tmp_path / "archive").write_bytes(tarball := tarball_of(FILES))
    client = tmp_path / "npm"
    client.write_text(f"""#!{sys.executable}
import pathlib, sys
assert sys.argv[1] == "pack" and "--ignore-scripts" in sys.argv and sys.argv[-1] == "@owner/mails@1.0", sys.argv
folder = next(a for a in sys.argv if a.startswith("--pack-destination=")).split("=", 1)[1]
pathlib.Path(folder, "owner-mails-1.0.tgz").write_bytes(pathlib.Path({str(tmp_path / "archive")!r}).read_bytes())
""")
    client.chmod(0o755)
    monkeypatch.setattr(download.shutil, "which", lambda name: str(client) if name == "npm" else None)
    (folder := tmp_path / "work").mkdir()
    source = npm_source(tarball, FILES)
    got = download.download_archive(source, folder, lambda message, fraction: None)
    assert archives.read_members(got, source.members) == FILES
    assert str(source) == "npm @owner/mails 1.0"
    with pytest.raises(DatasetError, match=r"owner-mails-1\.0\.tgz has sha256"):
        download.download_archive(dataclasses.replace(source, sha256="0" * 64), folder, lambda message, fraction: None)


def test_without_npm_the_named_registry_is_asked(tmp_path, monkeypatch):
    path = tmp_path / "site/@owner/mails/-/mails-1.0.tgz"
    path.parent.mkdir(parents=True)
    path.write_bytes(tarball := tarball_of(FILES))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "site")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download.shutil, "which", lambda name: None)
    for setting in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
    (folder := tmp_path / "work").mkdir()
    source = npm_source(tarball, FILES)
    try:
        got = download.download_archive(source, folder, lambda message, fraction: None)
        assert archives.read_members(got, source.members) == FILES
        got.unlink()
        gone = dataclasses.replace(source, version="2.0")
        with pytest.raises(DatasetError, match=r"^npm could not download @owner/mails 2\.0 \(.*404"):
            download.download_archive(gone, folder, lambda message, fraction: None)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(DatasetError, match=r"npm reaches no server for .* npm's registry setting"):
        download.download_archive(source, folder, lambda message, fraction: None)


def test_why_npm_failed_is_one_line(tmp_path, monkeypatch):
    said = "npm error code ETARGET\nnpm error notarget No matching version found for x@1.\nnpm error A log is in: here"
    client = tmp_path / "npm"
    client.write_text(f"#!{sys.executable}\nimport sys; print({said!r}); sys.exit(1)\n")
    client.chmod(0o755)
    monkeypatch.setattr(download, "npm_commands", lambda source, folder: [[str(client)]])
    (folder := tmp_path / "work").mkdir()
    with pytest.raises(DatasetError) as raised:
        download.download_archive(npm_source(b"x", FILES), folder, lambda message, fraction: None)
    assert str(raised.value).endswith("(npm error notarget No matching version found for x@1)")


def test_an_npm_archive_downloaded_elsewhere_is_accepted(tmp_path, monkeypatch):
    (path := tmp_path / "owner-mails-1.0.tgz").write_bytes(tarball := tarball_of(FILES))
    monkeypatch.setitem(
        registry.ENTRIES, "tiny_texts", document_entry(raw_texts(), sources=(npm_source(tarball, FILES),))
    )
    datasets.fetch("tiny_texts", source=str(path))
    assert datasets.load("tiny_texts", source="npm").source == "npm @owner/mails 1.0"


def test_a_source_with_an_empty_text_is_refused_and_nothing_is_kept(tmp_path, monkeypatch):
    raw = raw_texts()._replace(train_inputs=texts.text_array(["a", " ", "c"]))
    (path := tmp_path / "owner-mails-1.0.tgz").write_bytes(tarball := tarball_of(FILES))
    source = dataclasses.replace(npm_source(tarball, FILES), decode=lambda files: raw)
    monkeypatch.setitem(registry.ENTRIES, "tiny_texts", document_entry(raw, sources=(source,)))
    with pytest.raises(DatasetError, match=r"npm @owner/mails 1\.0: train row 1 is an empty text"):
        datasets.fetch("tiny_texts", source=str(path))
    assert list(fetched_copies.cache_folder().iterdir()) == []


# --- decoders -----------------------------------------------------------------------------------------------------


def all_rows(raw: RawArrays) -> dict[str, int]:
    """Text → label, of both parts; no text may stand twice."""
    both = [*raw.train_inputs.tolist(), *raw.test_inputs.tolist()]
    assert len(set(map(texts.spaced, both))) == len(both)
    return dict(zip(both, [*raw.train_labels.tolist(), *raw.test_labels.tolist()], strict=True))


def test_snippets_are_split_by_film_without_plots_and_copies():
    rows = ["category,text,movie_name,has_plot_and_reviews", "plot,A man falls.,jaws,True"]
    rows += [
        f'{kind},"{kind} ""{film}"" {i}",{film},True'
        for film in "abcde"
        for i in (1, 2)
        for kind in ("rotten", "fresh")
    ]
    rows += ['fresh,fresh  ""a"" 1,b,True'.replace('""', '"'), "rotten,  ,e,True"]
    raw = reviews.decode_rotten_tomatoes({"x.csv.bz2": bz2.compress("\n".join(rows).encode())})
    told = all_rows(raw)
    assert len(told) == 20
    assert all(label == text.startswith("fresh") for text, label in told.items())
    assert (raw.num_units, raw.num_train_units) == (5, 4)
    assert not set(raw.train_units.tolist()) & set(raw.test_units.tolist())
    for inputs, units in ((raw.train_inputs, raw.train_units), (raw.test_inputs, raw.test_units)):
        assert all(f'"{raw.unit_names[unit]}"' in text for text, unit in zip(inputs, units, strict=True))
    with pytest.raises(DatasetError, match="row 2 of x is of category 'stale'"):
        reviews.decode_rotten_tomatoes({"x": bz2.compress(b"category,text,movie_name\nstale,a,b\n")})


def test_drug_reviews_keep_their_split_and_lose_quotes_and_references():
    def table(*rows: tuple[str, str]) -> str:
        return "\n".join(["\tdrugName\treview\trating", *(f'1\tx\t"""{text}"""\t{rating}' for text, rating in rows)])

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("drugsComTrain.tsv", table(("I&#039;m\nwell", "positive"), ("bad", "negative")))
        archive.writestr("drugsComTest.tsv", table(("so so", "neutral"), ("bad", "negative")))
    raw = reviews.decode_drug_reviews({"x.zip": buffer.getvalue()})
    assert raw.train_inputs.tolist() == ["I'm\nwell", "bad"]
    assert raw.train_labels.tolist() == [2, 0]
    assert raw.test_inputs.tolist() == ["so so"]
    assert raw.test_labels.tolist() == [1]


def test_bbc_news_takes_the_class_from_the_folder():
    files = {f"p/{kind}/{i:03}.txt": f"{kind} {i}\n\nbody £\n".encode() for kind in news.BBC_CLASSES for i in range(5)}
    files["p/tech/900.txt"] = "tech 900 £".encode("latin1")
    files["p/tech/901.txt"] = files["p/tech/002.txt"].replace(b"\n", b" \n")
    raw = news.decode_bbc_news(files)
    told = all_rows(raw)
    assert len(told) == 26
    assert "tech 900 £" in told
    assert all(text.startswith(news.BBC_CLASSES[label]) for text, label in told.items())
    assert np.bincount(raw.test_labels).tolist() == [1] * 5


def test_reuters_keeps_its_split_but_no_row_in_both_parts():
    head = "Category\tText\nd\tstring\nclass\t\n"
    train = f"{head}earn\tnet up \nacq\tbuys co \nacq\tnet  up\n"
    test = f"{head}ship\tport shut\nacq\tbuys co\n"
    raw = news.decode_reuters_r8({"r8-test.tab": test.encode(), "r8-train.tab": train.encode()})
    assert raw.train_inputs.tolist() == ["net up", "buys co"]
    assert [news.R8_CLASSES[label] for label in raw.train_labels] == ["earn", "acq"]
    assert raw.test_inputs.tolist() == ["port shut"]
    with pytest.raises(DatasetError, match=r"line 5 of r8-train\.tab begins with 'earns'"):
        news.decode_reuters_r8({"r8-train.tab": train.replace("acq", "earns", 1).encode()})


def licence(key: str, text: str, category: str = "Permissive", more: str = "") -> bytes:
    return f"---\nkey: {key}\nnotes: a\n    category: none\ncategory: {category}\n{more}---\n\n{text}\n".encode()


def test_licences_are_split_by_family_without_deprecated_and_empty_ones():
    files = {
        f"{word}-{i}.LICENSE": licence(f"{word}-{i}.0", f"{word} {i}\n---\nend")
        for word in "abcdefghij"
        for i in (1, 2)
    }
    files["old.LICENSE"] = licence("old-1", "old", more="is_deprecated: yes\n")
    files["empty.LICENSE"] = licence("empty", "").rstrip()
    files["z.LICENSE"] = licence("a-3", "a  1\n---\nend")
    raw = licences.decode_licences(files)
    assert len(all_rows(raw)) == 20
    families = [{text[0] for text in part.tolist()} for part in (raw.train_inputs, raw.test_inputs)]
    assert [len(each) for each in families] == [8, 2]
    assert not families[0] & families[1]
    for wrong in (b"no front matter", licence("a", "b", "Odd")):
        with pytest.raises(DatasetError, match=r"a\.LICENSE is of category (None|'Odd')"):
            licences.decode_licences({"a.LICENSE": wrong})


def test_diagnoses_are_split_by_category_without_headings():
    def diagnosis(code: str) -> str:
        inner = f"<diag><name>{code}.1</name><desc>Left {code} <x/></desc></diag>"
        return f"<diag><name>{code}</name><desc>Whole {code}</desc>{inner}</diag>"

    chapters = []
    for c in range(22):
        inner = "".join(diagnosis(f"{chr(65 + c)}{i:02}") for i in range(5))
        chapters.append(f"<chapter><desc>Chapter</desc><section><desc>Section</desc>{inner}</section></chapter>")
    raw = icd10.decode_icd10({"x.xml": f"<list>{''.join(chapters)}</list>".encode()})
    told = all_rows(raw)
    assert len(told) == 22 * 10
    assert all(ord(text.split()[1][0]) - 65 == label for text, label in told.items())
    codes = [{text.split()[1] for text in part.tolist()} for part in (raw.train_inputs, raw.test_inputs)]
    assert not codes[0] & codes[1]
    assert np.bincount(raw.test_labels).tolist() == [2] * 22
    with pytest.raises(DatasetError, match="holds 0 chapters; it must hold 22"):
        icd10.decode_icd10({"x.xml": b"<list/>"})


MULTIPART = b"""From: "Shop, The" <Shop@Example.COM>
Subject: =?iso-8859-1?q?Caf=E9?= sale
X-Spam-Status: Yes
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b"

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

Q2Fmw6kgICBub3cuCgoKCkNoZWFwLg==
--b
Content-Type: text/html

<p>Other</p>
--b--
"""


def test_a_mail_is_its_subject_and_words():
    assert mails.read_mail(MULTIPART) == ("Café sale\n\nCafé now.\n\nCheap.", "shop@example.com")
    page = b"From: x\nContent-Type: text/html; charset=nonsense\n\n<HTML><style>p{}</style>Buy<br>n\xf6w &lt;<!-- x -->"
    assert mails.read_mail(page) == ("Buy\nnöw <", "")
    assert mails.read_mail(b"Subject: s\n\n<body bgcolor=red>called <b>plain</b></body>")[0] == "s\n\ncalled plain"
    assert len(mails.read_mail(b"Subject: s\n\n" + b"word " * 9000)[0]) <= mails.MAX_CHARACTERS
    assert mails.read_mail(b"Content-Transfer-Encoding: base64\n\n!!!\0")[0] != "\0"
    assert mails.read_mail(b"") == ("", "")


@given(st.binary(max_size=200), st.sampled_from([b"", b"Content-Type: text/html\n\n", MULTIPART[:200]]))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_the_mail_reader_fail(content, start):
    text, _ = mails.read_mail(start + content)
    texts.pack(texts.text_array([text]))


def test_senders_keep_their_number_and_lose_their_address():
    def mail(sender: str, i: int) -> bytes:
        return f"From: {sender}@x.org\nSubject: {sender} {i}\n\nbody\n".encode()

    files = {f"p/easy-ham-1/{i}.txt": mail("Ann", i) for i in range(10)}
    files |= {f"p/spam-2/{i}.txt": mail(f"one{i}", i) for i in range(10)}
    files |= {
        "p/spam-1/a.txt": mail("Ann", 3).replace(b"body", b" body "),
        "p/spam-1/b.txt": b"Subject: nobody\n\nx",
        "p/spam-1/c.txt": b"\n \n",
    }
    raw = mails.decode_spam_assassin(files)
    told = all_rows(raw)
    assert len(told) == 21
    assert all(label == (not text.startswith("Ann")) for text, label in told.items())
    assert raw.num_units == 12
    assert raw.unit_names is None
    ann = {unit for text, unit in zip(raw.train_inputs, raw.train_units, strict=True) if text.startswith("Ann")}
    assert len(ann) == 1
    assert set(raw.test_units.tolist()) & set(raw.train_units.tolist()) == ann
    assert sum(text.startswith("Ann") for text in raw.test_inputs.tolist()) == 2


# --- the hub ------------------------------------------------------------------------------------------------------


def write_repository(folder: Path, splits: dict[str, dict], names: list[str] | None = None) -> Path:
    """A repository in the hub's form: parquet files, one per split, with the library's own note of class names."""
    library = pytest.importorskip("datasets")
    folder.mkdir(parents=True)
    library.disable_progress_bars()
    for split, columns in splits.items():
        table = library.Dataset.from_dict(columns)
        if names:
            table = table.cast_column("label", library.ClassLabel(names=names))
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


SST2 = {
    "train": {"idx": [0, 1, 2], "sentence": ["good ", "bad", "fine ☕"], "label": [1, 0, 1]},
    "validation": {"idx": [0], "sentence": ["dull"], "label": [0]},
    "test": {"idx": [0], "sentence": ["hidden"], "label": [-1]},
}
QNLI = {
    split: {
        "question": columns["sentence"],
        "sentence": [f"{text}!" for text in columns["sentence"]],
        "label": columns["label"],
    }
    for split, columns in SST2.items()
}


def small(name: str, monkeypatch, num_train: int, num_test: int) -> None:
    entry = dataclasses.replace(registry.ENTRIES[name], num_train=num_train, num_test=num_test)
    monkeypatch.setitem(registry.ENTRIES, name, entry)


@pytest.mark.parametrize("in_config_folder", [True, False])
def test_texts_of_the_hub_are_read_from_a_copy_of_the_repository(tmp_path, monkeypatch, in_config_folder):
    small("sst2", monkeypatch, 3, 1)
    folder = write_repository(tmp_path / "sst2/data", SST2, ["negative", "positive"]).parent
    datasets.fetch("sst2", source=str(folder))
    data = datasets.load("sst2", source="hub")
    assert data.train_inputs.tolist() == ["good", "bad", "fine ☕"]
    assert data.train_labels.tolist() == [1, 0, 1]
    assert data.test_inputs.tolist() == ["dull"]
    assert data.input_shape == ()
    small("qnli", monkeypatch, 3, 1)
    folder = tmp_path / "glue"
    write_repository(folder / "qnli" if in_config_folder else folder, QNLI)
    if in_config_folder:
        write_repository(folder / "other", SST2)
    datasets.fetch("qnli", source=str(folder))
    pairs = datasets.load("qnli")
    assert pairs.train_inputs.tolist()[1] == ["bad", "bad!"]
    assert pairs.train_inputs.shape == (3, 2) == (3, *pairs.input_shape)


def test_completion_has_one_class(tmp_path, monkeypatch):
    small("e2e", monkeypatch, 2, 1)
    columns = {"meaning_representation": ["name[A]", "name[B]"], "human_reference": ["A is.", "B is."]}
    rows = {"train": columns, "test": {name: values[:1] for name, values in columns.items()}}
    datasets.fetch("e2e", source=str(write_repository(tmp_path / "e2e", rows)))
    data = datasets.load("e2e")
    assert data.train_inputs.tolist() == [["name[A]", "A is."], ["name[B]", "B is."]]
    assert data.train_labels.tolist() == [0, 0]
    assert data.num_classes == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": None}, r"no split 'validation' \(it has test, train\)"),
        ({"validation": {"text": ["a"], "label": [0]}}, r"validation has no column 'sentence' \(it has text, label\)"),
        ({"validation": {"sentence": ["a"], "label": [-1]}}, r"validation row 0 has no label in column 'label' \(-1\)"),
        ({"train": {"sentence": ["a", ""], "label": [0, 1]}}, "train row 1 is an empty text"),
        ({"train": {"sentence": ["a", None], "label": [0, 1]}}, "train row 1 is an empty text"),
        ({"train": {"sentence": [1, 2], "label": [0, 1]}}, "column 'sentence' holds int64; it must hold texts"),
    ],
)
def test_a_repository_of_another_form_is_one_sentence(tmp_path, monkeypatch, change, message):
    small("sst2", monkeypatch, 3, 1)
    splits = {split: columns for split, columns in (SST2 | change).items() if columns}
    with pytest.raises(DatasetError, match=message) as raised:
        datasets.fetch("sst2", source=str(write_repository(tmp_path / "sst2", splits)))
    assert "\n" not in str(raised.value)


def test_a_repository_that_is_a_program_is_read_from_the_hubs_own_copy(monkeypatch):
    library = pytest.importorskip("datasets")
    asked = []

    def load_dataset(repo, config, revision):
        asked.append((repo, config, revision))
        if revision == "abc":
            raise RuntimeError("Dataset scripts are no longer supported, but found glue.py")
        rows = {split: library.Dataset.from_dict(columns) for split, columns in SST2.items()}
        rows["train"].info.license = "cc-by-4.0"
        return rows

    monkeypatch.setattr(hub, "check_reachable", lambda source: "abc")
    monkeypatch.setattr(hub.importlib, "import_module", lambda name: types.SimpleNamespace(load_dataset=load_dataset))
    source = HubSource("o/n", config="c", test_split="validation", text_columns=("sentence",))
    raw, revision = hub.read_hub(source, (), lambda message, fraction: None)
    assert raw.train_inputs.tolist() == ["good", "bad", "fine ☕"]
    assert revision == "abc"
    assert asked == [("o/n", "c", "abc"), ("o/n", "c", hub.PARQUET_COPY)]
    _, _, licence = hub.read_hub_tables(source, lambda message, fraction: None)
    assert licence == "cc-by-4.0"


# --- texts of one's own -------------------------------------------------------------------------------------------


def write_rows(path: Path, rows: list[dict]) -> Path:
    import pyarrow
    from pyarrow import csv, feather, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix in row_files.TYPED:
        feather.write_feather(pyarrow.Table.from_pylist(rows), path)
    else:
        csv.write_csv(
            pyarrow.Table.from_pylist(rows), path, csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        )
    return path


ROWS = [{"Text": f'row {i},\n"ü"', "label": ("ham", "spam")[i % 2]} for i in range(20)]


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_one_file_of_any_kind_is_split_by_class(tmp_path, suffix):
    path = write_rows(tmp_path / f"mails{suffix}", [*ROWS, ROWS[3] | {"Text": ROWS[3]["Text"].replace(" ", "  ")}])
    data = datasets.load(str(path))
    assert data.class_names == ("ham", "spam")
    assert (len(data.train_labels), np.bincount(data.test_labels).tolist()) == (16, [2, 2])
    both = [*data.train_inputs.tolist(), *data.test_inputs.tolist()]
    assert sorted(both) == sorted(row["Text"] for row in ROWS)
    for text, label in zip(data.train_inputs, data.train_labels, strict=True):
        assert label == int(re.findall(r"\d+", text)[0]) % 2
    assert datasets.describe(str(path)).remarks == data.remarks == "1 copies left out"
    assert datasets.fetch(str(path)) == path  # nothing to fetch
    assert not fetched_copies.cache_folder().exists()


def test_a_folder_has_a_file_a_split_and_columns_can_be_named(tmp_path):
    write_rows(tmp_path / "nli/train-00000-of-00002.jsonl", [{"a": "x", "b": "y", "gold": 2}])
    write_rows(tmp_path / "nli/train-00001-of-00002.jsonl", [{"a": "z", "b": "w", "gold": 0}])
    write_rows(tmp_path / "nli/test.csv", [{"a": "hidden", "b": "h", "gold": -1}])
    write_rows(tmp_path / "nli/validation.csv", [{"a": "p", "b": "q", "gold": 1}])
    data = datasets.read_documents(tmp_path / "nli", text_columns=("a", "b"), label_column="gold")
    assert data.train_inputs.tolist() == [["x", "y"], ["z", "w"]]
    assert data.train_labels.tolist() == [2, 0]
    assert data.test_inputs.tolist() == [["p", "q"]]  # the labels of the test split are hidden
    assert data.class_names == ("0", "1", "2")
    assert not data.train_inputs.flags.writeable
    named = datasets.load(f"{tmp_path}/nli?text=a,b&label=&test=test")
    assert named.test_inputs.tolist() == [["hidden", "h"]]
    assert named.num_classes == 1
    assert "predict its class" in run("show", f"{tmp_path}/nli?text=a&label=gold").output


def test_pairs_are_guessed_before_single_texts(tmp_path):
    rows = [{"premise": f"p{i}", "hypothesis": f"h{i}", "text": "t", "label": i % 2 == 0} for i in range(10)]
    data = datasets.load(str(write_rows(tmp_path / "nli.parquet", rows)))
    assert data.input_shape == (2,)
    assert data.class_names == ("False", "True")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/at.csv", r"no file \*\.csv or "),
        ("{}/odd.csv", r"which column holds texts\? \(it has words, label\); append \?text=COLUMN"),
        (
            "{}/odd.csv?text=words&label=kind",
            r"train has no column 'kind' \(it has words, label\)|has no column 'kind'",
        ),
        ("{}/unlabelled.csv", r"which column holds labels\? \(it has text, x\); append \?label=COLUMN, or \?label="),
        ("{}/unlabelled.parquet?label=x", "column 'x' holds binary; it must hold words or numbers"),
        ("{}/empty.jsonl", "row 1 is an empty text"),
        (
            "{}/odd.csv?texts=words",
            r"says 'texts'; after '\?' come text=, label=, owner=, test=, config= and encoding=",
        ),
        ("{}/odd.csv?text", r"says 'text'; after"),
        ("{}/odd.csv?text=words&test=held_out", r"no split is called 'held_out' \(it has odd\)"),
        ("{}/broken.parquet", r"broken\.parquet cannot be read"),
        ("hub:owner", "names no repository; write hub:owner/name"),
    ],
)
def test_what_is_wrong_with_ones_own_texts_is_one_sentence(tmp_path, name, message):
    write_rows(tmp_path / "odd.csv", [{"words": "a", "label": "b"}])
    write_rows(tmp_path / "unlabelled.csv", [{"text": "a", "x": 0.5}])
    write_rows(tmp_path / "unlabelled.parquet", [{"text": "a", "x": b"b"}])
    write_rows(tmp_path / "empty.jsonl", [{"text": "a", "label": 0}, {"text": " ", "label": 1}])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=message) as raised:
        datasets.load(name.format(tmp_path))
    assert "\n" not in str(raised.value)


def test_any_repository_of_the_hub_is_fetched_once_and_then_loads_offline(tmp_path):
    folder = write_repository(tmp_path / "copy", SST2, ["negative", "positive"])
    name = "hub:the/owner-reviews"
    with pytest.raises(
        DatasetError, match=r"not on this machine; fetch it with `dpjax data fetch hub:the/owner-reviews`"
    ):
        datasets.load(name)
    with pytest.raises(DatasetError, match="HF_HUB_OFFLINE is set"):
        datasets.fetch(name)
    assert not datasets.describe(name).fetched
    assert "fetch it with: dpjax data fetch hub:the/owner-reviews" in run("show", name).output
    path = datasets.fetch(name, source=str(folder))
    assert [each.name for each in path.parent.iterdir()] == ["hub-the-owner-reviews.npz"]
    assert datasets.fetch(name) == path  # it is there
    data = datasets.load(name)
    assert data.class_names == ("negative", "positive")
    assert data.train_inputs.tolist() == ["good", "bad", "fine ☕"]
    assert data.test_inputs.tolist() == ["dull"]
    assert datasets.describe(name).num_train == 3
    shown = run("show", name).output
    assert "3 train + 1 test" in shown
    assert "fine ☕" in shown
    with pytest.raises(DatasetError, match="written by another version"):
        datasets.load("hub:the-owner/reviews")  # shares the file


def test_registry_names_are_never_taken_for_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert datasets.load("digits").task == "image"
    assert not any(own.is_own(name) for name in registry.ENTRIES)


# --- command and the real ones ------------------------------------------------------------------------------------


def run(*arguments: str):
    return CliRunner().invoke(command.app, list(arguments), env={"COLUMNS": "100"})


def test_show_tells_lengths_and_first_rows(monkeypatch):
    store(raw_texts(), monkeypatch)
    shown = run("show", "tiny_texts").output
    for part in ("text (document)", "naïve café ☕", "→ no", "words of a text in train", "1, 1, 1, 2, 3"):
        assert part in shown
    store(raw_texts(pairs=True), monkeypatch)
    assert "2 texts (document)" in run("show", "tiny_texts").output


def test_every_document_entry_says_what_it_is():
    for name in DOCUMENTS:
        entry = registry.find(name)
        assert entry.input_shape in ((), (2,))
        assert entry.note
        assert entry.content_sha256 or "not pinned" in entry.note
        assert all(source.text_columns for source in entry.sources if isinstance(source, HubSource))
        assert (
            Path(__file__).parents[1].joinpath("experiments/conf/data", f"{name}.yaml").read_text() == f"name: {name}\n"
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", FETCHABLE)
def test_fetch_for_real_gives_the_pinned_content(name, tmp_path):
    datasets.fetch(name, cache_dir=tmp_path)
    data, entry = datasets.load(name, cache_dir=tmp_path), registry.find(name)
    raw, _ = fetched_copies.read_copy(entry, tmp_path)
    assert fetched_copies.content_sha256(raw) == entry.content_sha256
    train, test = ({texts.spaced(text) for text in part.tolist()} for part in (data.train_inputs, data.test_inputs))
    assert (len(train), len(test)) == (entry.num_train, entry.num_test)
    assert not train & test
    assert "" not in train | test


def test_the_docs_name_every_data_set_and_its_size():
    page = (Path(__file__).parents[1] / "docs/concepts/data.md").read_text(encoding="utf-8")
    for entry in registry.ENTRIES.values():
        assert re.search(rf"^\| `{entry.name}` .*\| {entry.num_train:,} \+ {entry.num_test:,} \|", page, re.MULTILINE)
