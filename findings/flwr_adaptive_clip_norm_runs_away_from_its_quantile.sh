#!/usr/bin/env bash
# Guess: Flower's adaptive clipping (Andrew et al.) moves the clip norm to the target quantile of the updates'
# norms and stays there. Seen (flwr 1.42.0, the DifferentialPrivacyServerSideAdaptiveClipping strategy): the rule
# is fed the share of clipped updates where the paper's has the share of updates within the norm, so the feedback
# has the wrong sign. Where everything is clipped the norm goes on shrinking, where nothing is clipped it goes on
# growing, by e^0.1 a round: with norms of 0.5 to 1.5 and the median as target it goes from 0.1 to 5e-6 or from 2
# to 44,000 in 100 rounds. Hurts: from the default start of 0.1 a model stops learning with no error, and looks
# like the price of privacy; from a large start noise, which is proportional to the norm, explodes. A comparison
# of adaptive and fixed clipping made in this release measures this.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'flwr==1.42.0' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'flwr==1.42.0' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import logging
logging.disable(logging.CRITICAL)
from types import SimpleNamespace
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg
clients, rounds = 50, 100
rng = np.random.default_rng(0)

def reply(client):                     # what a client's answer looks like to a strategy
    update = rng.normal(size=10)
    update *= (0.5 + client / (clients - 1)) / np.linalg.norm(update)      # norms 0.5 to 1.5, median 1
    content = RecordDict({"arrays": ArrayRecord({"w": Array(update.astype(np.float32))}), "metrics": MetricRecord({"num-examples": 1})})
    return SimpleNamespace(content=content, has_error=lambda: False, has_content=lambda: True, metadata=SimpleNamespace(src_node_id=client + 1))

def path(start):
    strategy = DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), noise_multiplier=0.0, num_sampled_clients=clients,
        initial_clipping_norm=start, target_clipped_quantile=0.5)
    norms = [start]
    for number in range(1, rounds + 1):
        strategy.current_arrays = ArrayRecord({"w": Array(np.zeros(10, np.float32))})
        strategy.aggregate_train(number, [reply(c) for c in range(clients)])
        norms.append(strategy.clipping_norm)
    return norms

def as_published(start):               # the same rounds by the paper's rule
    norm = start
    for _ in range(rounds):
        within = np.mean(0.5 + np.arange(clients) / (clients - 1) <= norm)
        norm *= np.exp(-0.2 * (within - 0.5))
    return norm

for start in 0.1, 0.9, 1.1, 2.0:
    norms = path(start)
    print(f"from {start}: Flower after 10, 50, 100 rounds {norms[10]:.3g}, {norms[50]:.3g}, {norms[100]:.3g}; the published rule {as_published(start):.3f}")
    assert abs(as_published(start) - 1) < .05
    assert norms[100] < start / 50 if start < 1 else norms[100] > 50 * start
PY
