"""What a run learns: one unit's contribution, with what a federated algorithm keeps around it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, PyTree

from dpjax.checks import function
from dpjax.contribution import ContributionFn
from dpjax.types import Params


class Solver(NamedTuple):
    """A learning algorithm as the functions that a run calls; all of them follow from one contribution.

    ``Solver(contribution_fn)`` is that contribution and nothing else. Units that remember something from round to round
    have an ``init_unit_state``: they then reach the contribution as ``Stateful(unit, state)``, and it returns
    ``Reported(metrics, unit_state=new_state)`` beside its vector.

    Formal guarantees: what a unit sends is its contribution, which is clipped and noised as a whole; the server's part
    of a solver sees the noised mean alone. A state stays with its unit and is not noised: only the unit itself may see
    it.

    Attributes:
      contribution_fn: what one unit sends.
      init: initial model parameters → what the run carries as ``params``.
      wrap_optimizer: the server's optimizer of the model → that of what the run carries.
      init_unit_state: what the run carries at first → the state that EVERY unit starts with, or ``PerUnit`` of
        each unit's own; None: no state.
      model_of: what the run carries → the model's parameters.
      message_like: what the run carries → a tree of the shapes of a unit's message.

    Example:
      >>> from dpjax import example_gradient
      >>> solver = Solver(example_gradient(lambda w, x, key: (w - x) ** 2))
      >>> solver.init(1.5), solver.model_of(1.5), solver.init_unit_state is None
      (1.5, 1.5, True)
    """

    contribution_fn: ContributionFn
    init: Callable[[Params], PyTree[Array]] = lambda params: params
    wrap_optimizer: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda optimizer: optimizer
    init_unit_state: Callable[[PyTree[Array]], PyTree[Array]] | None = None
    model_of: Callable[[PyTree[Array]], Params] = lambda carried: carried
    message_like: Callable[[PyTree[Array]], PyTree[Array]] = lambda carried: carried


def as_solver(learner: Any) -> Solver:
    """A ``Solver`` as it is; a contribution function as one that has nothing else.

    Raises:
      TypeError: neither of them, or a solver of things that are no functions.

    Example:
      >>> as_solver("adam")
      Traceback (most recent call last):
      TypeError: learner='adam' must be a function; give a contribution, such as example_gradient(loss_fn), or a Solver.
    """
    if not isinstance(learner, Solver):
        function("learner", learner, fix="give a contribution, such as example_gradient(loss_fn), or a Solver")
        return Solver(learner)
    for name, part in learner._asdict().items():
        if part is not None or name != "init_unit_state":
            function(f"learner.{name}", part, fix="see Solver for what it is given and returns")
    return learner
