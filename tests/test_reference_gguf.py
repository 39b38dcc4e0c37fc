"""GGUFs of families that ``transformers`` reads too, against its own reader: needs the extra ``reference``; slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.transformers import Head, from_hub_config
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method
from tests.families import CONFIGS
from tests.gguf_writing import write_family

pytestmark = [
    pytest.mark.slow,
    # torch warns of itself at import
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

# Kind in the file → family and its configuration. Of the fields transformers' reader takes only some (no stretched
# positions, of Qwen 3 no width of a head, of Gemma no scale of queries), so that it is given the config of the hub.
KINDS = {
    "llama": ("llama", 0),
    "qwen2": ("qwen2", 0),
    "qwen3": ("qwen3", 0),
    "gemma2": ("gemma2", 0),
    "gemma3": ("gemma3_text", 0),
    "phi3": ("phi3", 0),
    "gpt2": ("gpt2", 0),
}

# What llama.cpp's files do not say, and its code has one value of.
CHANGED = {
    "gemma2": {"query_pre_attn_scalar": 8, "num_hidden_layers": 4},
    "gemma3": {
        "query_pre_attn_scalar": 8,
        "num_hidden_layers": 6,
        "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_those_of_the_other_reader(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    family, number = KINDS[kind]
    fields = {name: value for name, value in CONFIGS[family][number].items() if value is not None} | CHANGED.get(
        kind, {}
    )
    arch = from_hub_config({"model_type": family, **fields})
    drawn = fresh_parameters(arch, jax.random.key(3))
    rng = np.random.default_rng(0)
    params = {path: (x + 0.2 * rng.normal(size=x.shape)).astype(np.float32) for path, x in drawn.items()}
    if not arch.tied:
        params["vocabulary"] = (0.2 * rng.normal(size=(arch.vocab_size, arch.width))).astype(np.float32)
    write_family(tmp_path / "model.gguf", arch, params, kind)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file="model.gguf",
        config=transformers.AutoConfig.for_model(family, **fields),
        dtype=torch.float32,
        attn_implementation="eager",
    ).eval()
    ids = rng.integers(3, arch.vocab_size, 20).astype(np.int32)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids[None]).long()).logits[0].numpy()
    body = pretrained.load(tmp_path / "model.gguf")
    tuned = fine_tune(body.arch, body.params, Head("causal"), Method("full"), scan_layers=True)
    found = tuned.applying(tuned.frozen).apply(tuned.init(tuned.start, jax.random.key(0)), jnp.asarray(ids), None)
    assert float(np.abs(np.asarray(found) - expected).max()) < 1e-4
