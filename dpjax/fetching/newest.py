"""Which revision of a repository of the hub is the newest: a short probe, before anything is downloaded."""

import importlib
import os
import threading
from typing import Any, Literal

from dpjax.fetching.sources import DatasetError

PROBE_SECONDS = 3.0


_NOBODY = {
    "RepositoryNotFoundError": "the hub has no {kind} {repo}, or not for you; look at its name, or `hf auth login`",
    "GatedRepoError": "the hub gives {repo} only to who has asked for it; ask there, and log in with `hf auth login`",
    "RevisionNotFoundError": "{repo} has no revision {revision}; look at its history on the hub",
}
"""What an answer of the hub means, by the name of the library's error."""


def newest_revision(repo: str, kind: Literal["dataset", "model"], revision: str | None = None) -> str:
    """Asks the hub for the newest revision of a repository, and gives up after a few seconds.

    The library alone would retry for more than 20 s where there is no network.

    Args:
      repo: ``owner/name``.
      kind: of repository.
      revision: a branch, a tag or a part of a revision's hash that is asked for; None: the newest.

    Returns:
      The revision's hash, which pins what is read next.

    Raises:
      DatasetError: offline mode is on, no answer came, or there is no such repository or revision.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise DatasetError("HF_HUB_OFFLINE is set")
    answer: dict[str, Any] = {}

    def ask() -> None:
        try:
            hub = importlib.import_module("huggingface_hub")
            answer["revision"] = getattr(hub.HfApi(), f"{kind}_info")(
                repo, revision=revision, timeout=PROBE_SECONDS
            ).sha
        except Exception as error:  # the library's errors come from whichever HTTP client it uses
            answer["error"] = error

    # A thread, because resolving a name has no timeout of its own; a daemon, so that it never holds up the exit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * PROBE_SECONDS)
    if answer.get("revision"):
        return answer["revision"]
    if answer and (sentence := _NOBODY.get(type(answer.get("error")).__name__)):
        raise DatasetError(sentence.format(kind=kind, repo=repo, revision=revision))
    reason = str(answer.get("error", f"no answer within {2 * PROBE_SECONDS:g} s")).partition("\n")[0].strip("'")
    raise DatasetError(f"the hub cannot be reached ({reason})")
