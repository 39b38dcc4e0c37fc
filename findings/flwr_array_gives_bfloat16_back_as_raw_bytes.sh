#!/usr/bin/env bash
# Guess: flwr's Array carries what JAX trains in: a bfloat16 array that is put into an ArrayRecord comes out as one, or is
# refused where it is put in. Seen (flwr 1.42.0, ml_dtypes 0.5.4, numpy 2.4.4): Array(x) takes it and says dtype
# "bfloat16"; numpy() on the other side gives dtype |V2, opaque pairs of bytes, without a word, and float8 |V1. Only the
# server's mean over clients fails, with a sentence about ufuncs and void that names no client and no parameter; a
# client that copies what it got into its model by .astype or .view trains on whatever that makes of the bytes. Hurts:
# a federation of bfloat16 models, the usual dtype of language models, runs until its first aggregation. Send
# x.view(uint16), or float32, and the dtype's name beside it.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install -q --only-binary :all: 'flwr==1.42.0' 'ml_dtypes==0.5.4' 'numpy==2.4.4'
export FLWR_HOME="$work/home" FLWR_TELEMETRY_ENABLED=0
venv/bin/python - <<'PY'
import ml_dtypes
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

kept = Array(np.arange(3, dtype=np.float16))
print("float16:", kept.dtype, "->", kept.numpy().dtype)
assert kept.numpy().dtype == np.float16
for dtype, void in ((ml_dtypes.bfloat16, "|V2"), (ml_dtypes.float8_e4m3fn, "|V1")):
    sent = Array(np.arange(3).astype(dtype))
    got = sent.numpy()
    print(f"{sent.dtype}: comes back as {got.dtype.str}")
    assert sent.dtype == np.dtype(dtype).name
    assert got.dtype.str == void


def reply(value):
    weights = ArrayRecord({"w": Array(np.full(3, value, ml_dtypes.bfloat16))})
    return RecordDict({"arrays": weights, "metrics": MetricRecord({"num-examples": 1})})


try:
    aggregate_arrayrecords([reply(1.0), reply(3.0)], "num-examples")
except Exception as error:
    said = " ".join(str(error).split())
    print(f"mean of two clients: {type(error).__name__}: {said[:90]}")
    assert "bfloat16" not in said and "'w'" not in said
else:
    raise SystemExit("the mean is formed now")
PY
