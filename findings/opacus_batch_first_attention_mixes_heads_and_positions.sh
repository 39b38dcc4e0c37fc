#!/usr/bin/env bash
# Guess: opacus.layers.DPMultiheadAttention, and what ModuleValidator.fix puts in an nn.MultiheadAttention's
# place, compute what PyTorch's module does with the same weights, batch_first or not. Seen (opacus 1.6.0): with
# batch_first=False they do, to 1e-7; with batch_first=True the attention weights are right and the output is
# wrong by about 100 % with two heads or more: the heads' results are reshaped without being put side by side, so
# an output position holds pieces of one head at neighbouring positions: position 1's query moves the outputs at
# positions 0 and 4 and not its own. No error, no warning. Hurts: batch_first=True is the usual layout, fix() is
# the documented first step, so a pretrained transformer is destroyed before private tuning starts, and one
# trained from scratch is a weaker model in both its private and non-private Opacus runs; the loss of accuracy is
# booked as the price of privacy.
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
import warnings, torch
from torch import nn
from opacus.validators import ModuleValidator
torch.manual_seed(0)
x = torch.randn(5, 7, 16)              # batch, positions, features
errors = {}
for batch_first in False, True:
    for heads in 1, 2, 4:
        torch_module = nn.MultiheadAttention(16, heads, batch_first=batch_first).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fixed = ModuleValidator.fix(torch_module).eval()
        inputs = x if batch_first else x.transpose(0, 1)
        with torch.no_grad():
            (want, want_weights), (got, got_weights) = torch_module(inputs, inputs, inputs), fixed(inputs, inputs, inputs)
        error, weights = float((want - got).norm() / want.norm()), float((want_weights - got_weights).abs().max())
        errors[batch_first, heads] = error
        print(f"{type(fixed).__name__}, batch_first={batch_first}, {heads} heads: output wrong by {error:.1%}, attention weights by {weights:.0e}")
        assert weights < 1e-6
assert all(errors[False, h] < 1e-5 for h in (1, 2, 4)) and errors[True, 1] < 1e-5
assert errors[True, 2] > .3 and errors[True, 4] > .3

reach = {}
for batch_first in False, True:
    fixed = ModuleValidator.fix(nn.MultiheadAttention(16, 2, batch_first=batch_first)).eval()
    turn = lambda t: t if batch_first else t.transpose(0, 1)
    query = x.clone()
    query[:, 1] += 1                   # another question at position 1 only
    with torch.no_grad():
        change = turn(fixed(turn(query), turn(x), turn(x))[0]) - turn(fixed(turn(x), turn(x), turn(x))[0])
    reach[batch_first] = [i for i in range(7) if float(change[:, i].abs().max()) > 1e-6]
    print(f"batch_first={batch_first}: position 1's query changes the outputs at positions {reach[batch_first]}")
assert reach[False] == [1] and reach[True] != [1]

layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True).train()
with torch.no_grad():
    gap = float((layer(x) - ModuleValidator.fix(layer)(x)).norm() / layer(x).norm())
print(f"a whole nn.TransformerEncoderLayer after ModuleValidator.fix: output off by {gap:.0%}")
assert gap > .05
PY
