"""Where parameters enter a program, and what each of these places needs for a unit's gradient."""

from typing import Any, NamedTuple

from jax.lax import GatherScatterMode

from dpjax.clipping.one_pass.views import View
from dpjax.clipping.program import Equation

Label = tuple[str, int]
"""An axis: ``("w", i)`` is axis i of the place's base; ``("s", i)`` is summed over (positions, time)."""


class Place(NamedTuple):
    """One equation's output where a parameter enters; the tap is added there.

    A unit's gradient of the base is ``sign × Σ_s left ⊗ right`` with the cotangent of the tap as the right factor.

    Attributes:
      kind: ``"dot"``, ``"add"``, ``"scale"``, ``"gather"``, or ``"enter"``: the parameter itself, made per-unit.
      primitive: name of the equation's operation.
      view: how the operand comes from the parameter.
      shape: of the tap, for one unit.
      dtype: of the tap.
      left: labels of the saved operand's axes; None if there is none (it is 1). Of a gather, of the indices' axes.
      right: labels of the tap's axes.
      sign: +1 or −1.
      table_axis: of a gather, the label of the axis that the indices pick from.
      depth: how many scans surround the place; that many axes come before the unit axis in what is saved.
      mode: out-of-range rule of a gather.
      reason: why an ``"enter"`` place is one.
    """

    kind: str
    primitive: str
    view: View
    shape: tuple[int, ...]
    dtype: Any
    left: tuple[Label, ...] | None
    right: tuple[Label, ...]
    sign: float = 1.0
    table_axis: Label | None = None
    depth: int = 0
    mode: Any = None
    reason: str = ""


class Labels:
    """A supply of labels; fresh ones are summed over."""

    def __init__(self) -> None:
        self.count = 0

    def fresh(self) -> Label:
        """A label for an axis that the parameter does not have."""
        self.count += 1
        return ("s", self.count - 1)

    def of(self, axis: int | None) -> Label:
        """The label of a base axis, or a fresh one."""
        return self.fresh() if axis is None else ("w", axis)


def _dot(labels: Labels, eqn: Equation, position: int, view: View) -> tuple[Place, int]:
    (contract, batch) = eqn.params["dimension_numbers"]
    other = 1 - position
    operands = [v.aval for v in eqn.invars]
    weight: list[Label] = [labels.of(a) for a in view.axes]
    left: list[Label | None] = [None] * operands[other].ndim
    for mine, theirs in ((contract[position], contract[other]), (batch[position], batch[other])):
        for m, t in zip(mine, theirs, strict=True):
            left[t] = weight[m]
    data = [label if label is not None else labels.of(None) for label in left]
    sides = {position: weight, other: data}
    used = [{*contract[i], *batch[i]} for i in (0, 1)]
    right = [sides[0][i] for i in batch[0]]
    right += [sides[i][axis] for i in (0, 1) for axis in range(operands[i].ndim) if axis not in used[i]]
    out = eqn.outvars[0].aval
    return Place("dot", "dot_general", view, out.shape, out.dtype, tuple(data), tuple(right)), other


def _add_place(labels: Labels, eqn: Equation, position: int, view: View) -> tuple[Place, None]:
    out = eqn.outvars[0].aval
    sign = -1.0 if eqn.primitive.name == "sub" and position == 1 else 1.0
    right = _over(labels, view, eqn.invars[position].aval.shape, out.shape)
    return Place("add", eqn.primitive.name, view, out.shape, out.dtype, None, right, sign), None


def _scale(labels: Labels, eqn: Equation, position: int, view: View) -> tuple[Place, int]:
    out, data = eqn.outvars[0].aval, eqn.invars[1 - position].aval
    right = _over(labels, view, eqn.invars[position].aval.shape, out.shape)
    # Where the data is spread over an axis, its own axis of length 1 is no axis of the product.
    left = tuple(label if n == m else labels.fresh() for label, n, m in zip(right, data.shape, out.shape, strict=False))
    return Place("scale", "mul", view, out.shape, out.dtype, left, right), 1 - position


def _over(labels: Labels, view: View, shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[Label, ...]:
    """Labels of an elementwise output; axes over which the operand is spread are summed."""
    axes = view.axes if len(shape) == len(out) else (None,) * len(out)
    spread = shape if len(shape) == len(out) else (1,) * len(out)
    return tuple(labels.of(a if n == m else None) for a, n, m in zip(axes, spread, out, strict=True))


def _gather(labels: Labels, eqn: Equation, position: int, view: View) -> tuple[Place, int] | None:
    """Rows of a table picked by one index: an embedding."""
    if position != 0:
        return None
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    table, indices = eqn.invars[0].aval, eqn.invars[1].aval
    axes = numbers.collapsed_slice_dims
    if len(axes) != 1 or numbers.start_index_map != axes or numbers.operand_batching_dims or indices.shape[-1:] != (1,):
        return None
    (axis,) = axes
    if any(size != n for i, (size, n) in enumerate(zip(sizes, table.shape, strict=True)) if i != axis):
        return None
    if view.axes[axis] is None:
        return None
    weight = [labels.of(a) for a in view.axes]
    positions = [labels.of(None) for _ in indices.shape[:-1]]
    out = eqn.outvars[0].aval
    rest, free = iter(label for i, label in enumerate(weight) if i != axis), iter(positions)
    right = tuple(next(rest) if i in numbers.offset_dims else next(free) for i in range(out.ndim))
    mode = GatherScatterMode.from_any(eqn.params["mode"])
    place = Place("gather", "gather", view, out.shape, out.dtype, tuple(positions), right)
    return place._replace(table_axis=weight[axis], mode=mode), 1


def _row(labels: Labels, eqn: Equation, position: int, view: View) -> tuple[Place, int] | None:
    """One row of a table at an index that depends on the unit."""
    table, sizes = eqn.invars[0].aval, eqn.params["slice_sizes"]
    moving = [i for i, (size, n) in enumerate(zip(sizes, table.shape, strict=True)) if size != n]
    if position != 0 or len(moving) != 1 or sizes[moving[0]] != 1 or view.axes[moving[0]] is None:
        return None
    (axis,) = moving
    right = tuple(labels.of(None if i == axis else a) for i, a in enumerate(view.axes))
    out = eqn.outvars[0].aval
    place = Place("gather", "dynamic_slice", view, out.shape, out.dtype, (), right)
    return place._replace(table_axis=labels.of(view.axes[axis]), mode=GatherScatterMode.CLIP), 1 + axis


MAKERS = {
    "dot_general": _dot,
    "add": _add_place,
    "add_any": _add_place,
    "sub": _add_place,
    "mul": _scale,
    "gather": _gather,
    "dynamic_slice": _row,
}
"""Operation → ``maker(labels, equation, operand position, view)`` → (place, operand to save), or None."""
