"""Every family's logits against ``transformers`` itself: needs the extra ``reference``; run with -m slow."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.transformers import FAMILIES, Head
from dpjax.models.tuning import fine_tune
from dpjax.models.tuning_methods import Method
from tests.families import CASES, CONFIGS, class_of, task_of

pytestmark = [
    pytest.mark.slow,
    # torch warns of itself at import
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")


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


def test_there_is_a_case_of_every_family():
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(("family", "number"), CASES)
def test_logits_equal_the_reference(family, number, scan_layers, tmp_path):
    model = made(family, number, class_of(family))
    body = saved(tmp_path, model)
    ids, mask = ids_and_mask(24, 90)
    found = ours(body, Head(task_of(family)), ids, mask, scan_layers)
    worst = max(np.abs(a[there] - b).max() for a, b, there in zip(found, theirs(model, ids, mask), mask, strict=True))
    assert worst < 1e-4


@pytest.mark.parametrize(("family", "number"), CASES)
def test_what_is_saved_is_the_same_model_to_transformers(family, number, tmp_path):
    model = made(family, number, class_of(family))
    body = saved(tmp_path / "theirs", model)
    pretrained.save(tmp_path / "ours", body.arch, body.params, body.tokenizer)
    assert pretrained.load(tmp_path / "ours").arch == body.arch
    opened, report = getattr(transformers, class_of(family)).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
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
