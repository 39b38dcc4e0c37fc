"""mkdocs hook: files of the repository that the pages link to become pages of the site, below ``repository/``.

On GitHub a link such as ``../README.md`` leads out of docs/; on the site it would lead nowhere.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

PLACE = "repository"
_LANGUAGE = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
_PICTURES = (".png", ".svg", ".pdf")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))|(?<=src=\")[^\"]+(?=\")")


def each_link(text: str, change: Callable[[str], str]) -> str:
    """The text with every link outside fenced code replaced by ``change(link)``."""
    pieces, at = [], 0
    for fence in _FENCED.finditer(text):
        pieces += [_LINK.sub(lambda m: change(m[0]), text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*pieces, _LINK.sub(lambda m: change(m[0]), text[at:])])


def home_of(uri: str) -> str:
    """Where a page's text comes from: its path in the repository."""
    if uri in _source:
        return _source[uri]
    return f"docs/{uri}"


def target_of(link: str, source: str) -> tuple[str, str] | None:
    """(path in the repository, anchor) of a link in the file ``source``; None if it leaves the repository."""
    path, _, anchor = link.partition("#")
    if not path or "://" in path or path.startswith(("/", "mailto:")):
        return None
    target = os.path.normpath(PurePosixPath(source).parent / path)
    return None if target.startswith("..") else (PurePosixPath(target).as_posix(), anchor)


def uri_of(path: str) -> str:
    """Where the site has a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{PLACE}/{path}" if path.endswith((".md", *_PICTURES)) else f"{PLACE}/{path}.md"


def page_of(path: Path, name: str) -> str:
    """A page that shows a file: Markdown as it is, anything else as code. The search leaves it out."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        titled = text if text.startswith("# ") or "\n# " in text[:500] else f"# {name}\n\n{text}"
        return titled if path.name in ("CHANGELOG.md", "CONTRIBUTING.md") else f"{_UNSEARCHED}{titled}"
    return f"{_UNSEARCHED}# {name}\n\n````{_LANGUAGE.get(path.suffix, 'text')}\n{text}\n````\n"


_UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
_source: dict[str, str] = {}  # page of the site → path in the repository, of what was added here


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link to, and what that links to."""
    root = Path(config["config_file_path"]).parent
    _source.clear()
    waiting = [f"docs/{page.src_uri}" for page in files.documentation_pages()]
    waiting += _in_nav(config["nav"])
    done = set()
    for path in waiting:
        if path in done:
            continue
        done.add(path)
        uri = uri_of(path)
        if not path.startswith("docs/"):
            _source[uri] = path
            content = (root / path).read_bytes() if path.endswith(_PICTURES) else page_of(root / path, path)
            files.append(File.generated(config, uri, content=content))
        if path.endswith(".md"):
            links: list[str] = []
            each_link((root / path).read_text(encoding="utf-8"), lambda link, to=links: to.append(link) or link)
            found = (target_of(link, path) for link in links)
            waiting += [f[0] for f in found if f and (root / f[0]).is_file() and not f[0].startswith("docs/")]
    return files


def _in_nav(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav.removeprefix(f"{PLACE}/")] if nav.startswith(f"{PLACE}/") else []
    return [path for item in (nav.values() if isinstance(nav, dict) else nav) for path in _in_nav(item)]


def on_page_content(html: str, **_: Any) -> str:
    """Code in tables breaks after a point of a field, a slash of a path or what separates, in no word."""
    return _CELL.sub(lambda cell: _CODE.sub(lambda code: f"<code>{_breakable(code[1])}</code>", cell[0]), html)


_CELL, _CODE = re.compile(r"<td.*?</td>", re.DOTALL), re.compile(r"<code>([^<]*)</code>")
_IN_PATHS = re.compile(r"(?:(?<=[/=,| ])|(?<=::))(?=[\w(\[{$-])")  # whose points begin an ending
_IN_FIELDS = re.compile(r"(?:(?<=[=,:| ])|(?<=\.)(?=[a-z]))(?=[\w(\[{$-])")
_LONG_WORD = 28  # letters beyond which a name breaks at its underscores too


def _breakable(code: str) -> str:
    parts = (_IN_PATHS if "/" in code else _IN_FIELDS).split(code)
    return "<wbr>".join(part.replace("_", "_<wbr>") if len(part) > _LONG_WORD else part for part in parts)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as the site has them. A page that is a section by itself needs no column for its siblings."""
    if page.parent is None:
        page.meta.setdefault("hide", ["navigation", "toc"] if page.is_homepage else ["navigation"])
    here = page.file.src_uri

    def on_site(link: str) -> str:
        target = target_of(link, home_of(here))
        if target is None or files.get_file_from_path(uri_of(target[0])) is None:
            return link  # mkdocs itself says what is wrong with it
        path = os.path.relpath(uri_of(target[0]), PurePosixPath(here).parent)
        return PurePosixPath(path).as_posix() + (f"#{target[1]}" if target[1] else "")

    return each_link(markdown, on_site)
