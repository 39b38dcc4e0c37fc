#!/usr/bin/env bash
# Guess: what a node of p2pfl 0.4.4 sends with compression={"dp": {clip_norm, epsilon}} is a clipped update with noise,
# and nothing of the update besides. Seen, in a message as it goes over the wire: the norm before clipping, exact to the
# last bit, and whether it was clipped, lie next to the noised numbers ("original_norm", "was_clipped"). What is
# clipped is the whole parameters and not the update that the class asks for, so a model of norm 30 arrives with norm 1
# and then noise. And noise is drawn again at each encoding: gossip encodes for each neighbour, and the mean of what one
# model sent 400 times is 20 times nearer to it than epsilon says. Hurts: norms tell who learnt much from its data,
# no epsilon covers them, and the stated one covers a single message.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'p2pfl==0.4.4' 'opendp==0.16.0' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'p2pfl==0.4.4' 'opendp==0.16.0' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import pickle

import numpy as np
from p2pfl.learning.frameworks.p2pfl_model import P2PFLModel


class Model(P2PFLModel):
    def get_parameters(self):
        return self.model

    def set_parameters(self, params):
        self.model = params


weights = np.random.default_rng(0).normal(size=1000)
model = Model([weights], compression={"dp": {"clip_norm": 1.0, "epsilon": 3.0, "delta": 1e-5}})


def message():
    """What is sent, as whoever gets it reads it."""
    return pickle.loads(pickle.loads(model.encode_parameters())["bytes"])


[[name, told]] = message()["additional_info"]["applied_techniques"]
print(f"sent in clear: original_norm={told['original_norm']!r}, was_clipped={told['was_clipped']}")
assert name == "dp" and told["original_norm"] == float(np.linalg.norm(weights)) > 30
sent = np.stack([message()["params"][0] for _ in range(400)])
clipped = weights / np.linalg.norm(weights)
once, mean = (np.abs(each - clipped).mean() for each in (sent[0], sent.mean(axis=0)))
print(f"mean distance of an entry: {once:.3f} in one message, {mean:.4f} in the mean of 400")
assert 18 < once / mean < 22
assert np.linalg.norm(sent.mean(axis=0)) < 3  # of a model whose norm is 31
PY
