#!/usr/bin/env bash
# Guess: a DataLoader with SubsetRandomSampler(train_indices), the usual split of one data set into training and
# validation rows, keeps to those rows after PrivacyEngine.make_private; a WeightedRandomSampler is kept or
# refused. Seen (opacus 1.6.0): the sampler is thrown away without a word and Poisson batches are drawn from the
# whole data set. The validation rows are in a fifth of all draws, rows of weight 0 are drawn like any other. Only
# the number of batches is still the old sampler's, so the expected batch grows with the data set (125 where 100
# was asked). Hurts: validation accuracy is measured on training rows, early stopping and the choice of the clip
# norm rest on it, and people who were held out of training, perhaps by their own wish, are in it. With
# poisson_sampling=False the sampler does hold, so an ablation of the two compares different data.
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
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset, WeightedRandomSampler
from opacus import PrivacyEngine
rows = TensorDataset(torch.arange(1000.0)[:, None], torch.zeros(1000))
samplers = {"subset of the first 800 rows": (SubsetRandomSampler(range(800)), lambda r: r >= 800),
            "weight 0 on the first 500 rows": (WeightedRandomSampler([0.0] * 500 + [1.0] * 500, 1000), lambda r: r < 500)}
seen = {}
for label, (sampler, barred) in samplers.items():
    for poisson in False, True:
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
        loader = DataLoader(rows, batch_size=100, sampler=sampler)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            _, _, private = PrivacyEngine(accountant="rdp").make_private(module=model, optimizer=torch.optim.SGD(model.parameters(), lr=.1),
                data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0, poisson_sampling=poisson)
        about = [str(w.message) for w in said if "sampler" in str(w.message).lower()]
        drawn = [batch[0].flatten() for _ in range(20) for batch in private]
        share = float(barred(torch.cat(drawn)).float().mean())
        print(f"{label}, poisson_sampling={poisson}: {share:.1%} of the drawn rows are barred ones, mean batch {sum(map(len, drawn)) / len(drawn):.1f}, warnings about it: {about}")
        seen[label, poisson] = share
        assert not about
for label in samplers:
    assert seen[label, False] == 0
assert .15 < seen["subset of the first 800 rows", True] < .25
assert .45 < seen["weight 0 on the first 500 rows", True] < .55
PY
