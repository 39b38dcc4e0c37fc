"""A model that leaves with its privacy statement, whole or not at all, and how its receiver knows that it did."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dpjax._version import __version__
from dpjax.governance.accounts import Account
from dpjax.governance.errors import LedgerError
from dpjax.governance.files import STATEMENT, WORDS, hashes_of
from dpjax.governance.gate import Passed, Refused, checked, still
from dpjax.governance.ledger import Ledger

CARD = "MODEL_CARD.md"

_FORMAT = "dpjax-release"


def release(ledger: Ledger, model: Path, to: Path, card: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Let a model leave, if it may.

    Formal guarantees: ``to`` holds the whole release or is as it was, and what it holds is in the ledger's trail before
    it is there. The budget, what is spent of it and who may release are looked at in the transaction that writes the
    record, beside which nobody else writes. A refusal leaves nothing but a record of it; where the ledger itself was
    edited, not even that. No metric of any row and no count of clipped or rejected contributions goes along.

    Args:
      ledger: that paid for the run.
      model: folder that a run with ``save_model`` wrote.
      to: folder that is not there, or empty.
      card: makes the words for people of the statement for machines.

    Returns:
      The statement, as it is released.

    Raises:
      Refused: see ``gate.checked``.
      LedgerError: the ledger was edited, or the folder can't be written.
    """
    _check_apart(to, model)
    _check_free(to)
    try:
        passed = checked(ledger, model)
    except Refused as refused:
        _record_refusal(ledger, refused)
        raise
    part = to.absolute().parent / f".{to.absolute().name}.{secrets.token_hex(4)}.tmp"
    try:
        part.mkdir(parents=True)
        for name in passed.files:
            if name != STATEMENT:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(model / name, part / name)
        copied = hashes_of(part)
        for name, was in passed.files.items():
            if name != STATEMENT and copied[name] != was:
                raise LedgerError(f"file {model / name} changed while it was released; run the same command again.")
        statement: dict[str, Any] = {}

        def written(account: Account, head: tuple[int, str]) -> dict[str, Any]:
            statement.update(statement_of(still(passed, account, head)))
            told = json.dumps(statement, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            own = {name: _write(part / name, text) for name, text in ((STATEMENT, told), (CARD, card(statement)))}
            return {"run": passed.run.id, "files": copied | own, "folder": to.absolute().name}

        ledger.record_release(passed.account.data_set.name, written, seen=(passed.account, passed.head))
        os.replace(part, to)  # an empty folder may be there
    except Refused as refused:
        _record_refusal(ledger, refused)
        raise
    except OSError as error:
        raise LedgerError(f"folder {to} can't be written ({error.strerror}); name one on a disk with room.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return statement


def _check_apart(to: Path, model: Path) -> None:
    """A folder in the model would be one of its files, so that it never leaves again."""
    whole, place = model.resolve(), to.resolve()
    if place.is_relative_to(whole) or whole.is_relative_to(place):
        raise LedgerError(f"folder {to} is in the model {model}, or holds it; name one beside it.")


def _check_free(to: Path) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()) or (to.is_dir() and any(to.iterdir())):
        raise LedgerError(f"folder {to} is there and not empty; name one that is not.")


def _record_refusal(ledger: Ledger, refused: Refused) -> None:
    try:
        ledger.record_refusal(refused.data_set, f"release: {refused}")
    except LedgerError:  # who may only read it is told all the same
        return


def _write(path: Path, text: str) -> str:
    """Write a file, and what it hashes to."""
    with path.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(text.encode()).hexdigest()


def statement_of(passed: Passed) -> dict[str, Any]:
    """What a released model states, as a document that JSON holds.

    Args:
      passed: what the gate found.

    Returns:
      The model's own statement, and under ``release`` what the ledger adds to it.
    """
    account = passed.account
    data_set = account.data_set
    return {
        **passed.statement,
        "format": _FORMAT,
        "version": 1,
        "release": {
            "data_set": data_set.name,
            "budget": {
                "epsilon": data_set.epsilon,
                "delta": data_set.delta,
                "unit": data_set.unit,
                "adjacency": data_set.adjacency,
                "composition": data_set.composition,
                **({} if account.whose is None else {"owners": account.whose.name}),
            },
            "spent_epsilon": account.spent,
            "runs": sum(run.id not in account.retracted for run in account.spending),
            "composed_epsilon": passed.epsilon,
            "files": sorted(name for name in passed.files if name != STATEMENT),
            "ledger": passed.ledger,
            "ledger_sequence": passed.head[0],
            "ledger_hash": passed.head[1],
            "dpjax_version": __version__,
        },
    }


def check_release(ledger: Ledger, folder: Path) -> dict[str, Any]:
    """Whether a folder is what the ledger says was released.

    Formal guarantees: if it is not refused, then the ledger is as it was written, and each file in the folder is one of
    a release that it records, none is missing and none was added, README.md included: of a model it is not released, so
    that one in a release is somebody else's.

    Args:
      ledger: that recorded the release.
      folder: that was received, under whatever name.

    Returns:
      The record of the release.

    Raises:
      Refused: it is not.
      LedgerError: the ledger was edited.
    """
    if not folder.is_dir():
        raise Refused(f"folder {folder} is not there; name one that `dpjax release` wrote.")
    ledger.verify()
    found = hashes_of(folder)
    if (folder / WORDS).exists():
        raise Refused(f"file {folder / WORDS} was added after the release; {CARD} is the card, so take it away.")
    made = [record for record in ledger.history() if record["action"] == "release"]
    for record in reversed(made):
        if record["detail"]["files"] == found:
            _refuse_more_folders(folder, found)
            return record
    near = [each for each in made if each["detail"]["run"] == _run_in(folder)] or [
        each for each in made if _alike(each["detail"]["files"], found)
    ]
    if not near:
        raise Refused(f"folder {folder} is no release of this ledger; name the one that it states with --ledger.")
    said = near[-1]["detail"]["files"]
    for name in sorted(said.keys() | found.keys()):
        if said.get(name) != found.get(name):
            what = "is missing" if name not in found else "was added" if name not in said else "was changed"
            raise Refused(f"file {folder / name} {what} after the release; ask for the model again.")
    raise Refused(f"folder {folder} is no release of this ledger; ask for the model again.")


def _refuse_more_folders(folder: Path, files: Iterable[str]) -> None:
    """A folder that holds none of the files was not released: its name alone may say something of somebody."""
    known = {above for name in files for above in PurePosixPath(name).parents}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and PurePosixPath(path.relative_to(folder).as_posix()) not in known:
            raise Refused(f"folder {path} was added after the release; take it away, or ask for the model again.")


def _alike(said: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether a folder has the weights, by which it is known, of a release whose statement it no longer has."""
    weights = {name: hashed for name, hashed in said.items() if name.endswith(".safetensors")}
    return bool(weights) and weights.items() <= found.items()


def _run_in(folder: Path) -> str:
    try:
        return str(json.loads((folder / STATEMENT).read_bytes())["ledger_run"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
