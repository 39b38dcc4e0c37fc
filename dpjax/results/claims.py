"""The sentence that a reported ε owes its reader, and how its numbers are written."""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from dpjax.accounting.distributed import KINDS as SHARES
from dpjax.accounting.local import KINDS as REPORTS
from dpjax.accounting.samplings import SAMPLINGS


@runtime_checkable
class Row(Protocol):
    """A results row: a dict, or a row of the data frame."""

    def get(self, name: str, /) -> Any: ...


def claim(row: Row) -> str:
    """What a row may say about its privacy, in one sentence.

    Formal guarantees: names the accountant, δ, the unit, the neighbouring relation, the sampling, the steps and whether
    hyper-parameter tuning was paid for, and what inputs were made with that ε does not cover. ε is rounded up, never
    down. A row without noise says that it is not private, and one without a computed ε says so, whatever ε was asked
    for.

    Args:
      row: a results row, or any mapping with its column names; what is missing is left out of the sentence.

    Returns:
      The sentence.

    Example:
      >>> claim({"epsilon": 1.0, "epsilon_pld": 0.9661, "delta": 1e-5, "unit": "example", "num_steps": 100,
      ...        "adjacency": "zero_out", "sampling": "poisson", "sampling_rate": 0.25})
      '(ε=0.967 PLD, δ=1e-5)-DP per example, zero_out, Poisson q=0.25, 100 steps; tuning not accounted'
      >>> claim({"epsilon": float("inf"), "unit": "example", "num_steps": 100})
      'not private (ε=∞), example, 100 steps'
    """
    setting = ", ".join(_setting(row))
    value, accountant = stated_epsilon(row)
    if value == math.inf or (value is None and number(row, "epsilon") == math.inf):
        return f"not private (ε=∞), {setting}" if setting else "not private (ε=∞)"
    if value is None:
        return f"no ε was computed, {setting}" if setting else "no ε was computed"
    delta = number(row, "delta")
    stated = f"δ={rounded_up(delta, 6)}" if delta is not None else "δ not stated"
    per = f" per {setting}" if text(row, "unit") else f", {setting}" if setting else ""
    overflow = number(row, "overflow_count")
    lost = f"; {overflow:.0f} steps overflowed their slots" if overflow else ""
    tuning = tuning_clause(row.get("tuning_accounted"))
    learnt = text(row, "learnt")
    free = f"; NOT private: {learnt}, read off the rows" if learnt else ""
    released = released_sentence(row)
    paid = f"; {released}" if released else ""
    return f"(ε={rounded_up(value)} {accountant}, {stated})-DP{per}{_whose_noise(row)}{paid}; {tuning}{lost}{free}"


def stated_epsilon(row: Row) -> tuple[float | None, str]:
    """The ε that a row's mechanism was computed to have, and by which accountant: PLD, else RDP, else None.

    Args:
      row: a results row.

    Example:
      >>> stated_epsilon({"epsilon": 1.0, "epsilon_rdp": 1.04})
      (1.04, 'RDP')
    """
    for column, accountant in (("epsilon_pld", "PLD"), ("epsilon_rdp", "RDP")):
        value = number(row, column)
        if value is not None:
            return value, accountant
    return None, ""


def number(row: Row, name: str) -> float | None:
    """A cell as a float; None if it is missing, in any of the ways a table has of saying so.

    Args:
      row: a results row.
      name: the column.

    Example:
      >>> number({"delta": float("nan")}, "delta") is None
      True
    """
    try:
        value = float(row.get(name))
    except (TypeError, ValueError):
        return None
    return None if math.isnan(value) else value


def text(row: Row, name: str) -> str:
    """A cell as text; empty if it is missing.

    Args:
      row: a results row.
      name: the column.

    Example:
      >>> text({"unit": None}, "unit")
      ''
    """
    value = row.get(name)
    return value if isinstance(value, str) else ""


def small(value: float | int) -> str:
    """A number in as few signs as say it: 1e-5, 0.25, 100, ∞.

    Args:
      value: any float.

    Example:
      >>> [small(v) for v in (1e-05, 0.25, 100.0, float("inf"))]
      ['1e-5', '0.25', '100', '∞']
    """
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def rounded_up(value: float | int, digits: int = 3) -> str:
    """An ε or δ to so many significant digits, rounded up, for one rounded down would claim too much.

    Args:
      value: ε > 0, or inf.
      digits: significant digits.

    Example:
      >>> rounded_up(0.9661), rounded_up(8.0), rounded_up(7.9996), rounded_up(12345.6)
      ('0.967', '8', '8', '12400')
    """
    if not math.isfinite(value) or value <= 0:
        return small(value)
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    # The slack keeps 0.3 / 0.001 = 299.99999999999994 and its kin from stepping up.
    raised = math.ceil(value / step - 1e-9) * step
    return small(raised)


def told_epsilon(value: float | int) -> float:
    """The ε that a table, a figure or a report says: one that was asked for as it is, one that was computed rounded up.

    Formal guarantees: at least ``value``, and the same wherever it is told.

    Args:
      value: ε, or inf; one of more than four digits counts as computed.

    Example:
      >>> told_epsilon(2.5806), told_epsilon(0.125), told_epsilon(math.inf)
      (2.59, 0.125, inf)
    """
    value = float(value)
    if not math.isfinite(value) or value == float(f"{value:.4g}"):
        return value
    return max(float(rounded_up(value)), value) if value > 0 else value


def owners_sentence(row: Row) -> str:
    """What is to be said where rows have owners with several of them, and ε is not for an owner; empty where it is.

    Args:
      row: a results row or a point.

    Example:
      >>> owners_sentence({"unit": "example", "epsilon": 3.0, "owners": 107, "rows_per_owner": 3}).partition(":")[0]
      'rows belong to 107 owners, up to 3 to one, and ε is for one example'
    """
    owners, most = number(row, "owners"), number(row, "rows_per_owner")
    if owners is None or most is None or most < 2 or number(row, "epsilon") == math.inf:
        return ""
    unit, federated = text(row, "unit"), number(row, "clients_per_round") is not None
    fact = f"rows belong to {owners:,.0f} owners, up to {most:,.0f} to one, and ε is for one {unit}"
    if not federated:
        return f"{fact}: privacy.records_per_unit=k makes it the owner's"
    if unit == "example":
        return f"{fact}: privacy.noise=gaussian makes it the client's"
    return f"{fact}, over several of which an owner's rows lie: federated.partition=natural makes it the owner's"


def released_sentence(row: Row) -> str:
    """What ε includes besides the training; empty where nothing was released before.

    Args:
      row: a results row or a point.

    Example:
      >>> released_sentence({"released": "range of bmi 16 to 34", "release_noise_multiplier": 10.0, "epsilon": 3.0})
      'ε includes range of bmi 16 to 34, released with noise multiplier 10'
    """
    noise = number(row, "release_noise_multiplier")
    if noise is None or number(row, "epsilon") == math.inf:
        return ""
    return f"ε includes {text(row, 'released') or 'counts'}, released with noise multiplier {small(noise)}"


def learnt_sentence(row: Row) -> str:
    """What is to be said where inputs were made with something that was read off the rows; empty where nothing was.

    Args:
      row: a results row or a point.

    Example:
      >>> learnt_sentence({"learnt": "range of age", "epsilon": 3.0})
      'NOT private, and in no ε: range of age, read off the rows'
    """
    learnt = text(row, "learnt")
    return (
        f"NOT private, and in no ε: {learnt}, read off the rows"
        if learnt and number(row, "epsilon") != math.inf
        else ""
    )


def assumed_sentences(points: Sequence[Row]) -> list[str]:
    """What ε of private points rests on that was not so in the runs, or that nobody can check afterwards.

    Args:
      points: rows of results or points.

    Example:
      >>> assumed_sentences([{"epsilon": 1.0, "noise_cohort_size": 1e6}, {"epsilon": 1.0, "secret_cohorts": True}])
      ['ε of 1 of 2 points is SIMULATED, with the noise of 1,000,000 clients a round.', \
'ε of 1 of 2 points relies on who takes part staying secret: it does not hold against the server.']
    """
    private = [point for point in points if number(point, "epsilon") != math.inf]
    simulated = [cohort for point in private if (cohort := number(point, "noise_cohort_size")) is not None]
    secret = sum(str(point.get("secret_cohorts")) == "True" for point in private)

    def of(count: int) -> str:
        return "ε" if count == len(private) else f"ε of {count} of {len(private)} points"

    cohorts = " or ".join(f"{cohort:,.0f}" for cohort in dict.fromkeys(simulated))
    lines = [f"{of(len(simulated))} is SIMULATED, with the noise of {cohorts} clients a round."] if simulated else []
    return lines + (
        [f"{of(secret)} relies on who takes part staying secret: it does not hold against the server."]
        if secret
        else []
    )


def delta_sentence(delta: float, num_units: int, unit: str) -> str:
    """What is to be said of a δ that is large for so many units; empty of a small one.

    A mechanism that gives a unit away whole with chance δ, and else says nothing, is (0, δ)-DP.

    Args:
      delta: of the guarantee.
      num_units: that are protected.
      unit: what one is.

    Example:
      >>> delta_sentence(1e-2, 8, "client").partition(";")[0]
      'δ=0.01 is large: it allows to give each of 8 clients away whole with a chance of 1 in 100'
      >>> delta_sentence(1e-5, 60_000, "example")
      ''
    """
    if delta < min(LARGE_DELTA, 1 / num_units):
        return ""
    return (
        f"δ={rounded_up(delta, 6)} is large: it allows to give each of {num_units:,} {unit}s away whole with a chance "
        f"of 1 in {1 / delta:,.0f}; take {small(small_delta(num_units))} or less"
    )


def small_delta(num_units: int) -> float:
    """The largest δ that nothing is to be said of for so many units, to one digit and with room: at most 1e-5.

    Args:
      num_units: that are protected.

    Example:
      >>> small_delta(60), small_delta(2_600_000)
      (1e-05, 3e-08)
    """
    tenth = 0.1 / num_units
    step = 10.0 ** math.floor(math.log10(tenth))
    return min(1e-5, float(f"{math.floor(tenth / step) * step:.0e}"))


LARGE_DELTA = 1e-3
"""From here on δ is warned of however few units there are; below, from one in the number of units on."""


def sampling_word(sampling: str) -> str:
    """A sampler's name as one writes it.

    Args:
      sampling: as in the column of that name.

    Example:
      >>> sampling_word("poisson"), sampling_word("fixed_size"), sampling_word("own(my_file.py, stated as poisson)")
      ('Poisson', 'fixed-size', 'own(my_file.py, stated as poisson)')
    """
    if sampling.startswith("own("):  # its author's word, to the letter
        return sampling
    kind = SAMPLINGS.get(sampling)
    return sampling.replace("_", "-") if kind is None else kind.word


_BY_CLIENTS = {
    **{kind.noise: f"; {kind.noise} reports, against the server too" for kind in REPORTS.values()},
    **{name: f"; {name} shares under secure aggregation" for name in SHARES},
    "inside_clients": "; noise inside each client, against the server too",
}
"""Noise that clients add → whom the guarantee holds against."""


def tuning_clause(paid: Any) -> str:
    """Whether hyper-parameter tuning was paid for, as a claim and a figure say it.

    Args:
      paid: a cell of ``tuning_accounted``; anything but a true one, of whatever library, counts as not paid.

    Example:
      >>> tuning_clause(None)
      'tuning not accounted'
    """
    return f"tuning {'accounted' if str(paid) == 'True' else 'not accounted'}"


def steps_word(row: Row) -> str:
    """What ``num_steps`` counts: rounds, or steps where each client takes noisy ones of its own.

    Args:
      row: a results row or a point.

    Example:
      >>> steps_word({"clients_per_round": 8}), steps_word({"clients_per_round": 8, "noise": "inside_clients"})
      ('rounds', 'steps')
    """
    federated = number(row, "clients_per_round") is not None and text(row, "noise") != "inside_clients"
    return "rounds" if federated else "steps"


def _whose_noise(row: Row) -> str:
    """Whom a guarantee that is not about noise on the sum holds against, and what is not real about it."""
    noise, cohort = text(row, "noise"), number(row, "noise_cohort_size")
    against = f"; noise {noise}" if noise.startswith(("correlated", "own(")) else _BY_CLIENTS.get(noise, "")
    simulated = f"; SIMULATED with the noise of {cohort:.0f} clients a round" if cohort is not None else ""
    return against + simulated


def _setting(row: Row) -> list[str]:
    rate, steps = number(row, "sampling_rate"), number(row, "num_steps")
    sampling = text(row, "sampling")
    sampling = sampling_word(sampling)
    if sampling and rate is not None:
        sampling = f"{sampling} q={small(rate)}"
    taken = f"{steps:.0f} {steps_word(row)}" if steps is not None else ""
    records, unit = number(row, "records_per_unit"), text(row, "unit")
    if unit and records is not None and records > 1:
        unit = f"{unit} of at most {records:.0f} records"
        sampling = f"{sampling} of records" if sampling else ""
    return [part for part in (unit, text(row, "adjacency"), sampling, taken) if part]
