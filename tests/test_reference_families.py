"""Every family's logits against ``transformers`` itself: needs the extra ``reference``; run with -m slow."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.transformers import FAMILIES, Head
from dpjax.models.tuning import Method, fine_tune

pytestmark = [
    pytest.mark.slow,
    # torch warns of itself at import
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SIZES = {
    "vocab_size": 90,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
KV = {**SIZES, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
FACTORS = {"short_factor": [1.0, 1.1, 1.3], "long_factor": [1.5, 2.0, 4.0]}
GEMMA = {**KV, "head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 5}

CONFIGS = {
    "bert": [SIZES, {**SIZES, "hidden_act": "relu", "type_vocab_size": 3}],
    "roberta": [{**SIZES, "type_vocab_size": 1}, {**SIZES, "pad_token_id": 0, "bos_token_id": 1}],
    "xlm-roberta": [SIZES],
    "distilbert": [
        {
            "vocab_size": 90,
            "dim": 24,
            "n_layers": 3,
            "n_heads": 4,
            "hidden_dim": 40,
            "max_position_embeddings": 64,
            "activation": activation,
        }
        for activation in ("gelu", "relu")
    ],
    "modernbert": [
        {**SIZES, "local_attention": 8, "layer_types": None},
        {
            **{**SIZES, "num_hidden_layers": 5},
            "local_attention": 6,
            "global_attn_every_n_layers": 2,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
        },
        {**SIZES, "layer_types": ["sliding_attention", "full_attention"] * 2, "local_attention": 4},
    ],
    "gpt2": [{"vocab_size": 90, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64, "eos_token_id": 2}],
    "gpt_neox": [
        {**SIZES, "hidden_size": 32, "rotary_pct": 0.5},
        {**SIZES, "rotary_pct": 1.0, "use_parallel_residual": False, "rotary_emb_base": 500},
        {**SIZES, "attention_bias": False, "tie_word_embeddings": True, "rotary_pct": 0.34, "hidden_size": 48},
    ],
    "llama": [
        KV,
        {**KV, "rope_theta": 500.0, "rope_scaling": LLAMA3, "tie_word_embeddings": True},
        {**KV, "rope_scaling": {"rope_type": "linear", "factor": 3.0}, "attention_bias": True, "mlp_bias": True},
        {**KV, "rope_scaling": {"rope_type": "dynamic", "factor": 3.0}, "max_position_embeddings": 12},
        {**KV, "rope_scaling": YARN, "head_dim": 16},
        {**KV, "rope_scaling": {**YARN, "truncate": False, "beta_fast": 8.0, "mscale": 0.7, "mscale_all_dim": 0.3}},
    ],
    "mistral": [{**KV, "sliding_window": 4}, {**KV, "sliding_window": None, "head_dim": 10}],
    "qwen2": [
        KV,
        {**KV, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2, "tie_word_embeddings": True},
    ],
    "qwen3": [{**KV, "head_dim": 8}, {**KV, "head_dim": 6, "attention_bias": True, "rope_scaling": YARN}],
    "gemma2": [GEMMA, {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5}],
    "gemma3_text": [
        {**GEMMA, "sliding_window_pattern": 3, "layer_types": None},
        {**GEMMA, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {**GEMMA, "final_logit_softcapping": 1.5, "attention_bias": True},
    ],
    "smollm3": [
        {**KV, "no_rope_layer_interval": 3, "layer_types": None, "no_rope_layers": None},
        {**KV, "no_rope_layers": [1, 0, 0, 1], "attention_bias": True, "mlp_bias": True},
    ],
    "phi3": [
        KV,
        {**KV, "sliding_window": 5, "tie_word_embeddings": True},
        {**KV, "rope_scaling": {"rope_type": "longrope", **FACTORS}, "original_max_position_embeddings": 12},
        {**KV, "rope_scaling": {"rope_type": "longrope", **FACTORS}, "original_max_position_embeddings": 40},
        {**KV, "hidden_size": 32, "partial_rotary_factor": 0.5},
    ],
    "olmo2": [KV, {**KV, "attention_bias": True}],
}
TASKS = {"masked": "ForMaskedLM", "causal": "ForCausalLM"}


def made(family, number, kind):
    fields = {name: value for name, value in CONFIGS[family][number].items() if value is not None}
    config = transformers.AutoConfig.for_model(family, **fields)
    config.num_labels = 3
    torch.manual_seed(number)
    model = getattr(transformers, kind)._from_config(config, attn_implementation="eager")
    with torch.no_grad():  # biases start at zero, and zeros hide a bias that is lost
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def saved(folder, model):
    model.save_pretrained(folder)
    words = [f"w{i}" for i in range(model.config.vocab_size - 2)]
    pretrained.word_tokenizer(words).raw.save(str(folder / "tokenizer.json"))
    return pretrained.load(folder)


def ids_and_mask(length, vocab, seed=0):
    ids = np.random.default_rng(seed).integers(3, vocab, (3, length)).astype(np.int32)
    return ids, np.arange(length) < np.array([length, length * 2 // 3, 5])[:, None]


def theirs(model, ids, mask):
    """A text at a time, the shortest first: dynamic positions follow from the longest text that was read before."""
    rows = []
    for row, there in zip(ids[::-1], mask[::-1], strict=True):
        with torch.no_grad():
            out = model(input_ids=torch.tensor(row[there])[None].long())
        rows.append((out.logits if hasattr(out, "logits") else out.last_hidden_state)[0].numpy())
    return rows[::-1]


def ours(body, head, ids, mask, scan_layers):
    tuned = fine_tune(body.arch, body.params, head, Method("full"), scan_layers=scan_layers)
    assert not tuned.new
    model, params = tuned.applying(tuned.frozen), tuned.init(tuned.start, jax.random.key(0))
    return np.asarray(
        jax.jit(jax.vmap(lambda row: model.apply(params, row, None)))(jnp.asarray(np.where(mask, ids, -1)))
    )


CASES = [(family, number) for family, configs in CONFIGS.items() for number in range(len(configs))]


def test_there_is_a_case_of_every_family():
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(("family", "number"), CASES)
def test_logits_equal_the_reference(family, number, scan_layers, tmp_path, record_property):
    row = FAMILIES[family]
    task = "causal" if row.constants["causal"] else "masked"
    kind = "GPT2LMHeadModel" if family == "gpt2" else row.classes + TASKS[task]
    model = made(family, number, kind)
    body = saved(tmp_path, model)
    ids, mask = ids_and_mask(24, 90)
    found = ours(body, Head(task), ids, mask, scan_layers)
    worst = max(np.abs(a[there] - b).max() for a, b, there in zip(found, theirs(model, ids, mask), mask, strict=True))
    record_property("largest difference", float(worst))
    print(f"{family} {number} {worst:.1e}")
    assert worst < 1e-4


@pytest.mark.parametrize(("family", "number"), CASES)
def test_what_is_saved_is_the_same_model_to_transformers(family, number, tmp_path):
    row = FAMILIES[family]
    task = "causal" if row.constants["causal"] else "masked"
    kind = "GPT2LMHeadModel" if family == "gpt2" else row.classes + TASKS[task]
    model = made(family, number, kind)
    body = saved(tmp_path / "theirs", model)
    pretrained.save(tmp_path / "ours", body.arch, body.params, body.tokenizer)
    assert pretrained.load(tmp_path / "ours").arch == body.arch
    opened, report = getattr(transformers, kind).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    ids, mask = ids_and_mask(24, 90)
    for one, other in zip(theirs(model, ids, mask), theirs(opened.eval(), ids, mask), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "distilbert"])
def test_classifiers_equal_the_reference(family, tmp_path):
    model = made(family, 0, f"{FAMILIES[family].classes}ForSequenceClassification")
    body = saved(tmp_path, model)
    ids, mask = ids_and_mask(24, 90)
    found = ours(body, Head("classify", 3, "pooler"), ids, mask, False)
    np.testing.assert_allclose(found, np.stack(theirs(model, ids, mask)), atol=1e-4)
    head = Head("classify", 3, "pooler")
    pretrained.save(tmp_path / "ours", body.arch, body.params, body.tokenizer, head=head)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [
        f"{FAMILIES[family].classes}ForSequenceClassification"
    ]
    opened = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours")
    np.testing.assert_allclose(found, np.stack(theirs(opened.eval(), ids, mask)), atol=1e-4)
