#!/usr/bin/env bash
# Guess: of the four privacy settings of FedML 0.9.6 (dp_solution_type: ldp, cdp, nbafl, dp_clip) each changes what
# clients send or what the server hands out; dp_clip, after DP-FedAvg, clips updates and adds Gaussian noise to their
# mean. Seen: the hooks of trainer and aggregator ask for ldp and cdp alone. With enable_dp on and dp_clip (or nbafl)
# the log says so at the start, is_dp_enabled() is true, and updates pass from client to aggregate bit for bit, neither
# clipped nor noised. And the class that nobody calls, called by hand, divides its own noise by the number of examples
# again for each tensor, so that the second layer's is a thousandth of the first's, and the fourth's nothing; and takes
# the clip norm for the order of the norm. Hurts: a configuration file that says differential privacy, and a log that
# says it too, train without any.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
"${PYTHON:-python3.11}" -m venv "$work/venv"  # PYTHON: an interpreter of 3.11 or before, as a dependency wants one
"$work/venv/bin/python" -m pip install -q 'setuptools<81' wheel
"$work/venv/bin/python" -m pip install -q 'fedml==0.9.6' 'torch==2.14.1' 'setuptools<81'
"$work/venv/bin/python" -W ignore - <<'PY'
from collections import OrderedDict
from types import SimpleNamespace

import torch
from fedml.core import ClientTrainer, ServerAggregator
from fedml.core.dp.fedml_differential_privacy import FedMLDifferentialPrivacy
from fedml.core.dp.frames.dp_clip import DP_Clip


class Trainer(ClientTrainer):
    def get_model_params(self):
        return self.model

    def set_model_params(self, model_parameters):
        self.model = model_parameters

    def train(self, train_data, device, args):
        pass


class Aggregator(ServerAggregator):
    def get_model_params(self):
        return self.model

    def set_model_params(self, model_parameters):
        self.model = model_parameters

    def test(self, test_data, device, args):
        pass

    def test_all(self, *args):
        pass


def settings(kind):
    return SimpleNamespace(
        enable_dp=True, dp_solution_type=kind, mechanism_type="gaussian", epsilon=0.5, delta=1e-5, sensitivity=1.0,
        clipping_norm=1.0, noise_multiplier=1.0, train_data_num_in_total=1000, client_num_per_round=1,
        client_num_in_total=1, C=1.0, comm_round=2, federated_optimizer="FedAvg", ml_engine="torch",
    )


def update():
    return OrderedDict(w=torch.full((1000,), 5.0), b=torch.full((10,), 5.0))  # of norm 159, and the clip norm is 1


changed = {}
for kind in ("ldp", "cdp", "nbafl", "dp_clip"):
    FedMLDifferentialPrivacy._dp_instance = None
    args = settings(kind)
    trainer, server = Trainer(update(), args), Aggregator(update(), args)
    assert FedMLDifferentialPrivacy.get_instance().is_dp_enabled()
    trainer.on_after_local_training(None, "cpu", args)
    sent = trainer.get_model_params()
    kept, _ = server.on_before_aggregation([(100, sent)])
    released = server.on_after_aggregation(server.aggregate(kept))
    changed[kind] = not all(torch.equal(released[name], value) for name, value in update().items())
    print(f"{kind}: what clients had is {'changed' if changed[kind] else 'handed out bit for bit'}")
assert changed == {"ldp": True, "cdp": True, "nbafl": False, "dp_clip": False}

by_hand = DP_Clip(settings("dp_clip"))
noised = by_hand.add_noise(OrderedDict((f"layer {i}", torch.zeros(100_000)) for i in range(4)), 1000.0)
deviations = [float(each.std()) for each in noised.values()]
print("noise of four layers of the same size: " + ", ".join(f"{each:.1e}" for each in deviations))
assert all(abs(a / b / 1000 - 1) < 0.05 for a, b in zip(deviations, deviations[1:]))
for norm in (0.5, 2.0, 4.0):
    by_hand.clipping_norm = norm
    clipped = by_hand.add_local_noise(
        OrderedDict(w=torch.ones(10_000)), OrderedDict(w=torch.zeros(10_000))
    )["w"].norm()
    print(f"clip norm {norm:g}: the clipped update's L2 norm is {clipped:.3g}")
    assert (abs(float(clipped) / norm - 1) < 1e-3) == (norm == 2.0)
PY
