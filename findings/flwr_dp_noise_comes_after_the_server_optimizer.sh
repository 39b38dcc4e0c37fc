#!/usr/bin/env bash
# Guess: Flower's DifferentialPrivacyServerSideFixedClipping around FedAdam or FedAdagrad adds its noise to the
# mean of clipped updates, which the server optimizer then uses; a client moves that mean by at most C/n. Seen
# (flwr 1.42.0): the wrapper lets the inner strategy make the whole server step and then adds noise of standard
# deviation z C/n to the new model. With default settings one client moves FedAdam's model by 6 C/n in the first
# round and FedAdagrad's by 47 C/n (FedAvg: 1), since the adaptive step divides small means by about 1e-3; nothing
# warns (only the optional accountant asks for FedAvg). Hurts: z=1 is then a noise multiplier of 0.16 or 0.02, so
# an epsilon worked out from z, clients and rounds as the papers on DP-FedAdam do is worth nothing; and the noise,
# never divided by the optimizer, is far smaller than theirs, so the utility looks better than it is.
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
import logging, warnings
logging.disable(logging.CRITICAL)
from types import SimpleNamespace
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAdagrad, FedAdam, FedAvg
warnings.simplefilter("error")           # a warning from here on would end the script
clients, size, clip = 100, 1000, 1.0

def reply(client, weights):            # what a client's answer looks like to a strategy
    content = RecordDict({"arrays": ArrayRecord({"w": Array(weights.astype(np.float32))}), "metrics": MetricRecord({"num-examples": 1})})
    return SimpleNamespace(content=content, has_error=lambda: False, has_content=lambda: True, metadata=SimpleNamespace(src_node_id=client + 1))

def one_round(make, first, noise_multiplier):
    rng = np.random.default_rng(0)
    start = np.zeros(size, np.float32)
    inner = make()
    strategy = DifferentialPrivacyServerSideFixedClipping(inner, noise_multiplier=noise_multiplier, clipping_norm=clip, num_sampled_clients=clients)
    strategy.current_arrays = ArrayRecord({"w": Array(start)})           # as configure_train leaves them
    if make is not FedAvg:
        inner.current_arrays = {"w": start}
    updates = [first] + [rng.normal(size=size) * .01 for _ in range(clients - 1)]
    arrays, _ = strategy.aggregate_train(1, [reply(i, u) for i, u in enumerate(updates)])
    return arrays.to_numpy_ndarrays()[0].astype(np.float64)

one = np.ones(size) / size**.5         # an update of norm 1 = the clip norm
share = clip / clients
for make, low, high in (FedAvg, .99, 1.01), (FedAdam, 5, 8), (FedAdagrad, 35, 60):
    without, with_client = (one_round(make, scale * one, 0.0) for scale in (1e-6, 1.0))
    moved = np.linalg.norm(with_client - without) / share
    np.random.seed(0)
    noise = (one_round(make, one, 1.0) - with_client).std() / share
    print(f"{make.__name__}: one client moves the model by {moved:.2f} C/n; noise for z=1 has sd {noise:.2f} C/n; z in effect {noise / moved:.3f}")
    assert low < moved < high and .9 < noise < 1.1
PY
