"""Heart's four hospitals as real clients on Flower, beside the simulation of the same plan; and some that are none.

    python -m benchmarks.deployed_hospitals [--output benchmarks/results]

Four plans: without privacy, with ε for a hospital, with ε for a patient, and under secure aggregation; then the first
with a hospital that sends NaN, and the last with one that vanishes, each beside a fifth whose key nobody agreed to.
SuperLink, SuperNodes, server and clients are processes on this machine, over TLS. Needs the data set heart, and uv, by
which an environment with Flower is made. Writes deployed_hospitals.json and deployed_hospitals.md.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.real_federation import RealFederation, flower_python

ROUNDS = 6
PLANS = {
    "no privacy": ("experiment=heart_hospitals", "privacy.epsilon=inf"),
    "ε for a hospital": (
        *("experiment=heart_hospitals", "privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.3"),
    ),
    "ε for a patient": ("experiment=heart_patients", "privacy.epsilon=2", "privacy.clip_norm=1"),
    "secure aggregation": (
        *("experiment=heart_hospitals", "privacy.epsilon=inf", "privacy.clip_norm=1", "federated.aggregation=secure"),
    ),
}


def deployed(python: Path, folder: Path, overrides: tuple[str, ...], bad: dict[int, str]) -> dict[str, Any]:
    """Run a plan on processes, and simulate it."""
    with RealFederation(python, folder, *overrides, f"optimizer.num_steps={ROUNDS}") as federation:
        federation.server("--seconds", "15" if bad else "60")
        federation.until("server", "listening")
        if bad:
            federation.dpjax("key", str(folder / "stranger"))
            federation.stranger(folder / "stranger")
        for number, name in enumerate(federation.names):
            federation.client(name, bad.get(number))
        said = federation.wait("server", 900)
        if not (folder / "run" / "result.json").is_file():
            raise SystemExit(f"error: the run did not end: {said[-2000:]}")
        compared = federation.dpjax(
            *("compare", f"{folder / 'plan.yaml'}", f"{folder / 'run'}", "--json", f"{folder / 'compared.json'}")
        )
        if compared.returncode:
            raise SystemExit(f"error: {compared.stderr}")
        return json.loads((folder / "compared.json").read_text(encoding="utf-8")) | {"accounts": federation.accounts()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    output = parser.parse_args().output
    python = flower_python()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for number, (name, overrides) in enumerate(PLANS.items()):
            began = time.monotonic()
            found[name] = deployed(python, Path(place, str(number)), overrides, {})
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        plain, covered = PLANS["no privacy"], PLANS["secure aggregation"]
        found["NaN from one, a fifth without authority"] = deployed(python, Path(place, "nan"), plain, {2: "nan"})
        found["one that vanishes, a fifth without authority"] = deployed(
            python, Path(place, "gone"), covered, {3: "vanishes"}
        )
    write(found, output)


def write(found: dict[str, Any], output: Path) -> None:
    """The two files, and what they say."""
    rows = [
        "| plan | accuracy, simulated | deployed | bytes of a client a round, simulated | deployed | "
        "largest difference of a parameter | seconds a round | ε |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name in PLANS:
        each = found[name]
        mine, theirs = each["simulated"], each["deployed"]
        claim = theirs["claim"] + ("" if theirs["claim"] == mine["claim"] else " (DIFFERS)")
        rows.append(
            f"| {name} | {mine['test_accuracy']:.3f} | {theirs['test_accuracy']:.3f} | {mine['uplink_bytes']:,.0f} | "
            f"{theirs['uplink_bytes']:,.0f} | {each['largest_difference']:.1g} | "
            f"{theirs['wall_seconds'] / ROUNDS:.1f} | {claim} |"
        )
    rows += ["", f"| with | accuracy | rounds in the sum, of {ROUNDS} | counted and refused |", "|---|--:|---|---|"]
    for name in list(found)[len(PLANS) :]:
        each = found[name]
        clients = each["accounts"]["clients"].items()
        counted = [
            f"{client}: {what['not_finite']} not finite"
            if what["not_finite"]
            else f"{client}: {what['missed']} no answer"
            for client, what in clients
            if what["not_finite"] or what["missed"]
        ]
        counted += [f"a stranger: {what}" for what in each["accounts"]["strangers"].values()]
        answered = ", ".join(f"{client} {what['answered']}" for client, what in clients)
        rows.append(f"| {name} | {each['deployed']['test_accuracy']:.3f} | {answered} | {'; '.join(counted)} |")
    output.mkdir(parents=True, exist_ok=True)
    (output / "deployed_hospitals.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    said = f"{ROUNDS} rounds of the four hospitals of heart, one seed; server and clients as processes on two cores."
    text = "# Deployed hospitals\n\n" + "\n".join(rows) + f"\n\n{said}\n"
    (output / "deployed_hospitals.md").write_text(text, encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
