"""Options in the words of the field, or of another command: which of a command's own is meant, and who takes them."""

from collections.abc import Sequence
from pathlib import Path

_ALIKE = (
    ("--noise-multiplier", "--sigma", "--noise", "--noise-scale", "--noise-std", "--std", "--stddev"),
    ("--num-steps", "--steps", "--iterations", "--rounds", "--num-rounds", "--max-steps", "--epochs"),
    ("--epochs", "--num-epochs", "--n-epochs", "--passes"),
    ("--sampling-rate", "--sample-rate", "--q", "--rate", "--subsampling-rate", "--sampling-probability"),
    ("--expected-cohort-size", "--batch-size", "--lot-size", "--batch", "--cohort-size"),
    ("--population", "--n", "--dataset-size", "--num-examples", "--num-samples", "--train-size"),
    ("--delta", "--target-delta"),
    ("--epsilon", "--eps", "--target-epsilon"),
    ("--adjacency", "--neighbouring", "--neighboring", "--neighbouring-relation"),
    ("--spread", "--ci", "--std", "--sem", "--error", "--errorbar", "--err-style", "--interval"),
    ("--confidence", "--level", "--alpha", "--confidence-level"),
    ("--metric", "--score", "--y", "--measure"),
    ("--select", "--filter", "--where", "--query", "--only"),
    ("--out", "--output", "--o", "--output-dir", "--dest"),
    ("--rows", "--index", "--by", "--groupby", "--hue"),
    ("--percent", "--percentage"),
    ("--digits", "--precision", "--decimals"),
    ("--hue", "--color", "--colour", "--group"),
    ("--col", "--facet", "--panel"),
)
"""What an option is called here, and what else; the first of a line that the command has is the one."""

_ELSEWHERE = {
    "--spread": "dpjax results table and dpjax plot take it",
    "--confidence": "dpjax results table, dpjax plot and dpjax compare take it",
    "--rows": "dpjax results table takes it",
    "--percent": "dpjax results table takes it",
    "--digits": "dpjax results table takes it",
    "--hue": "dpjax plot takes it",
    "--col": "dpjax plot takes it",
    "--select": "dpjax results and dpjax plot take it",
}
_LATEX = ("booktabs", "siunitx")


def meant_by(flag: str, known: Sequence[str]) -> str:
    """Half a sentence on an option that a command does not have; empty where nothing is known of it.

    Args:
      flag: as it was typed.
      known: those that the command has.

    Example:
      >>> meant_by("--sigma", ["--noise-multiplier"])
      'it is --noise-multiplier here'
      >>> meant_by("--ci", ["--metric"])
      'it is --spread elsewhere: dpjax results table and dpjax plot take it'
    """
    lines = [line for line in _ALIKE if flag in line]
    for line in lines:
        ours = next((each for each in line if each in known), None)
        if ours is not None:
            return f"it is {ours} here"
    for name, *_ in lines:
        if name in _ELSEWHERE:
            return f"{_ELSEWHERE[name]}" if name == flag else f"it is {name} elsewhere: {_ELSEWHERE[name]}"
    return ""


def latex_either_way(arguments: Sequence[str]) -> list[str]:
    """The words of a command, in which ``--latex`` is bare where it is a flag and says how where it is not.

    Args:
      arguments: after ``dpjax``.

    Raises:
      ValueError: a flag is told to write what it cannot.

    Example:
      >>> latex_either_way(["results", "table", "--latex", "--percent"])
      ['results', 'table', '--latex', 'booktabs', '--percent']
      >>> latex_either_way(["results", "show", "mine", "--latex", "booktabs"])
      ['results', 'show', 'mine', '--latex']
    """
    words = [
        part
        for word in arguments
        for part in (word.split("=", 1) if word in (f"--latex={each}" for each in _LATEX) else [word])
    ]
    if "--latex" not in words:
        return words
    place = words.index("--latex")
    after = words[place + 1] if place + 1 < len(words) else ""
    is_path = bool(after) and Path(after).exists()
    if words[:2] == ["results", "table"] and (not after or after.startswith("-") or is_path):
        return [*words[: place + 1], _LATEX[0], *words[place + 1 :]]
    if (words[:2] == ["results", "show"] or words[0] == "compare") and after in _LATEX and not is_path:
        if after != _LATEX[0]:
            raise ValueError(
                f"--latex {after} is nothing to this command, which writes booktabs: leave it out, or call `dpjax "
                "results table`"
            )
        return [*words[: place + 1], *words[place + 2 :]]
    return words
