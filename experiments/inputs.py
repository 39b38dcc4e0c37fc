"""What a result is computed from besides its config: dpjax's own numbers, and the bytes of plugins, data, checkpoints.

A config names files, and a file may be edited under the same name: a result is of the bytes, not of the name.
"""

import ast
import hashlib
import importlib.util
import json
import os
import site
import stat
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from dpjax._version import SAME_NUMBERS_SINCE
from dpjax.fetching.folders import checkpoint_folder
from dpjax.results.sealing import content_hash
from experiments.config import Config, DataConf
from experiments.own_data import OWN

_SETTLED_SECONDS = 2.0
"""Age from which on a file's times say whether it has changed; a younger one may change within a tick of the clock."""

_OF_CHECKPOINTS = (".json", ".safetensors", ".gguf", ".model", ".txt", ".jinja")

_known: dict[tuple[str, int, int, int, int, int], str] = {}
"""Hashes of files by path, device, inode, size and times: a sweep asks for the same checkpoint once a job."""

_imports: dict[str, dict[str, tuple[Path, str]]] = {}
"""Plugin → module that its code was seen to import → where that lies, and what it hashed to then."""


def inputs(cfg: Config, also: Iterable[str] = ()) -> dict[str, str]:
    """SHA-256 of each file that a job reads besides its config, by name.

    Formal guarantees: never raises; a file that is not there or can't be read is said to be "absent", and its job will
    say why. Data sets that dpjax pins by hash, or holds itself, are those of its version. Files of a cache are named
    after what they are a copy of, so that the same content has the same hash on every machine; modules are named by
    their path. What a plugin imports only when its functions are called is among them once this process has called
    them.

    Args:
      cfg: of the job.
      also: names of files that a row of the job says it has read.
    """
    hashes: dict[str, str] = {}
    if cfg.plugin:
        hashes |= plugin_inputs(cfg.plugin)
    hashes |= data_inputs(cfg.data)
    if cfg.model.name == "pretrained":
        hashes |= checkpoint_inputs(cfg.model.checkpoint)
        if cfg.model.task == "synthetic":
            hashes |= checkpoint_inputs(cfg.synthesis.checkpoint)
    hashes |= {name: _sha256(Path(name)) for name in also if name not in hashes}
    return dict(sorted(hashes.items()))


def digest_of(files: dict[str, str]) -> str:
    """One hash of the files that a job reads and of dpjax's own numbers.

    Args:
      files: what ``inputs`` found.

    Example:
      >>> digest_of({}) == digest_of({"mails.csv": "ab12"})
      False
    """
    return hashlib.sha256(json.dumps([SAME_NUMBERS_SINCE, files], sort_keys=True).encode()).hexdigest()[:16]


def plugin_inputs(name: str) -> dict[str, str]:
    """SHA-256 of a plugin's source and of what it imports.

    Args:
      name: path of a ``.py`` file, or a module.
    """
    return {each: _sha256(path) for each, path in plugin_files(name).items()} or {name: "absent"}


def plugin_label(name: str, files: Mapping[str, str]) -> str:
    """What a row calls a plugin: its name, and what its source and what it imports hash to.

    Args:
      name: of the plugin.
      files: what ``inputs`` found.

    Example:
      >>> plugin_label("methods/mine.py", {"methods/mine.py": "ab12"})
      'mine.py@2161ac2d'
    """
    sources = {each: files.get(each) for each in (name, *plugin_files(name))}
    return f"{Path(name).name}@{hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:8]}"


def plugin_files(name: str) -> dict[str, Path]:
    """The source of a plugin, and of what it imports from its own package or that is installed nowhere.

    Args:
      name: path of a ``.py`` file, or a module.

    Returns:
      The path as it was given, or as a row names it → the file.
    """
    return {name if each == name and name.endswith(".py") else _label(path): path for each, path in _modules(name)}


@contextmanager
def _beside(name: str) -> Iterator[None]:
    """While it lasts, a plugin's file imports what lies beside it, as a script does."""
    folder = os.path.dirname(os.path.abspath(name))
    if _package(name) or folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def own_modules(name: str) -> set[str]:
    """The modules among ``plugin_files``.

    Args:
      name: of the plugin.
    """
    with _beside(name):
        return {module for module, _ in _modules(name) if is_own(module)}


def _modules(name: str) -> list[tuple[str, Path]]:
    with _beside(name):
        return _found_from(name)


def _found_from(name: str) -> list[tuple[str, Path]]:
    package = _package(name)
    start = _source_of(name, package) if package else Path(name)
    if start is None:
        return []
    modules = {name: start} | {module: path for module, (path, _) in _imports.get(name, {}).items()}
    waiting = list(modules.values())
    while waiting:
        for module in _imported(waiting.pop()):
            path = _source_of(module, package)
            if path is not None and path.resolve() not in {known.resolve() for known in modules.values()}:
                modules[module] = path
                waiting.append(path)
    return list(modules.items())


def _package(name: str) -> str:
    return "" if name.endswith(".py") else name.partition(".")[0]


def _label(path: Path) -> str:
    """A module as a row names it: from the folder of the run on, if it lies there, so that a table can look at it."""
    whole = Path(os.path.abspath(path))
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole)


@contextmanager
def noting_imports(name: str) -> Iterator[None]:
    """While a plugin's code runs: which modules of the user's own it imports, however it does that.

    Args:
      name: of the plugin.
    """
    mine = _imports.setdefault(name, {})
    # What another plugin has brought here would be no new import of this one's.
    forget({module for other in _imports for module in _own_imports(other)} - mine.keys())
    before = set(sys.modules)
    # Python's cache of bytecode takes two edits within a second for one.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with _beside(name):
            try:
                yield
            finally:
                for module in sorted(set(sys.modules) - before):
                    path = _source_of(module, _package(name))
                    if path is not None:
                        mine[module] = (path, _sha256(path))
    finally:
        sys.dont_write_bytecode = writes


def _own_imports(name: str) -> set[str]:
    with _beside(name):
        return {module for module in _imports[name] if is_own(module)}


def noted_imports(name: str) -> dict[str, str]:
    """What the modules that a plugin's code was seen to import hashed to when it did.

    Args:
      name: of the plugin.
    """
    return {_label(path): hashed for path, hashed in _imports.get(name, {}).values()}


def is_as_imported(name: str) -> bool:
    """Whether all that a plugin's code was seen to import is as it was then.

    Args:
      name: of the plugin.
    """
    return all(_sha256(path) == hashed for path, hashed in _imports.get(name, {}).values())


def forget(modules: Iterable[str]) -> None:
    """Have modules imported anew when they are asked for next.

    Args:
      modules: their names.
    """
    for module in modules:
        parent, _, name = module.rpartition(".")
        if not str(getattr(sys.modules.get(module), "__file__", "")).endswith(".py"):
            continue  # nor can a library of C be loaded twice
        if sys.modules.pop(module, None) is not None and parent in sys.modules:
            vars(sys.modules[parent]).pop(name, None)  # or `from parent import name` would find it there


def forget_plugin(name: str) -> None:
    """Have a plugin and all that it imports read anew.

    Args:
      name: of the plugin.
    """
    forget(own_modules(name))
    _imports.pop(name, None)


def _imported(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes() if path.is_file() else b"")
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source_of(module: str, package: str) -> Path | None:
    """Where a module of one's own lies; None for what is installed, part of Python, dpjax or no module at all."""
    top = module.partition(".")[0]
    if top != package and not is_own(top):
        return None
    spec = _spec_of(module)
    return Path(spec.origin) if spec and spec.origin and os.path.isfile(spec.origin) else None


def is_own(module: str) -> bool:
    """Whether a module is the user's: neither installed nor dpjax's own, of which the version tells.

    Args:
      module: its name.

    Example:
      >>> [is_own(name) for name in ("math", "numpy.linalg", "dpjax.types", "no_such_module")]
      [False, False, False, False]
    """
    top = module.partition(".")[0]
    if top in ("dpjax", "experiments", "hydra_plugins"):
        return False
    spec = _spec_of(top)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return any(place and os.path.exists(place) and not _is_installed(Path(place)) for place in places)


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module lies, found without importing what is above it."""
    top, *below = module.split(".")
    try:
        # By the path before what was imported: another plugin may have brought a module of that name.
        spec = PathFinder.find_spec(top) or importlib.util.find_spec(top)
        for i in range(len(below)):
            places = spec and spec.submodule_search_locations
            spec = PathFinder.find_spec(".".join([top, *below[: i + 1]]), list(places)) if places else None
    except Exception:  # a finder or a module of anybody's, whatever it raises: its job will say so
        return None
    return spec


def _is_installed(path: Path) -> bool:
    installed = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in installed)


def data_inputs(data: DataConf) -> dict[str, str]:
    """SHA-256 of the files of a data set, or of its content where a cache has it; nothing where dpjax pins it.

    Args:
      data: the config's part.
    """
    from dpjax.datasets import fetched_copies, hub_copies, own, registry
    from dpjax.fetching.sources import DatasetError

    name = data.path if data.name == OWN else data.name
    try:
        if data.name == OWN and hub_copies.is_hub(name):
            _, about = hub_copies.kept_copy(name)
            place = f"{hub_copies.PREFIX}{about['repo']}@{about['revision']}"
            return {f"{place}/{split}": str(digest) for split, digest in about["sha256"].items()}
        if data.name == OWN and data.raw != "table":
            return _raw_files(data)
        if data.name == OWN:
            return _files_at(Path(name).expanduser(), name)
        if own.is_own(name) and not (location := own.parse_name(name)).on_hub:
            path = Path(location.place).expanduser()
            return _files_at(path / location.config if location.config else path, location.place)
        entry = own.find(name) if own.is_own(name) else registry.find(name)
        if entry.embedded or entry.content_sha256 is not None:
            return {}
        copy = fetched_copies.read_manifest(entry, fetched_copies.cache_folder())
    except (DatasetError, OSError):
        return {f"data {name}": "absent"}
    return {f"data {name}": str(copy["content_sha256"]) if copy else "absent"}


def _raw_files(data: DataConf) -> dict[str, str]:
    """One hash of all files of a folder of documents or a mailbox, and one of the list of their owners."""
    place = Path(data.path).expanduser()
    files = [each for each in sorted(place.rglob("*")) if each.is_file()] if place.is_dir() else []
    hashes = {data.path: _sha256(place)}
    if files:
        known = {str(each.relative_to(place)): _sha256(each) for each in files}
        hashes = {data.path: hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()}
    listed = Path(data.owners).expanduser()
    if data.owners and "{" not in data.owners and listed.is_file():
        hashes[data.owners] = _sha256(listed)
    return hashes


def _files_at(path: Path, name: str) -> dict[str, str]:
    from dpjax.datasets.own_tables.array_files import array_ending
    from dpjax.datasets.own_tables.images import image_files
    from dpjax.datasets.patterns import files_of, is_pattern
    from dpjax.datasets.row_files import ending_of

    if is_pattern(path):
        return {str(each): _sha256(each) for each in files_of(path)} or {name: "absent"}

    images = image_files(path) if path.is_dir() else []
    if images:  # one hash of all, as a row can't list thousands
        tables = [each for each in sorted(path.iterdir()) if ending_of(each.name)]
        known = {str(each.relative_to(path)): _sha256(each) for each in [*images, *tables]}
        return {name: hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()}
    if path.is_dir():
        read = (each for each in sorted(path.rglob("*")) if ending_of(each.name) or array_ending(each.name))
        files = {str(each): each for each in read}
        files = files or {str(each): each for each in sorted(path.rglob("*.txt"))}
        return {key: _sha256(each) for key, each in files.items()} or {name: "absent"}
    return {name: _sha256(path)}


def checkpoint_inputs(name: str) -> dict[str, str]:
    """SHA-256 of the files of a checkpoint.

    Args:
      name: of the checkpoint.
    """
    hashes: dict[str, str] = {}
    given = Path(name).expanduser()
    for label, path in ((name, given), (f"checkpoint {name}", checkpoint_folder(name))):
        try:
            files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
        except OSError:
            files = []
        for file in files:
            if file.suffix in _OF_CHECKPOINTS and file.is_file():
                hashes[label if file == path else f"{label}/{file.name}"] = _sha256(file)
    return hashes or {f"checkpoint {name}": "absent"}


def _sha256(path: Path) -> str:
    """Hash of a file, read once a process as long as the file system says that it has not changed since."""
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            return "absent"  # a pipe would be waited for without end
        key = (os.path.abspath(path), before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns)
        key = (*key, before.st_ctime_ns)  # which no copying of times can set back
        if key not in _known:
            digest = content_hash(path)
            if time.time() - max(before.st_mtime, before.st_ctime) < _SETTLED_SECONDS:
                return digest
            _known[key] = digest
        return _known[key]
    except OSError:
        return "absent"
