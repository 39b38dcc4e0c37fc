"""Tables of the hub by name: fetched once, with the revision that they are of; then read like files of one's own."""

import datetime
import hashlib
import json
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from dpjax.datasets import hub, tables
from dpjax.datasets.entries import HubSource
from dpjax.datasets.fetched_copies import cache_folder
from dpjax.datasets.row_files import read_file
from dpjax.fetching.folders import workspace_in
from dpjax.fetching.sources import DatasetError, Progress

PREFIX = "hub:"
_KEYS = ("config", "revision", "test")
_TRAINS = ("train", "training")
_ABOUT = "source.json"


class HubTables(NamedTuple):
    """What a name says of tables on the hub.

    Attributes:
      repo: ``owner/name``.
      config: which of the repository's data sets; None: it holds one.
      revision: that is asked for; None: the newest when it is fetched.
      test: split that tests; None: ``test``, else ``validation`` and the like.
    """

    repo: str
    config: str | None = None
    revision: str | None = None
    test: str | None = None


def is_hub(path: str) -> bool:
    """Whether a path names tables of the hub, and nothing here is called so.

    Args:
      path: as the config says it.

    Example:
      >>> is_hub("hub:owner/name"), is_hub("patients.csv")
      (True, False)
    """
    return path.startswith(PREFIX) and not os.path.exists(path)


def parse_path(path: str) -> HubTables:
    """Reads ``hub:owner/name``, and after a question mark ``config=``, ``revision=`` and ``test=``, joined by ``&``.

    Args:
      path: as the config says it.

    Raises:
      DatasetError: it says something else.

    Example:
      >>> parse_path("hub:owner/name?config=en&test=validation")
      HubTables(repo='owner/name', config='en', revision=None, test='validation')
    """
    repo, _, query = path.removeprefix(PREFIX).partition("?")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise DatasetError(f"data.path={path!r} names no repository; write hub:owner/name")
    said: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in _KEYS or not value or key in said:
            raise DatasetError(
                f"data.path={path!r} says {part!r}; after '?' come config=, revision= and test=, each once; columns "
                "are named by data.label, data.unit and the like"
            )
        said[key] = unquote(value)
    return HubTables(repo, said.get("config"), said.get("revision"), said.get("test"))


def fetch_tables(
    path: str,
    *,
    source: str = "hub",
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Fetches all splits of a repository of the hub as they are, into the cache.

    Formal guarantees: what is kept is whole, hashed, and says its revision; a failure leaves nothing behind.

    Args:
      path: see ``parse_path``.
      source: ``hub``; or the path of a folder that is a copy of the repository.
      cache_dir: folder of fetched data sets; None: ``DPJAX_DATA_DIR`` or the user's cache folder.
      progress: told each step; None: silent.
      force: fetch again even if there is a copy.

    Returns:
      The folder with a Parquet file for each split.

    Raises:
      DatasetError: no network, no such repository or revision, or no tables in it.
    """
    from pyarrow import parquet

    asked, cache = parse_path(path), cache_folder(cache_dir)
    target = _folder(asked, cache)
    if (target / _ABOUT).is_file() and not force and source == "hub":
        return target
    if source != "hub" and not Path(source).is_dir():
        raise DatasetError(f"data.source={source!r} must be hub, or a folder that is a copy of {asked.repo}")
    local = source != "hub"
    repo = HubSource(source if local else asked.repo, config=asked.config)
    told = progress or (lambda message, fraction: None)
    try:
        splits, revision, licence = hub.read_hub_tables(repo, told, revision=asked.revision)
    except DatasetError as error:
        fix = "" if local else "; or hand over a copy of the repository with --source FOLDER"
        raise DatasetError(f"data.path={path!r} could not be fetched: {error}{fix}") from error
    told(
        f"licence of {asked.repo}: {licence or 'unknown to dpjax; look where it comes from before you pass it on'}",
        None,
    )
    with workspace_in(cache, "tables") as workspace:
        copy = workspace / "copy"
        copy.mkdir()
        hashes = {}
        for split, table in splits.items():
            parquet.write_table(table, copy / f"{split}.parquet")
            hashes[split] = hashlib.sha256((copy / f"{split}.parquet").read_bytes()).hexdigest()
        about = {"repo": asked.repo, "config": asked.config, "revision": revision, "licence": licence, "sha256": hashes}
        about["fetched"] = datetime.datetime.now(datetime.UTC).date().isoformat()
        (copy / _ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        copy.rename(target)
    return target


def read_kept(path: str, encoding: str | None = None) -> dict[str, Any]:
    """The training split of a fetched repository, and the one that tests. It never touches the network.

    Args:
      path: see ``parse_path``.
      encoding: None; these files say it themselves.

    Returns:
      Split → ``pyarrow.Table``; one split where there is one.

    Raises:
      DatasetError: not fetched, changed since, or without the split that is asked for.
    """
    asked, where = parse_path(path), f"data.path={path!r}:"
    if encoding:
        raise DatasetError(f"{where} data.encoding={encoding} is decided by the hub; leave it out")
    folder, about = kept_copy(path)
    names = list(about["sha256"])
    train = next((name for name in _TRAINS if name in names), names[0] if len(names) == 1 else None)
    if train is None:
        raise DatasetError(f"{where} no split is called train (it has {', '.join(names)}); save one of its files here")
    if asked.test is not None and (asked.test not in names or asked.test == train):
        raise DatasetError(f"{where} no split to test on is called {asked.test!r} (it has {', '.join(names)})")
    test = asked.test or next((name for name in tables.TESTS if name in names), None)
    if left := [name for name in names if name not in (train, test)]:
        warnings.warn(f"{path}: its splits {', '.join(left)} are not read", stacklevel=2)
    read = {}
    for role, name in (("train", train), ("test", test)):
        if name is not None:
            file = folder / f"{name}.parquet"
            content = file.read_bytes() if file.is_file() else b""
            if hashlib.sha256(content).hexdigest() != about["sha256"][name]:
                raise DatasetError(
                    f"{where} {file.name} in the cache was changed or cut short; fetch it again with {_command(path)} "
                    "--force`"
                )
            read[role] = read_file(file)
    return read


def kept_copy(path: str, cache_dir: str | os.PathLike[str] | None = None) -> tuple[Path, dict[str, Any]]:
    """Where a fetched repository lies, and what is known of it.

    Args:
      path: see ``parse_path``.
      cache_dir: see ``fetch_tables``.

    Returns:
      The folder, and ``repo``, ``revision``, ``licence``, and ``sha256`` of each split's file.

    Raises:
      DatasetError: it is not fetched.
    """
    folder = _folder(parse_path(path), cache_folder(cache_dir))
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        if not about["sha256"] or not about["revision"]:
            raise ValueError("empty")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"data.path={path!r} is not on this machine; fetch it with {_command(path)}`, or name a file that is here"
        ) from error
    return folder, about


def _command(path: str) -> str:
    query = "&".join(part for part in path.partition("?")[2].split("&") if part and not part.startswith("test="))
    name = path.partition("?")[0] + (f"?{query}" if query else "")
    return f"`dpjax data fetch-tables '{name}'" if query else f"`dpjax data fetch-tables {name}"


def _folder(asked: HubTables, cache: Path) -> Path:
    parts = [asked.repo.replace("/", "--"), *(each for each in (asked.config, asked.revision) if each)]
    known = "+".join(re.sub(r"[^\w.-]", "-", each) for each in parts)
    digest = hashlib.sha256(repr(asked[:3]).encode()).hexdigest()[:8]  # names that are spelt alike stay apart
    return cache / f"tables-{known}-{digest}"
