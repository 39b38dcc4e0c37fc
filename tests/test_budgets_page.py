"""The commands of the pages on budgets and on releases, one after the other, as a reader runs them."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dpjax.cli import main as dpjax
from tests.patients import write_patients
from tests.test_docs import ROOT, commands

PAGES = [ROOT / "docs/how-to" / f"{name}.md" for name in ("budgets", "release")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_walk_of_the_page_says_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    write_patients(Path("patients.csv"), rows=300)
    for command, expected in commands(page):
        words = shlex.split(command)
        if words[0] == "dpjax":
            try:
                dpjax(words[1:])
                status = 0
            except SystemExit as end:
                status = end.code or 0
            said = capsys.readouterr()
            printed = said.out + said.err
        else:
            assert words[:4] == ["uv", "run", "python", "-m"]
            ran = subprocess.run([sys.executable, *words[3:]], capture_output=True, text=True, timeout=300, check=False)
            status, printed = ran.returncode, ran.stdout + ran.stderr
        assert status == (1 if expected.startswith("error:") else 0), f"{command}\n{printed}"
        for line in expected.splitlines():
            assert line in printed, f"{command}\n{printed}"
