"""Text models: logits against recorded ones, padding, packing, stacks, memories, and what is trained."""

import json
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.lengths import length_buckets
from dpjax.models import objectives, pretrained
from dpjax.models.generation import Sampling, draw, make_generate
from dpjax.models.layer_stacks import flat_paths, stacked, unstacked
from dpjax.models.transformers import Added, ArchitectureError, Head, Lora, Plan, from_hub_config, tiny, to_hub_config
from dpjax.models.tuning import Tuned, check_moved, fine_tune, fresh_parameters
from dpjax.models.tuning_methods import METHODS, Method

# Most of the time here is compilation, and these programs are too small to be worth optimising.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

GOLDEN = Path(__file__).parent / "golden" / "transformers"
KEY = jax.random.key(0)


class Case(NamedTuple):
    """A model with what is compiled for it: tests that ask for the same one share the programs."""

    tuned: Tuned
    start: dict
    apply: object


@cache
def case_of(family, head, method="full", *, num_layers=1, scan_layers=False, plan=None):
    tuned = fine_tune(
        tiny(family, num_layers=num_layers),
        body_of(family, num_layers),
        head,
        Method(method, length=2),
        plan=plan,
        scan_layers=scan_layers,
    )
    start = jit(tuned.init)(tuned.start, KEY) if tuned.new else jax.tree.map(jnp.asarray, tuned.start)
    return Case(tuned, start, applying(tuned))


@cache
def body_of(family, num_layers=2):
    if num_layers == 1:  # unrolled layers are compiled one by one, and most tests need no second
        return {k: v for k, v in body_of(family).items() if not k.startswith("layers.1.")}
    source = np.random.default_rng(1)
    fresh = fresh_parameters(tiny(family), KEY)
    return {k: (v + 0.1 * source.normal(size=v.shape)).astype(np.float32) for k, v in fresh.items()}


def applying(tuned):
    model = tuned.applying(tuned.frozen)
    return jit(jax.vmap(lambda params, row: model.apply(params, row, None), in_axes=(None, 0)))


def outputs(case, ids, start=None):
    return np.asarray(case.apply(case.start if start is None else start, jnp.asarray(ids, jnp.int32)))


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_logits_are_those_of_transformers(family, scan_layers, tmp_path):
    folder = GOLDEN / family
    golden = json.loads((folder / "logits.json").read_text())
    arch = from_hub_config(json.loads((folder / "config.json").read_text()))
    stored = pretrained.tensor_files.read_safetensors(folder)
    params = pretrained.tensor_files.to_parameters(stored, arch, family)
    head = Head("classify", 3, "pooler") if family == "bert" else Head("causal")
    tuned = fine_tune(arch, params, head, Method("full"), scan_layers=scan_layers)
    assert tuned.new == ()
    ids, expected = np.array(golden["ids"]), np.array(golden["logits"])
    found = outputs(Case(tuned, tuned.start, applying(tuned)), ids)
    shown = np.ones(len(ids), bool) if family == "bert" else ids >= 0
    np.testing.assert_allclose(found[shown], expected[shown], atol=1e-4)
    back = pretrained.tensor_files.to_tensors(params, arch, prefixed=True)
    assert all(np.array_equal(stored[name], array) for name, array in back.items())
    assert from_hub_config(to_hub_config(arch)) == arch


@pytest.mark.parametrize(("family", "task"), [("bert", "classify"), ("llama", "causal"), ("gpt2", "causal")])
def test_padding_and_cutting_change_nothing(family, task):
    case = case_of(family, Head(task, 3) if task == "classify" else Head(task))
    short = outputs(case, [[4, 9, 5, 7], [4, 9, 5, 11]])
    padded = outputs(case, [[4, 9, 5, 7, -1, -1, -1], [4, 9, 5, 11, -1, -1, -1]])
    np.testing.assert_allclose(padded[:, :4] if task == "causal" else padded, short, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_token_sees_nothing_after_it(family):
    case = case_of(family, Head("causal"))
    one, other = outputs(case, [[4, 9, 5, 7], [4, 9, 5, 11]])
    np.testing.assert_array_equal(one[:3], other[:3])
    assert not np.allclose(one[3], other[3])


def test_texts_packed_into_one_row_do_not_see_each_other():
    packed = case_of("llama", Head("causal"), plan=Plan(separator=1))
    one, other = outputs(packed, [[4, 9, 1, 5, 7], [8, 3, 1, 5, 7]])
    assert not np.allclose(one[:2], other[:2])
    np.testing.assert_array_equal(one[3:], other[3:])
    loose = case_of("llama", Head("causal"))
    one, other = outputs(loose, [[4, 9, 1, 5, 7], [8, 3, 1, 5, 7]])
    assert not np.allclose(one[3:], other[3:])


def test_the_second_text_of_a_pair_is_bert_s_second_segment():
    def second_counts(separator):
        case = case_of("bert", Head("embed"), plan=Plan(separator=separator))
        moved = case.start | {"segment": case.start["segment"] + jnp.array([[0.0], [1.0]]) * jnp.arange(16.0)[None]}
        ids = [[2, 9, 3, 5, 3], [2, 9, 5, 5, 3]]
        return np.abs(outputs(case, ids) - outputs(case, ids, moved)).max(1) > 1e-4

    # Where the separator is token 3, only the first row has something after one.
    assert second_counts(3).tolist() == [True, False]
    assert second_counts(None).tolist() == [False, False]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_stacked_layers_compute_the_same(family):
    head = Head("classify", 2)
    ids = [[4, 9, 5, -1]]
    loose, looped = (case_of(family, head, num_layers=2, scan_layers=scan) for scan in (False, True))
    flat = stacked({k: np.asarray(v) for k, v in flat_paths(loose.start).items()}, (2,))
    again = jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(flat[".".join(str(p.key) for p in path)]), looped.start
    )
    np.testing.assert_allclose(outputs(loose, ids), outputs(looped, ids, again), atol=1e-6)
    sizes = (1, 1)
    assert unstacked(stacked(body_of(family), sizes), sizes).keys() == body_of(family).keys()


# Which head a body gets, and which layer is the last, is the same for every family.
@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("bert", name) for name in METHODS),
        *(pytest.param("llama", name, marks=pytest.mark.slow if name in ("head", "last") else ()) for name in METHODS),
    ],
)
def test_what_is_trained_moves_and_what_is_frozen_stays(family, name):
    head = Head("classify", 2)
    if (family, name) == ("llama", "bitfit"):
        with pytest.raises(ValueError, match="has no biases"):
            case_of(family, head, name)
        return
    tuned, start, _ = case_of(family, head, name, num_layers=2 if name == "last" else 1)
    whole = flat_paths(jax.eval_shape(tuned.model.init, KEY))
    trained, frozen = flat_paths(start), flat_paths(tuned.frozen)
    assert not trained.keys() & frozen.keys()
    assert trained.keys() | frozen.keys() == whole.keys()
    assert tuned.num_trained == sum(leaf.size for leaf in trained.values())
    assert tuned.num_frozen == sum(leaf.size for leaf in frozen.values())
    loss_fn = objectives.mean_loss(objectives.classification(tuned.applying(tuned.frozen)))
    cohort = Cohort(
        (jnp.array([[4, 9, 5, -1], [2, 3, 8, 6]], jnp.int32), jnp.array([0, 1], jnp.int32)), jnp.ones(2, bool)
    )
    # Clipped sums of the other methods are compared below, and a plain gradient is traced in half the time.
    clipped = name in ("head", "bitfit", "last", "prompt")

    @jit
    def step(params):
        if clipped:
            total = clipped_sum(example_gradient(loss_fn))(params, cohort, KEY, 1.0).total
        else:
            losses = jax.vmap(loss_fn, (None, 0, None))
            total = jax.grad(lambda p: losses(p, cohort.units, KEY)[0].sum())(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, total)

    after = step(step(start))
    check_moved(start, after)
    with pytest.raises(ValueError, match="did not move in training"):
        check_moved(start, start)
    expected = {
        "head": {"classifier.kernel", "classifier.bias"},
        "prompt": {"classifier.kernel", "classifier.bias", "prompt"},
    }
    if name in expected:
        assert set(trained) == expected[name]
    if name == "bitfit":
        assert all(path.endswith("bias") or path.startswith("classifier") for path in trained)
    if name == "last":
        assert {path.split(".")[1] for path in trained if path.startswith("layers")} == {"1"}


@pytest.mark.parametrize(
    ("family", "task", "name", "scan_layers"),
    [
        # Its head and pooling are in the next case, everything else in the one after that.
        pytest.param("bert", "classify", "full", False, marks=pytest.mark.slow),
        ("bert", "classify", "lora", True),
        ("bert", "masked", "full", False),
        ("gpt2", "causal", "full", False),
        ("llama", "causal", "full", True),
        ("llama", "causal", "lora", False),
        ("llama", "causal", "prefix", True),
        ("bert", "classify", "dora", True),
        ("llama", "causal", "ia3", True),
    ],
)
def test_engines_agree_on_text_models(family, task, name, scan_layers):
    head = Head(task, 2) if task == "classify" else Head(task)
    tuned, start, _ = case_of(family, head, name, num_layers=1 + scan_layers, scan_layers=scan_layers)
    start = jax.tree.map(lambda x: x + 0.05, start)
    model = tuned.applying(tuned.frozen)
    score = {
        "classify": objectives.classification,
        "causal": objectives.causal,
        "masked": lambda m: objectives.masked(m, 1, 64, rate=0.5),
    }[task](model)
    ids = jnp.array([[4, 9, 5, -1, -1], [2, 3, 8, 6, 7], [5, 9, 8, 7, -1]], jnp.int32)
    numbers = jnp.array([0, 1, 1], jnp.int32) if task == "classify" else jnp.zeros(3, jnp.int32)
    cohort = Cohort((ids, numbers), jnp.array([True, True, False]))
    contribution = example_gradient(objectives.mean_loss(score))
    sums = [
        jit(clipped_sum(contribution, engine=engine))(start, cohort, KEY, 0.3)
        for engine in ("bookkeeping", "materialize")
    ]
    np.testing.assert_allclose(sums[0].norms, sums[1].norms, rtol=2e-4)
    for a, b in zip(*(jax.tree.leaves(s.total) for s in sums), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_length_buckets_change_neither_the_sum_nor_the_norms_nor_the_keys():
    tuned, start, _ = case_of("bert", Head("classify", 2), "lora")
    start = jax.tree.map(lambda x: x + 0.05, start)
    score = objectives.classification(tuned.applying(tuned.frozen))

    def loss_fn(params, example, key):
        loss, metrics = objectives.mean_loss(score)(params, example, key)
        return loss * (1 + jax.random.uniform(key)), metrics  # a loss that looks at its key

    source = np.random.default_rng(0)
    sizes = source.integers(1, 9, 12)
    ids = np.where(np.arange(8) < sizes[:, None], source.integers(2, 60, (12, 8)), -1)
    cohort = Cohort(
        (jnp.asarray(ids, jnp.int32), jnp.asarray(source.integers(0, 2, 12), jnp.int32)),
        jnp.asarray(source.random(12) < 0.8),
    )
    contribution = example_gradient(loss_fn)
    whole = jit(clipped_sum(contribution))(start, cohort, KEY, 0.3)
    cut = jit(length_buckets((2, 5, 8))(clipped_sum)(contribution))(start, cohort, KEY, 0.3)
    np.testing.assert_allclose(whole.norms, cut.norms, rtol=1e-4)
    np.testing.assert_allclose(whole.aux["loss"], cut.aux["loss"], rtol=1e-4)
    for a, b in zip(jax.tree.leaves(whole.total), jax.tree.leaves(cut.total), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    with pytest.raises(ValueError, match="must end at the rows' length, 8"):
        length_buckets((2, 5))(clipped_sum)(contribution)(start, cohort, KEY, 0.3)
    with pytest.raises(ValueError, match="must be ascending"):
        length_buckets((5, 2))


def test_only_the_answer_of_a_pair_is_scored():
    case = tuned, start, _ = case_of("llama", Head("causal"))
    score = objectives.causal(tuned.applying(tuned.frozen))
    ids = jnp.array([4, 9, 5, 7, 6, -1], jnp.int32)
    scored = jit(lambda answer: score(start, (ids, answer), None))
    whole, answer = scored(jnp.int32(0)), scored(jnp.int32(3))
    assert (float(whole.targets), float(answer.targets)) == (4.0, 2.0)
    logits = log_softmax(outputs(case, ids[None])[0], -1)
    ids = ids.tolist()
    np.testing.assert_allclose(answer.loss, -(logits[2, 7] + logits[3, 6]), rtol=1e-5)
    np.testing.assert_allclose(whole.loss, -sum(logits[t, ids[t + 1]] for t in range(4)), rtol=1e-5)


def test_hidden_tokens_are_drawn_anew_and_nothing_else_is_scored():
    tuned, start, _ = case_of("bert", Head("masked"))
    score = objectives.masked(tuned.applying(tuned.frozen), 1, 64, rate=0.5, special=[3])
    ids = jnp.array([3] * 10 + list(range(5, 15)) + [-1] * 4, jnp.int32)
    scored = jit(lambda ids, key: score(start, (ids, jnp.int32(0)), key))
    counts = [float(scored(ids, jax.random.key(k)).targets) for k in range(20)]
    assert 0 < min(counts) < max(counts) <= 10
    still = jit(lambda ids: score(start, (ids, jnp.int32(0)), None).loss)
    fixed = [float(still(ids)) for _ in range(2)]
    assert fixed[0] == fixed[1]
    nothing = scored(jnp.full(24, -1, jnp.int32), KEY)
    assert float(nothing.targets) == 0.0
    assert float(nothing.loss) == 0.0


def test_evaluation_weighs_every_token_once_whatever_the_groups():
    tuned, start, _ = case_of("llama", Head("causal"))
    score = objectives.causal(tuned.applying(tuned.frozen))
    source = np.random.default_rng(0)
    sizes = np.array([2, 3, 7, 8, 1, 5, 8])
    ids = np.where(np.arange(8) < sizes[:, None], source.integers(2, 60, (7, 8)), -1).astype(np.int32)
    numbers = np.zeros(7, np.int32)
    found = [
        jit(partial(objectives.evaluate, score, batch_size=batch))(start, objectives.by_length(ids, numbers, lengths))
        for lengths, batch in (((8,), 64), ((3, 8), 2))
    ]
    np.testing.assert_allclose(found[0]["loss"], found[1]["loss"], rtol=1e-5)
    assert float(found[0]["accuracy"]) == pytest.approx(float(found[1]["accuracy"]))
    one = jit(lambda row: score(start, (row, jnp.int32(0)), None))
    each = [one(row) for row in ids]
    total = sum(float(s.loss) for s in each) / sum(float(s.targets) for s in each)
    assert float(found[0]["loss"]) == pytest.approx(total, rel=1e-5)
    with pytest.raises(ValueError, match="end before the longest text, of 8 tokens"):
        objectives.by_length(ids, numbers, (3, 7))


@pytest.mark.parametrize(
    ("family", "method", "scan_layers"),
    [("llama", "full", True), ("llama", "prefix", False), ("gpt2", "prompt", False), ("gpt2", "prefix", True)],
)
def test_remembered_keys_and_values_write_what_reading_all_again_would(family, method, scan_layers):
    # Every layer has a memory of its own.
    tuned, start, _ = case_of(family, Head("causal"), method, num_layers=2, scan_layers=scan_layers)
    everything = tuned.bind(tuned.frozen)(start)
    model = tuned.applying(tuned.frozen)
    prompts = np.array([[5, 9, 6, -1], [7, 8, 4, 3]], np.int32)
    generate = make_generate(tuned.arch, tuned.added, tuned.plan, num_tokens=6)
    written = np.asarray(generate(everything, jnp.asarray(prompts), Sampling(), KEY))
    apply = jit(lambda ids: model.apply(start, ids, None))
    for prompt, found in zip(prompts, written, strict=True):
        text = [int(i) for i in prompt if i >= 0]
        for token in found:
            row = jnp.asarray([*text, *[-1] * (12 - len(text))], jnp.int32)
            assert int(jnp.argmax(apply(row)[len(text) - 1])) == int(token)
            text.append(int(token))


def test_a_text_ends_at_its_end():
    tuned, start, _ = case_of("llama", Head("causal"))
    prompts = jnp.array([[5, 9, 6]], jnp.int32)
    # Drawn, since the likeliest token is the same one again and again.
    free = np.asarray(make_generate(tuned.arch, num_tokens=8)(start, prompts, Sampling(1.0), KEY))[0]
    end = int(free[3])
    first = free.tolist().index(end)
    assert first == 3
    ended = np.asarray(make_generate(tuned.arch, num_tokens=8, end=end)(start, prompts, Sampling(1.0), KEY))[0]
    assert ended.tolist() == [*free[: first + 1].tolist(), *[-1] * (7 - first)]


def test_sampling_follows_temperature_and_top_p():
    logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))
    keys = jax.random.split(KEY, 4000)

    draw_all = jit(lambda sampling: jax.vmap(lambda key: draw(logits, sampling, key))(keys))

    def shares(sampling):
        return np.bincount(np.asarray(draw_all(sampling)), minlength=4) / len(keys)

    np.testing.assert_allclose(shares(Sampling(1.0)), [0.5, 0.25, 0.15, 0.1], atol=0.03)
    np.testing.assert_allclose(shares(Sampling(1.0, 0.7)), [2 / 3, 1 / 3, 0, 0], atol=0.03)
    assert shares(Sampling(0.0)).tolist() == [1, 0, 0, 0]
    sharp = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    np.testing.assert_allclose(shares(Sampling(0.5)), sharp / sharp.sum(), atol=0.03)
    assert shares(Sampling(1.0, 0.0)).tolist() == [1, 0, 0, 0]


def test_half_precision_is_close_and_trains_in_float32():
    ids = [[4, 9, 5, -1]]
    single = case_of("bert", Head("classify", 2), "lora")
    half = case_of("bert", Head("classify", 2), "lora", plan=Plan(dtype=jnp.bfloat16))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.tuned.frozen)} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.start)} == {"float32"}
    np.testing.assert_allclose(outputs(half, ids, single.start), outputs(single, ids), atol=0.05)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5"}, "model_type is 't5'"),
        ({}, "model_type is None"),
        ({"model_type": "bert", "hidden_size": 8}, "has no 'num_attention_heads'"),
        (to_hub_config(tiny("bert")) | {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        (to_hub_config(tiny("bert")) | {"hidden_act": "mish"}, "hidden_act is 'mish'"),
        (to_hub_config(tiny("llama")) | {"rope_scaling": {"rope_type": "llama3"}}, "has no factor"),
        (to_hub_config(tiny("llama")) | {"num_key_value_heads": 3}, "num_kv_heads is 3"),
        (to_hub_config(tiny("gpt2")) | {"scale_attn_weights": False}, "scale_attn_weights"),
    ],
)
def test_architectures_that_would_be_computed_wrongly_are_refused(config, words):
    with pytest.raises(ArchitectureError, match=words):
        from_hub_config(config)


def test_methods_say_what_is_wrong_with_them():
    with pytest.raises(ValueError, match=r"name='lorra' is not known"):
        Method("lorra")
    with pytest.raises(ValueError, match=r"rank=0"):
        Method("lora", Lora(rank=0))
    with pytest.raises(ValueError, match=r"targets='kernel' is not known"):
        Method("lora", Lora(targets=("kernel",)))
    with pytest.raises(ValueError, match=r"last_layers=3 is more than the 2 layers"):
        fine_tune(tiny("bert"), body_of("bert"), Head("classify", 2), Method("last", last_layers=3))
    with pytest.raises(ValueError, match="trains nothing"):
        fine_tune(tiny("llama"), body_of("llama"), Head("causal"), Method("head"))
    with pytest.raises(ValueError, match="max_length is 40"):
        outputs(case_of("bert", Head("embed")), [[3] * 40])
    with pytest.raises(ValueError, match="exceed the 32 positions"):
        make_generate(tiny("llama", num_layers=1), num_tokens=40)(
            case_of("llama", Head("causal")).start, jnp.ones((1, 3), jnp.int32), Sampling(), KEY
        )
    with pytest.raises(ValueError, match="writes nothing"):
        make_generate(tiny("bert"), num_tokens=4)
    with pytest.raises(ValueError, match="stacks is"):
        Plan(stacks=(1, 2)).sizes(4)
    assert Added() == Method("full").added
