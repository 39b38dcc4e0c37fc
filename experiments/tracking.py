"""A sweep's runs in Weights & Biases, or nowhere. wandb is imported when it is asked for, and not before."""

import hashlib
import math
import netrc
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

from dpjax.results import SCHEMA, ResultsError, claim
from dpjax.results.sharing import has_budget, holds_budget, shared
from experiments.config import Config, TrackerConf
from experiments.fields import as_dict

_CURVES = {"test_accuracy": "eval_test_accuracy", "test_loss": "eval_test_loss", "train_loss": "train_loss_curve"}
_LONG = ("config", "eval_steps", *_CURVES.values())
# An offline run costs some 90 ms with wandb's own settings and 10 ms with these: no hardware, packages, git or console.
_QUICK = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "disable_job_creation": True,
    "init_timeout": 30.0,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
}


class TrackerError(ResultsError):
    """A tracker could not be used. The message is one sentence with the fix; results are on disk all the same.

    >>> isinstance(TrackerError("no key"), ResultsError)
    True
    """


class Tracker(NamedTuple):
    """Where a sweep is reported to.

    Attributes:
      log_job: ``log_job(cfg, rows, figures=())``: one run per row, with its config, curves and final metrics.
      finish: ``finish(figures=())``: one run for the whole sweep, with the table of all rows logged and the figures.
    """

    log_job: Callable[..., None]
    finish: Callable[..., None]


def tracker(cfg: Config, folder: Path | str) -> Tracker:
    """The sink that ``cfg.tracker`` names.

    Formal guarantees: ``tracker=none``, or ``mode=disabled``, imports nothing of wandb and does nothing. With
    ``tracker=wandb``, every file lies below the sweep's folder, wandb prints nothing, and runs carry the sweep as their
    group. With ``mode=null`` and no account, runs are kept offline and one line says so. A row that this folder has
    logged before is not logged again, so that rerunning a finished sweep adds nothing. Of a run on data with a budget
    no more is told than ``dpjax.results.sharing.shared`` gives, and no figure: no metric of any row is among it.

    Args:
      cfg: the config; reads ``experiment`` and ``tracker``.
      folder: the sweep's folder.

    Raises:
      TrackerError: wandb is not installed, or ``mode=online`` without an account.

    >>> sink = tracker(Config(), "results/quickstart")
    >>> sink.log_job(Config(), [{"seed": 0}])
    >>> sink.finish()
    """
    if cfg.tracker.name == "none" or cfg.tracker.mode == "disabled":
        return Tracker(lambda cfg, rows, figures=(): None, lambda figures=(): None)
    return _wandb_tracker(cfg.tracker, cfg.experiment, Path(folder))


def _wandb_tracker(conf: TrackerConf, experiment: str, folder: Path) -> Tracker:
    try:
        import wandb
    except ImportError as error:
        raise TrackerError(
            "tracker=wandb needs the package wandb: run the same command with `uv run --extra wandb ...`, or use "
            "tracker=none"
        ) from error
    mode = _mode(conf, folder)
    group = conf.group or experiment or folder.name
    logged: list[Mapping[str, Any]] = []

    def run(name: str, identity: Sequence[Any], config: dict[str, Any], tags: Sequence[str], kind: str) -> Any:
        key = hashlib.sha256(repr([str(folder.resolve()), *identity]).encode()).hexdigest()[:16]
        prefix = "offline-run" if mode == "offline" else "run"
        if any((folder / "wandb").glob(f"{prefix}-*-{key}/*.wandb")):
            return None
        try:
            return wandb.init(
                project=conf.project or "dpjax",
                entity=conf.entity,
                dir=str(folder),
                id=key,
                name=name[:128],
                group=group,
                job_type=kind,
                tags=[*tags],
                config=config,
                mode=mode,
                reinit="create_new",
                settings=_settings(wandb),
            )
        except Exception as error:  # wandb raises many kinds, and each must end as one sentence
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TrackerError(
                f"wandb could not start a run ({reason}); results are on disk: use tracker.mode=offline and "
                "`wandb sync` later"
            ) from error

    def log_job(cfg: Config, rows: Sequence[Mapping[str, Any]], figures: Sequence[Path | str] = ()) -> None:
        for whole in rows:
            row = shared(whole)
            if "overrides" in row:
                row["overrides"] = _without_ledger(row["overrides"])
            told = claim(row | {"learnt": whole.get("learnt")})  # in which are names of columns alone
            if has_budget(row) and not any(map(has_budget, logged)):
                print("note: wandb gets no metric and no figure of data with a budget.", file=sys.stderr)
            name = f"{row.get('overrides') or row.get('config_hash') or 'run'} seed={row.get('seed')}"
            identity = [row.get(key) for key in ("config_hash", "seed", "timestamp")]
            tags = [row[key] for key in ("dataset", "model", "unit") if row.get(key)]
            logged.append(row | {"claim": told})
            sink = run(name, identity, _config(cfg) | {"seed": row.get("seed")}, tags, "train")
            if sink is None:
                continue
            for point in _curve(row):
                sink.log(point, step=point["step"])
            _log_images(wandb, sink, () if has_budget(row) else figures)
            sink.summary.update({key: value for key, value in row.items() if key not in _LONG} | {"claim": told})
            sink.finish()

    def finish(figures: Sequence[Path | str] = ()) -> None:
        if not logged:
            return
        identity = [[row.get(key) for key in ("config_hash", "seed", "timestamp")] for row in logged]
        sink = run(f"{group}: table", identity, {"experiment": group}, (), "table")
        if sink is None:
            return
        present = [name for name in SCHEMA if name not in _LONG and any(row.get(name) is not None for row in logged)]
        data: Any = [[_cell(row.get(name)) for name in present] + [row["claim"]] for row in logged]
        sink.log({"results": wandb.Table(columns=[*present, "claim"], data=data, allow_mixed_types=True)})
        _log_images(wandb, sink, () if any(map(has_budget, logged)) or holds_budget(folder) else figures)
        sink.finish()

    return Tracker(log_job, finish)


def _config(cfg: Config) -> dict[str, Any]:
    """The config, without the address of a ledger, in which a password may be."""
    config = as_dict(cfg)
    config["governance"] = config["governance"] | {"ledger": None}
    return config


def _without_ledger(overrides: Any) -> Any:
    return re.sub(r"governance\.ledger=\S+\s*", "", overrides) if isinstance(overrides, str) else overrides


def _curve(row: Mapping[str, Any]) -> list[dict[str, float]]:
    steps = row.get("eval_steps") or ()
    points: list[dict[str, float]] = [{"step": int(step)} for step in steps]
    for name, column in _CURVES.items():
        for point, value in zip(points, row.get(column) or (), strict=False):
            point[f"eval/{name}"] = float(value)
    return points


def _log_images(wandb: Any, sink: Any, figures: Sequence[Path | str]) -> None:
    pictures = [Path(figure) for figure in figures if Path(figure).suffix in (".png", ".jpg")]
    if pictures:
        sink.log({f"figures/{picture.stem}": wandb.Image(str(picture)) for picture in pictures})


def _settings(wandb: Any) -> Any:
    # Settings that begin with x_ come and go between versions of wandb.
    known = getattr(wandb.Settings, "model_fields", None)
    return wandb.Settings(**{name: value for name, value in _QUICK.items() if known is None or name in known})


def _mode(conf: TrackerConf, folder: Path) -> Any:
    wanted = conf.mode or os.environ.get("WANDB_MODE")
    has_account = _has_account()
    if wanted == "online" and not has_account:
        raise TrackerError("tracker.mode=online found no wandb account: run `wandb login`, or use tracker.mode=offline")
    if wanted is None and not has_account:
        print(
            f"wandb: no account, so runs stay in {folder / 'wandb'}; upload them with `wandb login` and "
            f"`wandb sync {folder / 'wandb'}/offline-run-*`.",
            file=sys.stderr,
        )
        return "offline"
    return wanted or "online"


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    candidates = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for candidate in [candidates[0]] if candidates[0] else candidates[1:]:
        path = Path(candidate or "").expanduser()
        try:
            if path.is_file() and netrc.netrc(str(path)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _cell(value: Any) -> Any:
    # JSON has no inf; a table's column would otherwise hold the text and the numbers.
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
