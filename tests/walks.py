"""The commands of a page of the docs, one after the other, as a reader runs them."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dpjax.cli import main as dpjax
from tests.test_docs import commands

_SUBSTITUTED = re.compile(r"export (\w+)=\$\(dpjax (.*)\)")
_BLOCK = re.compile(r"^```(toml|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def walk(page: Path, capsys, monkeypatch, names: Mapping[str, str] | None = None) -> None:
    """Run them in this folder; each says what the page says, and one that is refused there is refused here.

    A block of TOML or YAML is the file whose name stands last before it.

    Args:
      page: of the docs; a variable may be what a dpjax command prints, ``export NAME=$(dpjax ...)``.
      capsys, monkeypatch: of pytest.
      names: that the page has → what stands for them here.
    """

    def here(text: str) -> str:
        for name, stands in (names or {}).items():
            text = re.sub(rf"\b{name}\b", stands, text)
        return text

    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        if named := re.findall(rf"`([\w-]+\.{block[1]})`", text[: block.start()]):
            Path(named[-1]).write_text(here(block[2]), encoding="utf-8")

    def run(words: list[str]) -> tuple[int, str, str]:
        try:
            dpjax(words)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    for command, expected in commands(page):
        if put := _SUBSTITUTED.fullmatch(here(command)):
            status, out, err = run(shlex.split(put[2]))
            assert status == 0, f"{command}\n{err}"
            monkeypatch.setenv(put[1], out.strip())
            continue
        words = shlex.split(here(command))
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value)
            continue
        if words[0] == "dpjax":
            status, out, err = run(words[1:])
            printed = out + err
        else:
            assert words[:4] == ["uv", "run", "python", "-m"]
            ran = subprocess.run([sys.executable, *words[3:]], capture_output=True, text=True, timeout=300, check=False)
            status, printed = ran.returncode, ran.stdout + ran.stderr
        lines = here(expected).splitlines()
        assert status == int(any(line.startswith("error:") for line in lines)), f"{command}\n{printed}"
        for line in lines:
            assert line in printed, f"{command}\n{printed}"
