"""One HTML file out of packed contents: the assets beside this module put together, nothing fetched."""

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from dpjax.report.cells import Spelt

_HERE = Path(__file__).parent
SCRIPTS = (
    "base.js",
    "tip.js",
    "chart.js",
    "extent.js",
    "ramp.js",
    "address.js",
    "filter.js",
    "families.js",
    "curves.js",
    "heat.js",
)
SCRIPTS += ("pareto.js", "parallel.js", "kinds.js", "rows.js", "table.js", "run.js", "compare.js", "main.js")
"""In the order in which they are put together, as one module."""


def render(packed: dict[str, Any], *, is_watching: bool = False) -> str:
    """The page.

    Formal guarantees: it holds its data, style and scripts, and its content policy forbids the browser to fetch
    anything (but what the watching page's own server says) and to run any other script. No text of the results can end
    the element that it stands in.

    Args:
      packed: what ``pack`` gave.
      is_watching: whether it is served and asks for news.

    Example:
      >>> page = render({"name": "a</script>b", "made": "", "count": 0})
      >>> page.startswith("<!doctype html>"), "a</script>b" in page
      (True, False)
    """
    script = "\n".join(_asset(name) for name in SCRIPTS)
    style = _asset("style.css")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            f"connect-src {"'self'" if is_watching else "'none'"}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    parts = {
        "policy": policy,
        "title": _escaped(f"{packed['name']} – dpjax report"),
        "style": style,
        "data": as_json(packed | {"watching": is_watching}),
        "script": script,
    }
    # In one pass, so that what one part holds is never taken for the place of another.
    return re.sub(r"\{\{ (\w+) \}\}", lambda place: parts[place[1]], _asset("page.html"))


def as_json(document: dict[str, Any]) -> str:
    """JSON that may stand inside a script element.

    Args:
      document: what JSON can hold, and ``Spelt``.

    Example:
      >>> as_json({"a": "</script>"})
      '{"a":"\\\\u003c/script>"}'
    """
    parts = [f"{_dumped(name)}:{_dumped(value)}" for name, value in document.items()]
    return f"{{{','.join(parts)}}}".replace("<", "\\u003c")


def _dumped(value: Any) -> str:
    if isinstance(value, Spelt):
        return value.text
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip()


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
