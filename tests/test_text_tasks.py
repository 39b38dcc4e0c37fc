"""What holds for texts of each task: padding changes nothing, an owner moves a sum by a clip norm, packs are of one."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.clipping import Summing
from dpjax.contributions import gather_records
from dpjax.models import Model, objectives, pretrained
from dpjax.models.preference import Judged, packed, preference
from dpjax.models.pretrained import CheckpointError, Encoded, pack_rows, word_tokenizer
from dpjax.models.transformers import Head, Plan, tiny
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method
from dpjax.types import Cohort, HParams
from experiments.setup import build
from tests.chats import CHATML, tokenizer_of
from tests.text_runs import composed

SHORT, LONG = 9, 14


def of_table(head):
    """A model without layers: what follows is a row of a table, and a class the sum of a text's rows."""

    def apply(params, ids, key):
        rows = params[jnp.maximum(ids, 0)]
        return jnp.where(ids[:, None] >= 0, rows, 0).sum(0)[:3] if head.task == "classify" else rows

    table = jnp.asarray(np.random.default_rng(0).normal(size=(64, 64)), jnp.float32)
    return Model(lambda key: table, apply), table


def applied(family, head, *, dtype=jnp.float32, plan=None):
    if family == "table":
        return of_table(head)
    arch = tiny(family, num_layers=1)
    body = fresh_parameters(arch, jax.random.key(0))
    tuned = fine_tune(arch, body, head, Method("full"), plan=plan or Plan(dtype=dtype))
    return tuned.applying(tuned.frozen), tuned.init(tuned.start, jax.random.key(1))


def score_of(task, model):
    match task:
        case "classify":
            return objectives.classification(model)
        case "masked":
            return objectives.masked(model, 4, 64, special=(3,))
        case "preference":
            return preference(model, 0.5)
        case _:
            return objectives.causal(model)


@cache
def gradient_of(task, family, dtype):
    kind = {"classify": "classify", "masked": "masked"}.get(task, "causal")
    model, params = applied(family, Head(kind, 3 if kind == "classify" else 0), dtype=dtype)
    loss_fn = objectives.mean_loss(score_of(task, model))

    @jax.jit
    def both(ids, number):
        return jax.value_and_grad(lambda params: loss_fn(params, (ids, number), jax.random.key(2))[0])(params)

    return both


CASES = [
    *((task, "table", jnp.float32) for task in ("classify", "causal", "masked", "completion", "conversation")),
    ("preference", "table", jnp.float32),
    pytest.param("classify", "bert", jnp.float32, marks=pytest.mark.slow),
    pytest.param("causal", "gpt2", jnp.float32, marks=pytest.mark.slow),
    pytest.param("conversation", "llama", jnp.bfloat16, marks=pytest.mark.slow),
    pytest.param("preference", "llama", jnp.float32, marks=pytest.mark.slow),
    pytest.param("completion", "gemma2", jnp.float32, marks=pytest.mark.slow),
    pytest.param("classify", "modernbert", jnp.float32, marks=pytest.mark.slow),
    pytest.param("classify", "llama", jnp.bfloat16, marks=pytest.mark.slow),
    pytest.param("masked", "bert", jnp.float32, marks=pytest.mark.slow),
    pytest.param("preference", "gpt2", jnp.bfloat16, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("task", "family", "dtype"), CASES)
@settings(max_examples=10, deadline=None)
@given(tokens=st.lists(st.integers(5, 60), min_size=4, max_size=SHORT), first=st.integers(1, 3), data=st.data())
def test_padding_changes_neither_loss_nor_gradient(task, family, dtype, tokens, first, data):
    ids = np.full(LONG, -1, np.int32)
    ids[: len(tokens)] = tokens
    number = np.int32(first if task in ("completion", "classify") else 0)
    if task == "conversation":
        number = np.zeros(LONG, np.int32)
        number[: len(tokens)] = data.draw(st.lists(st.integers(0, 1), min_size=len(tokens), max_size=len(tokens)))
    if task == "preference":
        other = data.draw(st.lists(st.integers(5, 60), min_size=4, max_size=SHORT))
        ids = np.stack([ids, np.array(other + [-1] * (LONG - len(other)), np.int32)])
        number = packed(Judged(jnp.array([first, first]), jnp.array([-3.0, -4.0])))
    both = gradient_of(task, family, dtype)
    loss, gradient = both(jnp.asarray(ids[..., :SHORT]), jnp.asarray(number))
    padded_loss, padded = both(jnp.asarray(ids), jnp.asarray(number))
    close = 2e-2 if dtype == jnp.bfloat16 else 2e-5
    np.testing.assert_allclose(padded_loss, loss, rtol=close, atol=close)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=close, atol=close), padded, gradient)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny Llama that knows conversations, and files in which an owner has one to five rows."""
    folder = tmp_path_factory.mktemp("owners")
    arch = tiny("llama", num_layers=1)
    pretrained.save(folder / "llama", arch, fresh_parameters(arch, jax.random.key(1)), tokenizer_of(CHATML))
    source = np.random.default_rng(0)

    def some():
        return " ".join(source.choice(["hi", "there", "how", "are", "you", "fine"], source.integers(1, 5)))

    owners = [f"p{i}" for i in range(14) for _ in range(1 + i % 5)]
    rows = [
        {"prompt": some(), "chosen": some(), "rejected": some(), "kind": "ab"[i % 2], "who": who}
        for i, who in enumerate(owners)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


TASKS = {
    "classify": ["model.task=classify", "data.text=[prompt]", "data.label=kind", "data.classes=[a,b]"],
    "causal": ["model.task=causal", "data.messages=[prompt,chosen]"],
    "conversation": ["model.task=completion", "data.messages=[prompt,chosen]"],
    "preference": ["model.task=preference", "data.messages=[prompt,chosen,rejected]"],
}


@pytest.mark.parametrize(
    "task", ["conversation", *(pytest.param(task, marks=pytest.mark.slow) for task in TASKS if task != "conversation")]
)
def test_without_one_owner_the_sum_moves_by_at_most_a_clip_norm(task, world):
    asked = ["data.unit=who", "federated=fedsgd", "federated.partition=natural", "federated.clients_per_round=4"]
    made = build(composed(world, "rows.jsonl", *TASKS[task], *asked))
    assert made.mechanism.unit == "user"
    solver = made.make_learner(HParams(), made.arrays.frozen)
    params = jax.tree.map(lambda x: x + 0.2, made.problem.init(made.arrays.frozen, jax.random.key(0)))
    units, examples = made.arrays.units, made.arrays.examples
    number = jax.tree.leaves(units)[0].shape[0]
    summed = jax.jit(Summing()(gather_records(solver.contribution_fn, examples)))
    everybody = Cohort(units, jnp.ones(number, bool))
    clip_norm = float(np.median(np.asarray(summed(params, everybody, jax.random.key(0), 1e9).norms)))
    assert clip_norm > 0
    whole = summed(params, everybody, jax.random.key(0), clip_norm)
    moves = []
    for gone in range(number):
        fewer = summed(params, Cohort(units, jnp.arange(number) != gone), jax.random.key(0), clip_norm)
        moved = jax.tree.map(lambda a, b: a - b, whole.total, fewer.total)
        moves.append(float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(moved)))))
    assert max(moves) <= clip_norm * (1 + 1e-5)
    assert max(moves) == pytest.approx(clip_norm, rel=1e-3)  # somebody is clipped


TOKENIZER = word_tokenizer([f"w{i}" for i in range(60)])
TEXTS = ["w1 w2", "w3", "w4 w5 w6", "w7", "w8 w9", "w10"]


def test_a_packed_row_is_of_one_owner_and_scores_as_its_texts():
    rows = TOKENIZER.encode(TEXTS, 9)
    owners = np.array([3, 1, 3, 1, 3, 2])
    made = pack_rows(rows, owners, TOKENIZER.separator)
    assert made.owners.tolist() == [3, 1, 3, 2]
    assert made.texts.tolist() == [2, 2, 1, 1]
    model, params = applied("llama", Head("causal"), plan=Plan(separator=TOKENIZER.separator))
    score = jax.jit(lambda ids: objectives.causal(model, TOKENIZER.separator)(params, (ids, jnp.int32(0)), None))
    one = [score(jnp.asarray(ids)) for ids in rows.ids]
    for owner in (1, 2, 3):
        apart = [one[i] for i in np.flatnonzero(owners == owner)]
        together = [score(jnp.asarray(ids)) for ids in made.ids[made.owners == owner]]
        assert sum(float(s.targets) for s in together) == sum(float(s.targets) for s in apart)
        assert sum(float(s.loss) for s in together) == pytest.approx(sum(float(s.loss) for s in apart), rel=1e-5)
    without = pack_rows(Encoded(*(column[owners != 3] for column in rows)), owners[owners != 3], TOKENIZER.separator)
    assert without.ids.tolist() == made.ids[made.owners != 3].tolist()  # nobody's row depends on another owner


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"owners": None}, "each text is a unit by itself, and a row of two would have both in one gradient"),
        ({"separator": None}, "the tokenizer ends texts with no token"),
        ({"owners": np.zeros(2, int)}, "owners are of 2 texts, and there are 6"),
        ({"separator": 9}, "text 1 must hold the separator 9 at its end and nowhere else"),
    ],
)
def test_what_must_not_share_a_row_is_refused(change, sentence):
    asked = {"rows": TOKENIZER.encode(TEXTS, 9), "owners": np.zeros(6, int), "separator": TOKENIZER.separator}
    with pytest.raises(CheckpointError, match=sentence):
        pack_rows(**asked | change)
    pairs = asked["rows"]._replace(answer=np.ones(6, np.int32))
    with pytest.raises(CheckpointError, match="rows hold pairs or conversations"):
        pack_rows(pairs, np.zeros(6, int), TOKENIZER.separator)
