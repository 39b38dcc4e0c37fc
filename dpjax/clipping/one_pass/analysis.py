"""One pass over a program: which values are parameters, and at which equations they meet a unit's data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

from dpjax.clipping.one_pass.places import MAKERS, Label, Labels, Place
from dpjax.clipping.one_pass.views import View, follow, solid, stepped, whole_leaf
from dpjax.clipping.program import REMAT, Equation, aval, open_jaxpr, scan_arguments


class Entry(NamedTuple):
    """What the evaluation does at an equation: enter parameters as per-unit values, then tap the output.

    ``enters`` maps operand positions to the places made there; ``tap`` is a place of the output; ``inner`` is the
    level of a body whose places follow.
    """

    enters: tuple[tuple[int, int], ...] = ()
    tap: int | None = None
    saved: int | None = None
    inner: "Level | None" = None
    first: int = 0


class Level(NamedTuple):
    """A jaxpr analysed: its places in the order they are met, and what to do at which equation.

    Attributes:
      entries: equation number → Entry; equations that are missing are evaluated as they are.
      outputs: output position → place, for outputs that are parameters themselves.
      derived: variables that are computed from parameters alone, in no norm-keeping way, and are used as weights;
        they count as parameters ``num_roots, num_roots + 1, …``.
    """

    jaxpr: Jaxpr
    places: tuple[Place, ...]
    entries: dict[int, Entry]
    outputs: dict[int, int]
    derived: tuple[Any, ...]
    num_roots: int


class Derived(NamedTuple):
    """A value computed from parameters alone, not by a norm-keeping path."""

    roots: frozenset[int]


class _Unsupported(Exception):
    """A parameter enters a body in a way only materialising it outside can serve."""

    def __init__(self, operands: set[int]):
        super().__init__()
        self.operands = operands


DATA, CONSTANT = "data", "constant"
Tag = View | Derived | str


def analyse(jaxpr: Jaxpr, num_params: int) -> Level:
    """The places of a flat program: its first ``num_params`` inputs are parameters, its first output is the loss."""
    tags: list[Tag] = [
        whole_leaf(i, tuple(aval(v).shape)) if i < num_params else DATA for i, v in enumerate(jaxpr.invars)
    ]
    wanted = [i == 0 for i in range(len(jaxpr.outvars))]
    return _Analysis(jaxpr, tags, wanted, num_params, outermost=True).level()


class _Analysis:
    """One pass over a jaxpr; a class only because the pass carries five growing tables."""

    def __init__(self, jaxpr: Jaxpr, inputs: Sequence[Tag], wanted: Sequence[bool], num_roots: int, *, outermost: bool):
        self.jaxpr, self.num_roots, self.outermost = jaxpr, num_roots, outermost
        self.tags: dict[Any, Tag] = dict.fromkeys(jaxpr.constvars, CONSTANT)
        self.tags.update(zip(jaxpr.invars, inputs, strict=True))
        self.places: list[Place] = []
        self.entries: dict[int, Entry] = {}
        self.derived: list[Any] = []
        self.labels = Labels()
        self.unsupported: set[int] = set()
        self.live = _live_variables(jaxpr, wanted)
        self.wanted = wanted

    def level(self) -> Level:
        for number, eqn in enumerate(self.jaxpr.eqns):
            self._visit(number, eqn)
        outputs = {}
        for i, v in enumerate(self.jaxpr.outvars):
            if self.wanted[i] and isinstance(self.tag(v), View | Derived):
                outputs[i] = self._enter(v, "output", "the parameter is itself an output")
        if self.unsupported:
            raise _Unsupported(self.unsupported)
        return Level(self.jaxpr, tuple(self.places), self.entries, outputs, tuple(self.derived), self.num_roots)

    def tag(self, atom: Any) -> Tag:
        return CONSTANT if isinstance(atom, Literal) else self.tags[atom]

    def _visit(self, number: int, eqn: Equation) -> None:
        tags = [self.tag(v) for v in eqn.invars]
        from_params = [i for i, t in enumerate(tags) if isinstance(t, View | Derived)]
        has_data = any(t == DATA for t in tags)
        if not from_params or eqn.primitive.name == "stop_gradient":
            self._mark(eqn, DATA if has_data else CONSTANT)
        elif not has_data:
            if any(jnp.issubdtype(aval(v).dtype, jnp.complexfloating) for v in eqn.outvars):
                # Taps are real: what goes on to be complex becomes per-unit here.
                why = f"{eqn.primitive.name} makes complex numbers of it"
                self._mark(eqn, DATA)
                self.entries[number] = self._entered(eqn, from_params, why)
            elif eqn.primitive.name == "gather" and (entry := self._factored(eqn, from_params)):
                # A table read at constant rows: few beside the table, and a unit's own from here on.
                self._mark(eqn, DATA)
                if eqn.outvars[0] in self.live:
                    self.entries[number] = entry
            else:
                self._derive(eqn, tags, from_params)
        else:
            self._mark(eqn, DATA)
            if any(v in self.live for v in eqn.outvars):
                self.entries[number] = self._entry(eqn, tags, from_params)

    def _mark(self, eqn: Equation, tag: Tag) -> None:
        self.tags.update((v, tag) for v in eqn.outvars)

    def _derive(self, eqn: Equation, tags: list[Tag], from_params: list[int]) -> None:
        if not any(jnp.issubdtype(aval(v).dtype, jnp.inexact) for v in eqn.outvars):
            return self._mark(eqn, CONSTANT)
        views = [t if isinstance(t, View) else None for t in tags]
        if all(isinstance(tags[i], View) for i in from_params):
            followed = follow(eqn, views, [tuple(aval(v).shape) for v in eqn.invars])
            if followed is not None:
                self.tags.update(zip(eqn.outvars, (CONSTANT if v is None else v for v in followed), strict=True))
                return None
        roots = frozenset(r for i in from_params for r in _roots(tags[i]))
        return self._mark(eqn, Derived(roots))

    def _entry(self, eqn: Equation, tags: list[Tag], from_params: list[int]) -> Entry:
        name = eqn.primitive.name
        if name == "scan" or name in REMAT:
            return self._body(eqn, tags, from_params)
        why = f"{name} is not an operation whose per-unit gradient has a known factored form"
        return self._factored(eqn, from_params) or self._entered(eqn, from_params, why)

    def _factored(self, eqn: Equation, from_params: list[int]) -> Entry | None:
        """A place with a known factored form at the output, if there is one."""
        maker = MAKERS.get(eqn.primitive.name)
        if maker is None or len(from_params) != 1 or len(eqn.outvars) != 1:
            return None
        if jnp.issubdtype(aval(eqn.outvars[0]).dtype, jnp.complexfloating):
            return None
        view = self._view(eqn.invars[from_params[0]])
        entry = maker(self.labels, eqn, from_params[0], view) if view is not None else None
        if entry is None:
            return None
        place, saved = entry
        return Entry(tap=self._add(place), saved=saved)

    def _entered(self, eqn: Equation, positions: Sequence[int], why: str) -> Entry:
        return Entry(enters=tuple((i, self._enter(eqn.invars[i], eqn.primitive.name, why)) for i in positions))

    def _body(self, eqn: Equation, tags: list[Tag], from_params: list[int]) -> Entry:
        """A scan or checkpoint: the places of its body, lifted; what the body can't serve enters outside."""
        inner, _ = open_jaxpr(eqn.params["jaxpr"])
        is_scan = eqn.primitive.name == "scan"
        counts = scan_arguments(eqn) if is_scan else None
        entered = set()
        if counts:
            entered = {i for i in from_params if counts.consts <= i < counts.consts + counts.carry}
        while True:
            roots = [i for i in from_params if i not in entered and self._viewable(eqn.invars[i])]
            entered |= set(from_params) - set(roots)
            inputs: list[Tag] = []
            for i, v in enumerate(inner.invars):
                if i in roots:
                    inputs.append(whole_leaf(roots.index(i), tuple(aval(v).shape)))
                else:
                    inputs.append(CONSTANT if tags[i] == CONSTANT and not _is_carry(counts, i) else DATA)
            wanted = [jnp.issubdtype(aval(v).dtype, jnp.inexact) for v in inner.outvars]
            try:
                level = _Analysis(inner, inputs, wanted, len(roots), outermost=False).level()
                lifted = [self._lift(eqn, counts, roots, place) for place in level.places]
                break
            except _Unsupported as error:
                entered |= {roots[r] for r in error.operands}
        why = f"it enters the body of {eqn.primitive.name} in a way that has no factored form"
        outside = self._entered(eqn, sorted(entered), why)
        first = len(self.places)
        self.places += lifted
        return outside._replace(inner=level, first=first)

    def _lift(self, eqn: Equation, counts: Any, roots: list[int], place: Place) -> Place:
        """A body's place as one of this level: its view continued outwards, its axes led by the loop's."""
        operand = roots[place.view.root]
        outer = self._view(eqn.invars[operand])
        assert outer is not None
        stacked = counts is not None and operand >= counts.consts + counts.carry
        if place.kind == "enter" and counts is not None and not stacked:
            raise _Unsupported({place.view.root})
        lead = outer.axes[:1] if stacked else ()
        own_axes = outer.axes[1:] if stacked else outer.axes
        inner = place.view
        if inner.steps:
            view = _extend(outer, inner, tuple(aval(eqn.invars[operand]).shape), stacked=stacked)
            if view is None:
                raise _Unsupported({place.view.root})
            renamed = {i: i + stacked for i in range(len(inner.base))}
            lead = (0,) if stacked else ()
        else:
            view = outer
            renamed = dict(enumerate(own_axes))
        view = view._replace(scale=outer.scale * inner.scale)
        fresh: dict[Label, Label] = {}

        def rename(label: Label) -> Label:
            target = renamed[label[1]] if label[0] == "w" else None
            if target is None:
                if label not in fresh:
                    fresh[label] = self.labels.fresh()
                return fresh[label]
            return ("w", target)

        left = None if place.left is None else tuple(map(rename, place.left))
        right = tuple(map(rename, place.right))
        table_axis = None if place.table_axis is None else rename(place.table_axis)
        shape = place.shape
        if counts is not None:
            loop: Label = ("w", lead[0]) if lead and lead[0] is not None else self.labels.fresh()
            left = None if left is None else (loop, *left)
            right, shape = (loop, *right), (eqn.params["length"], *shape)
        return place._replace(
            view=view,
            left=left,
            right=right,
            table_axis=table_axis,
            shape=shape,
            depth=place.depth + (counts is not None),
        )

    def _viewable(self, atom: Any) -> bool:
        return isinstance(self.tags[atom], View) or self.outermost

    def _view(self, atom: Any) -> View | None:
        """The view of a parameter, or of a value derived from parameters, which then counts as one."""
        tag = self.tags[atom]
        if isinstance(tag, View):
            return tag
        assert isinstance(tag, Derived)
        if not self.outermost:
            self.unsupported |= tag.roots
            return None
        if atom not in self.derived:
            self.derived.append(atom)
        return whole_leaf(self.num_roots + self.derived.index(atom), tuple(aval(atom).shape))

    def _enter(self, atom: Any, primitive: str, why: str) -> int:
        view = self._view(atom)
        shape = tuple(aval(atom).shape)
        view = view or whole_leaf(0, shape)  # the level is given up anyway
        right = tuple(self.labels.of(a) for a in view.axes)
        return self._add(Place("enter", primitive, view, shape, aval(atom).dtype, None, right, reason=why))

    def _add(self, place: Place) -> int:
        self.places.append(place)
        return len(self.places) - 1


def _is_carry(counts: Any, i: int) -> bool:
    return counts is not None and counts.consts <= i < counts.consts + counts.carry


def _extend(outer: View, inner: View, shape: tuple[int, ...], *, stacked: bool) -> View | None:
    """The view of a body's base as seen from outside: the outer value's own steps, then the body's."""
    if not solid(outer, shape):
        return None

    def replay(x: Any) -> Any:
        for step in inner.steps:
            x = step.fun(x)
        return x

    fun = jax.vmap(replay) if stacked else replay
    base = (shape[0], *inner.base) if stacked else inner.base
    key = ("stacked" if stacked else "body", tuple(step.key for step in inner.steps))
    return stepped(outer, shape, base, key, fun)


def _roots(tag: Tag) -> frozenset[int]:
    return frozenset({tag.root}) if isinstance(tag, View) else tag.roots if isinstance(tag, Derived) else frozenset()


def _live_variables(jaxpr: Jaxpr, wanted: Sequence[bool]) -> set[Any]:
    """Variables through which a gradient can reach an output that is wanted."""
    live = {v for v, w in zip(jaxpr.outvars, wanted, strict=True) if w and not isinstance(v, Literal)}
    for eqn in reversed(jaxpr.eqns):
        if eqn.primitive.name == "stop_gradient":
            continue
        if any(v in live for v in eqn.outvars):
            live |= {v for v in eqn.invars if not isinstance(v, Literal) and jnp.issubdtype(aval(v).dtype, jnp.inexact)}
    return live
