"""How much memory there is, how much a program has used, and what an error says of it."""

import os
from typing import Any

import jax

from benchmarks.step_time.timing import one_line

SIGNS = ("resource_exhausted", "out of memory", "memoryerror", "bad_alloc")


class DoesNotFit(MemoryError):
    """What is known to need more memory than there is, before it is tried."""


def gibibytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _stats() -> dict[str, int]:
    try:
        return jax.devices()[0].memory_stats() or {}
    except (RuntimeError, NotImplementedError):
        return {}


def device_bytes() -> float:
    """What a program may take: the allocator's limit, or half of the machine's memory where a CPU has none."""
    limit = _stats().get("bytes_limit", 0)
    return float(limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2)


def peak_bytes() -> int | None:
    """The most that has been in use at once since the process began; None where the device does not count."""
    return _stats().get("peak_bytes_in_use")


def risen(before: int | None) -> dict[str, int]:
    """The high-water mark, if it rose: only then it is that of what ran since, as the process has but one."""
    after = peak_bytes()
    return {"peak_bytes": after} if before is not None and after is not None and after > before else {}


def failure(error: BaseException) -> dict[str, Any]:
    """A row that says in one sentence why there are no numbers."""
    if isinstance(error, DoesNotFit):
        return {"error": str(error), "out_of_memory": True}
    if isinstance(error, ModuleNotFoundError):
        return {"error": f"{error.name} is not installed here."}
    line = one_line(error)
    if any(sign in f"{type(error).__name__} {error}".lower() for sign in SIGNS):
        return {"error": f"It ran out of memory ({line}).", "out_of_memory": True}
    return {"error": line if line.endswith(".") else f"{line}."}
