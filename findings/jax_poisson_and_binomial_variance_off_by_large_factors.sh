#!/usr/bin/env bash
# Guess: counts from jax.random.poisson and jax.random.binomial have the right variance, or at worst lose a last
# digit where the mean passes 2^24. Seen (jax 0.12.0.1, CPU, default float32): Poisson's variance is 9 % too small
# at mean 2e6, 7 % too small at 1e7 and 73 % too large at 1e8, where only multiples of 8 are ever drawn;
# binomial's is 1.4 to 2 times too large at n=1e9, although the means there (1e4 to 1e6) are far below 2^24. The
# means are right, so a test of the mean sees nothing. Hurts: Skellam noise is the difference of two such Poisson
# draws, and 2e6 to 1e9 is an ordinary parameter once updates are scaled to integers for secure aggregation; an
# accountant is told a variance that was not drawn (too little noise at 2e6 and 1e7), and noise on a grid of 8
# shows the low bits of the sum. Counts of sampled users in a large population are equally off.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'jax==0.12.0.1' 'jaxlib==0.12.0.1' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'jax==0.12.0.1' 'jaxlib==0.12.0.1' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import jax, numpy as np
draws = 200_000          # the standard error of a variance ratio is then 0.3 %
key = jax.random.key(0)

def poisson(mean):
    x = np.asarray(jax.random.poisson(key, mean, (draws,)), np.int64)
    print(f"Poisson mean {mean:.0e}: mean off by {(x.mean() - mean) / mean**.5:+.4f} sd, variance / mean {x.var() / mean:.3f}, "
          f"greatest common divisor of the draws {np.gcd.reduce(x)}")
    return x.var() / mean, np.gcd.reduce(x)

def binomial(n, p):
    x = np.asarray(jax.random.binomial(key, n, p, (draws,)), np.int64)
    ratio = x.var() / (n * p * (1 - p))
    print(f"binomial n {n:.0e}, p {p:.0e}: variance / np(1-p) {ratio:.3f}")
    return ratio

assert abs(poisson(1e4)[0] - 1) < .015                  # small means are fine
assert poisson(2e6)[0] < .95
assert poisson(1e7)[0] < .96
ratio, divisor = poisson(1e8)
assert ratio > 1.5 and divisor == 8
assert abs(binomial(1e6, .5) - 1) < .015
assert binomial(1e9, 1e-3) > 1.3
assert binomial(1e9, 1e-4) > 1.5
x = jax.random.poisson(key, 2e6, (draws,)) - jax.random.poisson(jax.random.key(1), 2e6, (draws,))
skellam = float(np.var(np.asarray(x, np.int64)) / 4e6)
print(f"Skellam noise of variance 4e6: drawn variance / wanted {skellam:.3f}")
assert skellam < .95
PY
