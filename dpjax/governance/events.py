"""Privacy events as JSON: dp-accounting's own, and one more for tools that say no more than ε and δ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dpjax.checks import brief, nearest
from dpjax.governance.errors import LedgerError

if TYPE_CHECKING:
    import dp_accounting

STATED = "StatedDpEvent"
"""Type of what is known by its (ε, δ) alone."""

_FIELDS: dict[str, dict[str, str]] = {
    "NoOpDpEvent": {},
    "NonPrivateDpEvent": {},
    "RandomizedResponseDpEvent": {"noise_parameter": "share", "num_buckets": "count"},
    "GaussianDpEvent": {"noise_multiplier": "noise"},
    "LaplaceDpEvent": {"noise_multiplier": "noise"},
    "DiscreteLaplaceDpEvent": {"noise_parameter": "noise", "sensitivity": "count"},
    "PoissonSampledDpEvent": {"sampling_probability": "share", "event": "event"},
    "MixtureOfGaussiansDpEvent": {"standard_deviation": "noise", "sensitivities": "list", "sampling_probs": "list"},
    "TruncatedSubsampledGaussianDpEvent": {
        "dataset_size": "count",
        "sampling_probability": "share",
        "truncated_batch_size": "count",
        "noise_multiplier": "noise",
    },
    STATED: {"epsilon": "noise", "delta": "share"},
}
"""Type → field → what it may be, of the events that are no composition. What dp-accounting's PLD accountant can't read
is none of these."""

_COMPOSED = {"SelfComposedDpEvent": ("event", "count"), "ComposedDpEvent": ("events",)}
_MOST_COUNT = 10**12
_MOST_DEPTH = 20

Leaves = dict[str, int]
"""An event that is no composition, as canonical JSON → how often it happened."""


def written(event: dp_accounting.DpEvent) -> dict[str, Any]:
    """An event as what JSON holds.

    Args:
      event: of dp-accounting.

    Raises:
      LedgerError: of a type that no ledger adds up.

    Example:
      >>> import dp_accounting
      >>> written(dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(2.0), 3))
      {'type': 'SelfComposedDpEvent', 'event': {'type': 'GaussianDpEvent', 'noise_multiplier': 2.0}, 'count': 3}
    """
    name = type(event).__name__
    if name not in _FIELDS and name not in _COMPOSED:
        raise LedgerError(f"event {name} has no privacy loss distribution; enter its epsilon and delta instead.")

    def value(field: str) -> Any:
        found = getattr(event, field)
        if field == "event":
            return written(found)
        if field == "events":
            return [written(each) for each in found]
        return [float(each) for each in found] if field in ("sensitivities", "sampling_probs") else found

    return {"type": name} | {field: value(field) for field in _COMPOSED.get(name, tuple(_FIELDS.get(name, {})))}


def stated(epsilon: float, delta: float) -> dict[str, Any]:
    """An event of which no more is known than that it is (ε, δ)-differentially private.

    Args:
      epsilon: ≥ 0.
      delta: in [0, 1).
    """
    return {"type": STATED, "epsilon": float(epsilon), "delta": float(delta)}


def leaves(event: Any, count: int = 1) -> Leaves:
    """The events that an event is composed of, each with how often it happened.

    Formal guarantees: the composition of what it gives is the event; every number is checked, so that what was written
    by others is read as it was meant or refused.

    Args:
      event: as JSON holds it.
      count: of the event.

    Raises:
      LedgerError: it is no event, or one of its numbers is none that it may have.

    Example:
      >>> step = {"type": "GaussianDpEvent", "noise_multiplier": 2}
      >>> thrice = {"type": "SelfComposedDpEvent", "event": step, "count": 3}
      >>> leaves({"type": "ComposedDpEvent", "events": [step, thrice]})
      {'{"noise_multiplier":2.0,"type":"GaussianDpEvent"}': 4}
    """
    found: Leaves = {}
    _add_leaves(found, event, _count("count", count), _MOST_DEPTH)
    return found


def _add_leaves(found: Leaves, event: Any, count: int, depth: int) -> None:
    if not isinstance(event, Mapping) or not isinstance(event.get("type"), str):
        raise LedgerError(f'event={brief(event)} is none; write it as {{"type": "GaussianDpEvent", ...}}.')
    if depth == 0:
        raise LedgerError(f"event is nested more than {_MOST_DEPTH} deep; write it flat.")
    name = event["type"]
    if name in _COMPOSED:
        _check_fields(event, dict.fromkeys(_COMPOSED[name], ""))
        if name == "SelfComposedDpEvent":
            return _add_leaves(
                found, event["event"], _count("count", count * _count("count", event["count"])), depth - 1
            )
        if not isinstance(event["events"], list):
            raise LedgerError(f"events={brief(event['events'])} of ComposedDpEvent must be a list of events.")
        for each in event["events"]:
            _add_leaves(found, each, count, depth - 1)
        return None
    leaf = json.dumps(_leaf(event), sort_keys=True, separators=(",", ":"))
    found[leaf] = _count("count", found.get(leaf, 0) + count)
    return None


def event_types() -> tuple[str, ...]:
    """The types of events that are no composition."""
    return tuple(_FIELDS)


def types_in(events: Leaves) -> set[str]:
    """The types that events are of, and what they are sampled from.

    Args:
      events: of ``leaves``.

    Example:
      >>> step = {"type": "GaussianDpEvent", "noise_multiplier": 2.0}
      >>> types_in(leaves({"type": "SelfComposedDpEvent", "event": step, "count": 3}))
      {'GaussianDpEvent'}
    """
    found = set()
    for each in map(json.loads, events):
        found.add(each["type"])
        if "event" in each:
            found.add(each["event"]["type"])
    return found


_NOISE = ("noise_multiplier", "standard_deviation", "noise_parameter")


def is_bare(event: Mapping[str, Any]) -> bool:
    """Whether an event has no noise at all, and so no ε.

    Args:
      event: as JSON holds it; no composition.

    Example:
      >>> bare = {"type": "LaplaceDpEvent", "noise_multiplier": 0.0}
      >>> is_bare(bare), is_bare({"type": "PoissonSampledDpEvent", "sampling_probability": 0.5, "event": bare})
      (True, True)
    """
    if event["type"] == "PoissonSampledDpEvent":
        return event["sampling_probability"] > 0 and is_bare(event["event"])
    if event["type"] == "MixtureOfGaussiansDpEvent" and max(event["sensitivities"]) == 0:
        return False
    return event["type"] == "NonPrivateDpEvent" or any(event.get(name) == 0 for name in _NOISE)


def _leaf(event: Mapping[str, Any]) -> dict[str, Any]:
    name = event["type"]
    if name not in _FIELDS:
        near = nearest(name, [*_FIELDS, *_COMPOSED])
        fix = f"did you mean {near}?" if near else f"there are {', '.join([*_FIELDS, *_COMPOSED])}."
        raise LedgerError(f"event type={brief(name)} has no privacy loss distribution; {fix}")
    _check_fields(event, _FIELDS[name])
    values = {field: _value(name, field, kind, event[field]) for field, kind in _FIELDS[name].items()}
    if name == "PoissonSampledDpEvent" and values["event"]["type"] not in ("GaussianDpEvent", "LaplaceDpEvent"):
        raise LedgerError(
            f"event {name} of {values['event']['type']} has no privacy loss distribution; enter its epsilon and delta "
            "instead."
        )
    if name == "MixtureOfGaussiansDpEvent":
        if len(values["sensitivities"]) != len(values["sampling_probs"]):
            raise LedgerError("event MixtureOfGaussiansDpEvent needs one of sampling_probs for each of sensitivities.")
        if abs(sum(values["sampling_probs"]) - 1) > 1e-9:
            raise LedgerError("sampling_probs of MixtureOfGaussiansDpEvent must add up to 1.")
    return {"type": name} | values


def _check_fields(event: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    if event.keys() != {"type", *wanted}:
        raise LedgerError(
            f"event {event['type']} has the fields {', '.join(sorted(event.keys() - {'type'})) or 'none'}; it needs "
            f"{', '.join(wanted) or 'none'}."
        )


def _value(name: str, field: str, kind: str, value: Any) -> Any:
    if kind == "event":
        if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
            raise LedgerError(f"event={brief(value)} of {name} is no event.")
        return _leaf(value)
    if kind == "count":
        return _count(field, value)
    if kind == "list":
        if not isinstance(value, list) or not value:
            raise LedgerError(f"{field}={brief(value)} of {name} must be a list of numbers.")
        return [_number(name, field, each, 0.0, math.inf) for each in value]
    return _number(name, field, value, 0.0, 1.0 if kind == "share" else math.inf)


def _number(name: str, field: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most or value == math.inf:
        raise LedgerError(f"{field}={brief(value)} of {name} must be a number {'in [0, 1]' if most == 1 else '≥ 0'}.")
    return float(value)


def _count(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_COUNT:
        raise LedgerError(f"{field}={brief(value)} must be a whole number from 0 to {_MOST_COUNT:.0e}.")
    return value
