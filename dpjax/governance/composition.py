"""ε of all that was spent, by dp-accounting's privacy loss distributions."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from dpjax.governance.errors import LedgerError
from dpjax.governance.events import STATED, is_bare
from dpjax.governance.spends import Total

if TYPE_CHECKING:
    from dp_accounting.pld import privacy_loss_distribution as pld

_MOST_DISTINCT = 512
"""Events of different numbers that are composed one by one; of more, alike ones are taken for the worst of them."""

_ACCURACY = ((8, 2e-4), (128, 2e-3))
"""By how much, relatively, discretisation may raise the variance of so many events' privacy losses."""

_ROUGH = 1e-2  # the same of more events
_MOST_POINTS = 4e5  # of a discretised loss
_WITHOUT_LOSSES = ("GaussianDpEvent", "NonPrivateDpEvent", "NoOpDpEvent")
_LARGEST_STATED = 3.0
_SHARES = (1e-3, 1e-2, 0.1, 0.5)  # of δ, that pay for overflows


class Composed(NamedTuple):
    """A composition, ready to be asked for ε.

    Attributes:
      adjacency: of the neighbours.
      interval: of the discretised losses; 0 where there are none.
      losses: of all but plain Gaussians; None: there are none.
      precision: Σ 1/σ² of plain Gaussians, which compose exactly.
      rest: what else is paid for; its events are in the others.
      endless: whether something had no noise.
      beside: sum of ε of what is known by its (ε, δ) alone, of an ε too large for a grid.
    """

    adjacency: str
    interval: float
    losses: pld.PrivacyLossDistribution | None
    precision: float
    rest: Total
    endless: bool = False
    beside: float = 0.0


def compose(total: Total, adjacency: str, *, most_distinct: int = _MOST_DISTINCT) -> Composed:
    """The composition of all events, by dp-accounting.

    Formal guarantees: it dominates the composition of the events, each under the relation, for runs whose mechanisms do
    not depend on what earlier runs gave out. Where there are more than ``most_distinct`` different sampled Gaussians,
    each is taken for one with no more noise and no lower a rate, which dominates it: a smaller rate is a larger one
    whose draws are thinned.

    Args:
      total: what was spent.
      adjacency: "zero_out", "add_or_remove_one" or "replace_one".
      most_distinct: as above.

    Raises:
      LedgerError: an event that has no privacy loss distribution under this relation.

    Example:
      >>> from dpjax.accounting import Mechanism, epsilon
      >>> from dpjax.governance.spends import spend_of, total_of
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=4.0, num_steps=3)
      >>> spent = total_of(spend_of(run, 1e-5))
      >>> round(epsilon_of(compose(spent, "zero_out"), 1e-5) - epsilon(run, 1e-5), 6)
      0.0

    References:
      Doroshenko et al. 2022, https://arxiv.org/abs/2207.04380; adaptively chosen runs: Rogers et al. 2016,
      https://arxiv.org/abs/1605.08294.
    """
    counts = _merged({leaf: count for leaf, count in total.events.items() if count}, most_distinct)
    precision = _precision(counts)
    return _added(counts, adjacency, _interval(counts, precision), precision, total._replace(events={}))


def plus(composed: Composed, total: Total) -> Composed:
    """A composition and something more, without composing all of it anew.

    Args:
      composed: so far.
      total: what comes to it.
    """
    counts = _merged({leaf: count for leaf, count in total.events.items() if count}, _MOST_DISTINCT)
    interval = composed.interval or _interval(counts, composed.precision + _precision(counts))
    more = _added(counts, composed.adjacency, interval, _precision(counts), total._replace(events={}))
    losses = _reduced([each for each in (composed.losses, more.losses) if each is not None])
    return more._replace(
        interval=0.0 if losses is None else interval,
        losses=losses,
        precision=composed.precision + more.precision,
        rest=composed.rest.plus(more.rest),
        endless=composed.endless or more.endless,
        beside=composed.beside + more.beside,
    )


def is_too_fine(composed: Composed, total: Total) -> bool:
    """Whether the losses of a composition are on a grid that is too fine for what comes to it: minutes, for nothing.

    Args:
      composed: so far.
      total: what comes to it.
    """
    counts = {leaf: count for leaf, count in total.events.items() if count}
    return 0 < composed.interval * 10 < _interval(counts, composed.precision + _precision(counts))


def epsilon_of(composed: Composed, delta: float) -> float:
    """The ε of a composition at δ.

    Formal guarantees: (ε, δ)-differential privacy of all that was composed, with the chance β of an overflow paid from
    δ: δ is at least that of the losses, what was released beside them, and β (1 + exp ε).

    Args:
      composed: what was spent.
      delta: of the budget.

    Returns:
      ε ≥ 0; inf where there is none.
    """
    rest, best = composed.rest, math.inf
    if rest.claimed_delta <= delta:  # the sum of what the runs say themselves, which is the better of one or two
        best = rest.claimed_epsilon
    left = delta - rest.delta
    if composed.endless or left <= 0:
        return best
    if not rest.overflow:
        return min(best, _epsilon(composed, left) + composed.beside)
    for share in _SHARES:
        found = _epsilon(composed, left * (1 - share)) + composed.beside
        if found < 700 and rest.overflow * (1 + math.exp(found)) <= left * share:
            best = min(best, found)
    return best


def _added(counts: dict[str, int], adjacency: str, interval: float, precision: float, rest: Total) -> Composed:
    # By basic composition: (ε₁, δ₁) and (ε₂, δ₂) are (ε₁ + ε₂, δ₁ + δ₂).
    large = {leaf: count for leaf, count in counts.items() if _stated(leaf)[0] > _LARGEST_STATED}
    beside = sum(count * _stated(leaf)[0] for leaf, count in large.items())
    rest = rest._replace(delta=rest.delta + sum(count * _stated(leaf)[1] for leaf, count in large.items()))
    counts = {leaf: count for leaf, count in counts.items() if leaf not in large}
    endless = any(is_bare(_read(leaf)) for leaf in counts)  # whose losses dp-accounting leaves out, as if it were none
    others = {} if endless else {leaf: n for leaf, n in sorted(counts.items()) if _kind(leaf) not in _WITHOUT_LOSSES}
    losses = _reduced([_losses(leaf, count, adjacency, interval) for leaf, count in others.items()])
    return Composed(adjacency, interval if others else 0.0, losses, precision, rest, endless, beside)


def _stated(leaf: str) -> tuple[float, float]:
    """(ε, δ) of what is known by these alone; (0, 0) of all else."""
    fields = _read(leaf)
    return (fields["epsilon"], fields["delta"]) if fields["type"] == STATED else (0.0, 0.0)


def _noise(leaf: str) -> float | None:
    """Noise multiplier of a plain Gaussian."""
    return _read(leaf)["noise_multiplier"] if _kind(leaf) == "GaussianDpEvent" else None


def _precision(counts: dict[str, int]) -> float:
    return sum(count / noise**2 for leaf, count in counts.items() if (noise := _noise(leaf)))


def _epsilon(composed: Composed, delta: float) -> float:
    import dp_accounting

    losses, relation = composed.losses, _relation(composed.adjacency)
    stretch = 2.0 if composed.adjacency == "replace_one" else 1.0  # noise multipliers are of the clip norm
    if composed.precision:
        noise = composed.precision**-0.5
        if losses is None:
            return float(dp_accounting.get_epsilon_gaussian(noise / stretch, delta))
        from dp_accounting.pld import privacy_loss_distribution

        gaussian = privacy_loss_distribution.from_gaussian_mechanism(
            noise, value_discretization_interval=composed.interval, neighboring_relation=relation
        )
        losses = losses.compose(gaussian)
    return 0.0 if losses is None else max(float(losses.get_epsilon_for_delta(delta)), 0.0)


def _relation(adjacency: str) -> Any:
    from dp_accounting import NeighboringRelation

    return {
        "zero_out": NeighboringRelation.REPLACE_SPECIAL,
        "add_or_remove_one": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": NeighboringRelation.REPLACE_ONE,
    }[adjacency]


@lru_cache(maxsize=4096)
def _losses(leaf: str, count: int, adjacency: str, interval: float) -> pld.PrivacyLossDistribution:
    """The losses of an event that happened so often."""
    from dp_accounting import dp_event  # the package itself lacks some of its events
    from dp_accounting.pld import PLDAccountant, common, privacy_loss_distribution

    relation, fields = _relation(adjacency), _read(leaf)
    kind = fields.pop("type")
    if kind == STATED:
        parameters = common.DifferentialPrivacyParameters(fields["epsilon"], fields["delta"])
        return privacy_loss_distribution.from_privacy_parameters(parameters, interval).self_compose(count)
    if kind == "PoissonSampledDpEvent":
        inner = dict(fields["event"])
        fields["event"] = getattr(dp_event, inner.pop("type"))(**inner)
    event = getattr(dp_event, kind)(**fields)

    class Accountant(PLDAccountant):
        def losses(self) -> pld.PrivacyLossDistribution:
            return self._pld

    accountant = Accountant(relation, value_discretization_interval=interval)
    if not accountant.supports(event):
        raise LedgerError(
            f"event {kind} has no privacy loss distribution where neighbours are {adjacency}; enter its epsilon and "
            "delta instead."
        )
    try:  # once, as dp-accounting counts some events once however often they happened
        return accountant.compose(event).losses().self_compose(count)
    except (OverflowError, MemoryError) as error:
        raise LedgerError(
            f"event {kind} has too little noise for its losses to be added up; enter its epsilon and delta instead."
        ) from error


def _reduced(parts: list[pld.PrivacyLossDistribution]) -> pld.PrivacyLossDistribution | None:
    """All composed, pairs first: small ones are cheap."""
    while len(parts) > 1:
        parts = [parts[i].compose(parts[i + 1]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0] if parts else None


def _read(leaf: str) -> dict[str, Any]:
    return json.loads(leaf)


@lru_cache(maxsize=65536)
def _kind(leaf: str) -> str:
    return str(_read(leaf)["type"])


def _sampled(leaf: str) -> tuple[float, float] | None:
    """Rate and noise of a sampled Gaussian; None of any other event."""
    fields = _read(leaf)
    if fields["type"] != "PoissonSampledDpEvent" or fields["event"]["type"] != "GaussianDpEvent":
        return None
    return fields["sampling_probability"], fields["event"]["noise_multiplier"]


def _merged(counts: dict[str, int], most: int) -> dict[str, int]:
    """At most about so many different events: alike sampled Gaussians are taken for one that dominates each."""
    sampled = {leaf: found for leaf in counts if (found := _sampled(leaf)) is not None and min(found) > 0}
    ratio = 1.0005
    merged = counts
    while len(merged) > most and ratio < 2:
        merged = {leaf: n for leaf, n in counts.items() if leaf not in sampled}
        # Of each cell of the grid the largest rate and the least noise that occur, not its corner.
        cells: dict[tuple[int, int], list[str]] = {}
        for leaf, (rate, noise) in sampled.items():
            cell = math.floor(math.log(rate) / math.log(ratio)), math.floor(math.log(noise) / math.log(ratio))
            cells.setdefault(cell, []).append(leaf)
        for members in cells.values():
            rate = max(sampled[leaf][0] for leaf in members)
            noise = min(sampled[leaf][1] for leaf in members)
            worst = {
                "type": "PoissonSampledDpEvent",
                "sampling_probability": rate,
                "event": {"type": "GaussianDpEvent", "noise_multiplier": noise},
            }
            leaf = json.dumps(worst, sort_keys=True, separators=(",", ":"))
            merged[leaf] = merged.get(leaf, 0) + sum(counts[each] for each in members)
        ratio = 1 + 1.5 * (ratio - 1)
    return merged


def _interval(counts: dict[str, int], precision: float) -> float:
    """The discretisation interval: connecting the dots spreads each event's loss by interval² / 6 at most."""
    variance, events, widest = precision, 0, _width(precision)
    for leaf, count in counts.items():
        found = _variance(leaf)
        if found is None:
            widest = max(widest, count * _pure(_read(leaf)))
            continue
        step, most = found
        variance += count * step
        events += count
        widest = max(widest, _width(most))
    accuracy = next((accuracy for most, accuracy in _ACCURACY if len(counts) <= most), _ROUGH)
    interval = math.sqrt(6 * accuracy * min(variance, 25.0) / events) if events else 1e-4
    return max(min(max(interval, 1e-5), 5e-3), widest / _MOST_POINTS)


def _pure(event: dict[str, Any]) -> float:
    """ε of an event that has one at δ=0, or states it; 0 of any other."""
    if event["type"] == "PoissonSampledDpEvent":
        return _pure(event["event"])
    if event["type"] == "LaplaceDpEvent":
        return 1 / event["noise_multiplier"] if event["noise_multiplier"] else 0.0
    return float(event.get("epsilon", 0.0))


@lru_cache(maxsize=65536)
def _variance(leaf: str) -> tuple[float, float] | None:
    """About the variance of the loss of an event of Gaussians, its χ²-divergence, and 1/σ² of the widest of them."""
    fields = _read(leaf)
    if fields["type"] == "MixtureOfGaussiansDpEvent":
        shifts, chances = fields["sensitivities"], fields["sampling_probs"]
        deviation = fields["standard_deviation"]
    elif (sampled := _sampled(leaf)) is not None:
        shifts, chances, deviation = (1.0,), (sampled[0],), sampled[1]
    else:
        return None
    if deviation == 0 or max(shifts) == 0 or max(chances) == 0:
        return None
    most = (max(shifts) / deviation) ** 2
    pairs = [(a, p, b, q) for a, p in zip(shifts, chances, strict=True) for b, q in zip(shifts, chances, strict=True)]
    divergence = sum(p * q * math.expm1(min(a * b / deviation**2, 50.0)) for a, p, b, q in pairs)
    return min(divergence, most), most


def _width(precision: float) -> float:
    """How far the privacy loss of a Gaussian of noise multiplier 1/√precision reaches, but for next to no chance."""
    return 8 * math.sqrt(precision) + precision
