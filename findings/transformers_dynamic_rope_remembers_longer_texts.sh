#!/usr/bin/env bash
# Guess: in eval mode, without dropout, a causal model's logits of a text are a function of that text and the weights.
# Seen (transformers 5.23.0, rope_type "dynamic"): the rotary module keeps the frequencies of the longest text it has
# read so far, and takes the shorter ones back only once a text below max_position_embeddings comes. A text of 80 tokens
# (64 were trained on) read after one of 200 has other logits than read first, by more than the largest of them; read
# after a short one it has the first ones again; one of exactly 64 tokens, which needs no scaling, is scaled after a
# long one and not reset. Within a batch the longest row decides for all, padding included. Hurts: perplexity depends
# on the order of the test set; and in private training one person's text sets the angles of the others', in its batch
# and in later ones: clipping bounds each gradient, but removing that person changes all of them, so that the
# sensitivity which the noise was made for does not hold.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
packages=('transformers==5.23.0' torch numpy)
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" "${packages[@]}"
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q "${packages[@]}"
fi
HF_HUB_OFFLINE=1 "$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np, torch, transformers
transformers.logging.set_verbosity_error()
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=90, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64, rope_scaling={"rope_type": "dynamic", "factor": 4.0}, attn_implementation="eager")
model = transformers.LlamaForCausalLM(config).eval()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))

def text(length, seed):
    return torch.tensor(np.random.default_rng(seed).integers(0, 90, (1, length)))

def logits(ids, mask=None):
    with torch.no_grad():
        return model(ids, attention_mask=mask).logits.numpy()

def grad(ids, others=None):
    """Of the first row's loss alone, with other rows in the batch."""
    model.zero_grad()
    rows = ids if others is None else torch.cat([torch.nn.functional.pad(ids, (0, others.shape[1] - ids.shape[1])), others])
    mask = None if others is None else torch.tensor([[1] * ids.shape[1] + [0] * (others.shape[1] - ids.shape[1]), [1] * others.shape[1]])
    out = model(rows, attention_mask=mask).logits[0, : ids.shape[1] - 1]
    torch.nn.functional.cross_entropy(out, ids[0, 1:]).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy()

eighty, short, long, exactly = text(80, 1), text(40, 2), text(200, 3), text(64, 4)
first = logits(eighty)
logits(long)
after_long = logits(eighty)
logits(short)
after_short = logits(eighty)
print(f"80 tokens after 200: logits moved by {np.abs(after_long - first).max():.2f}, of at most {np.abs(first).max():.2f}; after 40: {np.abs(after_short - first).max():.2f}")
assert np.abs(after_long - first).max() > 1 and np.array_equal(after_short, first)
logits(short)
alone = logits(exactly)
logits(long)
print(f"64 tokens, which need no scaling, after 200: moved by {np.abs(logits(exactly) - alone).max():.2f}")
assert np.abs(logits(exactly) - alone).max() > 1
logits(short)
mine = grad(short)
beside = grad(short, long)
logits(short)
beside_short = grad(short, text(50, 5))
apart = np.linalg.norm(beside - mine) / np.linalg.norm(mine)
print(f"gradient of a row of 40 tokens, with a row of 200 beside it: changed by {apart:.0%} of its norm; with one of 50: {np.linalg.norm(beside_short - mine) / np.linalg.norm(mine):.1e}")
assert apart > 0.1 and np.allclose(beside_short, mine, atol=1e-4)
PY
