"""Units that stay on disk: a step's cohort is read while the step before it runs, so that no more is in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from dpjax.checks import brief, function, whole_number
from dpjax.types import Cohort

_AHEAD = 16
"""Cohorts read ahead and not asked for yet, above which the oldest is forgotten: a few for each lane under way."""


class _Reader:
    """Reads cohorts in a thread of its own, one step ahead of who asks for them."""

    def __init__(self, take: Callable[[Any], PyTree]):
        self._take = take
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cohorts")
        self._lock = threading.Lock()
        self._ahead: OrderedDict[bytes, Future[PyTree]] = OrderedDict()
        self.failed: Exception | None = None

    def read(self, asked: Any) -> PyTree:
        """The units of one cohort, ``asked[0]``; those of the next, ``asked[1]``, are begun with."""
        rows, ahead = np.array(asked)
        with self._lock:
            begun = self._ahead.pop(rows.tobytes(), None)
        # A cohort that nobody has begun with is read here: behind others of the thread it would wait for them.
        try:
            units = self._cohort(rows) if begun is None else begun.result()
        except Exception as error:
            self.failed = error
            raise
        self._begin(ahead)
        return units

    def _begin(self, rows: np.ndarray) -> None:
        with self._lock:
            name = rows.tobytes()
            if name not in self._ahead:
                self._ahead[name] = self._pool.submit(self._cohort, rows)
            while len(self._ahead) > _AHEAD:
                self._ahead.popitem(last=False)[1].cancel()

    def _cohort(self, rows: np.ndarray) -> PyTree:
        """Units in their slots; what is in an empty one is 0."""
        filled = np.flatnonzero(rows >= 0)
        found = self._take(rows[filled].astype(np.int64))

        def place(values: np.ndarray) -> np.ndarray:
            slots = np.zeros((len(rows), *values.shape[1:]), values.dtype)
            slots[filled] = values
            return slots

        return jax.tree.map(place, found)


@dataclass(frozen=True, eq=False)
class StoredUnits:
    """A population that is read as it is drawn, in the place of its arrays.

    Formal guarantees: none of privacy; who is drawn is decided before anything is read, from the key and the step. A
    run gives the numbers that it gives on the same units in memory, up to rounding: of 64 bits, which JAX holds with
    ``jax_enable_x64`` only, 32 are kept, and a number that they can't hold ends the run. What is read ahead, and when,
    shows on the disk who was drawn: keep that as secret as the sampling.

    Attributes:
      like: pytree of one unit's shapes and dtypes, such as ``{"x": jax.ShapeDtypeStruct((64,), np.float32)}``.
      size: how many units there are.
      take: ``take(rows) -> pytree``: NumPy arrays ``[len(rows), ...]`` of the units of those numbers, ``int64``,
        ascending or not. Called in a thread, at most once at a time in it and once in each lane.

    Raises:
      TypeError: ``take`` that is no function, or ``like`` without a leaf.
      ValueError: ``size`` below 1.

    Example:
      >>> rows = np.arange(20.0, dtype=np.float32).reshape(10, 2)
      >>> units = StoredUnits(jax.ShapeDtypeStruct((2,), np.float32), 10, lambda index: rows[index])
      >>> cohort = units.cohort(jnp.array([3, 0]), jnp.array([True, False]), jnp.array([1, 2]), jnp.array([True, True]))
      >>> print(cohort.units)
      [[6. 7.]
       [0. 0.]]
    """

    like: PyTree[jax.ShapeDtypeStruct]
    size: int
    take: Callable[[Any], PyTree]
    _reader: _Reader = field(init=False, repr=False)

    def __post_init__(self):
        function("take", self.take, fix="it takes the numbers of units to their arrays", takes=1)
        whole_number("size", self.size, fix="it counts the units")
        leaves = jax.tree.leaves(self.like)
        if not leaves or not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
            raise TypeError(
                f"like={brief(self.like)} must hold one unit's shapes and dtypes; give a jax.ShapeDtypeStruct a leaf."
            )
        object.__setattr__(self, "_reader", _Reader(self._checked))

    def _checked(self, rows: np.ndarray) -> PyTree:
        """What was taken, which is nothing else than what is said in ``like``."""
        found = self.take(rows)

        def check(spec: Any, values: Any) -> np.ndarray:
            if values.shape != (len(rows), *spec.shape) or values.dtype != np.dtype(spec.dtype):
                raise ValueError(
                    f"take gave {values.dtype}{list(values.shape)} for {len(rows)} units where like says "
                    f"{np.dtype(spec.dtype)}{[len(rows), *spec.shape]}; make both the same."
                )
            return values

        return jax.tree.map(check, self.like, found)

    def cohort(
        self,
        rows: Int[Array, "slots"],
        mask: Bool[Array, "slots"],
        next_rows: Int[Array, "slots"],
        next_mask: Bool[Array, "slots"],
    ) -> Cohort:
        """The units of a cohort, under jit too; those of the next are read meanwhile.

        Args:
          rows: ``[slots]`` numbers of the units.
          mask: ``[slots]`` which slots are filled; the others are 0.
          next_rows, next_mask: of the cohort after it.

        Raises:
          ValueError: from ``take``, whose arrays are not what ``like`` says, or hold whole numbers of 64 bits where JAX
            has 32; as JAX's error of a callback, but within ``plainly``.
        """
        shapes = jax.tree.map(
            lambda spec: jax.ShapeDtypeStruct((len(rows), *spec.shape), jax.dtypes.canonicalize_dtype(spec.dtype)),
            self.like,
        )
        asked = jnp.stack([jnp.where(mask, rows, -1), jnp.where(next_mask, next_rows, -1)])

        def read(asked: Any) -> PyTree:
            return jax.tree.map(lambda values, shape: _narrowed(values, shape.dtype), self._reader.read(asked), shapes)

        units = jax.pure_callback(read, shapes, asked, vmap_method="sequential")
        return Cohort(jax.tree.map(jnp.asarray, units), mask)

    def plainly[Result](self, run: Callable[[], Result]) -> Result:
        """What ``run`` gives, which reads these units; an error of ``take`` is raised as it is, and not as JAX's own.

        Args:
          run: takes nothing and gives arrays; where they are traced nothing is waited for, and nothing is changed.
        """
        self._reader.failed = None
        try:
            found = run()
            if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(found)):
                jax.block_until_ready(found)
        except jax.errors.JaxRuntimeError:
            if self._reader.failed is None:
                raise
            raise self._reader.failed from None
        return found


def _narrowed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers as JAX holds them: as it makes them of arrays in memory, but none becomes another without a word."""
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype)
    is_float = np.issubdtype(dtype, np.inexact)
    lost = np.isfinite(values) & ~np.isfinite(narrow) if is_float else narrow.astype(values.dtype) != values
    if lost.any():
        raise ValueError(
            f"a unit holds {values[lost][0]}, which {dtype} can't; store it smaller, or run with jax_enable_x64."
        )
    return narrow
