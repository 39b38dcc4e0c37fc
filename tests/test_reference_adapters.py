"""Adapters of every family between PEFT and dpjax: needs the extra ``reference``; run with -m slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.layer_stacks import flat_paths
from dpjax.models.pretrained.names import NAMES, modules
from dpjax.models.transformers import FAMILIES, Head, Ia3, Lora, SoftPrompt
from dpjax.models.tuning import fine_tune
from dpjax.models.tuning_methods import Method
from tests.families import CASES, class_of, task_of
from tests.test_reference_families import ids_and_mask, made, saved, theirs

pytestmark = [
    pytest.mark.slow,
    # torch and PEFT warn of themselves
    pytest.mark.filterwarnings("ignore"),
]
torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
constants = pytest.importorskip("peft.utils.constants")


def ends(body, *parts):
    """Ends of the names of the matrices that hold these dense layers of a block."""
    depth = NAMES[body.arch.family].layers.count(".") + 1
    return sorted({name.split(".", depth)[-1] for name, paths in modules(body.arch).items() if holds(paths, parts)})


def holds(paths, parts):
    return any(path.startswith("layers.") and path.rsplit(".", 1)[-1] in parts for path in paths)


def cases(body):
    first, last = ends(body, "query", "value"), ends(body, "down")
    return {
        "defaults": {},
        "names": {"target_modules": [name.rsplit(".", 1)[-1] for name in (*first, *last)]},
        "expression": {"target_modules": rf".*\.(0|2)\..*({'|'.join(ends(body, 'key', 'output', 'up'))})"},
        "all linear": {"target_modules": "all-linear"},
        "patterns": {
            "target_modules": [*first, *last],
            "rank_pattern": {rf".*\.1\..*{last[0]}": 2, first[0]: 5},
            "alpha_pattern": {first[0]: 3.5},
        },
        "rslora": {"target_modules": last, "use_rslora": True, "rank_pattern": {rf".*\.0\..*{last[0]}": 3}},
        "some layers": {"target_modules": [*first, *last], "layers_to_transform": [1]},
        "dora": {"target_modules": [*first, *last], "use_dora": True, "rank_pattern": {rf".*\.1\..*{first[0]}": 2}},
        "biases": {"target_modules": [*first, *last], "bias": "all"},
        "a norm of the base": {
            "target_modules": first,
            "modules_to_save": [next(n for n in names_of_norms(body))],
        },
    }


def names_of_norms(body):
    from dpjax.models.pretrained.names import tensors

    for path, tensor in tensors(body.arch).items():
        if path == "layers.1.mlp_norm.scale":
            yield tensor.name.removesuffix(".weight")


KINDS = ("defaults", "names", "expression", "all linear", "patterns", "rslora", "some layers", "biases", "dora")
KINDS = (*KINDS, "a norm of the base")


def moved(model):
    """Every trained number, away from the zeros that hide what is lost."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def wrapped(model, **fields):
    task = "CAUSAL_LM" if "CausalLM" in type(model).__name__ or "LMHead" in type(model).__name__ else None
    config = peft.LoraConfig(task_type=task, r=4, lora_alpha=6, init_lora_weights=False, **fields)
    torch.manual_seed(5)
    return moved(peft.get_peft_model(model, config))


def logits(body, params, method, ids, mask):
    tuned = fine_tune(body.arch, params, Head(task_of(body.arch.family)), method, scan_layers=True)
    start = tuned.init(tuned.start, jax.random.key(0))
    rows = jnp.asarray(np.where(mask, ids, -1))
    model = tuned.applying(tuned.frozen)
    return tuned, np.asarray(jax.jit(jax.vmap(lambda row: model.apply(start, row, None)))(rows))


def worst(found, expected, mask):
    return max(np.abs(a[there] - b).max() for a, b, there in zip(found, expected, mask, strict=True))


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_of_peft_are_read_as_it_computes_them(family, case, tmp_path):
    model = made(family, 0, class_of(family))
    body = saved(tmp_path / "base", model)
    ids, mask = ids_and_mask(12, 90)
    plain = theirs(model, ids, mask)
    fields = cases(body)[case]
    if case == "defaults" and family not in PEFT_KNOWS:
        pytest.skip("PEFT has no defaults for it")
    model = wrapped(model, **fields)
    model.save_pretrained(tmp_path / "adapter")
    expected = theirs(model, ids, mask)
    assert max(np.abs(a - b).max() for a, b in zip(expected, plain, strict=True)) > 0.01
    found, lora = pretrained.load_adapters(tmp_path / "adapter", body.arch)
    merged = pretrained.merge_adapters(body.params | found, lora)
    _, said = logits(body, merged, Method("full"), ids, mask)
    assert worst(said, expected, mask) < 1e-4
    beside = {path for path in found if ".lora." in path and not path.startswith("layers.")}
    if beside or case in ("biases",):
        return
    tuned, said = logits(body, body.params | found, Method("lora", lora), ids, mask)
    assert worst(said, expected, mask) < 1e-4
    assert case in ("expression", "some layers") or not tuned.new


PEFT_KNOWS = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
TARGETS = (("query", "value"), ("key", "down"), ("query", "key", "value", "output", "gate", "up", "down"), ("up",))


def tuned_with(body, method, head):
    """Every trained number moved: parameters by path, and what dpjax says of three texts."""
    tuned = fine_tune(body.arch, body.params, head, method)
    keys = iter(jax.random.split(jax.random.key(1), 999))
    trained = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), tuned.init(tuned.start, jax.random.key(0))
    )
    whole = {k: np.asarray(v) for k, v in flat_paths(tuned.bind(tuned.frozen)(trained)).items()}
    ids, mask = ids_and_mask(12, 90)
    rows = jnp.asarray(np.where(mask, ids, -1))
    model = tuned.applying(tuned.frozen)
    return whole, np.asarray(jax.jit(jax.vmap(lambda row: model.apply(trained, row, None)))(rows)), ids, mask


@pytest.mark.parametrize("name", ["lora", "dora"])
@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_of_dpjax_are_read_by_peft_as_they_were_trained(family, targets, name, tmp_path):
    model = made(family, 0, class_of(family))
    body = saved(tmp_path / "base", model)
    lora, head = Lora(3, 7.0, targets, name == "dora"), Head(task_of(family))
    whole, said, ids, mask = tuned_with(body, Method.of(lora), head)
    pretrained.save_adapters(tmp_path / "adapter", body.arch, whole, lora, str(tmp_path / "base"), head=head)
    opened = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    assert worst(said, theirs(opened, ids, mask), mask) < 1e-4
    found, read = pretrained.load_adapters(tmp_path / "adapter", body.arch)
    there = {target for target in targets if body.arch.gated or target != "gate"}
    assert (read.rank, read.dora) == (lora.rank, lora.dora)
    assert set(read.targets) == there or (lora.dora and set(read.targets) > there)
    for path in set(found) & set(whole):
        np.testing.assert_array_equal(found[path], whole[path])
    assert {path for path in whole if ".lora." in path} <= set(found)


@pytest.mark.parametrize("names", ["defaults", "all linear", "expression"])
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_of_ia3_are_read_as_peft_computes_them(family, names, tmp_path):
    if names == "defaults" and family not in constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING:
        pytest.skip("PEFT has no defaults for it")
    model = made(family, 0, class_of(family))
    body = saved(tmp_path / "base", model)
    ids, mask = ids_and_mask(12, 90)
    down, wide = ends(body, "down"), ends(body, "value", "up", "down")
    fields = {
        "defaults": {},
        "all linear": {"target_modules": "all-linear", "feedforward_modules": down},
        "expression": {
            "target_modules": rf".*\.(0|1)\..*({'|'.join(wide)})",
            "feedforward_modules": rf".*\.1\..*({'|'.join(wide)})",
        },
    }[names]
    torch.manual_seed(5)
    wrapped = moved(peft.get_peft_model(model, peft.IA3Config(task_type=task(family), **fields)))
    wrapped.save_pretrained(tmp_path / "adapter")
    expected = theirs(wrapped, ids, mask)
    found, ia3 = pretrained.load_adapters(tmp_path / "adapter", body.arch)
    merged = pretrained.merge_adapters(body.params | found, ia3)
    _, said = logits(body, merged, Method("full"), ids, mask)
    assert worst(said, expected, mask) < 1e-4
    again = pretrained.unmerge_adapters(merged, found, ia3)
    for path, array in body.params.items():
        np.testing.assert_allclose(again[path], array, atol=1e-5)
    if all(path.startswith("layers.") for path in found):
        _, said = logits(body, body.params | found, Method.of(ia3), ids, mask)
        assert worst(said, expected, mask) < 1e-4


def task(family):
    return "CAUSAL_LM" if task_of(family) == "causal" else None


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_of_dpjax_are_read_by_peft_as_they_were_trained(family, tmp_path):
    model = made(family, 0, class_of(family))
    body = saved(tmp_path / "base", model)
    head = Head(task_of(family))
    whole, said, ids, mask = tuned_with(body, Method("ia3"), head)
    pretrained.save_adapters(tmp_path / "adapter", body.arch, whole, Ia3(), str(tmp_path / "base"), head=head)
    opened = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    assert worst(said, theirs(opened, ids, mask), mask) < 1e-4
    found, _ = pretrained.load_adapters(tmp_path / "adapter", body.arch)
    assert {path for path in whole if ".ia3." in path} <= set(found)


CAUSAL = [(family, number) for family, number in CASES if task_of(family) == "causal"]


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
@pytest.mark.parametrize(("family", "number"), CAUSAL)
def test_prompts_and_prefixes_mean_the_same_in_peft(family, number, kind, tmp_path):
    model = made(family, number, class_of(family))
    body = saved(tmp_path / "base", model)
    soft, head = SoftPrompt(3, kind == "prefix"), Head("causal")
    folder = tmp_path / "adapter"
    if not pretrained.opens_in_peft(body.arch, soft, head):
        with pytest.raises(pretrained.CheckpointError, match="use prompt"):
            pretrained.save_adapters(folder, body.arch, {"prompt": np.zeros(3)}, soft, "base", head=head)
        return
    whole, said, ids, mask = tuned_with(body, Method.of(soft), head)
    pretrained.save_adapters(folder, body.arch, whole, soft, str(tmp_path / "base"), head=head)
    opened = peft.PeftModel.from_pretrained(model, folder).eval()
    expected = [row[-there.sum() :] for row, there in zip(theirs(opened, ids, mask), mask, strict=True)]
    assert worst(said, expected, mask) < 1e-4
    found, read = pretrained.load_adapters(folder, body.arch)
    assert read == soft
    for path in found:
        np.testing.assert_allclose(found[path], whole[path], atol=1e-5)
    config = (peft.PrefixTuningConfig if soft.everywhere else peft.PromptTuningConfig)(
        task_type="CAUSAL_LM", num_virtual_tokens=4
    )
    own = moved(peft.get_peft_model(made(family, number, class_of(family)), config))
    own.save_pretrained(tmp_path / "theirs")
    found, read = pretrained.load_adapters(tmp_path / "theirs", body.arch)
    assert read == SoftPrompt(4, soft.everywhere)
    _, said = logits(body, body.params | found, Method.of(read), ids, mask)
    expected = [row[-there.sum() :] for row, there in zip(theirs(own, ids, mask), mask, strict=True)]
    assert worst(said, expected, mask) < 1e-4
