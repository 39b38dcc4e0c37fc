"""The documentation site builds without a warning, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme's
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=[\"']?(https?:[^\"'\s>]+)", text)
        loaded += re.findall(
            r"<link[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload)[^>]*href=[\"']?(https?:[^\"'\s>]+)", text
        )
        assert loaded == [], page.name


def test_code_in_tables_breaks_in_no_word(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from site_hooks import on_page_content

    def shown(code):
        return on_page_content(f"<td><code>{code}</code></td>").removeprefix("<td><code>").removesuffix("</code></td>")

    assert shown("federated.clients_per_round") == "federated.<wbr>clients_per_round"
    assert shown("tests/test_docs.py::test_a") == "tests/<wbr>test_docs.py::<wbr>test_a"
    assert shown("privacy.epsilon=0.5,1") == "privacy.<wbr>epsilon=<wbr>0.5,<wbr>1"
    long = "test_a_name_that_is_longer_than_a_phone"
    assert shown(long) == long.replace("_", "_<wbr>")
    assert on_page_content("<p><code>a.b</code></p>") == "<p><code>a.b</code></p>"
