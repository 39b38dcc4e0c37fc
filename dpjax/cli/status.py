"""``dpjax status``: where a sweep stands, in a few lines or as JSON, and as an exit status."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dpjax.report.status import Status

_EXIT = {"complete": 0, "running": 3}


def status_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, or one above several.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say where a sweep stands: jobs finished of planned, time left, the best so far, and where the results are.

    [bold]Examples[/bold]

      dpjax status results/quickstart

      dpjax status results/quickstart --json

    The exit status is 0 when all planned jobs have a result, 1 when jobs failed or are lacking and nobody works on them
    (stopped, or stalled: nothing has changed for long), and 3 while the sweep runs. Best is the best mean of each ε
    among points that may be compared; that choice is not paid for by any ε.
    """
    from dpjax.report.status import status

    found = status(directory)
    typer.echo(_as_json(found) if as_json else "\n".join(_lines(directory, found)))
    raise typer.Exit(_EXIT.get(found.state, 1))


def _as_json(found: "Status") -> str:
    import json

    facts = {**found._asdict(), "best": [best._asdict() for best in found.best], "results": str(found.results)}
    return json.dumps(_finite(facts), ensure_ascii=False, indent=1)


def _finite(value: Any) -> Any:
    """JSON has no infinity: as in result files it is a word; and what is no number is nothing."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _lines(directory: Path, found: "Status") -> list[str]:
    from dpjax.report.sweep_state import in_words

    since = "" if found.seconds_since_change is None else f", last change {in_words(found.seconds_since_change)} ago"
    of = "" if found.planned is None else f" of {found.planned} planned"
    jobs = "job" if (found.finished if found.planned is None else found.planned) == 1 else "jobs"
    parts = [f"{found.finished}{of} {jobs} finished", f"{found.failed} failed"]
    parts += [f"about {in_words(found.seconds_left)} left"] if found.seconds_left is not None else []
    lines = [f"{directory}: {found.state}{since}", f"  {', '.join(parts)}"]
    for word, sentences in (("failed", found.failures), ("unreadable", found.unreadable)):
        lines += [f"  {word}: {sentence}" for sentence in sentences[:5]]
        lines += [f"  and {len(sentences) - 5} more {word}"] if len(sentences) > 5 else []
    lines += [f"  note: {sentence}" for sentence in found.notes]
    return [*lines, *_best_lines(found), f"Results: {found.results}"]


def _best_lines(found: "Status") -> list[str]:
    from dpjax.results.claims import rounded_up, small
    from dpjax.results.wording import label, mean_and_std

    if not found.best or found.metric is None:
        return []
    lines = [f"Best of each ε so far, by {label(found.metric)} (this choice is not accounted):"]
    for family in dict.fromkeys(best.family for best in found.best):
        lines.append(f"  {family}")
        for best in found.best:
            if best.family != family:
                continue
            target = "–" if best.epsilon is None else "∞" if best.epsilon == math.inf else small(best.epsilon)
            stated = (
                "" if best.stated is None else f" ({rounded_up(best.stated)} {best.accountant})".replace("inf", "∞")
            )
            stated = "" if target == "∞" else stated
            spread = mean_and_std(best.mean, math.nan if best.std is None else best.std)
            lines.append(f"    ε={target}{stated}  {spread}  {best.overrides}".rstrip())
    return lines
