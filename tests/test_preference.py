"""Preference tuning: the published loss, one clip norm for a pair, and a run that learns which answers are chosen."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.models import Model, objectives, pretrained
from dpjax.models.preference import Judged, log_probabilities, packed, preference
from dpjax.models.pretrained import encode_answers, word_tokenizer
from dpjax.models.transformers import Head, Lora, tiny
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method
from experiments.config import ConfigError
from experiments.readers import refuse_unread
from experiments.setup import build
from tests.chats import CHATML, tokenizer_of
from tests.text_runs import composed, row_of

TABLE = Model(lambda key: jnp.zeros((9, 9)), lambda params, ids, key: params[jnp.maximum(ids, 0)])
"""Which token follows is a row of a table, by the token before."""


def by_hand(table, ids, answer):
    """Log-probability of the tokens from ``answer`` on, in float64."""
    logs = table - np.log(np.exp(table).sum(1, keepdims=True))
    return sum(logs[ids[i - 1], ids[i]] for i in range(answer, len(ids)) if ids[i] >= 0)


@settings(max_examples=20, deadline=None)
@given(
    table=arrays.arrays(np.float32, (9, 9), elements=st.floats(-3, 3, width=32)),
    tokens=arrays.arrays(np.int32, (2, 6), elements=st.integers(0, 8)),
    answer=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    ends=st.tuples(st.integers(4, 6), st.integers(4, 6)),
    reference=st.tuples(*[st.floats(-20, 0, width=32)] * 2),
    beta=st.sampled_from([0.05, 0.1, 1.0]),
)
def test_the_loss_is_the_published_one(table, tokens, answer, ends, reference, beta):
    ids = np.array([[x if i < end else -1 for i, x in enumerate(row)] for row, end in zip(tokens, ends, strict=True)])
    wide = table.astype(np.float64)
    gained = [by_hand(wide, row, first) - known for row, first, known in zip(ids, answer, reference, strict=True)]
    expected = np.log1p(np.exp(-beta * (gained[0] - gained[1])))
    facts = packed(Judged(jnp.array(answer), jnp.array(reference, jnp.float32)))
    score = SCORED(jnp.asarray(table), jnp.asarray(ids, jnp.int32), facts, jnp.float32(beta))
    assert float(score.loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    if abs(gained[0] - gained[1]) > 1e-3:
        assert float(score.correct) == float(gained[0] > gained[1])


SCORED = jax.jit(lambda table, ids, facts, beta: preference(TABLE, beta)(table, (ids, facts), None))


@pytest.fixture(scope="module")
def pairs():
    """A one-layer model with adapters that are not zero, and pairs of answers of many lengths."""
    arch = tiny("llama", num_layers=1)
    body = fresh_parameters(arch, jax.random.key(0))
    tuned = fine_tune(arch, body, Head("causal"), Method("lora", Lora(2, 4.0, ("query", "value", "up"))))
    params = jax.tree.map(lambda x: x + 0.3, tuned.init(tuned.start, jax.random.key(1)))
    source = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    rows = [tuple(" ".join(source.choice(words, source.integers(1, 4))) for _ in range(3)) for _ in range(6)]
    encoded = encode_answers(rows, word_tokenizer(words), 10)
    judged = Judged(jnp.asarray(encoded.answer), jnp.asarray(-source.random((6, 2)).astype(np.float32)))
    return tuned.applying(tuned.frozen), params, (jnp.asarray(encoded.ids), packed(judged))


@pytest.mark.parametrize("engine", ["auto", pytest.param("materialize", marks=pytest.mark.slow)])
def test_without_one_pair_the_sum_moves_by_its_gradient_and_at_most_a_clip_norm(engine, pairs):
    model, params, units = pairs
    loss_fn = objectives.mean_loss(preference(model, 0.5))
    summed = jax.jit(clipped_sum(example_gradient(loss_fn), engine=engine))
    one = jax.jit(jax.grad(lambda params, unit: loss_fn(params, unit, None)[0]))
    own = [one(params, jax.tree.map(lambda x, i=i: x[i], units)) for i in range(6)]
    norms = np.array([float(jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(each)))) for each in own])
    clip_norm = float(np.median(norms))
    whole = summed(params, Cohort(units, jnp.ones(6, bool)), jax.random.key(0), clip_norm)
    np.testing.assert_allclose(whole.norms, norms, rtol=1e-4)
    for gone in range(6):
        fewer = summed(params, Cohort(units, jnp.arange(6) != gone), jax.random.key(0), clip_norm)
        moved = jax.tree.map(lambda a, b: a - b, whole.total, fewer.total)
        size = float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(moved))))
        assert size <= clip_norm * (1 + 1e-5)
        assert size == pytest.approx(min(norms[gone], clip_norm), rel=1e-3)


def test_the_prompt_and_what_pads_add_nothing(pairs):
    model, params, (ids, facts) = pairs
    answer = facts[:, :2].astype(jnp.int32)
    found = jax.jit(jax.vmap(lambda row, first: log_probabilities(model, params, row, first)))
    whole = found(ids, answer)
    longer = found(jnp.pad(ids, ((0, 0), (0, 0), (0, 5)), constant_values=-1), answer)
    np.testing.assert_allclose(longer, whole, atol=1e-5)
    later = found(ids, answer + 1)
    assert (np.asarray(later) > np.asarray(whole)).all()  # each token counted has a log-probability below 0


def test_answers_come_after_the_same_tokens_and_lose_their_end():
    rows = [("w1 w2 w3", "w4", "w5 w6 w7"), ("w1", "w2", "w3")]
    made = encode_answers(rows, word_tokenizer([f"w{i}" for i in range(9)]), 5)
    assert made.cut.tolist() == [True, False]
    assert made.answer.tolist() == [[3, 3], [1, 1]]
    assert np.array_equal(made.ids[0, 0, :3], made.ids[0, 1, :3])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny Llama that knows conversations, and pairs of which the chosen answer begins with one word."""
    folder = tmp_path_factory.mktemp("world")
    arch = tiny("llama", num_layers=1)
    pretrained.save(folder / "llama", arch, fresh_parameters(arch, jax.random.key(1)), tokenizer_of(CHATML))
    source = np.random.default_rng(0)
    words = ["hi", "there", "how", "are", "you", "thanks", "be"]

    def some():
        return " ".join(source.choice(words, source.integers(1, 4)))

    rows = [
        {"prompt": some(), "chosen": f"fine {some()}", "rejected": f"kind {some()}", "who": f"p{i % 16}"}
        for i in range(96)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


ASKED = ("model.task=preference", "tuning.targets=[query,value,up,down]", "optimizer=adam_corrected")


@pytest.mark.parametrize("columns", [pytest.param("data.text", marks=pytest.mark.slow), "data.messages"])
def test_a_run_learns_which_answers_are_chosen(columns, world, tmp_path):
    columns = f"{columns}=[prompt,chosen,rejected]"
    learn = ["privacy=none", "optimizer.num_steps=30", "optimizer.learning_rate=0.02", "optimizer.evaluate_every=15"]
    row = row_of(composed(world, "pairs.jsonl", *ASKED, columns, *learn), tmp_path)
    assert row["test_accuracy"] > 0.9
    assert row["test_loss"] < math.log(2)
    assert row["model"].endswith("llama (preference)")


def test_at_its_start_a_run_prefers_neither(world):
    made = build(composed(world, "pairs.jsonl", *ASKED, "data.text=[prompt,chosen,rejected]", "data.validation=0.2"))
    frozen = made.problem.frozen
    start = made.problem.init(frozen, jax.random.key(0))
    for rows in (made.problem.train_rows, made.problem.test_rows, made.problem.validation_rows):
        found = made.problem.evaluate(frozen, start, rows)
        assert float(found["loss"]) == pytest.approx(math.log(2), abs=1e-5)
        assert float(found["accuracy"]) == 0.5


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("model.task=completion", "data.text=[prompt,chosen,rejected]"), "preference alone takes prompt, chosen and"),
        (("model.task=preference", "data.messages=[prompt,chosen]"), "has not three texts a row"),
        (("model.task=preference", "data.text=[prompt,chosen,rejcted]"), "did you mean 'rejected'"),
        (
            ("model.task=preference", "data.messages=[prompt,chosen,rejected,who]"),
            "must be one column of conversations",
        ),
        (("model.task=preference", "model.beta=0", "data.text=[prompt,chosen,rejected]"), "model.beta=0.0 must be"),
        (("model.beta=0.2", "model.task=causal", "data.messages=[prompt,chosen]"), "model.beta"),
    ],
)
def test_what_is_no_pair_of_answers_is_refused(asked, sentence, world):
    def begin():
        cfg = composed(world, "pairs.jsonl", *asked)
        refuse_unread(cfg, {})
        build(cfg)

    with pytest.raises(ValueError, match=sentence) as found:
        begin()
    assert "\n" not in str(found.value)


def test_a_model_that_sees_later_tokens_prefers_nothing(world, tmp_path):
    arch = tiny("bert", num_layers=1)
    pretrained.save(tmp_path / "bert", arch, fresh_parameters(arch, jax.random.key(1)), tokenizer_of(CHATML))
    asked = [*ASKED, "data.text=[prompt,chosen,rejected]", f"model.checkpoint={tmp_path / 'bert'}"]
    with pytest.raises(ConfigError, match="which sees later tokens"):
        build(composed(world, "pairs.jsonl", *asked))
