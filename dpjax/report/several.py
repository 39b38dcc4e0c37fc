"""Several sweeps' folders as one report: each row says in the column ``sweep`` which folder it is of."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpjax.report.contents import Contents, Notice, gather
from dpjax.report.sweep_state import together
from dpjax.results.metric import metric_of
from dpjax.results.provenance import made_by_other_code
from dpjax.results.several import SWEEP, names_of


def gather_several(directories: Sequence[Path | str], now: datetime.datetime | None = None) -> Contents:
    """Everything that a report says of several folders; of one, what ``gather`` says.

    Formal guarantees: seeds of different folders are never one point. Rows of different folders may stand in one chart
    if they share what ``dpjax.results.summary`` asks for but the name of the experiment, which is the sweep's own.

    Args:
      directories: as ``gather`` takes them; one that is given twice counts once.
      now: the time, as for ``gather``.

    Raises:
      ResultsError: one of them is not there.

    Example:
      >>> gather_several(["/nowhere", "/elsewhere"])
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    paths = list({Path(each).resolve(): Path(each) for each in directories}.values())
    if len(paths) == 1:
        return gather(paths[0], now)
    names = names_of(paths)
    found = [gather(path, now) for path in paths]
    frame = _stacked([each.frame for each in found], names)
    notices = [
        notice._replace(text=f"{name}: {notice.text}")
        for name, each in zip(names, found, strict=True)
        for notice in each.notices
    ]
    told = {item for notice in notices for item in notice.items}
    between = [sentence for sentence in made_by_other_code(frame) if sentence not in told]
    if between and len(frame):
        notices.append(Notice("note", "Taken together, rows were made by other code, or of other files.", between))
    failures = [
        failure._replace(folder=f"{name}/{failure.folder}", experiment=f"{name}: {failure.experiment}")
        for name, each in zip(names, found, strict=True)
        for failure in each.failures
    ]
    going = [each.progress for each in found if each.progress is not None]
    return Contents(" and ".join(names), frame, _points(frame), notices, failures, together(going))


def _stacked(frames: list[Any], names: list[str]) -> Any:
    import pandas as pd

    full = [frame.assign(**{SWEEP: name}) for frame, name in zip(frames, names, strict=True) if len(frame)]
    return pd.concat(full, ignore_index=True) if full else frames[0]


def _points(frame: Any) -> Any:
    """Means over seeds: summed up as if all were one experiment, in which the folder is part of the config."""
    from dpjax.results.summarize import summary

    if not len(frame) or frame[metric_of(frame)].isna().all():
        return None
    owners = ["sweep", "experiment", "config_hash"]
    told = frame[owners].astype(object).where(frame[owners].notna(), None).to_numpy().tolist()
    points = summary(frame.assign(experiment="", config_hash=[json.dumps(each) for each in told]))
    split = [json.loads(each) for each in points["config_hash"]]
    return points.assign(**{name: [each[place] for each in split] for place, name in enumerate(owners)})
