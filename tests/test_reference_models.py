"""Logits against ``transformers`` itself, adapters against PEFT: needs the extra ``reference``; run with -m slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.layer_stacks import flat_paths, unstacked
from dpjax.models.transformers import Head, Lora, from_hub_config
from dpjax.models.tuning import fine_tune
from dpjax.models.tuning_methods import Method

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
        folder = pretrained.checkpoint_folder(name)
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
    pretrained.save_adapters(tmp_path / "adapter", arch, whole, lora, str(tmp_path / "base"), head=head)
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


# --- what dpjax writes scores the same there ------------------------------------------------------------------------

LABELS = ("ham", "spam", "egg")
TEXTS = ("w1 w2 w3 w4 w5", "w9", "w7 nobody w7 w8", "w30 w31")


def tuned_on(arch, head, method, seed=0):
    """A tuned model with every trained number moved, its parameters by path, and what it says of the texts."""
    from dpjax.models.tuning import fresh_parameters

    tokenizer = reference_tokenizer(arch)
    params = fresh_parameters(arch, jax.random.key(seed))
    if head.pooling == "pooler" or head.task == "masked":
        extra = jax.random.split(jax.random.key(seed + 1))
        params["pooler.kernel"] = np.asarray(jax.random.normal(extra[0], (arch.width, arch.width)))
        params["pooler.bias"] = np.asarray(jax.random.normal(extra[1], (arch.width,)))
    tuned = fine_tune(arch, params, head, method)
    start = tuned.init(tuned.start, jax.random.key(seed + 2))
    keys = iter(jax.random.split(jax.random.key(seed + 3), 99))
    trained = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), start)
    whole = {k: np.asarray(v) for k, v in flat_paths(tuned.bind(tuned.frozen)(trained)).items()}
    rows = tokenizer.encode(TEXTS, 12).ids
    model = tuned.applying(tuned.frozen)
    said = np.asarray(jax.vmap(lambda row: model.apply(trained, row, None))(jnp.asarray(rows)))
    return params, whole, tokenizer, rows, said


def reference_tokenizer(arch):
    from tokenizers import processors

    tokenizer = pretrained.word_tokenizer([f"w{i}" for i in range(60)])
    if arch.family != "bert":
        return tokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers

    from dpjax.models.pretrained.tokens import fitted

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *[f"w{i}" for i in range(50)]]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.add_special_tokens(words[:5])
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return fitted(raw, {}, arch.vocab_size, "reference")


def scored_by_its_script(folder):
    import importlib.util

    spec = importlib.util.spec_from_file_location("classify", folder / "classify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classifier = module.Classifier()
    return classifier, classifier.score(TEXTS, max_length=12).numpy()


def classified(model, tokenizer):
    tokens = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**tokens).logits.numpy()


HEADS = [
    ("bert", Head("classify", 3, "mean")),
    ("bert", Head("classify", 3, "first", normalized=False)),
    ("llama", Head("classify", 3, "last")),
    ("llama", Head("classify", 3, "mean", normalized=False)),
    ("gpt2", Head("classify", 3, "last")),
]


@pytest.mark.parametrize(("family", "head"), HEADS)
def test_adapters_with_a_classifier_score_the_same_by_their_script(family, head, tmp_path):
    peft = pytest.importorskip("peft")
    from dpjax.models.transformers import tiny

    arch, lora = tiny(family), Lora(3, 6.0, ("query", "value", "down"))
    params, whole, tokenizer, _, said = tuned_on(arch, head, Method("lora", lora))
    base = pretrained.save(tmp_path / "base", arch, params, tokenizer)
    folder = tmp_path / "adapter"
    pretrained.save_adapters(folder, arch, whole, lora, str(base), head=head, labels=LABELS, tokenizer=tokenizer)
    classifier, found = scored_by_its_script(folder)
    np.testing.assert_allclose(found, said, atol=1e-4)
    assert tuple(classifier.labels) == LABELS
    # On the class that would compute something else, PEFT refuses them instead of leaving them out.
    with pytest.raises(ValueError, match="Expected target PEFT class"):
        peft.AutoPeftModelForSequenceClassification.from_pretrained(folder)
    other = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    with pytest.raises(ValueError, match=r"(?i)target modules .* not found"):
        peft.PeftModel.from_pretrained(other, folder)
    again, read = pretrained.load_adapters(folder, arch)
    merged = pretrained.merge_adapters(params | again, read)
    assert all(np.allclose(merged[path], array, atol=1e-5) for path, array in merged_of(whole, lora).items())


def merged_of(whole, lora):
    return pretrained.merge_adapters(whole, lora)


def test_adapters_with_a_classifier_on_the_pooler_score_the_same_in_peft(tmp_path):
    peft = pytest.importorskip("peft")
    from dpjax.models.transformers import tiny

    arch, lora, head = tiny("bert"), Lora(2, 5.0, ("query", "output", "up")), Head("classify", 3, "pooler")
    params, whole, tokenizer, _, said = tuned_on(arch, head, Method("lora", lora))
    base = pretrained.save(tmp_path / "base", arch, params, tokenizer)
    folder = tmp_path / "adapter"
    pretrained.save_adapters(folder, arch, whole, lora, str(base), head=head, labels=LABELS, tokenizer=tokenizer)
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    np.testing.assert_allclose(classified(peft.PeftModel.from_pretrained(model, folder), auto), said, atol=1e-4)
    whole_class = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    np.testing.assert_allclose(classified(whole_class, auto), said, atol=1e-4)


def test_adapters_on_hidden_tokens_score_the_same_in_peft(tmp_path):
    peft = pytest.importorskip("peft")
    from dpjax.models.transformers import tiny

    arch, lora, head = tiny("bert"), Lora(2, 5.0), Head("masked")
    params, whole, tokenizer, rows, said = tuned_on(arch, head, Method("lora", lora))
    base = pretrained.save(tmp_path / "base", arch, whole_of_base(params, whole), tokenizer)
    pretrained.save_adapters(tmp_path / "adapter", arch, whole, lora, str(base), head=head)
    model = transformers.AutoModelForMaskedLM.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
    expected = theirs(model, np.maximum(rows, 0), rows >= 0)
    np.testing.assert_allclose(said[rows >= 0], expected[rows >= 0], atol=1e-4)


def whole_of_base(params, whole):
    """The base with a masked head that is not the one that was trained."""
    return params | {path: 0 * array for path, array in whole.items() if path.startswith("masked_head.")}


@pytest.mark.parametrize("targets", [("query",), ("key", "value", "down"), ("query", "key", "value", "output", "up")])
def test_adapters_on_parts_of_a_joined_matrix_score_the_same_in_peft(targets, tmp_path):
    peft = pytest.importorskip("peft")
    from dpjax.models.transformers import tiny

    arch, lora, head = tiny("gpt2"), Lora(3, 7.0, targets), Head("causal")
    params, whole, tokenizer, rows, said = tuned_on(arch, head, Method("lora", lora))
    base = pretrained.save(tmp_path / "base", arch, params, tokenizer)
    pretrained.save_adapters(tmp_path / "adapter", arch, whole, lora, str(base), head=head)
    model = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    expected = theirs(model, np.maximum(rows, 0), rows >= 0)
    np.testing.assert_allclose(said[rows >= 0], expected[rows >= 0], atol=1e-4)


@pytest.mark.parametrize(("family", "head"), [*HEADS, ("bert", Head("classify", 3, "pooler"))])
def test_tuned_models_with_a_classifier_score_the_same(family, head, tmp_path):
    from dpjax.models.transformers import tiny

    arch = tiny(family)
    _, whole, tokenizer, rows, said = tuned_on(arch, head, Method("full"))
    pretrained.save(tmp_path, arch, whole, tokenizer, head=head, labels=LABELS)
    if head.pooling == "pooler":
        model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert model.config.id2label == dict(enumerate(LABELS))
        found = classified(model, transformers.AutoTokenizer.from_pretrained(tmp_path))
    else:
        classifier, found = scored_by_its_script(tmp_path)
        assert tuple(classifier.labels) == LABELS
        ids = classifier.tokenizer(TEXTS[0])["input_ids"]
        assert ids == rows[0][rows[0] >= 0].tolist()
    np.testing.assert_allclose(found, said, atol=1e-4)


# --- what PEFT writes is read as PEFT computes it ---------------------------------------------------------------------

LORAS = {
    "plain": {},
    "ranks and alphas": {
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, "up_proj": 6},
        "alpha_pattern": {"q_proj": 3, r"model.layers.0.*v_proj": 9},
    },
    "rslora": {"use_rslora": True, "rank_pattern": {"v_proj": 2}},
    "biases": {"bias": "all"},
    "biases of adapters": {"lora_bias": True},
    "biases under adapters": {"bias": "lora_only"},
    "some layers": {"layers_to_transform": [1]},
    "one expression": {"target_modules": r".*\.(1|0)\..*(q_proj|c_attn|query|dense)"},
    "all linear": {"target_modules": "all-linear"},
}


@pytest.mark.parametrize("case", LORAS)
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
@pytest.mark.filterwarnings("ignore")
def test_adapters_of_peft_are_read_as_it_computes_them(family, case, tmp_path, monkeypatch):
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    config = small_config(family, 0)
    if family == "llama":
        config.num_hidden_layers, config.attention_bias, config.mlp_bias = 2, True, True
    config.num_hidden_layers = 2
    config.pad_token_id = None if family != "bert" else 0
    kind = "BertForSequenceClassification" if family == "bert" else type(config).__name__.replace("Config", "")
    model = getattr(
        transformers, kind if family == "bert" else {"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}[family]
    )(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    base = loaded(tmp_path / "base", model, monkeypatch)
    targets = {
        "bert": ["query", "value", "dense"],
        "llama": ["q_proj", "v_proj", "up_proj"],
        "gpt2": ["c_attn", "c_proj"],
    }
    fields = {"r": 4, "lora_alpha": 6, "target_modules": targets[family], "init_lora_weights": False} | LORAS[case]
    task = "SEQ_CLS" if family == "bert" else "CAUSAL_LM"
    wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type=task, **fields))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    ids, mask = ids_with_padding(config.vocab_size, 1)
    expected = theirs(wrapped, ids, mask)
    found, lora = pretrained.load_adapters(tmp_path / "adapter", base.arch)
    merged = pretrained.merge_adapters(base.params | found, lora)
    head = Head("classify", 3, "pooler") if family == "bert" else Head("causal")
    said = ours(type(base)(base.name, base.arch, merged, base.tokenizer, "", ""), head, ids, mask)
    if family == "bert":
        np.testing.assert_allclose(said, expected, atol=1e-4)
    else:
        np.testing.assert_allclose(said[mask], expected[mask], atol=3e-4)
