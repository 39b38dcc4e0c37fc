#!/usr/bin/env bash
# Guess: the banded matrix factorisation of pfl 0.6.0 (Apple's simulator of private federated learning) has a strategy
# matrix C whose columns have norm 1, as its noise is accounted: what a person gives in round t is multiplied by C's
# column t, and "epsilon=2" holds if that column is no longer than 1. Seen: it optimises the Gram matrix X = C^T C with
# a diagonal of ones, and then takes C from a Cholesky factorisation, which is X = C C^T: the rows have norm 1, and the
# columns, 2.6 at 50 rounds and 3.6 at 200, do not. The released noise is made of that C (shown below by undoing it).
# Hurts: a person who takes part once, in the first round, has epsilon 5.8 where the accountant says 2.0; a longer run
# is worse. Utility looks better than the paper's, and no accountant can see it. The factor that is meant is that of
# the matrix turned by 180 degrees, turned back.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'pfl==0.6.0' 'torch==2.14.1' 'dp-accounting==0.5.1'
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'pfl==0.6.0' 'torch==2.14.1' 'dp-accounting==0.5.1'
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import torch
from dp_accounting.pld import privacy_loss_distribution
from pfl.internal.ops import pytorch_ops
from pfl.internal.ops.selector import set_framework_module
from pfl.privacy.ftrl_mechanism import BandedMatrixFactorizationMechanism
from pfl.privacy.privacy_accountant import PLDPrivacyAccountant
from pfl.stats import MappedVectorStatistics

set_framework_module(pytorch_ops)
EPSILON, DELTA, ROUNDS, SIZE = 2.0, 1e-6, 50, 20_000
made = []


def accountant(participations):
    assert participations == 1
    made.append(
        PLDPrivacyAccountant(
            num_compositions=1, sampling_probability=1.0, mechanism="gaussian", epsilon=EPSILON, delta=DELTA
        )
    )
    return made[-1]


mechanism = BandedMatrixFactorizationMechanism(1.0, ROUNDS, ROUNDS, accountant)  # a person takes part once at most
sigma, strategy = made[0].noise_parameter, np.asarray(mechanism.query_matrix, np.float64)
released = []
for step in range(ROUNDS):
    nothing = MappedVectorStatistics({"w": torch.zeros(SIZE)}, weight=1.0)
    noised, _ = mechanism.add_noise(nothing, cohort_size=1, seed=step + 1)
    released.append(noised["w"].numpy().astype(np.float64))
white = strategy @ np.stack(released)  # what was drawn, before it was made dependent
print(f"noise that is added is C^-1 z with z of {white.std():.3f}; the accountant's is {sigma:.3f}")
assert abs(white.std() / sigma - 1) < 0.01 and abs(np.corrcoef(white) - np.eye(ROUNDS)).max() < 0.05
rows, columns = np.linalg.norm(strategy, axis=1), np.linalg.norm(strategy, axis=0)
assert abs(rows - 1).max() < 1e-3
print(f"norms of C: rows {rows.min():.3f} to {rows.max():.3f}, columns {columns.min():.3f} to {columns.max():.3f}")
true = {t: privacy_loss_distribution.from_gaussian_mechanism(sigma / columns[t]).get_epsilon_for_delta(DELTA) for t in (0, 25)}
print(f"epsilon of a person who takes part in round 1: {true[0]:.2f}, in round 26: {true[25]:.2f}; claimed {EPSILON}")
assert true[0] > 5.5 and columns.max() > 2.5
turned = np.linalg.cholesky((strategy @ strategy.T)[::-1, ::-1]).T[::-1, ::-1]
print(f"columns of the other factor of the same matrix: {np.linalg.norm(turned, axis=0).max():.3f}")
assert abs(np.linalg.norm(turned, axis=0) - 1).max() < 1e-3
PY
