"""The card of a released model: its privacy statement in the layout of the Hugging Face hub."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dpjax.results.claims import rounded_up, sampling_word, small, tuning_clause
from dpjax.results.released import CLAIM_FILE


def model_card(statement: Mapping[str, Any]) -> str:
    """A model card of what ``dpjax release`` states: YAML for the hub, and words.

    Formal guarantees: each ε and δ is rounded up. Nothing is in it that the statement does not hold: no metric of any
    row, no seed.

    Args:
      statement: of ``dpjax.governance.release.statement_of``.

    Returns:
      Markdown.

    Example:
      >>> release = {"data_set": "clinic", "budget": {"epsilon": 4.0, "delta": 1e-5, "composition": "planned"},
      ...            "spent_epsilon": 1.501, "runs": 2, "composed_epsilon": 1.2, "ledger": "ab12",
      ...            "ledger_sequence": 9, "ledger_hash": "cd34", "dpjax_version": "0.1.0"}
      >>> told = model_card({"claim": "(ε=1.2 PLD, δ=1e-5)-DP per example", "epsilon": 1.2, "delta": 1e-5,
      ...                    "unit": "example", "notes": [], "release": release})
      >>> [line for line in told.splitlines() if "ε" in line][:3]
      ['**(ε=1.2 PLD, δ=1e-5)-DP per example.**', '| ε | 1.2 |', '| hyper-parameter tuning | not paid for by ε |']

    References:
      https://huggingface.co/docs/hub/model-cards
    """
    facts = [f"| {name} | {value} |" for name, value in _facts(statement).items()]
    release = statement["release"]
    budget = release["budget"]
    data = _quoted(release["data_set"])
    return "\n".join(
        [
            *_front_matter(statement),
            "",
            "# Model card",
            "",
            "## Privacy",
            "",
            f"**{statement['claim']}.**",
            "",
            "| | |",
            "|---|---|",
            *facts,
            "",
            *(line for note in statement["notes"] for line in (note, "")),
            *_use(release.get("files", ())),
            "## Data",
            "",
            f"It was trained on {data}, by which name the ledger knows the data. All that was ever computed from them, "
            f"this model included, has spent ε={rounded_up(release['spent_epsilon'])} of a budget of "
            f"ε={small(budget['epsilon'])} at δ={rounded_up(budget['delta'], 6)}, in {_runs(release['runs'])}, added "
            f"up as {budget['composition']}.",
            "",
            "## Metrics",
            "",
            "None. The rows that it could be tested on are of the same data, and what is computed from them without "
            "noise is not private: neither accuracy nor loss, norms or confusion are in this folder.",
            "",
            "## Record",
            "",
            f"Released by dpjax {release['dpjax_version']} after record {release['ledger_sequence']:,} of the ledger "
            f"{release['ledger']}, whose hash is `{release['ledger_hash']}`. Steps as the ledger recorded them compose "
            f"to ε={rounded_up(release['composed_epsilon'])} at δ={_up(statement['delta'])}. "
            "Who can read that ledger compares this folder with it by `dpjax release --check FOLDER`.",
            "",
            f"[{CLAIM_FILE}]({CLAIM_FILE}) says all of it for machines.",
            "",
        ]
    )


def _use(files: Iterable[str]) -> list[str]:
    """What the files of a table's model are."""
    if "inputs.json" not in files:
        return []
    told = (
        "`trained.safetensors` has the parameters by their path in the model, as `hidden.0.kernel`. `inputs.json` has "
        "the names of the inputs in their order, what was said of the columns that they are made of, by which each is "
        "scaled to [-1, 1], and what the outputs stand for."
    )
    return ["## Use", "", told, ""]


def _front_matter(statement: Mapping[str, Any]) -> list[str]:
    files = statement["release"].get("files", ())
    of_others = {"adapter_config.json": "peft", "config.json": "transformers"}
    library = next((name for file, name in of_others.items() if file in files), "dpjax")
    lines = ["---", f"library_name: {library}", "tags:", "- differential-privacy", "- dpjax"]
    stated = {name: statement.get(name) for name in ("epsilon", "delta", "unit", "adjacency", "accountant")}
    return [*lines, "privacy:", *(f"  {name}: {_yaml(value)}" for name, value in stated.items()), "---"]


def _yaml(value: Any) -> str:
    """JSON is YAML, whatever letters are in it, but for 1e-05, which YAML 1.1 takes for a text."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def _facts(statement: Mapping[str, Any]) -> dict[str, str]:
    def told(name: str) -> str:
        value = statement.get(name)
        return "not told" if value is None else small(value) if isinstance(value, int | float) else _plain(value)

    sampling = statement.get("sampling")
    audited = statement.get("audited_epsilon")
    return {
        "ε": _up(statement.get("epsilon")),
        "δ": _up(statement.get("delta"), 6),
        "unit that is protected": told("unit") + _by(statement),
        "neighbours": told("adjacency"),
        "accountant": told("accountant"),
        "sampling": _plain(sampling_word(sampling)) if isinstance(sampling, str) else "not told",
        "sampling rate": told("sampling_rate"),
        "steps": told("num_steps"),
        "noise": told("noise"),
        "noise multiplier": told("noise_multiplier"),
        **_clip_norms(told, adaptive="final_clip_norm" in statement),
        "clipping": told("clipping"),
        "capacity of a cohort": _slack(statement),
        "chance of an overflow, paid for": _up(statement.get("overflow_probability")),
        "steps that overflowed": told("overflow_count"),
        "hyper-parameter tuning": "paid for by ε"
        if tuning_clause(statement.get("tuning_accounted")) == "tuning accounted"
        else "not paid for by ε",
        "lower bound by an audit": "not audited" if audited is None else told("audited_epsilon"),
    }


def _clip_norms(told: Callable[[str], str], adaptive: bool) -> dict[str, str]:
    if not adaptive:
        return {"clip norm": told("clip_norm")}
    return {"initial clip norm": told("clip_norm"), "final clip norm": told("final_clip_norm")}


def _by(statement: Mapping[str, Any]) -> str:
    """Who one unit is, where the budget says it."""
    name = statement["release"]["budget"].get("owners")
    return f" ({_plain(name)})" if isinstance(name, str) else ""


def _slack(statement: Mapping[str, Any]) -> str:
    expected, capacity = statement.get("expected_cohort_size"), statement.get("capacity")
    if not isinstance(expected, int | float) or not isinstance(capacity, int):
        return "not told"
    return f"{capacity:,} slots for {small(expected)} expected, {small(capacity - expected)} to spare"


def _up(value: Any, digits: int = 3) -> str:
    return rounded_up(value, digits) if isinstance(value, int | float) else "not told"


def _runs(number: int) -> str:
    return f"{number:,} run{'' if number == 1 else 's'}"


def _plain(text: str) -> str:
    """Text that neither ends a table's cell nor begins markup."""
    return "".join(" " if letter in "|`<>\r\n" else letter for letter in str(text))


def _quoted(name: str) -> str:
    return f"`{_plain(name)}`"
