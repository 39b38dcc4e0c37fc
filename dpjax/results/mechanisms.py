"""The columns of a row that say what ran, from a mechanism and back: nothing that decides ε is typed twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dpjax.accounting.distributed import KINDS as SHARES
from dpjax.accounting.distributed import DistributedNoise
from dpjax.accounting.local import KINDS as REPORTS
from dpjax.accounting.local import LocalReports
from dpjax.accounting.mechanism import Mechanism
from dpjax.accounting.noises import Noise
from dpjax.accounting.recipes import factorization_of, recipe_of
from dpjax.accounting.releases import Release
from dpjax.accounting.samplings import SAMPLINGS, Sampling, sampling_of
from dpjax.results.claims import number, text

_OF_REPORTS = {kind.noise: name for name, kind in REPORTS.items()}


def columns_of(mechanism: Mechanism) -> dict[str, Any]:
    """What a row says of the mechanism that ran.

    Formal guarantees: ``mechanism_of`` makes the same mechanism of them again, or none where its noise is correlated by
    what no recipe of ``FACTORIZATIONS`` makes for the run's own participation, or where its sampling or its noise is of
    a kind that is in no table of dpjax.

    Args:
      mechanism: that ran.

    Returns:
      Column → value, None where a column is not for it.

    Example:
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="poisson", sampling_rate=0.25,
      ...                 noise_multiplier=1.5, num_steps=100, overflow_probability=1e-13)
      >>> columns = columns_of(run)
      >>> columns["sampling"], columns["noise"], columns["overflow_probability"], mechanism_of(columns) == run
      ('poisson', 'gaussian', 1e-13, True)
    """
    noise = mechanism.noise
    shares = noise if isinstance(noise, DistributedNoise) else None
    return {
        "unit": mechanism.unit,
        "records_per_unit": mechanism.records_per_unit if mechanism.records_per_unit > 1 else None,
        "adjacency": mechanism.adjacency,
        "sampling": _listed(mechanism.sampling),
        "sampling_rate": mechanism.sampling_rate,
        "num_steps": mechanism.num_steps,
        "population": mechanism.population,
        "noise_multiplier": mechanism.noise_multiplier,
        "noise": _word(mechanism),
        "epsilon_per_report": noise.epsilon_per_report if isinstance(noise, LocalReports) else None,
        "noise_dimension": shares and shares.dimension,
        "noise_levels": shares and shares.levels,
        "noise_shares": shares and shares.shares,
        "secret_cohorts": shares and shares.secret_cohorts,
        "overflow_probability": mechanism.overflow_probability,
        "abort_probability": mechanism.abort_probability,
        "release_noise_multiplier": mechanism.released and mechanism.released.noise_multiplier,
        "release_delta": mechanism.released and mechanism.released.delta,
    }


def mechanism_of(row: Mapping[str, Any]) -> Mechanism | None:
    """The mechanism that a row says ran; None if its columns do not say enough.

    Formal guarantees: nothing that ε depends on is guessed. Rows that lack ``overflow_probability`` and
    ``abort_probability``, as those made before they were columns, count as rows without either.

    Args:
      row: a results row, or any mapping with its column names.

    Returns:
      The mechanism, or None.

    Raises:
      ValueError: columns that no mechanism can have.

    Example:
      >>> mechanism_of({"unit": "example"}) is None
      True
    """
    rate, multiplier, steps = (number(row, name) for name in ("sampling_rate", "noise_multiplier", "num_steps"))
    unit, adjacency, sampling = (text(row, name) for name in ("unit", "adjacency", "sampling"))
    if rate is None or multiplier is None or steps is None or not (unit and adjacency) or sampling not in SAMPLINGS:
        return None
    kind = sampling_of(sampling, rate, _whole(row, "population"))
    word, factorization = text(row, "noise"), None
    if word.startswith("correlated"):
        recipe = re.fullmatch(r"correlated\((\w+)(?: (\d+))?\)", word)
        if recipe is None:
            return None
        bands = None if recipe[2] is None else int(recipe[2])
        factorization = factorization_of(recipe[1], kind.participation(int(steps)), bands)
    noise = _noise(row, word)
    if noise is None and word not in ("", "gaussian", "inside_clients") and factorization is None:
        return None
    return Mechanism(
        unit=unit,
        adjacency=adjacency,
        sampling=kind,
        noise_multiplier=multiplier,
        num_steps=int(steps),
        overflow_probability=number(row, "overflow_probability") or 0.0,
        factorization=factorization,
        noise=noise,
        records_per_unit=_whole(row, "records_per_unit") or 1,
        abort_probability=number(row, "abort_probability") or 0.0,
        released=_released(row),
    )


def _released(row: Mapping[str, Any]) -> Release | None:
    multiplier = number(row, "release_noise_multiplier")
    return None if multiplier is None else Release(multiplier, number(row, "release_delta") or 0.0)


def _listed(sampling: Sampling) -> str:
    """The kind's name, which stands for nothing but that kind: of one that is in no table, the name of its class."""
    return sampling.name if SAMPLINGS.get(sampling.name) is type(sampling) else f"own({type(sampling).__name__})"


def _word(mechanism: Mechanism) -> str | None:
    """The noise in a word and its own number; None where there is none."""
    noise = mechanism.noise
    if type(noise) is LocalReports:
        return REPORTS[noise.kind].noise
    if type(noise) is DistributedNoise:
        return noise.kind
    if noise is not None:
        return f"own({type(noise).__name__})"
    if mechanism.factorization is None:
        return "gaussian" if mechanism.noise_multiplier else None
    recipe = recipe_of(mechanism.factorization, mechanism.participation)
    return f"correlated({recipe})" if recipe else "correlated"


def _noise(row: Mapping[str, Any], word: str) -> Noise | None:
    if word in _OF_REPORTS:
        return LocalReports(_OF_REPORTS[word], number(row, "epsilon_per_report"))
    dimension, levels, shares = (_whole(row, f"noise_{name}") for name in ("dimension", "levels", "shares"))
    if word not in SHARES or dimension is None or levels is None or shares is None:
        return None
    return DistributedNoise(word, dimension, levels, shares, str(row.get("secret_cohorts")) == "True")


def _whole(row: Mapping[str, Any], name: str) -> int | None:
    value = number(row, name)
    return None if value is None else int(value)
