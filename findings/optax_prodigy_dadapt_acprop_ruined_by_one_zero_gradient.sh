#!/usr/bin/env bash
# Guess: one all-zero gradient leaves an optimizer where it was. Seen (optax 0.2.8): contrib.prodigy turns
# parameters to NaN at once, contrib.dadapt_adamw at the next step, and they stay NaN; contrib.acprop survives the
# zero and at the next ordinary gradient of 1 moves each parameter by 3e4 at its default epsilon. Ten others in
# optax tried here take it well. Hurts: an all-zero gradient is normal in private training: an empty Poisson
# cohort in a run without noise (the non-private reference that every private curve is compared with), a cohort
# whose contributions were all rejected as non-finite, a first round in which no client answered. The learning-
# rate-free optimizers are just those proposed for private training, where tuning costs budget; and the NaN looks
# like divergence of the method.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'jax==0.12.0.1' 'jaxlib==0.12.0.1' 'optax==0.2.8' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'jax==0.12.0.1' 'jaxlib==0.12.0.1' 'optax==0.2.8' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import jax, jax.numpy as jnp, optax

def path(make):
    optimizer, params = make(), {"w": jnp.ones((3, 3))}
    state, seen = optimizer.init(params), []
    for gradient in 0.0, 1.0, 1.0, 1.0:
        updates, state = optimizer.update({"w": jnp.full((3, 3), gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(float(jnp.abs(params["w"]).max()))
    return seen

c = optax.contrib
for name, make in {"sgd": lambda: optax.sgd(.01), "adam": lambda: optax.adam(.01), "adamw": lambda: optax.adamw(.01),
                   "rmsprop": lambda: optax.rmsprop(.01), "dog": lambda: c.dog(.01), "dowg": c.dowg, "cocob": c.cocob,
                   "schedule_free_adamw": c.schedule_free_adamw, "adopt": lambda: c.adopt(.01), "muon": lambda: c.muon(.01)}.items():
    try:
        seen = path(make)
    except TypeError as error:
        print(f"{name}: not tried here ({error})")
        continue
    print(f"{name:>20}: largest |parameter| after gradients 0, 1, 1, 1: {seen}")
    assert all(x < 2 for x in seen)
prodigy, dadapt, acprop = path(c.prodigy), path(c.dadapt_adamw), path(lambda: c.acprop(.01))
print("             prodigy:", prodigy)
print("        dadapt_adamw:", dadapt)
print("              acprop:", acprop)
assert all(x != x for x in prodigy)
assert dadapt[0] == 1 and all(x != x for x in dadapt[1:])
assert acprop[0] == 1 and acprop[1] > 1e4
PY
