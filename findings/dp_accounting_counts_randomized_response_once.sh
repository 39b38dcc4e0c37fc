#!/usr/bin/env bash
# Guess: dp-accounting's PLD accountant composes what it is given as often as it is told, as it does for Gaussian,
# Laplace and discrete Laplace events: 50 randomized responses, each of ln 3, come to 55 at delta 1e-9. Seen, in
# 0.6.0 (and 0.5.1): of RandomizedResponseDpEvent the count is left out, in compose(event, count) and in
# SelfComposedDpEvent alike: 50 cost 1.1, as one does, and no warning says so. Composing the event 50 times in a loop is
# right. Hurts: a survey with local privacy that repeats its question has a fiftieth of its epsilon. A ledger or filter
# that hands events on with a count is right for every other type, so that a test of the common ones passes.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'dp-accounting==0.6.0'
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'dp-accounting==0.6.0'
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import math

from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant

COUNT, DELTA = 50, 1e-9


def epsilon(*composed):
    accountant = PLDAccountant(NeighboringRelation.REPLACE_ONE)
    for event, count in composed:
        accountant.compose(event, count)
    return accountant.get_epsilon(DELTA)


answer = dp_event.RandomizedResponseDpEvent(noise_parameter=0.5, num_buckets=2)
gaussian = dp_event.GaussianDpEvent(8.0)
said = {
    "one": epsilon((answer, 1)),
    "50, by count": epsilon((answer, COUNT)),
    "50, as one event": epsilon((dp_event.SelfComposedDpEvent(answer, COUNT), 1)),
    "50, one by one": epsilon(*[(answer, 1)] * COUNT),
}
for how, value in said.items():
    print(f"randomized response, {how}: epsilon {value:.3f}")
assert abs(said["one"] - math.log(3)) < 1e-3
assert abs(said["50, by count"] - said["one"]) < 1e-9 and abs(said["50, as one event"] - said["one"]) < 1e-9
assert said["50, one by one"] > 30
assert abs(epsilon((gaussian, COUNT)) - epsilon(*[(gaussian, 1)] * COUNT)) < 0.05  # as all others
PY
