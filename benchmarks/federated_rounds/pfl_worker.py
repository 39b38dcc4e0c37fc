# pyright: basic, reportMissingImports=false
"""Runs rounds of federated averaging in pfl-research, in an environment of its own.

Answers one JSON object per line of standard input with one per line of standard output; whatever the libraries print
goes to standard error. Needs pfl, torch and numpy, nothing of dpjax::

    {"prepare": {"arrays": path, ...}}   → {"parameters": n}   ``Simulation`` says what else; runs the first round
    {"run": {"inner": k}}                → {"ms": mean milliseconds per round}; training goes on
    {"accuracy": {}}                     → {"accuracy": a, "loss": l} on all rows
    {"update": {"path": p}}              → {"ok": true}; parameters as they are now, to an .npz file
    {"versions": {}}                     → {"torch": ..., "pfl": ...}

A request that fails is answered with ``{"error": "one line"}``. Where pfl's environment variables PFL_WORKER_RANK and
PFL_WORKER_ADDRESSES make it one of several processes, these share every cohort, and all must be asked the same.
"""

import argparse
import json
import os
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Weighted
from pfl.model.pytorch import PyTorchModel
from pfl.privacy import CentrallyAppliedPrivacyMechanism, GaussianMechanism
from torch import Tensor, nn
from torch.nn import functional as F

NEVER = 2**62


class Classifier(nn.Module):
    """Layers with the two methods that pfl asks of a model."""

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self(inputs), labels)

    @torch.no_grad()
    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
        logits = self(inputs)
        total = F.cross_entropy(logits, labels, reduction="sum").item()
        right = (logits.argmax(1) == labels).sum().item()
        return {"loss": Weighted(total, len(labels)), "accuracy": Weighted(right, len(labels))}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=3),
        nn.MaxPool2d(2, stride=1),
        nn.Tanh(),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.MaxPool2d(2, stride=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.Tanh(),
        nn.Linear(32, 10),
    )


WORKS = {"mlp": mlp, "cnn": cnn}


class Simulation:
    """A model in training that stays as it is between requests.

    Args:
      work: which model.
      arrays: path of an .npz file with ``inputs``, ``labels``, ``index [clients, rows]`` and the initial parameters as
        ``parameter0``, ``parameter1`` and so on, in the order and layout of torch.
      threads: of torch.
      cohort: clients in a round.
      batch: rows in a local step; a local epoch passes through all of a client's.
      epochs: local epochs.
      sampling: ``"random"`` or ``"minimize_reuse"``, pfl's names.
      clip_norm, noise_multiplier, client_learning_rate, learning_rate: as in ``dpjax.HParams``.
      seed: of sampling and noise.
    """

    def __init__(
        self,
        work: str,
        arrays: str,
        threads: int,
        cohort: int,
        batch: int,
        epochs: int,
        sampling: str,
        clip_norm: float,
        noise_multiplier: float,
        client_learning_rate: float,
        learning_rate: float,
        seed: int,
    ):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 what pfl draws from
        held = np.load(arrays)
        inputs, labels = torch.from_numpy(held["inputs"]), torch.from_numpy(held["labels"]).long()
        if work == "cnn":
            inputs = inputs.movedim(-1, 1).contiguous()
        module = Classifier(WORKS[work]())
        with torch.no_grad():
            for i, parameter in enumerate(module.parameters()):
                parameter.copy_(torch.from_numpy(held[f"parameter{i}"]))
        self.data = Dataset([inputs, labels])
        # A client's batches are cut once and kept: pfl's own from_slices would cut them anew each time.
        clients = [Dataset([inputs[rows], labels[rows]], user_id=str(i)) for i, rows in enumerate(held["index"])]
        population = FederatedDataset(clients.__getitem__, get_user_sampler(sampling, list(range(len(clients)))))
        mechanism = GaussianMechanism(clip_norm, noise_multiplier)
        self.backend = SimulatedBackend(
            population, population, postprocessors=[CentrallyAppliedPrivacyMechanism(mechanism)]
        )
        central = torch.optim.SGD(module.parameters(), learning_rate)
        self.model = PyTorchModel(module, torch.optim.SGD, central)
        self.algorithm, self.rounds, self.cohort = FederatedAveraging(), 0, cohort
        self.local = NNTrainHyperParams(
            local_num_epochs=epochs, local_learning_rate=client_learning_rate, local_batch_size=batch
        )
        self.run(1)  # round 0 evaluates every client, whatever the frequency

    def run(self, rounds: int) -> float:
        """Milliseconds per round."""
        self.rounds += rounds
        settings = NNAlgorithmParams(
            central_num_iterations=self.rounds,
            evaluation_frequency=NEVER,
            train_cohort_size=self.cohort,
            val_cohort_size=None,
        )
        started = time.perf_counter()
        self.algorithm.run(
            settings,
            self.backend,
            self.model,
            self.local,
            NNEvalHyperParams(local_batch_size=None),
            send_metrics_to_platform=False,
        )
        return (time.perf_counter() - started) / rounds * 1e3

    def accuracy(self) -> dict[str, float]:
        found = self.model.evaluate(self.data, eval_params=NNEvalHyperParams(local_batch_size=1_000))
        return {str(name): value.overall_value for name, value in found}


def answer(request: dict[str, Any], state: dict[str, Simulation], threads: int) -> dict[str, Any]:
    (command, options), *rest = request.items()
    if rest:
        raise ValueError("one command per line")
    if command == "versions":
        return {name: metadata.version(name) for name in ("torch", "pfl")}
    if command == "prepare":
        state["now"] = Simulation(threads=threads, **options)
        return {"parameters": sum(p.numel() for p in state["now"].model.pytorch_model.parameters())}
    if command == "run":
        return {"ms": state["now"].run(int(options["inner"]))}
    if command == "accuracy":
        return state["now"].accuracy()
    if command == "update":
        parameters = [p.detach().numpy() for p in state["now"].model.pytorch_model.parameters()]
        np.savez(options["path"], **{f"parameter{i}": p for i, p in enumerate(parameters)})
        return {"ok": True}
    raise ValueError(f"unknown command {command!r}; known: prepare, run, accuracy, update, versions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads per operation")
    threads = parser.parse_args().threads
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    state: dict[str, Simulation] = {}
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            reply = answer(json.loads(line), state, threads)
        except Exception as error:
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
