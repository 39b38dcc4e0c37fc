#!/usr/bin/env bash
# Guess: the three accountants of pfl 0.6.0 (Apple's simulator of private federated learning) agree on the Laplace
# mechanism, whose noise_parameter "is the scale of the noise": ten releases at scale 2 have epsilon 5. Seen: two do,
# and the one by privacy random variables says 20. It hands the scale to prv-accountant 0.2.0, whose mu is one over the
# scale, so that more noise costs more and less noise costs less: scale 0.5 is "epsilon 5", and is 20. Hurts: asked
# which noise an epsilon needs, it looks on the wrong side and calls its search not converged; asked what a small noise
# costs, it answers a fourth. At scale 1, where tests like to look, all three agree. For Gaussian noise they do anyway.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'pfl==0.6.0' 'prv-accountant==0.2.0' 'dp-accounting==0.5.1'
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'pfl==0.6.0' 'prv-accountant==0.2.0' 'dp-accounting==0.5.1'
fi
"$work/venv/bin/python" -W ignore - <<'PY'
from pfl.privacy.privacy_accountant import PLDPrivacyAccountant, PRVPrivacyAccountant, RDPPrivacyAccountant

RELEASES = 10
for scale in (0.5, 1.0, 2.0, 5.0):
    said = {
        kind.__name__[:3]: float(
            kind(
                num_compositions=RELEASES,
                sampling_probability=1.0,
                mechanism="laplace",
                delta=1e-6,
                noise_parameter=scale,
            ).epsilon
        )
        for kind in (PLDPrivacyAccountant, RDPPrivacyAccountant, PRVPrivacyAccountant)
    }
    print(f"scale {scale:g}: " + ", ".join(f"{name} {epsilon:.2f}" for name, epsilon in said.items()))
    assert abs(said["PLD"] - RELEASES / scale) < 0.01 and abs(said["RDP"] - RELEASES / scale) < 0.01
    assert abs(said["PRV"] - RELEASES * scale) < 0.1
try:
    found = PRVPrivacyAccountant(
        num_compositions=RELEASES, sampling_probability=1.0, mechanism="laplace", delta=1e-6, epsilon=5.0
    ).noise_parameter
    print(f"noise for epsilon 5: {found}")
except ValueError as error:
    print(f"noise for epsilon 5: {error}")
PY
