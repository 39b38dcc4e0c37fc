"""What a row may say of its privacy, in the folder of what it releases: for people, and for machines."""

import json
import math
import os
from pathlib import Path
from typing import Any

from dpjax.results.claims import Row, claim, number, stated_epsilon, text
from dpjax.results.result_files import write_atomically

CLAIM_FILE = "privacy.json"

_TEXTS = ("unit", "adjacency", "sampling", "noise", "clipping", "optimizer", "tuning", "checkpoint", "dpjax_version")
_NUMBERS = ("sampling_rate", "noise_multiplier", "clip_norm", "epsilon_per_report", "noise_cohort_size")
_ADAPTIVE = "adaptive("
_COUNTS = ("records_per_unit", "num_steps", "max_length")
_BEGIN, _END = "<!-- privacy: written by dpjax -->", "<!-- end -->"


class _Without:
    """A row without its count of overflows: the claim holds whatever it was, and it has no noise."""

    def __init__(self, row: Row):
        self.row = row

    def get(self, name: str, /) -> Any:
        return None if name == "overflow_count" else self.row.get(name)


def claim_document(
    row: Row, *, weights: str = "last", class_names: bool = False, model_hash: str = ""
) -> dict[str, Any]:
    """What a released model or text owes its reader, as a document that JSON holds.

    Formal guarantees: ``claim`` is the row's sentence, and ``epsilon`` the ε in it; None without noise, and then
    ``private`` is false. Nothing of it depends on the training data beyond what the mechanism released: no metric, no
    count of units, no hash of a file. The seed is not in it, for whoever knows the seed knows the noise.

    Args:
      row: the results row of the run, or any mapping with its column names.
      weights: which parameters were saved: those after the ``last`` step, or their ``average`` over the steps.
      class_names: whether names of classes are saved too, and were read off the rows.
      model_hash: SHA-256 of what is released; empty: nobody asks.

    Returns:
      Field → value: ``claim``, ``private``, ``epsilon`` and what it rests on, in the order of the document.

    Example:
      >>> row = {"epsilon": 1.0, "epsilon_pld": 0.9661, "delta": 1e-5, "unit": "example", "num_steps": 100}
      >>> told = claim_document(row)
      >>> told["claim"], told["epsilon"], told["accountant"], told["num_steps"]
      ('(ε=0.967 PLD, δ=1e-5)-DP per example, 100 steps; tuning not accounted', 0.9661, 'PLD', 100)
    """
    value, accountant = stated_epsilon(row)
    private = value is not None and math.isfinite(value)
    document: dict[str, Any] = {
        "format": "dpjax-privacy",
        "version": 1,
        "private": private,
        "claim": claim(_Without(row)),
        "epsilon": value if private else None,
        "delta": number(row, "delta") if private else None,
        "accountant": accountant if private else None,
        "tuning_accounted": str(row.get("tuning_accounted")) == "True",
        "weights": weights,
    }
    document |= {name: text(row, name) or None for name in _TEXTS}
    document |= {name: _finite(number(row, name)) for name in _NUMBERS}
    document |= {name: None if (x := number(row, name)) is None else int(x) for name in _COUNTS}
    if text(row, "clipping").startswith(_ADAPTIVE):  # its noisy counts, which ε pays for, say where it ended
        document["final_clip_norm"] = _finite(number(row, "final_clip_norm"))
    if text(row, "ledger_run"):
        document |= _paid_for(row, model_hash)
    return document | {"notes": _notes(row, private, weights, class_names)}


def _paid_for(row: Row, model_hash: str) -> dict[str, Any]:
    """Who paid, for what, and what a release of it has to tell besides."""
    bound, capacity, population = (number(row, name) for name in ("overflow_probability", "capacity", "population"))
    rate, count = number(row, "sampling_rate"), number(row, "overflow_count")
    public = text(row, "adjacency") != "add_or_remove_one"  # else the number of units is what is protected
    expected = rate * population if public and rate is not None and population is not None else None
    # An overflow has a chance of at most β, and δ pays β (1 + exp ε) for all that it may show, this count included;
    # where ε does not rely on who is drawn nothing is paid, and nothing is told.
    paid = bound is not None and text(row, "noise") == "gaussian"
    return {
        "ledger": text(row, "ledger"),
        "ledger_run": text(row, "ledger_run"),
        "model_sha256": model_hash or None,
        "uncovered": text(row, "learnt") or None,
        "overflow_probability": bound,
        "overflow_count": int(count) if paid and count is not None else None,
        "capacity": int(capacity) if public and capacity is not None else None,
        "expected_cohort_size": expected,
        "audited_epsilon": None,
    }


def write_claim(
    folder: str | os.PathLike[str],
    row: Row,
    *,
    weights: str = "last",
    class_names: bool = False,
    model_hash: str = "",
    file: str = CLAIM_FILE,
    readme: bool = True,
) -> Path:
    """Writes ``privacy.json`` beside what is released, and the same in words into its README.md.

    Formal guarantees: of a README that is there everything else stays; written twice, the words stand in it once.
    ``peft``, ``transformers`` and ``dpjax.models.pretrained`` open the folder as before.

    Args:
      folder: of the model; made if it is not there.
      row: the results row of the run, or any mapping with its column names.
      weights: which parameters were saved, ``last`` or ``average``.
      class_names: whether names of classes are saved too, and were read off the rows.
      model_hash: SHA-256 of the model's files, of a run that a ledger paid for.
      file: name of the document.
      readme: False: the document alone.

    Returns:
      The document's path.

    Raises:
      ResultsError: a file could not be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = write_claim(folder, {"epsilon": float("inf")})
      ...     print((path.parent / "README.md").read_text().splitlines()[3])
      **not private (ε=∞).**
    """
    document = claim_document(row, weights=weights, class_names=class_names, model_hash=model_hash)
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = write_atomically(
        Path(folder) / file, (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    )
    if readme:
        page = Path(folder) / "README.md"
        before = page.read_text(encoding="utf-8") if page.is_file() else ""
        head, _, rest = before.partition(_BEGIN)
        parts = [head.strip("\n"), "\n".join(_words(document, file)), rest.partition(_END)[2].strip("\n")]
        write_atomically(page, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def _words(document: dict[str, Any], file: str) -> list[str]:
    notes = [line for note in document["notes"] for line in (note, "")]
    return [
        _BEGIN,
        "## Privacy",
        "",
        f"**{document['claim']}.**",
        "",
        *notes,
        f"[{file}]({file}) says it for machines.",
        _END,
    ]


def _notes(row: Row, private: bool, weights: str, class_names: bool) -> list[str]:
    notes = []
    if private and text(row, "ledger_run"):
        notes.append(
            "Noise was drawn from a secret of the ledger that paid for the run: this ε holds against those who can't "
            "read that secret."
        )
    elif private:
        notes.append(
            "This ε holds against those who do not know the seed of the run: whoever knows it can make the noise again "
            "and take it out. Folders and rows of results write seeds down, and benchmarks use small ones on purpose; "
            "for a release draw a secret seed once, use it for one run, and keep it out of everything that is shared."
        )
    else:
        notes.append("No ε is claimed: take it that the training data can be read out of this.")
    if private and number(row, "owners") is not None:
        notes.append(
            f"Its training rows say whose they are, and this ε is for one {text(row, 'unit')}: whoever owns several "
            "rows is protected less."
        )
    notes.append(
        "The model has the average of the weights over the steps, not those of the last one."
        if weights == "average"
        else "The model has the weights of the last step."
    )
    if class_names:
        covers = "; ε does not cover them." if private else "."
        notes.append(f"The names of its classes are those of the training data's labels{covers}")
    length = number(row, "max_length")
    if length is not None:
        notes.append(f"Texts were cut at {length:.0f} tokens (max_length).")
    return notes


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
