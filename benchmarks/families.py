"""The largest difference of logits from those of transformers, family by family.

    python -m benchmarks.families

Every configuration of tests/families.py: random weights, three texts of 24, 16 and 5 tokens, both sides in float32 from
one checkpoint on disk; layers one by one and scanned. Needs the extra `reference`. Written to
benchmarks/results/families.json and .md.
"""

import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from dpjax.models.transformers import FAMILIES, Head
from tests.families import CASES, CONFIGS, class_of, task_of

RESULTS = Path(__file__).parent / "results"


def difference(family: str, number: int) -> float:
    """The largest of any text, token and word."""
    import numpy as np

    from tests.test_reference_families import ids_and_mask, made, ours, saved, theirs

    with tempfile.TemporaryDirectory() as folder:
        model = made(family, number, class_of(family))
        body = saved(Path(folder), model)
    ids, mask = ids_and_mask(24, 90)
    expected, worst = theirs(model, ids, mask), 0.0
    for scan_layers in (False, True):
        found = ours(body, Head(task_of(family)), ids, mask, scan_layers)
        rows = zip(found, expected, mask, strict=True)
        worst = max(worst, *(float(np.abs(row[there] - its).max()) for row, its, there in rows))
    return worst


def told(family: str) -> str:
    """What its configurations vary, in fields of config.json."""
    usual = CONFIGS[family][0]
    changed = {name for fields in CONFIGS[family][1:] for name in fields if fields[name] != usual.get(name)}
    return ", ".join(f"`{name}`" for name in sorted(changed)) or "–"


def table(rows: list[dict[str, Any]], versions: dict[str, str]) -> str:
    """The Markdown that the docs quote."""
    lines = ["| `model_type` | configurations | varied | largest difference |", "|---|---:|---|---:|"]
    lines += [
        f"| `{row['family']}` | {row['configurations']} | {row['varied']} | {row['difference']:.1e} |" for row in rows
    ]
    where = ", ".join(f"{name} {value}" for name, value in versions.items())
    return "\n".join([f"Logits of random weights in float32, {where}.", "", *lines, ""])


def main() -> None:
    """Measures all, prints and writes."""
    rows: list[dict[str, Any]] = []
    for family in FAMILIES:
        numbers = [number for its, number in CASES if its == family]
        worst = max(difference(family, number) for number in numbers)
        rows.append({"family": family, "configurations": len(numbers), "varied": told(family), "difference": worst})
    versions = {name: metadata.version(name) for name in ("transformers", "torch", "jax")}
    text = table(rows, versions)
    print(text)
    (RESULTS / "families.json").write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
    (RESULTS / "families.md").write_text(text)


if __name__ == "__main__":
    main()
