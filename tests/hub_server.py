"""A hub of one data set that answers on this machine as the hub does, as far as its library asks."""

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REVISION = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_of(repo: str, folder: Path) -> Iterator[str]:
    """Serves a folder as the data set ``repo``.

    Args:
      repo: ``owner/name``.
      folder: its files; README.md is its card.

    Yields:
      What HF_ENDPOINT must be.
    """

    class Handler(_Handler):
        name, root = repo, folder

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    name: str
    root: Path

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urllib.parse.urlparse(self.path)
        path = urllib.parse.unquote(url.path)
        about, files = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        paths = sorted(each.relative_to(self.root).as_posix() for each in self.root.rglob("*") if each.is_file())
        if path == about or path.startswith(f"{about}/revision/"):
            if path.rpartition("/")[2] not in (self.name.partition("/")[2], "main", REVISION[:7], REVISION):
                return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            listed = [{"rfilename": each} for each in paths]
            return self._json({"id": self.name, "sha": REVISION, "tags": ["license:mit"], "siblings": listed})
        if path.startswith(f"{about}/tree/"):
            folder = path.removeprefix(f"{about}/tree/").partition("/")[2]
            below = self.root / folder
            if not below.is_dir():
                return self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return self._json([self._entry(each) for each in sorted(below.iterdir())])
        if path.startswith(files):
            file = path.removeprefix(files).partition("/")[2]
            if file not in paths:
                return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})
            content = (self.root / file).read_bytes()
            return self._answer(200, content, {"ETag": f'"{_hash(content)}"', "X-Repo-Commit": REVISION})
        return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _entry(self, path: Path) -> dict[str, Any]:
        place = path.relative_to(self.root).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": place, "oid": "0", "size": 0}
        return {"type": "file", "path": place, "oid": _hash(path.read_bytes()), "size": path.stat().st_size}

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, head: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **head}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
