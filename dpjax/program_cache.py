"""Compiled programs kept on disk, so that what one run has compiled the next one loads. Imports JAX when it is used."""

import hashlib
import os
import platform
import stat
import threading
import warnings
from contextlib import suppress
from pathlib import Path

from dpjax.caches import cache_file, cache_folder, cache_trouble, cached_files, read_cached
from dpjax.keeping import is_left_behind, write_whole

SETTING = "DPJAX_PROGRAM_CACHE_MIB"
"""The variable of the environment that bounds the folder, in MiB; 0: no program is kept or read."""
DEFAULT_MIB = 1024
_DIGEST_BYTES = 32
_MOST_DIGITS = 12  # of a bound


class ProgramStore:
    """A folder of bounded size that JAX keeps compiled programs in, each checked before it is believed.

    Formal guarantees: what is given back is what was put under that very key with the same fingerprint, byte by byte,
    or nothing: a file that was cut off, altered or moved is removed. What can't be read or written is compiled anew,
    with one warning for all of it. Two processes may use a folder at once.

    Args:
      folder: where; it must exist.
      limit: bytes of all programs together; those used longest ago go first.
      fingerprint: of what a program must have been compiled by to be loaded.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     store = ProgramStore(Path(folder), limit=100, fingerprint="jax 1")
      ...     store.put("a", b"program")
      ...     store.get("a"), store.get("b"), ProgramStore(Path(folder), 100, "jax 2").get("a")
      (b'program', None, None)
    """

    def __init__(self, folder: Path, limit: int, fingerprint: str) -> None:
        self._path = folder  # JAX looks at it, by this name
        self._limit = limit
        self._fingerprint = fingerprint
        self._warned = False
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The program of a key, or None."""
        path = self._file(key)
        try:
            entry = read_cached(path)
            program = entry[_DIGEST_BYTES:]
            if entry[:_DIGEST_BYTES] != self._digest(key, program):
                path.unlink(missing_ok=True)
                raise ValueError("the file is damaged, and was removed")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            self._warn("read", path, problem)
            return None
        return program

    def put(self, key: str, value: bytes) -> None:
        """Keep a program; readers see all of it or none."""
        path, size = self._file(key), _DIGEST_BYTES + len(value)
        if size > self._limit:
            return
        try:
            with self._lock:
                self._make_room(size)
            write_whole(path, self._digest(key, value) + value)
        except OSError as problem:
            self._warn("written", path, problem)

    def file_cache(self, path: str) -> tuple["ProgramStore", str]:
        """What JAX asks for when it wants its cache, whatever the path."""
        return self, path

    def _make_room(self, size: int) -> None:
        files = []
        for path in cached_files(self._path, "programs"):
            with suppress(FileNotFoundError):  # another process makes room too
                facts = path.stat()
                # What a killed writer left goes first; what another writes at this moment stays.
                whole, left = not path.name.startswith("."), is_left_behind(path)
                files.append((whole, facts.st_mtime, facts.st_size, path, whole or left))
        excess = size + sum(length for _, _, length, _, _ in files) - self._limit
        for whole, _, length, path, may_go in sorted(files):
            if may_go and (excess > 0 or not whole):
                path.unlink(missing_ok=True)
                excess -= length

    def _file(self, key: str) -> Path:
        return cache_file(self._path, "programs", f"{self._fingerprint}\n{key}")

    def _digest(self, key: str, program: bytes) -> bytes:
        return hashlib.sha256(f"{self._fingerprint}\n{key}\n".encode() + program).digest()

    def _warn(self, done: str, path: Path, problem: Exception) -> None:
        if not self._warned:
            self._warned = True
            _warn(path, done, problem)


def keep_programs() -> Path | None:
    """Let JAX keep what it compiles in the user's cache folder, for the rest of this process.

    For the entry points of programs, which own their process: a library that is imported sets nothing. Who has set
    JAX's own ``jax_compilation_cache_dir``, or turned its cache off, keeps that.

    Formal guarantees: results are those of a run without it, to the bit: a program is loaded for the same computation,
    versions of jax and jaxlib, flags and processor only. A program holds no data but what is a constant in it.

    Returns:
      The folder; None where nothing is kept, which is said in one warning unless it was asked for.

    Raises:
      ValueError: ``DPJAX_PROGRAM_CACHE_MIB`` is no size.
    """
    limit = program_limit()
    if limit == 0:
        return None
    import jax
    from jax._src import compilation_cache

    folder = cache_folder("programs")
    kept = getattr(getattr(compilation_cache, "get_file_cache", None), "__self__", None)
    if isinstance(kept, ProgramStore) and jax.config.jax_compilation_cache_dir == str(folder):
        return folder  # this was called before
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_own(folder)
    except OSError as problem:
        _warn(folder, "used", problem)
        return None
    if not hasattr(compilation_cache, "get_file_cache"):  # its one seam, and none that JAX has promised
        _warn(folder, "used", ValueError(f"jax {jax.__version__} lets nobody else keep its programs"))
        return None
    store = ProgramStore(folder, limit, _fingerprint())
    compilation_cache.reset_cache()
    setattr(compilation_cache, "get_file_cache", store.file_cache)  # noqa: B010  pyright knows its type
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # small programs are many
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # XLA's own folders know no bound
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def program_limit() -> int:
    """How many bytes of programs are kept at most, as the environment says; 0: none.

    Raises:
      ValueError: ``DPJAX_PROGRAM_CACHE_MIB`` is no size.

    Example:
      >>> program_limit() // 2**20
      1024
    """
    text = os.environ.get(SETTING, "").strip() or str(DEFAULT_MIB)
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        shown = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}…"
        raise ValueError(f"{SETTING}={shown!r} is no size; give whole MiB, such as {DEFAULT_MIB}, or 0 to keep none.")
    return int(text) * 2**20


def _check_own(folder: Path) -> None:
    """Programs are code: nobody else may have put them there."""
    facts = folder.stat()
    if hasattr(os, "getuid") and facts.st_uid != os.getuid():
        raise PermissionError("it belongs to another user")
    if os.name == "posix" and facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError("others may write to it: chmod go-w")


def _fingerprint() -> str:
    """What a program must have been compiled by: more than JAX's own key holds.

    A CPU's program differs with the threads that XLA has, which are as many as the cores or as ``NPROC`` says.

    Example:
      >>> "jax" in _fingerprint()
      True
    """
    import jax
    import jaxlib.version

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = [f"{name}={os.environ.get(name, '')}" for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NPROC")]
    return "\n".join(
        [f"jax {jax.__version__}", f"jaxlib {jaxlib.version.__version__}", *flags, f"{cores} cores", _processor()]
    )


def _processor() -> str:
    """The processor and what it can do: a home folder may be shared by machines of several kinds."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        known = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
        if known:
            return "\n".join(sorted(set(known)))
    return f"{platform.machine()} {platform.processor()}"


def _warn(path: Path, done: str, problem: Exception) -> None:
    warnings.warn(cache_trouble("program cache", path, done, problem), stacklevel=3)
