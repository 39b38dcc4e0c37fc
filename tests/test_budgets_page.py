"""The pages on sensitive data do what they say."""

import pytest

from dpjax.governance.identity import user
from tests.patients import write_patients
from tests.test_docs import ROOT
from tests.walks import walk

HERE = ROOT / "docs/how-to"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.delenv("DPJAX_KEYS", raising=False)
    write_patients(tmp_path / "patients.csv", rows=300)


@pytest.mark.parametrize("page", ["budgets.md", "access.md", "encryption.md", "release.md", "hospital.md"])
def test_the_walk_of_a_page_says_what_the_page_says(page, capsys, monkeypatch):
    walk(HERE / page, capsys, monkeypatch, {"olga": user()})
