"""How fast SmolLM2-135M is loaded from its GGUF, and how fast it writes, beside another revision, in turns.

    python -m benchmarks.language_speed --against 9faba8b

Needs `dpjax models fetch smollm2`, and the machine for itself. One text, 128 tokens of prompt and 128 to write, by the
likeliest; both sides must write the same. Beside them: a token computed from the whole text, and how long the machine
needs to read the weights once, below which no exact token can be. Written to benchmarks/results/language_speed.json and
.md.
"""

import argparse
import json
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.language_speed import serve
from benchmarks.sides import ROOT, Side, checked_out
from dpjax.fetching.folders import checkpoint_folder

RESULTS = Path(__file__).parents[1] / "results"
PROMPT, NUMBER, TURNS = 128, 128, 5


def measured(new: Side, old: Side) -> dict[str, Any]:
    """Medians of both sides' turns."""
    path = str(checkpoint_folder("smollm2") / "model.gguf")
    sides = {"new": new, "old": old}
    for side in sides.values():
        side.ask(load=path)
    loads = [{who: side.ask(load=path) for who, side in sides.items()} for _ in range(TURNS)]
    if len({turn[who]["sum"] for turn in loads for who in sides}) > 1:
        raise SystemExit("the two sides load different numbers.")
    for side in sides.values():
        side.ask(checkpoint="smollm2", prompt=PROMPT, number=NUMBER)
    writes = [{who: side.ask(write=True) for who, side in sides.items()} for _ in range(TURNS)]
    if len({tuple(turn[who]["tokens"]) for turn in writes for who in sides}) > 1:
        raise SystemExit("the two sides write different tokens.")
    tokens = writes[0]["new"]["tokens"]
    anew = new.ask(anew=tokens)
    if anew["tokens"] != tokens[-5:]:
        raise SystemExit("what is computed anew is another token.")
    read = new.ask(bandwidth=0.54)

    def middle(turns: list[Any], who: str, what: str = "seconds") -> float:
        return statistics.median(turn[who][what] for turn in turns)

    return {
        "load": {who: middle(loads, who) for who in sides},
        "load_processor": {who: middle(loads, who, "processor_seconds") for who in sides},
        "token": {who: middle(writes, who) / NUMBER for who in sides},
        "token_anew": anew["seconds"],
        "weights_read": read["seconds"],
        "read_gigabytes_per_second": read["bytes"] / read["seconds"] / 1e9,
    }


def table(found: dict[str, Any], against: str) -> str:
    """The Markdown that the docs quote."""
    loads, tokens = found["load"], found["token"]
    lines = [
        f"SmolLM2-135M on 2 cores in float32, one text of {PROMPT} tokens and {NUMBER} more, medians of {TURNS} turns, "
        f"jax {metadata.version('jax')}; before is revision `{against}`. Tokens are equal on all sides.",
        "",
        "| | before | now | |",
        "|---|---:|---:|---:|",
        f"| loading its GGUF | {loads['old']:.2f} s | {loads['new']:.2f} s | "
        f"{loads['new'] / loads['old']:.2f} × the time |",
        f"| tokens a second | {1 / tokens['old']:.1f} | {1 / tokens['new']:.1f} | "
        f"{tokens['old'] / tokens['new']:.1f} × |",
        f"| tokens a second, each computed from the whole text | | {1 / found['token_anew']:.1f} | "
        f"{found['token_anew'] / tokens['new']:.1f} × slower |",
        f"| tokens a second, were weights read once and nothing done | | {1 / found['weights_read']:.1f} | "
        f"at {found['read_gigabytes_per_second']:.0f} GB/s |",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="9faba8b", help="revision that is measured beside the working tree")
    against = parser.parse_args().against
    program = Path(serve.__file__)
    with checked_out(against) as tree, Side(ROOT, program, ROOT) as new, Side(tree, program, tree) as old:
        found = measured(new, old)
    text = table(found, against)
    print(text)
    (RESULTS / "language_speed.json").write_text(json.dumps({"against": against, **found}, indent=1) + "\n")
    (RESULTS / "language_speed.md").write_text(text)


if __name__ == "__main__":
    main()
