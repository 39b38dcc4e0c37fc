"""A report that follows a sweep: one page on this machine alone, and the news that it asks for."""

import datetime
import hashlib
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, cast

from dpjax.report.contents import gather
from dpjax.report.packing import pack
from dpjax.report.page import as_json, render
from dpjax.report.sweep_state import PROGRESS_FILE, Progress
from dpjax.results.errors import ResultsError
from dpjax.results.failures import FAILURE_FILE
from dpjax.results.result_files import JOB_FILE

HOST = "127.0.0.1"
_REST = 5  # times as long as it took to read a folder, before it is read again: the sweep needs the processor


class Snapshot(NamedTuple):
    """A folder as it was at some moment.

    Attributes:
      version: changes when the contents do.
      page: the whole page, HTML.
      contents: the page's data alone, JSON.
      progress: of the sweep.
      taken: when, by the monotonic clock, in seconds.
    """

    version: str
    page: bytes
    contents: bytes
    progress: Progress | None
    taken: float


def serve(directory: Path | str, port: int, announce: Callable[[str], None] = print) -> None:
    """Serves a folder's report on the loopback interface until Ctrl-C.

    Formal guarantees: no other machine can reach it, nor a page of another site by a name that leads here; it answers
    with the report and nothing else, and writes nothing.

    Args:
      directory: a sweep's folder, running or not.
      port: 0 takes a free one.
      announce: is told the address.

    Raises:
      ResultsError: there is no such folder, or the port is taken.

    Example:
      >>> serve("/nowhere", 0)
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    with make_server(directory, port) as server:
        announce(f"http://{HOST}:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def make_server(directory: Path | str, port: int) -> ThreadingHTTPServer:
    """The server of ``serve``, bound and ready; whoever made it runs and closes it.

    Args:
      directory: a sweep's folder.
      port: 0 takes a free one.

    Raises:
      ResultsError: there is no such folder, or the port is taken.

    Example:
      >>> make_server("/nowhere", 0)
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    look = _follower(Path(directory))
    look()
    try:
        server = ThreadingHTTPServer((HOST, port), _handler(look))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ResultsError(
            f"--port {port} cannot be served on ({reason}): choose another, or 0 for a free one"
        ) from error
    server.daemon_threads = True  # a browser that keeps a connection open must not keep Ctrl-C waiting
    return server


def _follower(root: Path) -> Callable[[], Snapshot]:
    """A function that gives the latest snapshot, read again only if a file has changed."""
    lock = threading.Lock()
    last: tuple[object, Snapshot, float] | None = None

    def look() -> Snapshot:
        nonlocal last
        with lock:
            began = time.monotonic()
            if last is not None and began < last[1].taken + _REST * last[2]:
                return last[1]
            mark = _mark(root)
            if last is not None and last[0] == mark:
                return last[1]
            try:
                taken = _take(root)
            except (ResultsError, OSError):
                if last is None:
                    raise
                return last[1]  # the folder is being moved or cleared: what was seen last stays
            last = (mark, taken, taken.taken - began)
            return taken

    return look


def _mark(root: Path) -> object:
    names = {JOB_FILE, FAILURE_FILE, PROGRESS_FILE, "results.parquet", "results.json"}
    paths = []
    for path in root.rglob("*.*") if root.is_dir() else [root]:
        if path.name in names or path == root:
            try:
                stat = path.stat()
            except OSError:
                continue
            paths.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(sorted(paths))


def _take(root: Path) -> Snapshot:
    now = datetime.datetime.now(datetime.UTC)
    contents = gather(root, now)
    packed = pack(contents, now.isoformat(timespec="seconds"))
    content = as_json({name: value for name, value in packed.items() if name not in ("made", "progress")})
    version = hashlib.sha256(content.encode()).hexdigest()[:16]
    packed |= {"version": version, "watching": True}
    page = render(packed, is_watching=True)
    return Snapshot(version, page.encode(), as_json(packed).encode(), contents.progress, time.monotonic())


def _status(snapshot: Snapshot) -> bytes:
    going = snapshot.progress
    progress = None
    if going is not None:
        left = going.seconds_left
        left = None if left is None else max(1.0, left - (time.monotonic() - snapshot.taken))
        progress = {**going._asdict(), "seconds_left": left, "pending": []}
    return as_json({"version": snapshot.version, "progress": progress}).encode()


def _handler(look: Callable[[], Snapshot]) -> type[BaseHTTPRequestHandler]:
    answers: dict[str, tuple[str, Callable[[Snapshot], bytes]]] = {
        "/": ("text/html; charset=utf-8", lambda snapshot: snapshot.page),
        "/contents.json": ("application/json", lambda snapshot: snapshot.contents),
        "/status.json": ("application/json", _status),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A name of another site that resolves to this machine must not read the results.
            port = cast(ThreadingHTTPServer, self.server).server_port
            if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
                return self.send_error(HTTPStatus.FORBIDDEN)
            kind, answer = answers.get(self.path.partition("?")[0], ("", None))
            if answer is None:
                return self.send_error(HTTPStatus.NOT_FOUND)
            body = answer(look())
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: a page asks every second."""

    return Handler
