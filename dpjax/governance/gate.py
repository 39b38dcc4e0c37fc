"""What must be so before a trained model may leave: ledger, statement and files tell the same story."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.governance.accounts import Account, Run
from dpjax.governance.composition import compose, epsilon_of
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import STATED
from dpjax.governance.files import STATEMENT, digest_of, hashes_of, not_finite
from dpjax.governance.ledger import Ledger
from dpjax.governance.spends import total_of

_DISCRETE = 1e-3
"""By how much, relatively, an ε from discretised losses may be above one of the same mechanism from others."""


class Refused(LedgerError):
    """A model may not leave.

    Attributes:
      data_set: that it was trained on; empty: none is known.
    """

    def __init__(self, sentence: str, data_set: str = "") -> None:
        super().__init__(sentence)
        self.data_set = data_set


class Passed(NamedTuple):
    """A model that may leave, and all that is known of it.

    Attributes:
      statement: its privacy.json.
      run: that trained it, as the ledger has it.
      account: of the data set.
      epsilon: of the run at the statement's δ, from the ledger's own record of its steps.
      files: of the model, with their hashes.
      ledger: its name.
      head: number and hash of its last record.
    """

    statement: Mapping[str, Any]
    run: Run
    account: Account
    epsilon: float
    files: Mapping[str, str]
    ledger: str
    head: tuple[int, str]


def checked(ledger: Ledger, model: Path) -> Passed:
    """Whether a model may leave.

    Formal guarantees: if it is not refused, then the ledger is as it was written; it holds the run that the model's
    statement names, with all of its steps, for a data set whose runs are all together within its budget; the steps
    compose to no more than the ε that is stated, for the same unit and neighbours; the files are those that the run
    wrote down before it ended; and all parameters are numbers. It tells what people wrote into this ledger, who could
    have trained elsewhere; it does not look into weights.

    Args:
      ledger: that paid for the run.
      model: folder that a run with ``save_model`` wrote.

    Returns:
      What is known of it.

    Raises:
      LedgerError: the ledger was edited.
      Denied: the data are sensitive, and no grant lets this person release; it is written down.
      Refused: anything else is not so.
    """
    head = ledger.verify()
    statement, hashed = _statement(model)
    id = _paid(ledger, statement)
    records = ledger.history()
    name = _data_set_of(records, id)
    ledger.check("release", name)
    account = ledger.account(name)
    try:
        [run] = (each for each in account.runs if each.id == id)
        _check_ended(run, statement)
        _check_terms(account, statement)
        epsilon = _composed(run, account, statement)
        _check_budget(account)
        files = _written(records, id, model, hashed)
        if statement.get("model_sha256") != digest_of(files):
            raise Refused(f"model {model}: its {STATEMENT} names other files; run the job again with save_model=true.")
        _check_finite(model, files)
    except Refused as refused:
        raise Refused(str(refused), name) from None
    return Passed(statement, run, account, epsilon, files, ledger.name, head)


def still(passed: Passed, account: Account, head: tuple[int, str]) -> Passed:
    """What was checked, as it is at the moment of the release: what others can have changed is looked at again.

    Args:
      passed: of ``checked``.
      account: as it is now.
      head: number and hash of the ledger's last record, which is as it was written.

    Raises:
      Refused: the budget is smaller, or more is spent of it.
    """
    name = account.data_set.name
    try:
        [run] = (each for each in account.runs if each.id == passed.run.id)
        _check_ended(run, passed.statement)
        _check_terms(account, passed.statement)
        _check_budget(account)
    except Refused as refused:
        raise Refused(str(refused), name) from None
    return passed._replace(run=run, account=account, head=head)


def _statement(model: Path) -> tuple[dict[str, Any], str]:
    """What a model states, and what that very text hashes to."""
    path = model / STATEMENT
    try:
        content = path.read_bytes()
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(
            f"model {model}: its {STATEMENT} can't be read; run the job again with save_model=true."
        ) from error
    if not isinstance(found, dict):
        raise Refused(f"model {model}: its {STATEMENT} is no statement; run the job again with save_model=true.")
    return found, hashlib.sha256(content).hexdigest()


def _paid(ledger: Ledger, statement: Mapping[str, Any]) -> str:
    id, book = statement.get("ledger_run"), statement.get("ledger")
    if not isinstance(id, str) or not isinstance(book, str):
        raise Refused(
            "run has no reservation in a ledger; run it with governance=local and save_model=true, with another "
            "results_dir, on data that have a budget."
        )
    if book != ledger.name:
        raise Refused(
            f"run was paid for by the ledger {book[:64]}, and this one is {ledger.name}; name that one with --ledger."
        )
    return id


def _data_set_of(records: Sequence[Mapping[str, Any]], id: str) -> str:
    for record in records:
        if record["action"] == "reserve" and any(run["id"] == id for run in record["detail"]["runs"]):
            return str(record["subject"])
    raise Refused(f"run {id[:40]} is not in this ledger; name the ledger that paid for it, or run the job again.")


def _check_ended(run: Run, statement: Mapping[str, Any]) -> None:
    if run.state != "closed":
        raise Refused(
            f"run {run.label} has not ended in the ledger; wait for it, or close it with `dpjax ledger close` if it is "
            "no more."
        )
    if not run.steps == run.spend.steps == statement.get("num_steps"):
        raise Refused(
            f"run {run.label} took {run.steps:,} of {run.spend.steps:,} steps in the ledger, and {STATEMENT} states "
            f"{statement.get('num_steps')}; run the job again to its end with save_model=true."
        )


def _check_terms(account: Account, statement: Mapping[str, Any]) -> None:
    data_set = account.data_set
    for field, value in {"unit": data_set.unit, "adjacency": data_set.adjacency}.items():
        if statement.get(field) != value:
            raise Refused(
                f"{field}={statement.get(field)} is what {STATEMENT} states, and the budget of {data_set.name} is for "
                f"{value}; run the job again with save_model=true."
            )
    if statement.get("uncovered"):
        raise Refused(
            f"model has what no ε covers: {statement['uncovered']}, read off the rows; say it in the config, with "
            "data.columns and data.classes or data.target_range, and run the job again."
        )


def _composed(run: Run, account: Account, statement: Mapping[str, Any]) -> float:
    epsilon, delta = _number(statement, "epsilon", math.inf), _number(statement, "delta", 1.0)
    total = total_of(run.spend, run.steps)
    if (run.spend.once or {}).get("type") != STATED:  # of which no more is known than what it says itself
        total = total._replace(claimed_epsilon=math.inf)
    found = epsilon_of(compose(total, account.data_set.adjacency), delta)
    if not found <= epsilon * (1 + _DISCRETE):
        raise Refused(
            f"epsilon={epsilon:.4g} at δ={delta:g} is what {STATEMENT} claims, and the steps in the ledger come to "
            f"{found:.4g}; state that, by running the job again with save_model=true."
        )
    return found


def _number(statement: Mapping[str, Any], name: str, below: float) -> float:
    value = statement.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
        raise Refused(
            f"{name}={value} is no claim that {STATEMENT} could make; run the job with a finite privacy.epsilon."
        )
    return float(value)


def _check_budget(account: Account) -> None:
    data_set = account.data_set
    if not account.reserved <= data_set.epsilon * (1 + 1e-9):
        raise Refused(
            f"data {data_set.name} has spent ε={account.reserved:.3g} of {data_set.epsilon:g} at δ={data_set.delta:g}, "
            f"which is more than its budget; have a larger one set with `dpjax ledger budget`, or release nothing."
        )


def _written(records: Sequence[Mapping[str, Any]], id: str, model: Path, statement: str) -> dict[str, str]:
    """The files of the model, if they are those that the run wrote."""
    made = [each["detail"]["files"] for each in records if each["action"] == "model" and each["detail"]["run"] == id]
    if not made:
        raise Refused(f"run {id[:40]} has no model in the ledger; run the job again with save_model=true.")
    try:
        found = hashes_of(model) | {STATEMENT: statement}
    except LedgerError as error:
        raise Refused(str(error)) from error
    last = made[-1]
    for name in sorted(last.keys() | found.keys()):
        if last.get(name) != found.get(name):
            what = "is missing" if name not in found else "was added" if name not in last else "was changed"
            raise Refused(
                f"file {model / name} {what} after the run ended; restore what it wrote, or run the job again."
            )
    return found


def _check_finite(model: Path, files: Mapping[str, str]) -> None:
    weights = [name for name in files if name.endswith(".safetensors")]
    if not weights:
        raise Refused(f"model {model} has no parameters (*.safetensors); run the job again with save_model=true.")
    for name in weights:
        try:
            found = not_finite(model / name)
        except LedgerError as error:
            raise Refused(str(error)) from error
        if found is not None:
            raise Refused(
                f"model {model / name}: {found} is not finite, as the run diverged; run the job with a smaller "
                "optimizer.learning_rate."
            )
