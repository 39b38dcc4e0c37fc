#!/usr/bin/env bash
# Guess: from_pretrained(gguf_file=...) gives the model that the file describes, or says what of it is not computed.
# Seen (transformers 5.23.0): of a Llama's rotary positions it reads the base alone. rope.scaling.* (linear, YaRN) and the
# tensor rope_freqs.weight, by which Llama 3.1, 3.2 and 3.3 store their stretched frequencies, are dropped: the config
# says rope_type=default, and logits equal those of the same file without any scaling, to the last bit. No error; for
# the tensor not even a line of a weight that was not used. Hurts: every token beyond the first is turned by wrong
# angles, at short texts too (a YaRN of factor 8 moves logits here by almost half of the largest); perplexity is worse
# and nothing fails, so that a fine-tuned GGUF, with or without privacy, looks like one that training hurt,
# and its adapter fits neither llama.cpp's model nor the hub's.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
packages=('transformers==5.23.0' 'gguf==0.19.0' torch accelerate numpy)
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" "${packages[@]}"
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q "${packages[@]}"
fi
HF_HUB_OFFLINE=1 "$work/venv/bin/python" -W ignore - <<'PY'
import gguf, numpy as np, torch, transformers
transformers.logging.set_verbosity_error()
WIDTH, HIDDEN, VOCAB, HEADS, LAYERS, CONTEXT = 32, 64, 90, 4, 2, 512

def write(name, *more):
    rng = np.random.default_rng(0)
    w = gguf.GGUFWriter(name, "llama")
    w.add_context_length(CONTEXT); w.add_embedding_length(WIDTH); w.add_block_count(LAYERS)
    w.add_feed_forward_length(HIDDEN); w.add_head_count(HEADS); w.add_head_count_kv(HEADS)
    w.add_layer_norm_rms_eps(1e-5); w.add_rope_freq_base(10000.0); w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_vocab_size(VOCAB)
    w.add_tokenizer_model("gpt2"); w.add_token_list([f"t{i}" for i in range(VOCAB)])
    w.add_token_types([1] * VOCAB); w.add_token_merges([])
    for add in more:
        add(w)
    sizes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
             "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}
    draw = lambda *shape: (rng.normal(size=shape) * 0.5).astype(np.float32)
    w.add_tensor("token_embd.weight", draw(VOCAB, WIDTH)); w.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for i in range(LAYERS):
        for part in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{part}.weight", np.ones(WIDTH, np.float32))
        for part, shape in sizes.items():
            w.add_tensor(f"blk.{i}.{part}.weight", draw(*shape))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()

def logits(name, **config):
    settings = transformers.AutoConfig.from_pretrained(".", gguf_file=name)
    for field, value in config.items():
        setattr(settings, field, value)
    model = transformers.AutoModelForCausalLM.from_pretrained(".", gguf_file=name, config=settings, dtype=torch.float32)
    ids = torch.tensor([[3, 14, 15, 9, 26, 5, 35, 8, 9, 79, 32, 38]])
    with torch.no_grad():
        return settings, model.eval()(ids).logits.numpy()

def yarn(w):
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN); w.add_rope_scaling_factor(8.0)
    w.add_rope_scaling_orig_ctx_len(64)

write("plain.gguf")
write("yarn.gguf", yarn)
write("freqs.gguf", lambda w: w.add_tensor("rope_freqs.weight", np.array([1, 1, 4, 8], np.float32)))
_, plain = logits("plain.gguf")
for name in ("yarn.gguf", "freqs.gguf"):
    settings, found = logits(name)
    kind = settings.rope_parameters["rope_type"]
    print(f"{name}: rope_type {kind}, logits equal the unscaled file's: {np.array_equal(found, plain)}")
    assert kind == "default" and np.array_equal(found, plain)
right = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64}
_, stretched = logits("yarn.gguf", rope_parameters=right)
away = np.abs(stretched - plain).max()
print(f"with the file's own YaRN put into the config by hand, logits differ by up to {away:.2f} (largest logit {np.abs(plain).max():.2f})")
assert away > 0.1
PY
