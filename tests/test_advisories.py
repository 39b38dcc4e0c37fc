"""Locked versions against known weaknesses: what is found, what is passed over, and entries that are none."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

ROOT = Path(__file__).parent.parent
ENTRY = {
    "package": "Safe_Tables",
    "id": "CVE-2025-12345",
    "affected": ["<1.4.2", ">=2.0.0,<2.2.0"],
    "fixed": "2.2.0",
    "what": "A table runs code.",
}


@pytest.fixture(scope="module")
def advisories():
    spec = importlib.util.spec_from_file_location("advisories", ROOT / ".ci/advisories.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("version", "is_hit"),
    [
        *(("1.4.1", True), ("1.4.2", False), ("1.9", False), ("2.0.0", True), ("2.1.99", True), ("2.2.0", False)),
        *(("1.4.2rc1", True), ("2.0.0rc1", False), ("2.2.0.dev3", True), ("2.2.0b1", True), ("3.0a1", False)),
        *(("2.2.0.post1", False), ("2.1.0+cu132", True), ("2.2.0+cu132", False), ("0!1.0", True), ("1!1.0", False)),
    ],
)
def test_a_version_is_hit_up_to_the_one_that_mends_it(advisories, version, is_hit):
    known = advisories.advisory(ENTRY)
    assert known.hits(Version(version)) is is_hit
    said = advisories.problems([known], {("safe-tables", version)})
    assert [line.split(":")[0] for line in said] == [f"safe-tables=={version} has CVE-2025-12345"] * is_hit
    assert not is_hit or "A table runs code. Take 2.2.0 or later." in said[0]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.sampled_from(["", "a1", "rc2", ".dev1", ".post1"]))
def test_ranges_are_those_of_the_order_of_versions(advisories, numbers, ending):
    version = Version(".".join(map(str, numbers)) + ending)
    expected = version < Version("1.4.2") or Version("2.0.0") <= version < Version("2.2.0")
    assert advisories.advisory(ENTRY).hits(version) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"severity": "high"}, "has not exactly the fields package, id, affected, fixed, what"),
        ({"what": None}, "has not exactly the fields"),
        ({"what": " "}, "must have words in package, id, fixed, what"),
        ({"id": "CVE-25-1"}, "has the id CVE-25-1, which is none of"),
        ({"affected": "<1.4.2"}, "must have a list of version ranges"),
        ({"affected": []}, "must have a list of version ranges"),
        ({"affected": [""]}, "must have a list of version ranges"),
        ({"affected": ["below 2"]}, "has a version that is none"),
        ({"affected": ["<2.2.0,"]}, "has a version that is none"),
        ({"fixed": "soon"}, "has a version that is none"),
        ({"fixed": "2.1.0"}, "says that 2.1.0 mends it and has it"),
    ],
)
def test_an_entry_that_can_t_be_read_is_told_by_its_number(advisories, change, words):
    entry = {name: value for name, value in (ENTRY | change).items() if value is not None}
    lines = [f"{name} = {value!r}" for name, value in entry.items()]
    found, wrong = advisories.read_advisories("checked = 2026-01-31\n[[advisory]]\n" + "\n".join(lines))
    assert found == []
    assert len(wrong) == 1
    assert wrong[0].startswith(f"advisories.toml: entry 1 ({entry['id']} of Safe_Tables) {words}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("advisory = [", "can't be read"),
        ("checked = 2026-01-31", "must hold checked and [[advisory]]"),
        ("checked = 2026-01-31\nadvisory = [3]", "entry 1 (nameless) has not exactly the fields"),
        ("checked = 'yesterday'\nadvisory = []", "checked must be a date"),
        ("checked = 2026-01-31\nadvisory = []\nmore = 1", "and nothing else"),
    ],
)
def test_a_file_that_is_none_is_told(advisories, text, words):
    _, [wrong] = advisories.read_advisories(text)
    assert words in wrong


def test_what_is_there_twice_or_in_no_lock_is_told(advisories):
    entry = "[[advisory]]\n" + "\n".join(f"{name} = {value!r}" for name, value in ENTRY.items()) + "\n"
    found, wrong = advisories.read_advisories("checked = 2026-01-31\n" + entry * 2)
    assert wrong == ["advisories.toml: CVE-2025-12345 of safe-tables is there twice"]
    [said] = advisories.problems(found[:1], {("safe-table", "1.0")})
    assert said == "advisories.toml: CVE-2025-12345 is of Safe_Tables, which is in no lock; mend the name."
    [said] = advisories.problems(found[:1], {("safe-tables", "newest")})
    assert said.startswith("safe-tables==newest: no version")


def test_all_that_is_pinned_is_read(advisories):
    project = '[tool.uv]\nconstraint-dependencies = ["A_b==1.0", "c==2.0rc1"]'
    requirements = "d.e==3.0 ; python_version < '4' \\\n    --hash=sha256:00\n    # via f==9\n"
    lock = '[[package]]\nname = "g"\nversion = "4"\n[[package]]\nname = "dpjax"\n[[package]]\nname = "g"\nversion = "5"'
    pins = {("a-b", "1.0"), ("c", "2.0rc1"), ("d-e", "3.0")}
    assert advisories.locked(project, requirements) == pins
    assert advisories.locked(project, requirements, lock) == pins | {("g", "4"), ("g", "5")}


def test_nothing_that_is_locked_has_what_the_file_knows(advisories, capsys, monkeypatch, tmp_path):
    assert advisories.main() == 0
    known, wrong = advisories.read_advisories(advisories.KNOWN.read_text(encoding="utf-8"))
    assert wrong == []
    assert len(known) >= 15
    assert all(each.what.endswith(".") for each in known)
    (tmp_path / "requirements.lock").write_text("")
    old = '[tool.uv]\nconstraint-dependencies = ["requests==2.31.0"]'
    (tmp_path / "pyproject.toml").write_text(old)
    monkeypatch.setattr(advisories, "ROOT", tmp_path)
    assert advisories.main() == 1
    said = capsys.readouterr().err
    assert "requests==2.31.0 has CVE-2024-35195: A session" in said
    assert "is of cryptography, which is in no lock" in said
