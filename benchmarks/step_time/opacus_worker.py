# pyright: basic, reportMissingImports=false
"""Times steps of PyTorch and Opacus for the step-time benchmark, in an environment of their own.

Answers one JSON object per line of standard input with one per line of standard output; whatever the libraries print
goes to standard error. Needs torch, opacus and numpy, nothing of dpjax::

    {"prepare": {"work": W, "contestant": C, "microbatch": M}}           → {"ok": true, "parameters": n}
    {"run": {"work": W, "contestant": C, "microbatch": M, "inner": k}}   → {"ms": mean milliseconds per step}
    {"versions": {}}                                                     → {"torch": ..., "opacus": ...}

A request that fails is answered with ``{"error": "one line"}``. A contestant stays prepared for any number of runs,
beside the others. One step is zero_grad, forward, loss, backward and one optimizer step over the whole batch, in
microbatches where ``microbatch`` is smaller than it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import opacus
import opacus_bert
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 10
LAYERS, WIDTH, HEADS, VOCABULARY, SEQUENCE, RANK = 6, 384, 6, 2048, 128, 8
LEARNING_RATE = 1e-3
CONTESTANTS = {"torch_ordinary": None, "opacus_hooks": "hooks", "opacus_ghost": "ghost"}
IGNORED = -100  # the target of positions without a next token: their loss is 0


class Projection(nn.Module):
    """A dense layer, frozen beside its low-rank A and B where ``lora``."""

    def __init__(self, lora: bool):
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.lora = (
            nn.Sequential(nn.Linear(WIDTH, RANK, bias=False), nn.Linear(RANK, WIDTH, bias=False)) if lora else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y if self.lora is None else y + self.lora(x)


class Block(nn.Module):
    """One pre-LayerNorm transformer layer."""

    def __init__(self, lora: bool):
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.o = (Projection(lora) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, sequence, _ = x.shape
        h = self.attention_norm(x)
        q, k, v = (p(h).view(batch, sequence, HEADS, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(attended.transpose(1, 2).reshape(batch, sequence, WIDTH))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))


class Transformer(nn.Module):
    """A causal language model; its positions are an embedding, which Opacus has per-example gradients for."""

    def __init__(self, lora: bool):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(SEQUENCE, WIDTH)
        self.blocks = nn.Sequential(*(Block(lora) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not lora or ".lora." in name)
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1]).repeat(len(tokens), 1)  # one contiguous row per example, for Opacus
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions(positions))))


class Loss:
    """Each example's cross-entropy, averaged over its tokens where it has any; ``reduction`` is Opacus's to change."""

    def __init__(self) -> None:
        self.reduction = "mean"

    def __call__(self, logits: Tensor, targets: Tensor, **_: Any) -> Tensor:
        if targets.ndim == 1:
            losses = F.cross_entropy(logits, targets, reduction="none")
        else:
            token_losses = F.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
            )
            losses = token_losses.view_as(targets).sum(1) / (targets.shape[1] - 1)
        return losses if self.reduction == "none" else losses.mean()


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, CLASSES),
    )


def classified(batch: int, *shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, *shape), torch.randint(CLASSES, (batch,))


def text(batch: int) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(VOCABULARY, (batch, SEQUENCE))
    return tokens, torch.cat([tokens[:, 1:], torch.full((batch, 1), IGNORED)], 1)


WORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]] = {
    "logistic": (lambda: nn.Sequential(nn.Linear(784, CLASSES)), lambda: classified(256, 784)),
    "mlp": (
        lambda: nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, CLASSES)),
        lambda: classified(256, 784),
    ),
    "cnn": (cnn, lambda: classified(256, 1, 28, 28)),
    "transformer": (lambda: Transformer(lora=False), lambda: text(32)),
    "transformer_lora": (lambda: Transformer(lora=True), lambda: text(32)),
    "minilm_full": (lambda: opacus_bert.Bert(lora=False), opacus_bert.labelled_texts),
    "minilm_lora": (lambda: opacus_bert.Bert(lora=True), opacus_bert.labelled_texts),
}


@dataclass
class Contestant:
    """A prepared model with its optimizer, loss and microbatches."""

    module: nn.Module
    optimizer: Any
    loss: Any
    chunks: list[tuple[Tensor, Tensor]]
    private: bool

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def step(self) -> None:
        """One optimizer step; Opacus's optimizers clip and sum at every microbatch, and add noise at the last."""
        count = len(self.chunks)
        if not self.private:
            self.optimizer.zero_grad(set_to_none=True)
            for inputs, targets in self.chunks:
                (self.loss(self.module(inputs), targets) / count).backward()
            self.optimizer.step()
            return
        for i, (inputs, targets) in enumerate(self.chunks):
            if count > 1:
                self.optimizer.signal_skip_step(do_skip=i + 1 < count)
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.module(inputs), targets).backward()
            self.optimizer.step()

    def release(self) -> None:
        """Frees the gradients, per-example ones included, that the next step would free at its start."""
        self.optimizer.zero_grad(set_to_none=True)


def build(work: str, contestant: str, microbatch: int, noise_multiplier: float = 1.0) -> Contestant:
    """The same weights and batch for every contestant of a work."""
    if work not in WORKS:
        raise ValueError(f"unknown work {work!r}; known: {', '.join(WORKS)}")
    if contestant not in CONTESTANTS:
        raise ValueError(f"unknown contestant {contestant!r}; known: {', '.join(CONTESTANTS)}")
    model, data = WORKS[work]
    torch.manual_seed(0)
    inputs, targets = data()
    batch = len(inputs)
    if not 1 <= microbatch <= batch or batch % microbatch:
        raise ValueError(f"microbatch {microbatch} does not divide the batch of {batch}")
    module: Any = model().train()
    loss: Any = Loss()
    optimizer: Any = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=LEARNING_RATE)
    mode = CONTESTANTS[contestant]
    if mode is not None:
        private: Any = PrivacyEngine().make_private(
            module=module,
            optimizer=optimizer,
            criterion=loss,
            data_loader=DataLoader(TensorDataset(inputs, targets), batch_size=batch),
            noise_multiplier=noise_multiplier,
            max_grad_norm=1.0,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
        if mode == "ghost":
            module, optimizer, loss, _ = private
        else:
            module, optimizer, _ = private
    chunks = list(zip(inputs.split(microbatch), targets.split(microbatch), strict=True))
    return Contestant(module, optimizer, loss, chunks, private=mode is not None)


def finish() -> None:
    """Wait for what an accelerator still has to do."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


Key = tuple[str, str, int]


def answer(request: dict[str, Any], prepared: dict[Key, Contestant]) -> dict[str, Any]:
    (command, options), *rest = request.items()
    if rest:
        raise ValueError("one command per line")
    if command == "versions":
        return {"torch": torch.__version__, "opacus": opacus.__version__}
    key = (str(options["work"]), str(options["contestant"]), int(options["microbatch"]))
    if command == "prepare":
        prepared.pop(key, None)
        contestant = build(*key)
        contestant.step()  # what cannot run fails here, not in a run
        contestant.release()
        prepared[key] = contestant
        return {"ok": True, "parameters": contestant.parameters}
    if command == "run":
        if key not in prepared:
            raise ValueError(f"{key} is not prepared")
        inner, contestant = int(options["inner"]), prepared[key]
        finish()
        start = time.perf_counter()
        for _ in range(inner):
            contestant.step()
        finish()
        elapsed = time.perf_counter() - start
        contestant.release()
        return {"ms": elapsed / inner * 1e3}
    raise ValueError(f"unknown command {command!r}; known: prepare, run, versions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads per operation")
    parser.add_argument("--device", default="cpu", help="where torch computes: cpu or cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)  # models, batches and positions are all made there
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    prepared: dict[Key, Contestant] = {}
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            reply = answer(json.loads(line), prepared)
        except Exception as error:
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
