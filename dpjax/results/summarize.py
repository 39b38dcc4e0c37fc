"""A sweep's points as means and standard deviations over seeds, each with its claim."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dpjax.results.claims import claim, small
from dpjax.results.distinct import Table
from dpjax.results.errors import ResultsError
from dpjax.results.frames import ORDER
from dpjax.results.having import metrics_in, no_column
from dpjax.results.metric import all_diverged, metric_of
from dpjax.results.mishaps import COUNTED
from dpjax.results.rivals import FAMILY, SUBJECT, best_of_each
from dpjax.results.schema import METRICS, SCHEMA
from dpjax.results.several import SWEEP

IDENTITY: tuple[str, ...] = (
    *FAMILY,
    "method",
    "config_hash",
    "sampling_rate",
    "num_steps",
    "population",
    "records_per_unit",
    "epsilon",
    "accountant",
    "tuning_accounted",
    "clip_norm",
    "clipping",
    "optimizer",
    "momentum",
    "hidden",
    "loss",
    "plugin",
    "learning_rate",
    "clients_per_round",
    "num_clients",
    "algorithm",
    "aggregation",
    "noise",
    "noise_cohort_size",
    "robust",
    "corruption",
    "compression",
    "tuning",
    "dtype",
    "max_length",
    "code",
    "inputs",
)
"""Columns that seeds of one point share; of several folders, ``SWEEP`` too."""

_NOT_READ_WITHOUT_PRIVACY = ("privacy", "clipping", "seed", "num_seeds", "lanes", "figures", "resume", "save_model")
_NOT_READ_WITHOUT_PRIVACY += ("notify", "tracker", "results_dir", "experiment", "name", "method", "task")
"""Parts of a config that change nothing of a run without privacy, or that columns of ``IDENTITY`` say."""

_SAME = (
    "overrides",
    "checkpoint",
    "trained_parameters",
    "ledger",
    "cut_share",
    "num_units",
    "owners",
    "learnt",
    "released",
    "release_noise_multiplier",
    "release_delta",
    "test_majority",
    "rows_per_owner",
    "noise_multiplier",
    "secret_cohorts",
    "capacity",
    "device",
    "git_revision",
)
POINT: tuple[str, ...] = (*IDENTITY, SWEEP, *_SAME, "epsilon_pld", "epsilon_rdp", *COUNTED)
"""Columns that a point has one value of, its ε and what is counted over its seeds included."""

_OF_SUMMARY = (SWEEP, "n", "best", "claim", "point", "federated", "family", "spread", "place", "of_seeds", "of_clients")
"""Names that a summary uses, which no column of one's own can have there."""

_COSTS = ("wall_seconds", "compile_seconds", "peak_memory_mib", "epoch_seconds", "tokens_per_second")
_COSTS += ("uplink_bytes", "encrypt_seconds", "add_seconds", "decrypt_seconds", "aggregation_error")
_CLIENTS = ("client_accuracy_mean", "client_accuracy_p10")


def summary(frame: pd.DataFrame, metric: str = "") -> pd.DataFrame:
    """One row per point: mean, standard deviation and number over seeds.

    Formal guarantees: seeds of one point are those that share every column of ``IDENTITY``. A seed that was run twice
    counts once, by its latest row. Mean, standard deviation and ``n`` are of the same seeds: where one of them has no
    number (the loss of a run that diverged), the mean and the deviation are missing, for those of the rest would
    flatter. The deviation is the sample's (``ddof=1``), missing for a single seed. ε computed is the largest of the
    seeds'; what is counted over steps (overflow, rejections, dropped clients, aborted rounds, wrapped sums) and runs
    that ``diverged`` are summed. ``best`` marks the best mean of ``metric`` for each family (``FAMILY``) and ε,
    and what equals it; ``claim`` is the point's privacy sentence.

    Args:
      frame: what ``collect`` or ``load`` gave.
      metric: the column that ``best`` compares; empty: what ``metric_of`` says.

    Returns:
      The identity, ``n``, ``diverged``, ``<metric>_mean`` and ``<metric>_std`` for every metric, cost and clients'
      accuracy, ``best``, ``claim``, and what ``own_columns`` names.

    Raises:
      ResultsError: the table has no such numeric column.

    Example:
      >>> seeds = [{"config_hash": "a", "seed": s, "test_accuracy": a} for s, a in enumerate((0.90, 0.92))]
      >>> from dpjax.results.table import frame_of
      >>> summary(frame_of(seeds))[["n", "test_accuracy_mean"]].values.tolist()
      [[2.0, 0.91]]
    """
    return with_runs(frame, [metric or metric_of(frame)])[0]


def with_runs(
    frame: pd.DataFrame, metrics: Sequence[str], apart: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What ``summary`` gives, and the runs that each of its points is the mean of.

    Formal guarantees: those of ``summary``. Every run is of one point.

    Args:
      frame: what ``collect``, ``load`` or ``load_all`` gave.
      metrics: columns that get a mean and a deviation besides the usual; ``best`` compares the first.
      apart: columns of one's own that tell points apart too.

    Returns:
      The points, and the runs with the index of their point in the column ``point``.

    Raises:
      ResultsError: the table has no such numeric column.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> rows = [{"epsilon": e, "seed": s, "test_accuracy": 0.9} for e in (8.0, 1.0) for s in range(2)]
      >>> points, runs = with_runs(frame_of(rows), ["test_accuracy"])
      >>> points["epsilon"].tolist(), runs["point"].tolist()
      ([1.0, 8.0], [0, 0, 1, 1])
    """
    named = list(dict.fromkeys([*METRICS, *own_metrics(frame), *metrics, *_COSTS, *_CLIENTS]))
    if not all_diverged(frame):  # of whose metrics none has a number
        require(frame, *metrics)
    # Any: pandas ships no stubs, and the types inferred for a group-by are unions of everything it might be.
    runs: Any = latest_runs(_adopt(frame), apart)
    groups: Any = runs.groupby([*_identity(frame), *apart], dropna=False, sort=False)
    points = groups.size().rename("n").reset_index()
    parts = {name: groups[name].first().to_numpy() for name in _SAME if name not in apart}
    parts |= {name: groups[name].max().to_numpy() for name in ("epsilon_pld", "epsilon_rdp")}
    # Of runs that have no such count, as central ones have no aborted rounds, there is none: not 0.
    parts |= {name: groups[name].sum(min_count=1).to_numpy() for name in COUNTED}
    parts |= {name: groups[name].first().to_numpy() for name in own_columns(runs) if name not in apart}
    parts["diverged"] = groups["diverged"].sum().to_numpy(int)
    for name in named:
        of_all = groups[name].count().to_numpy() == groups.size().to_numpy()
        parts[f"{name}_mean"] = np.where(of_all, groups[name].mean().to_numpy(float), np.nan)
        parts[f"{name}_std"] = np.where(of_all, groups[name].std(ddof=1).to_numpy(float), np.nan)
    points = pd.concat([points, pd.DataFrame(parts, index=points.index)], axis=1)
    points["best"] = best_of_each(points, metrics[0])
    points["claim"] = Table(points).each(claim).told()
    points = points.sort_values(ORDER, kind="stable", na_position="first")
    place = np.argsort(points.index.to_numpy())  # of the group that came so manieth, among the sorted
    return points.reset_index(drop=True), runs.assign(point=place[groups.ngroup().to_numpy()])


def own_metrics(frame: pd.DataFrame) -> list[str]:
    """The scores of one's own in a table: its numeric columns outside the schema whose names begin with ``test_``.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> own_metrics(frame_of([{"seed": 0, "test_accuracy": 0.9, "test_top3": 0.97, "test_note": "x", "note": 1}]))
      ['test_top3']
    """
    own = [str(name) for name in frame.columns if str(name).startswith("test_") and name not in SCHEMA]
    return [name for name in own if pd.api.types.is_numeric_dtype(frame[name])]


def references_as_one(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows, in which runs that neither clip nor add noise are one point if only what privacy reads differs.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Returns:
      The rows, with one ``config_hash`` for such runs.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> run = {"epsilon": math.inf, "noise_multiplier": 0.0, "clip_norm": math.inf}
      >>> configs = ('{"privacy": {"clip_norm": 0.3}}', '{"privacy": {"clip_norm": 1.0}}')
      >>> references_as_one(frame_of([run | {"config": config} for config in configs]))["config_hash"].nunique()
      1
    """
    rows: Any = frame.copy()
    plain = (rows["epsilon"] == math.inf) & (rows["noise_multiplier"] == 0) & (rows["clip_norm"] == math.inf)
    own = own_columns(rows)
    rows.loc[plain, "config_hash"] = [
        " ".join([str(_hash_without_privacy(row)), *[str(row[name]) for name in own]])
        for row in rows[plain].to_dict("records")
    ]
    return rows


def own_columns(frame: Any) -> list[str]:
    """Columns outside the schema that say one thing of each point: one number, text or truth, whatever the seed.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> rows = [{"config_hash": c, "seed": s, "mine": c, "measured": s / 9} for c in "ab" for s in range(2)]
      >>> own_columns(frame_of(rows))
      ['mine']
    """
    known = {*SCHEMA, *_OF_SUMMARY, *own_metrics(frame)}
    names = [str(name) for name in frame.columns if name not in known]
    names = [name for name in names if is_scalar(frame[name]) and name.rpartition("_")[0] not in SCHEMA]
    groups: Any = frame.groupby(_identity(frame), dropna=False, sort=False) if names else None
    return [name for name in names if (groups[name].nunique(dropna=False) <= 1).all()]


def is_scalar(column: Any) -> bool:
    """Whether a column holds numbers, texts and truths alone, some of them.

    Args:
      column: of a frame.

    Example:
      >>> is_scalar(pd.Series(["a", None])), is_scalar(pd.Series([[1], [2]])), is_scalar(pd.Series([None]))
      (True, False, False)
    """
    values = column.dropna()
    return len(values) > 0 and all(isinstance(value, str | bool | int | float | np.generic) for value in values)


def latest_runs(frame: Any, apart: Sequence[str] = ()) -> Any:
    """Each seed of a point once, by its latest row; rows without a seed all.

    Args:
      frame: what ``collect`` or ``load`` gave.
      apart: columns of one's own that tell points apart too.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> latest_runs(frame_of([{"seed": 0, "test_loss": 2.0}, {"seed": 0, "test_loss": 1.0}]))["test_loss"].tolist()
      [1.0]
    """
    latest = frame.sort_values("timestamp", kind="stable", na_position="first")
    latest = latest.assign(seed=same_runs(latest["seed"]))
    repeated = latest.duplicated([*_identity(latest), *apart, "seed"], keep="last") & latest["seed"].notna()
    return latest[~repeated].sort_index()


def run_twice(frame: Any) -> list[str]:
    """A sentence on seeds of one point that are there more than once with different results; none where there is none.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> run_twice(frame_of([{"epsilon": 1.0, "seed": 1, "test_loss": x} for x in (2.0, 1.0)]))
      ['seed 1 of ε=1 was run twice, with different results: the latest counts']
    """
    rows = frame[frame["seed"].notna()]
    rows = rows.assign(seed=same_runs(rows["seed"]))
    place = [*_identity(rows), "seed"]
    rows = rows[rows.duplicated(place, keep=False)]
    # What was copied says the same of every metric, and needs no word.
    measured = [name for name in METRICS if name in rows.columns]
    differing = rows[~rows.duplicated([*place, *measured])]
    groups: Any = differing[differing.duplicated(place, keep=False)].groupby(place, dropna=False, sort=False)
    firsts = [(len(group), group.iloc[0]) for _, group in groups]
    if not firsts:
        return []
    times, first = firsts[0]
    epsilon = "" if pd.isna(first["epsilon"]) else f" of ε={small(first['epsilon'])}"
    named = f" of {first['overrides']}" if isinstance(first["overrides"], str) and first["overrides"] else epsilon
    seed = f"seed {first['seed']}{named}"
    if len(firsts) > 1:
        return [
            f"{len(firsts)} seeds were run more than once, with different results: the latest of each counts ({seed})"
        ]
    often = "twice" if times == 2 else f"{times} times"
    return [f"{seed} was run {often}, with different results: the latest counts"]


def same_runs(seeds: Any) -> Any:
    """Seeds with those alike that JAX's generator takes for one: they are one run, and count once.

    Args:
      seeds: a column of them; missing ones stay so.

    Example:
      >>> same_runs(pd.Series([3, 3 + 2**32, -1])).tolist()
      [3, 3, 4294967295]
    """
    if pd.api.types.is_integer_dtype(seeds):
        return seeds % 2**32
    return seeds.map(lambda seed: seed % 2**32, na_action="ignore")


def require(frame: pd.DataFrame, *names: str) -> None:
    """Checks that a table has numbers in the named columns.

    Args:
      frame: what ``collect`` or ``load`` gave.
      names: the columns needed.

    Raises:
      ResultsError: a column is not there, not numeric or empty.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> require(frame_of([{"seed": 0}]), "clip_norm")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: the results have no values in column 'clip_norm': sweep or record it first
    """
    for name in names:
        if name not in frame.columns:
            raise no_column(frame, name)
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise ResultsError(f"results column {name!r} holds no numbers: choose a metric such as {metric_of(frame)}")
        if frame[name].isna().to_numpy().all():
            others = metrics_in(frame) if name in METRICS else []
            fix = f"choose one that has, such as {' or '.join(others[:2])}" if others else "sweep or record it first"
            raise ResultsError(f"the results have no values in column {name!r}: {fix}")


def is_federated(frame: Any) -> pd.Series:
    """Which rows are federated: those with a number of clients per round.

    Args:
      frame: what ``collect``, ``load`` or ``summary`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> is_federated(frame_of([{"seed": 0}, {"seed": 1, "clients_per_round": 10}])).tolist()
      [False, True]
    """
    return frame["clients_per_round"].notna()


def _identity(frame: Any) -> list[str]:
    return [*IDENTITY, *([SWEEP] if SWEEP in frame.columns else [])]


def _adopt(frame: Any) -> Any:
    # A non-private run has no δ, and may leave its neighbours unsaid; it is still the reference of its family.
    reference = frame["epsilon"] == math.inf
    frame = frame.copy()
    subject = frame[list(SUBJECT)].fillna("").groupby(list(SUBJECT), sort=False).ngroup()
    for name in ("adjacency", "sampling", "delta"):
        for same, stated in frame[~reference][name].groupby(subject[~reference]):
            if stated.nunique() == 1:
                frame.loc[(subject == same) & reference & frame[name].isna(), name] = stated.dropna().iloc[0]
    return frame


def _hash_without_privacy(row: dict[str, Any]) -> Any:
    """What a run that neither clips nor adds noise is: runs that differ in what only privacy reads are one point."""
    try:
        config = json.loads(row["config"])
        kept = {name: value for name, value in config.items() if name not in _NOT_READ_WITHOUT_PRIVACY}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return row["config_hash"]
