"""Conversations beside transformers': the same ids, and the same tokens of the assistant where a template marks them.

Run by name, with the extra ``reference``: ``uv run --extra reference pytest -m slow tests/test_reference_chats.py``.
"""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import Model, pretrained
from dpjax.models.preference import Judged, packed, preference
from dpjax.models.pretrained import ChatTemplate, encode_conversations
from dpjax.models.pretrained.tokens import fitted
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters
from tests.chats import BEGINNINGS, STYLES, tokenizer_of, turns

pytestmark = pytest.mark.slow

TALKS = [
    turns("hi there", "how are you", "fine thanks", "be kind"),
    turns(" hi \n there", "fine", "be", "kind kind", "you", "thanks"),
    turns("hi", "there"),
]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def both_of(transformers, folder, style):
    tokenizer = tokenizer_of(STYLES[style], bos=BEGINNINGS.get(style, "<s>"))
    arch = tiny("llama", num_layers=1)
    pretrained.save(folder, arch, fresh_parameters(arch, jax.random.key(0)), tokenizer)
    return pretrained.load(folder).tokenizer, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("style", STYLES)
def test_ids_are_those_of_transformers(style, transformers, tmp_path):
    ours, theirs = both_of(transformers, tmp_path, style)
    rows = encode_conversations(TALKS, ours, 80)
    for ids, talk in zip(rows.ids, TALKS, strict=True):
        expected = theirs.apply_chat_template(talk, tokenize=True, return_dict=True)["input_ids"]
        assert ids[ids >= 0].tolist() == list(expected)


def test_tokens_of_the_assistant_are_those_of_transformers(transformers, tmp_path):
    ours, theirs = both_of(transformers, tmp_path, "marked")
    rows = encode_conversations(TALKS, ours, 80)
    for ids, marks, talk in zip(rows.ids, rows.answer, TALKS, strict=True):
        said = theirs.apply_chat_template(talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        assert marks[ids >= 0].tolist() == list(said["assistant_masks"])


@pytest.mark.parametrize("style", ["chatml", "marked", "llama"])
def test_bytes_and_spaces_are_those_of_transformers(style, transformers, tmp_path):
    """A byte-level tokenizer, as most checkpoints have: tokens join letters of several words, spaces and bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>"]
    special += ["<|end_header_id|>", "<|eot_id|>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator(["user assistant how are you  fine\n\nthanks 🗿 é"] * 9, trainer)
    raw.save(str(tmp_path / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about | {"chat_template": STYLES[style]}))
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    chat = ChatTemplate(STYLES[style], (("bos_token", "<s>"), ("eos_token", "</s>")))
    ours = replace(fitted(raw, {"eos_token": "</s>"}, 400, "test"), chat=chat)
    talks = [
        turns("how  are you", "\n\nfine", " thanks ", "é 🗿"),
        turns("🗿🗿", "  fine  \n", "user\n", "you 🗿"),
        turns("\nassistant", "a", "b", "how are\n\n"),
    ]
    rows = encode_conversations(talks, ours, 200)
    for ids, marks, talk in zip(rows.ids, rows.answer, talks, strict=True):
        said = theirs.apply_chat_template(talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        assert ids[ids >= 0].tolist() == list(said["input_ids"])
        if style == "marked":
            assert marks[ids >= 0].tolist() == list(said["assistant_masks"])
        shown = raw.decode(ids[marks > 0].tolist(), skip_special_tokens=True)
        contents = [turn["content"] for turn in talk if turn["role"] == "assistant"]
        for content in contents:
            assert content.strip() in shown


def test_the_loss_and_its_gradient_are_those_of_torch():
    torch = pytest.importorskip("torch")
    source = np.random.default_rng(0)
    table = source.normal(size=(9, 9)).astype(np.float32)
    ids, answer = source.integers(0, 9, (2, 7)).astype(np.int32), np.array([2, 2], np.int32)
    reference = np.array([-8.5, -9.0], np.float32)
    model = Model(lambda key: jnp.zeros((9, 9)), lambda params, ids, key: params[jnp.maximum(ids, 0)])
    facts = packed(Judged(jnp.asarray(answer), jnp.asarray(reference)))
    ours, gradient = jax.value_and_grad(
        lambda params: preference(model, 0.3)(params, (jnp.asarray(ids), facts), None).loss
    )(jnp.asarray(table))
    wide = torch.tensor(table, requires_grad=True)
    rows = torch.tensor(ids, dtype=torch.long)
    logs = torch.log_softmax(wide, dim=1)[rows[:, :-1]].gather(2, rows[:, 1:, None])[..., 0][:, 1:].sum(1)
    gained = logs - torch.tensor(reference)
    theirs = -torch.nn.functional.logsigmoid(0.3 * (gained[0] - gained[1]))
    theirs.backward()
    assert float(ours) == pytest.approx(theirs.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, wide.grad.numpy(), atol=1e-6)
