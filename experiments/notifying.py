"""A note at the end of a sweep, where it was asked for: on the desktop, or posted to a webhook. It never fails a sweep.

The webhook's address is a secret: it stands in the environment and nowhere else, neither in a config, which is recorded
with every result, nor in what is printed.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from dpjax.transport import is_this_machine, tls_context

WEBHOOK = "DPJAX_WEBHOOK"
"""The variable of the environment that holds the webhook's address."""

SECONDS = 10.0
"""Longest time that a note may take."""

NO_ADDRESS = (
    "notify takes no address, as a config is recorded with its results; put the address into the environment variable "
    f"{WEBHOOK}, and write notify=webhook."
)

_SESSIONS = ("DBUS_SESSION_BUS_ADDRESS", "WAYLAND_DISPLAY", "DISPLAY")
"""Variables of which a session with a desktop sets one at least; notify-send looks for a bus by them."""

_DESKTOPS = {
    "notify-send": ["notify-send", "--", "dpjax"],
    "osascript": [
        "osascript",
        *("-e", "on run argv", "-e", 'display notification (item 1 of argv) with title "dpjax"', "-e", "end run"),
    ],
}


def is_address(value: object) -> bool:
    """Whether a value may be the address of a webhook, which no sentence may repeat; a reference to one is none.

    Example:
      >>> is_address("https://example.org/secret"), is_address("desktp")
      (True, False)
    """
    text = str(value)
    return not text.startswith("${") and any(mark in text for mark in "/.:?@")


def foretell(how: str) -> None:
    """Say before a sweep runs for hours that nobody would be told of its end, where that is known by then.

    Args:
      how: ``notify`` of the config.
    """
    if trouble := _ahead(how):
        print(f"note: notify={how} will tell nobody: {trouble}.", file=sys.stderr)


def _ahead(how: str) -> str:
    if how == "webhook" and not _address().lower().startswith(("https://", "http://")):
        return f"{WEBHOOK} holds no address; set it to the webhook's, which begins with https://"
    if how == "webhook" and _address().lower().startswith("http://") and not is_this_machine(_host()):
        return f"{WEBHOOK} begins with http://, which everybody on the way can read; give one that begins with https://"
    if how == "desktop" and (lacking := _lacking()):
        return f"{lacking}; write notify=webhook, with the webhook's address in the environment variable {WEBHOOK}"
    return ""


def _lacking() -> str:
    """What a notification would need and this machine has not."""
    program = next(filter(shutil.which, _DESKTOPS), None)
    if program is None:
        return f"there is neither {' nor '.join(_DESKTOPS)} on this machine"
    bus = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere") / "bus"
    if program == "notify-send" and not any(map(os.environ.get, _SESSIONS)) and not bus.exists():
        return f"notify-send finds no desktop, as none of {', '.join(_SESSIONS)} is set"
    return ""


def _address() -> str:
    return os.environ.get(WEBHOOK, "").strip()


def _host() -> str | None:
    try:
        return urlsplit(_address()).hostname or "?"
    except ValueError:
        return "?"


def notify(how: str, folder: Path, finished: int, failed: int) -> None:
    """Tell that a sweep has ended; what keeps it from being told is one line on stderr.

    Args:
      how: ``notify`` of the config: empty, desktop or webhook.
      folder: the sweep's, whose name is told, and whose best point.
      finished: jobs with a result.
      failed: jobs without.
    """
    if not how or _ahead(how):  # which was said before
        return
    try:
        said = _on_desktop if how == "desktop" else _post
        trouble = said(sentence(folder, finished, failed))
    except Exception as error:  # the sweep is done, whatever this is; and its text may hold the address
        trouble = type(error).__name__
    if trouble:
        print(f"note: notify={how} told nobody: {trouble}.", file=sys.stderr)


def sentence(folder: Path, finished: int, failed: int) -> str:
    """What is told: the sweep's name, its jobs, and the best mean over seeds with its ε.

    Formal guarantees: no mean of rows of data with a budget.

    Args:
      folder: the sweep's.
      finished: jobs with a result.
      failed: jobs without.

    Example:
      >>> sentence(Path("/nowhere/quickstart"), 0, 2)
      'quickstart: 0 jobs finished, 2 failed'
    """
    from dpjax.results.sharing import holds_budget

    told = f"{folder.name}: {finished} {'job' if finished == 1 else 'jobs'} finished, {failed} failed"
    if holds_budget(folder):
        return told
    return f"{told}; {best}" if finished and (best := _best(folder)) else told


def _best(folder: Path) -> str:
    from dpjax.report.status import status  # pandas
    from dpjax.results.claims import rounded_up
    from dpjax.results.schema import lower_is_better
    from dpjax.results.wording import label, mean_and_std

    found = status(folder)
    if not found.best or found.metric is None:
        return ""
    sign = -1 if lower_is_better(found.metric) else 1
    inf = float("inf")
    best = max(found.best, key=lambda each: (each.epsilon not in (None, inf), sign * each.mean))
    spread = mean_and_std(best.mean, float("nan") if best.std is None else best.std)
    stated = best.epsilon if best.stated is None else best.stated
    epsilon = "∞" if stated in (None, inf) else rounded_up(stated)
    return f"best {label(found.metric)} {spread} at ε={epsilon}"


def _on_desktop(text: str) -> str:
    """Show it; what was in the way, or nothing."""
    program = next(filter(shutil.which, _DESKTOPS))
    done = subprocess.run([*_DESKTOPS[program], text], capture_output=True, timeout=SECONDS, check=False)
    return "" if done.returncode == 0 else f"{program} ended with status {done.returncode}"


def _post(text: str) -> str:
    """Send it; what was in the way, or nothing. No answer here repeats the address."""
    headers = {"Content-Type": "application/json", "User-Agent": "dpjax"}
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    try:
        request = urllib.request.Request(_address(), body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS, context=tls_context()):  # nosec B310 # http or https: see _ahead
            return ""
    except HTTPError as error:
        return f"the webhook answered with status {error.code}"
    except TimeoutError:
        return f"the webhook did not answer in {SECONDS:g} s"
    except URLError as error:
        return f"the webhook can't be reached ({type(error.reason).__name__})"
