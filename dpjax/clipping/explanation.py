"""What the one-pass engine makes of a model: where each parameter enters, and what its clipping costs."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Key

from dpjax.clipping.kernel import check_contribution, default_memory_budget
from dpjax.clipping.one_pass.bookkeeping import Recipe, make_recipe
from dpjax.clipping.one_pass.factors import Size
from dpjax.clipping.one_pass.planner import Piece, kept_bytes
from dpjax.contribution import ContributionFn, GradientContribution
from dpjax.types import Cohort, Params


class Row(NamedTuple):
    """How one parameter is served.

    Attributes:
      path: of the parameter, as ``jax.tree_util.keystr`` writes it.
      shape: of the parameter.
      enters: operations by which it enters, one per place, such as ``"dot_general"`` or ``"gather in 1 scan"``.
      strategy: of ``planner.Piece``, or ``"unused"``; ``"materialize"`` wherever ``why`` is not empty; several where
        parts of the parameter are used apart.
      size: stack, positions, rows and columns of one unit's gradient in factored form, of the largest part.
      kept_bytes: memory for units' own gradients in one microbatch.
      why: what keeps the parameter from being served in factored form; empty if nothing does.
    """

    path: str
    shape: tuple[int, ...]
    enters: tuple[str, ...]
    strategy: str
    size: Size
    kept_bytes: float
    why: str


class Explanation(NamedTuple):
    """The plan for a model; printing it gives a table.

    Attributes:
      engine: what ``engine="auto"`` runs.
      microbatch_size: units in one pass.
      rows: one for each parameter, in the order of ``jax.tree.leaves``.
    """

    engine: str
    microbatch_size: int
    rows: tuple[Row, ...]

    @property
    def materialized(self) -> tuple[str, ...]:
        """Paths of the parameters whose units' gradients are formed because no factored form is known."""
        return tuple(row.path for row in self.rows if row.why)

    @property
    def unused(self) -> tuple[str, ...]:
        """Paths of the parameters that never enter the loss; their gradient is zero."""
        return tuple(row.path for row in self.rows if row.strategy == "unused")

    def __str__(self) -> str:
        if self.engine != "bookkeeping":
            return f"engine {self.engine}, as the contribution is not the gradient of a loss"
        head = ("parameter", "shape", "enters by", "positions", "norm", "kept")
        body = [
            (
                row.path,
                "×".join(map(str, row.shape)) or "scalar",
                ", ".join(_counted(row.enters)) or "—",
                str(row.size.positions) if row.enters else "—",
                row.strategy,
                _mebibytes(row.kept_bytes),
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in [head, *body]
        ]
        notes = [f"{row.path} is materialized: {row.why}" for row in self.rows if row.why]
        notes += [f"{path} never enters the loss; its gradient is zero" for path in self.unused]
        return "\n".join([f"engine {self.engine}, {self.microbatch_size} units in one pass", *lines, *notes])


def explain(
    contribution_fn: ContributionFn,
    params: Params,
    cohort: Cohort,
    key: Key[Array, ""],
    *,
    microbatch_size: int | None = None,
    memory_budget: float | None = None,
) -> Explanation:
    """Show how ``engine="bookkeeping"`` would clip a model's contributions, without computing anything.

    Formal guarantees: it looks at shapes and at the loss, never at a value; nothing is computed on the units.

    Args:
      contribution_fn: as for ``clipped_sum``.
      params: the model's parameters, or their ``jax.ShapeDtypeStruct``.
      cohort: units (leaves ``[slots, ...]``) and mask, or their shapes.
      key: any key.
      microbatch_size: as for ``clipped_sum``.
      memory_budget: as for ``clipped_sum``.

    Returns:
      An ``Explanation``: print it, or read its rows.

    Raises:
      TypeError: an integer parameter.
      ValueError: a loss that couples units.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import Cohort, example_gradient
      >>> from dpjax.clipping import explain
      >>> loss_fn = lambda p, x, key: jnp.sum(jnp.tanh(x @ p["w"] + p["b"]) ** 2)
      >>> params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2), "spare": jnp.ones(4)}
      >>> cohort = Cohort(jnp.ones((8, 3)), jnp.ones(8, bool))
      >>> print(explain(example_gradient(loss_fn), params, cohort, jax.random.key(0)))
      engine bookkeeping, 8 units in one pass
      parameter  shape  enters by    positions  norm      kept
      ['b']      2      add          1          kept      0.0 MiB
      ['spare']  4      —            —          unused    0.0 MiB
      ['w']      3×2    dot_general  1          rank_one  0.0 MiB
      ['spare'] never enters the loss; its gradient is zero
    """
    check_contribution(contribution_fn, params, cohort, key)
    if not isinstance(contribution_fn, GradientContribution):
        return Explanation("microbatch", 0, ())
    budget = memory_budget or default_memory_budget()
    recipe = make_recipe(contribution_fn, params, cohort, key, microbatch_size, budget)
    paths = [
        (jax.tree_util.keystr(path), tuple(leaf.shape)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
    by_leaf = [[piece for piece in recipe.pieces if i in piece.leaves] for i in range(len(paths))]
    rows = tuple(_row(path, shape, pieces, recipe) for (path, shape), pieces in zip(paths, by_leaf, strict=True))
    return Explanation("bookkeeping", recipe.microbatch_size, rows)


def _row(path: str, shape: tuple[int, ...], pieces: list[Piece], recipe: Recipe) -> Row:
    if not pieces:
        return Row(path, shape, (), "unused", Size(0, 0, 0, 0), 0.0, "")
    enters = []
    for place in (recipe.level.places[i] for piece in pieces for i in piece.places):
        loops = f" in {place.depth} scan{'s' if place.depth > 1 else ''}" if place.depth else ""
        enters.append(place.primitive + loops)
    memory = sum(kept_bytes(piece, recipe.microbatch_size) for piece in pieces)
    largest = max(pieces, key=lambda piece: piece.size.rows * piece.size.columns)
    why = next((piece.why for piece in pieces if piece.why), "")
    strategy = "materialize" if why else " + ".join(dict.fromkeys(piece.strategy for piece in pieces))
    return Row(path, shape, tuple(enters), strategy, largest.size, memory, why)


def _counted(names: tuple[str, ...]) -> list[str]:
    return [name if names.count(name) == 1 else f"{names.count(name)} × {name}" for name in dict.fromkeys(names)]


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"
