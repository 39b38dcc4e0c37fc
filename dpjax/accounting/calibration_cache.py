"""Calibrations kept on disk: one small file each, written whole or not at all, never a reason to fail."""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import asdict
from functools import cache
from pathlib import Path

from dpjax.accounting.mechanism import Mechanism
from dpjax.caches import cache_file, cache_folder, cache_trouble, read_cached
from dpjax.keeping import write_whole

SCHEMA = 1  # raise it whenever a calibration may come out different


class CalibrationCache:
    """A folder of calibrated noise multipliers. What cannot be read or written is recomputed, with one warning."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = Path(folder) if folder is not None else cache_folder("calibration")
        self._warned = False

    def load(self, key: str) -> float | None:
        """The noise multiplier stored under a key, or None."""
        path = self._path(key)
        try:
            entry = json.loads(read_cached(path))
            value = entry["noise_multiplier"]
            if entry["key"] != key or not isinstance(value, float) or not 0 < value < math.inf:
                raise ValueError("not a calibration of this mechanism")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            self._warn("read", path, problem)
            return None
        return value

    def refuse(self, key: str, why: str) -> None:
        """Warn that what is stored under a key is not believed; it is computed and written anew."""
        self._warn("believed", self._path(key), ValueError(why))

    def store(self, key: str, noise_multiplier: float) -> None:
        """Write one calibration; readers see the old file or the new one, never a part."""
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"key": key, "noise_multiplier": noise_multiplier}).encode())
        except OSError as problem:
            self._warn("written", path, problem)

    def _path(self, key: str) -> Path:
        return cache_file(self.folder, "calibration", key)

    def _warn(self, done: str, path: Path, problem: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(cache_trouble("calibration cache", path, done, problem), stacklevel=4)


def calibration_key(mechanism: Mechanism, *, epsilon: float, delta: float, accountant: str) -> str:
    """Everything a calibration depends on, as JSON text."""
    fields = {name: value for name, value in asdict(mechanism).items() if name != "noise_multiplier"}
    fields |= fields.pop("sampling") | {"sampling": mechanism.sampling.name}
    for name in ("abort_probability", "released"):
        if not fields[name]:
            del fields[name]  # calibrations of before there was one stay valid
    asked = {"epsilon": float(epsilon), "delta": float(delta), "accountant": accountant}
    return json.dumps(fields | asked | {"dp_accounting": _version(), "schema": SCHEMA}, sort_keys=True)


@cache
def _version() -> str:
    from importlib import metadata

    return metadata.version("dp-accounting")
