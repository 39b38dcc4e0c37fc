"""``dpjax release``: a trained model leaves with its privacy statement, if the ledger agrees with it."""

from pathlib import Path
from typing import Annotated, Any

import typer

_MODEL = "model"


def release_command(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="Folder of a job that ran with save_model=true, or its model."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to make; it must not be there, or be empty.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the run whose model it must be.")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="A folder that was released: is it what the ledger says?")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option("--ledger", help="A file, or postgresql://user@host/name; else DPJAX_LEDGER, or your own file."),
    ] = None,
) -> None:
    """Let a trained model leave together with its privacy statement, if ledger, statement and files agree.

    [bold]Examples[/bold]

      dpjax release results/breast_cancer --to cancer-model

      dpjax release --check cancer-model

    It is refused unless the ledger is as it was written, holds the run with all of its steps, within the budget of the
    data, and these steps come to no more than the ε that is stated; and unless the files are those that the run wrote.
    A refusal is one sentence and a record in the ledger. The folder gets the model, MODEL_CARD.md and privacy.json; no
    metric goes along.
    """
    from dpjax.governance.ledger import Ledger

    if check is not None:
        if run is not None or to is not None or seed is not None:
            raise ValueError("--check takes a folder that was released, and no RUN, --to or --seed; leave them out.")
        from dpjax.governance.release import check_release

        record = check_release(Ledger(ledger), check)
        typer.echo(
            f"{check} is what {record['who']} released on {record['time'][:10]}: run {record['detail']['run']} of "
            f"{record['subject']}, record {record['sequence']:,}"
        )
        return
    if run is None or to is None:
        raise ValueError("release needs a RUN and --to FOLDER, or --check FOLDER; see dpjax release --help.")
    from dpjax.governance.release import release
    from dpjax.results.cards import model_card

    book, model = Ledger(ledger), _model_of(run)
    if seed is not None:
        _check_seed(model, seed)
    elif model != run:
        _check_same_run(model)
    statement = release(book, model, to, model_card)
    typer.echo(f"released {to}: {statement['claim']}")


def _model_of(run: Path) -> Path:
    """The folder of a job's model."""
    for folder in (run / _MODEL, run):
        if (folder / "privacy.json").is_file() and any(folder.glob("*.safetensors")):
            return folder
    if not run.exists():
        raise ValueError(f"RUN {run} is not there; give the folder of a job.")
    models = sorted(path.parent.parent for path in run.rglob(f"{_MODEL}/privacy.json"))
    if models:
        raise ValueError(f"RUN {run} has {len(models)} jobs with a model; give one of them, as {models[0]}.")
    raise ValueError(f"RUN {run} has no model; run it again with save_model=true.")


def _check_seed(model: Path, seed: int) -> None:
    """Refuse a model that is of another seed than the one that is meant: of a job's seeds the first has one."""
    rows, id = _rows_beside(model), _paid_by(model)
    mine = [row.get("seed") for row in rows if id and row.get("ledger_run") == id]
    if mine != [seed]:
        of = f"is of seed {mine[0]}" if mine else "names no seed in result.json"
        raise ValueError(f"--seed {seed}: the model of {model.parent} {of}; run it with seed={seed} save_model=true.")


def _check_same_run(model: Path) -> None:
    """Refuse a job whose model is of an earlier run than its result, which a later one without save_model leaves."""
    from dpjax.results.sealing import SealedError

    try:
        rows, id = _rows_beside(model), _paid_by(model)
    except SealedError:
        typer.echo(
            f"note: {model.parent}/result.json is sealed, so nobody looked whether it is of this model.", err=True
        )
        return
    if id and rows and id not in [row.get("ledger_run") for row in rows]:
        raise ValueError(
            f"RUN {model.parent} has the model of run {id[:40]}, and result.json of a later one; run it again with "
            f"save_model=true, or give {model} for the model of that earlier run."
        )


def _rows_beside(model: Path) -> list[dict[str, Any]]:
    from dpjax.results.result_files import read_job_result

    found = read_job_result(model.parent)
    return [] if found is None else found[0]


def _paid_by(model: Path) -> str | None:
    """The reservation that a model's statement names, if it names one."""
    import json

    try:
        id = json.loads((model / "privacy.json").read_bytes()).get("ledger_run")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return id if isinstance(id, str) else None
