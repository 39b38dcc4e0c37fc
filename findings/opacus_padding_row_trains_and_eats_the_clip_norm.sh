#!/usr/bin/env bash
# Guess: nn.Embedding(padding_idx=0) keeps its padding row untouched under Opacus, as PyTorch promises (no
# gradient there). Seen (opacus 1.6.0, hooks and ghost clipping): Opacus' own per-sample rule for embeddings knows
# no padding_idx. The padding row gets the gradient of every pad position, is counted in the clipping norm and
# moves. The same module with force_functorch=True is right, so two switches of one library train different
# models. Hurts: in a batch of short texts most positions are padding, so the norm that is clipped is mostly
# padding's: the useful part of a short text's gradient shrinks many-fold (35-fold for 3 tokens of 64), by more
# the longer its batch mates are; the row gets noise as well, and the pad vector is no longer zero where pooling
# counts on it. Norms and clip thresholds from such runs compare with no other framework's.
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
import copy, torch
from torch import nn
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
torch.manual_seed(0)

class Bag(nn.Module):                 # mean of embeddings over all positions; pads are zero vectors
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 16, padding_idx=0), nn.Linear(16, 2)
    def forward(self, ids):
        return self.head(self.embed(ids).mean(1))

ids = torch.randint(1, 50, (8, 64))
lengths = torch.tensor([3, 4, 5, 6, 8, 16, 32, 64])
ids[torch.arange(64)[None] >= lengths[:, None]] = 0
labels = torch.randint(0, 2, (8,))
model = Bag()

def norms(functorch):
    net = GradSampleModule(copy.deepcopy(model), force_functorch=functorch)
    nn.CrossEntropyLoss()(net(ids), labels).backward()
    weight = net._module.embed.weight
    return weight.grad_sample.flatten(1).norm(dim=1), weight.grad_sample[:, 0].norm(dim=1)

truth = []
for i in range(8):
    net = copy.deepcopy(model)
    nn.CrossEntropyLoss()(net(ids[i:i + 1]), labels[i:i + 1]).backward()
    truth.append(net.embed.weight.grad.norm())
truth = torch.stack(truth)
hooks, pad = norms(False)
traced, traced_pad = norms(True)
for i in range(8):
    print(f"{lengths[i]:>2} of 64 tokens: norm of the embedding's gradient {truth[i]:.4f}, Opacus {hooks[i]:.4f} "
          f"({pad[i]:.4f} of it in the padding row), functorch {traced[i]:.4f}")
assert torch.allclose(traced, truth, rtol=1e-4) and float(traced_pad.max()) == 0
assert float((hooks / truth)[0]) > 3 and float(pad.min()) == 0 < float(pad.max())
net = GradSampleModule(copy.deepcopy(model))
optimizer = DPOptimizer(torch.optim.SGD(net.parameters(), lr=1.0), noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=8)
for _ in range(20):
    optimizer.zero_grad()
    nn.CrossEntropyLoss()(net(ids), labels).backward()
    optimizer.step()
row = float(net._module.embed.weight[0].detach().norm())
print(f"the padding row after 20 steps without noise: norm {row:.3f} (0 in PyTorch)")
assert row > .05
PY
