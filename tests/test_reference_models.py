"""Logits against ``transformers`` itself, adapters against PEFT: needs the extra ``reference``; run with -m slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.transformers import Head, Lora, from_hub_config
from dpjax.models.tuning import Method, fine_tune, flat_paths, unstacked

pytestmark = [
    pytest.mark.slow,
    # torch warns of itself at import
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")


def small_config(family, seed):
    rng = np.random.default_rng(seed)
    heads, kv, head = (int(x) for x in rng.choice([[4, 2, 8], [6, 3, 4], [2, 1, 16], [4, 4, 8]]))
    layers, hidden = int(rng.integers(1, 4)), int(rng.integers(20, 70))
    vocab = int(rng.integers(50, 200))
    if family == "bert":
        return transformers.BertConfig(
            vocab_size=vocab,
            hidden_size=heads * head,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=hidden,
            max_position_embeddings=40,
            num_labels=3,
        )
    if family == "gpt2":
        return transformers.GPT2Config(
            vocab_size=vocab,
            n_embd=heads * head,
            n_layer=layers,
            n_head=heads,
            n_inner=hidden,
            n_positions=40,
            bos_token_id=0,
            eos_token_id=0,
        )
    return transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=heads * head,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=hidden,
        max_position_embeddings=64,
        tie_word_embeddings=bool(seed % 2),
        rope_theta=float(rng.choice([10_000.0, 100_000.0])),
    )


def ids_with_padding(vocab, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, vocab, (3, 20)).astype(np.int32)
    mask = np.arange(20) < np.array([20, 13, 5])[:, None]
    return ids, mask


def theirs(model, ids, mask):
    with torch.no_grad():
        out = model.eval()(input_ids=torch.tensor(ids).long(), attention_mask=torch.tensor(mask).long())
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state).numpy()


def ours(checkpoint, head, ids, mask, scan_layers=False):
    tuned = fine_tune(checkpoint.arch, checkpoint.params, head, Method("full"), scan_layers=scan_layers)
    assert not tuned.new
    model = tuned.applying(tuned.frozen)
    params = tuned.init(tuned.start, jax.random.key(0))
    rows = np.where(mask, ids, -1)
    return np.asarray(jax.jit(jax.vmap(lambda row: model.apply(params, row, None)))(jnp.asarray(rows)))


def loaded(folder, model, monkeypatch):
    """The saved model, with a tokenizer that nobody asks."""
    model.save_pretrained(folder)
    words = [f"w{i}" for i in range(model.config.vocab_size - 2)]
    pretrained.word_tokenizer(words).raw.save(str(folder / "tokenizer.json"))
    return pretrained.load(folder)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("family", "kind", "task"),
    [
        ("bert", "BertForMaskedLM", "masked"),
        ("bert", "BertForSequenceClassification", "classify"),
        ("gpt2", "GPT2LMHeadModel", "causal"),
        ("llama", "LlamaForCausalLM", "causal"),
    ],
)
def test_logits_equal_the_reference(family, kind, task, seed, tmp_path, monkeypatch):
    config = small_config(family, seed)
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config)
    with torch.no_grad():  # biases start at zero, and zeros hide a bias that is lost
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    checkpoint = loaded(tmp_path, model, monkeypatch)
    ids, mask = ids_with_padding(config.vocab_size, seed)
    head = Head(task, 3 if task == "classify" else 0, "pooler")
    expected = theirs(model, ids, mask)
    for scan_layers in (False, True):
        found = ours(checkpoint, head, ids, mask, scan_layers)
        if task == "classify":
            np.testing.assert_allclose(found, expected, atol=1e-4)
        else:
            np.testing.assert_allclose(found[mask], expected[mask], atol=1e-4)


@pytest.mark.parametrize("name", ["minilm", "smollm2"])
def test_real_checkpoints_equal_the_reference(name, tmp_path):
    checkpoint = pretrained.load(name)
    rng = np.random.default_rng(0)
    ids = rng.integers(110, checkpoint.arch.vocab_size, (2, 24)).astype(np.int32)
    mask = np.arange(24) < np.array([24, 17])[:, None]
    if name == "minilm":
        pretrained.save(tmp_path, checkpoint.arch, checkpoint.params, checkpoint.tokenizer)
        reference = transformers.BertModel.from_pretrained(tmp_path)
        expected = theirs(reference, ids, mask)
        expected = (expected * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        found = ours(checkpoint, Head("embed", pooling="mean", normalized=False), ids, mask)
    else:
        # The reference reads the same GGUF by its own code.
        folder = pretrained.folder_of(name)
        reference = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file="model.gguf", dtype=torch.float32
        )
        expected = theirs(reference, ids, mask)[mask]
        found = ours(checkpoint, Head("causal"), ids, mask, scan_layers=True)[mask]
    # Relative to logits of tens: float32 sums in another order.
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_saved_models_open_in_transformers(family, tmp_path):
    from dpjax.models.transformers import tiny
    from dpjax.models.tuning import fresh_parameters

    arch = tiny(family)
    params = fresh_parameters(arch, jax.random.key(1))
    pretrained.save(tmp_path, arch, params)
    auto = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    reference, report = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not [key for key in report["missing_keys"] if "pooler" not in key]
    assert not report["unexpected_keys"]
    ids, mask = ids_with_padding(arch.vocab_size, 1)
    head = Head("embed", pooling="mean", normalized=False) if family == "bert" else Head("causal")
    tuned = fine_tune(arch, params, head, Method("full"))
    model, start = tuned.applying(tuned.frozen), tuned.init(tuned.start, jax.random.key(0))
    found = np.asarray(jax.vmap(lambda row: model.apply(start, row, None))(jnp.asarray(np.where(mask, ids, -1))))
    expected = theirs(reference, ids, mask)
    if family == "bert":
        expected = (expected * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        np.testing.assert_allclose(found[mask], expected[mask], atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_adapters_open_in_peft(family, tmp_path):
    peft = pytest.importorskip("peft")
    from dpjax.models.transformers import tiny
    from dpjax.models.tuning import fresh_parameters

    arch, lora = tiny(family), Lora(3, 6.0, ("query", "value", "up"))
    params = fresh_parameters(arch, jax.random.key(2))
    pretrained.save(tmp_path / "base", arch, params)
    head = Head("embed", pooling="mean", normalized=False) if family == "bert" else Head("causal")
    tuned = fine_tune(arch, params, head, Method("lora", lora), scan_layers=True)
    trained = jax.tree.map(lambda x: x + 0.1, tuned.init(tuned.start, jax.random.key(3)))
    sizes = tuned.plan.sizes(arch.num_layers)
    whole = unstacked({k: np.asarray(v) for k, v in flat_paths(tuned.bind(tuned.frozen)(trained)).items()}, sizes)
    pretrained.save_adapters(tmp_path / "adapter", arch, whole, lora, str(tmp_path / "base"))
    auto = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    reference = peft.PeftModel.from_pretrained(auto.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    ids, mask = ids_with_padding(arch.vocab_size, 2)
    expected = theirs(reference, ids, mask)
    found = np.asarray(
        jax.vmap(lambda row: tuned.applying(tuned.frozen).apply(trained, row, None))(
            jnp.asarray(np.where(mask, ids, -1))
        )
    )
    if family == "bert":
        expected = (expected * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        np.testing.assert_allclose(found[mask], expected[mask], atol=1e-4)
    again, read = pretrained.load_adapters(tmp_path / "adapter", arch)
    assert read == Lora(3, 6.0, ("query", "up", "value"))
    assert all(np.array_equal(again[path], whole[path]) for path in again)


def test_config_of_every_family_is_read_back():
    for family, kind in (("bert", "BertConfig"), ("gpt2", "GPT2Config"), ("llama", "LlamaConfig")):
        config = small_config(family, 0)
        assert type(config).__name__ == kind
        assert from_hub_config(config.to_dict()).num_layers == config.num_hidden_layers
