"""Tiny checkpoints of every family and their logits, by ``transformers``: run in an environment with the extra
``reference``. Writes tests/golden/transformers/<family>/."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_reference_models import ids_with_padding, theirs

HERE = Path(__file__).parent / "transformers"
CONFIGS = {
    "bert": transformers.BertConfig(
        vocab_size=40,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=24,
        num_labels=3,
    ),
    "gpt2": transformers.GPT2Config(
        vocab_size=40, n_embd=12, n_layer=2, n_head=3, n_positions=24, bos_token_id=0, eos_token_id=0
    ),
    "llama": transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=20,
        max_position_embeddings=24,
        tie_word_embeddings=False,
    ),
}
KINDS = {"bert": "BertForSequenceClassification", "gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}

for family, config in CONFIGS.items():
    torch.manual_seed(0)
    model = getattr(transformers, KINDS[family])(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = HERE / family
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    ids, mask = ids_with_padding(40, 0)
    ids, mask = ids[:, :12], mask[:, :12]
    expected = theirs(model, ids, mask)
    found = {"ids": np.where(mask, ids, -1).tolist(), "logits": np.round(expected, 6).tolist()}
    (folder / "logits.json").write_text(json.dumps(found))
