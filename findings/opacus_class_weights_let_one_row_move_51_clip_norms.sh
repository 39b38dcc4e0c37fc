#!/usr/bin/env bash
# Guess: per-sample clipping bounds what one row does to the sum of gradients by the clip norm, whichever loss is
# used. Seen (opacus 1.6.0, torch 2.14.1): nn.CrossEntropyLoss(weight=...) with the default mean divides by the
# sum of the weights in the batch, so each row's gradient depends on its batch mates before it is clipped. Adding
# one row of the rare class to 64 others moves the clipped sum by 51 clip norms; without weights by 1. No warning,
# and ignore_index=-100 (the padded positions of every language model's loss) couples rows the same way. Hurts:
# noise is made for a movement of 1, so the reported epsilon has nothing to do with the run: 51 clip norms against
# a noise of one or two. Class weights are the textbook answer to unbalanced medical or fraud data. The remedy is
# reduction='none' and a mean of one's own.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'opacus==1.6.0' 'torch==2.14.1' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'opacus==1.6.0' 'torch==2.14.1' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import torch
from torch import nn
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
clip = 1.0

def clipped_sum(x, y, loss):
    torch.manual_seed(0)
    model = nn.Linear(20, 3, bias=False)
    nn.init.zeros_(model.weight)
    net = GradSampleModule(model, loss_reduction="mean")
    optimizer = DPOptimizer(torch.optim.SGD(net.parameters(), lr=1.0), noise_multiplier=0.0, max_grad_norm=clip, expected_batch_size=len(x), loss_reduction="mean")
    loss(net, x, y).backward()
    optimizer.clip_and_accumulate()
    return model.weight.summed_grad.clone()

torch.manual_seed(1)
row = torch.randn(20)
x = row.repeat(65, 1)
y = torch.zeros(65, dtype=torch.long)
y[64] = 2                                              # the rare class
rare = torch.tensor([1.0, 1.0, 1000.0])                # one in a thousand
losses = {"no weights": lambda net, x, y: nn.CrossEntropyLoss()(net(x), y),
          "class weights, mean": lambda net, x, y: nn.CrossEntropyLoss(weight=rare)(net(x), y),
          "class weights, each row by itself": lambda net, x, y: nn.CrossEntropyLoss(weight=rare, reduction="none")(net(x), y).mean()}
moved = {}
for name, loss in losses.items():
    with_row, without = clipped_sum(x, y, loss), clipped_sum(x[:64], y[:64], loss)
    moved[name] = float((with_row - without).norm()) / clip
    print(f"{name}: 64 rows sum to {float(without.norm()):.2f}, with one more row {float(with_row.norm()):.2f}; moved by {moved[name]:.2f} clip norms")
assert moved["no weights"] < 1.01 and moved["class weights, each row by itself"] < 1.01
assert moved["class weights, mean"] > 40

def token_loss(net, x, y):                             # rows of 4 tokens, -100 on padding, mean over tokens
    return nn.CrossEntropyLoss(ignore_index=-100)(net(x).flatten(0, 1), y.flatten())
x = (torch.randn(20) * .06).repeat(17, 64, 1)
y = torch.zeros(17, 64, dtype=torch.long)
y[:16, 1:] = -100                                      # 16 short texts and one long one
with_row, without = clipped_sum(x, y, token_loss), clipped_sum(x[:16], y[:16], token_loss)
tokens = float((with_row - without).norm()) / clip
print(f"mean over tokens, 16 short texts and one of 64 tokens: moved by {tokens:.2f} clip norms")
assert tokens > 1.5
PY
