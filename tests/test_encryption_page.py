"""The commands of docs/how-to/encryption.md, one after the other, as a reader runs them."""

import shlex

from dpjax.cli import main as dpjax
from tests.test_docs import ROOT, commands

PAGE = ROOT / "docs/how-to/encryption.md"


def test_the_walk_of_the_page_says_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.delenv("DPJAX_KEYS", raising=False)
    walked = commands(PAGE)
    for command, expected in walked:
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value)
            continue
        assert words[0] == "dpjax"
        try:
            dpjax(words[1:])
            status = 0
        except SystemExit as end:
            status = end.code or 0
        said = capsys.readouterr()
        printed = said.out + said.err
        assert status == 0, f"{command}\n{printed}"
        for line in expected.splitlines():
            assert line in printed, f"{command}\n{printed}"
    assert {tuple(shlex.split(command)[1:3]) for command, _ in walked} >= {
        ("keys", each) for each in ("new", "show", "rotate", "open")
    }
    assert (tmp_path / "trail.jsonl").read_text().startswith("{")
    assert b"sequence" not in (tmp_path / "trail.sealed").read_bytes()
