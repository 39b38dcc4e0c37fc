"""Models and losses of one's own by file: named in the row, seen one example at a time, refused in one sentence."""

import sys
from pathlib import Path

import pytest

from dpjax.results import load
from experiments.hooks import HOOKS
from experiments.inputs import plugin_inputs
from experiments.plugins import load_plugin
from tests.test_docs import ROOT, write_files

FEW = ["optimizer.num_steps=3", "num_seeds=1", "privacy.accountant=rdp", "privacy.delta=1e-5", "figures=false"]

LINEAR = """
import jax.numpy as jnp
from dpjax.models import Model


def make_model(num_classes, input_shape):
    size = 1
    for side in input_shape:
        size *= side
    return Model(
        lambda key: {"w": jnp.zeros((size, num_classes))},
        lambda params, x, key: x.reshape(-1) @ params["w"],
    )
"""
MODULE = """
import jax.numpy as jnp
from flax import nnx
from dpjax.models import from_nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.one, self.two = nnx.Linear(64, 8, rngs=rngs), nnx.Linear(8, 10, rngs=rngs)

    def __call__(self, x):
        return self.two(jnp.tanh(self.one(x.reshape(-1))))


def make_model(num_classes, input_shape):
    return from_nnx(Net)
"""
FOCAL = """
import jax
import jax.numpy as jnp


def make_loss(model):
    def loss_fn(params, example, key):
        inputs, label = example
        chances = jax.nn.log_softmax(model.apply(params, inputs, key))[label]
        return -((1 - jnp.exp(chances)) ** 2) * chances, {}

    return loss_fn
"""


def rows_of(folder):
    rows = load(next(folder.rglob("results.parquet")))
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


@pytest.fixture
def plugin(tmp_path):
    def write(text):
        (tmp_path / "mine.py").write_text(text)
        return f"plugin={tmp_path / 'mine.py'}"

    return write


@pytest.mark.parametrize(("text", "size"), [(LINEAR, 640), (MODULE, 64 * 8 + 8 + 80 + 10)])
def test_a_model_takes_the_config_s_place_and_the_row_says_so(text, size, plugin, main, tmp_path):
    code, _, err = main(plugin(text), *FEW)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert (row["model"], row["trained_parameters"], row["hidden"]) == ("mine.py:make_model", size, None)
    assert row["plugin"].startswith("mine.py@")


def test_a_loss_is_what_is_trained_and_cross_entropy_what_is_stated(plugin, main, tmp_path):
    code, _, err = main(plugin(LINEAR + FOCAL), "privacy=none", *FEW[:2], *FEW[4:])
    assert code == 0, err
    plain = main(plugin(LINEAR), "privacy=none", *FEW[:2], *FEW[4:], folder=tmp_path / "plain")
    assert plain[0] == 0, plain[2]
    own, other = rows_of(tmp_path / "single"), rows_of(tmp_path / "plain")
    assert own[0]["test_loss"] != other[0]["test_loss"]  # another loss trained it
    assert own[0]["test_loss"] == pytest.approx(other[0]["test_loss"], rel=0.3)  # and the same measures it


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def make_model(num_classes): return None\n", "make_model(num_classes, input_shape)"),
        ("def make_model(n, shape): return None\n", "gave None; return a dpjax.models.Model"),
        ("def make_model(n, shape): raise KeyError('w')\n", "failed in line 1 (KeyError: 'w'); mend it."),
        (LINEAR.replace("lambda key:", "lambda key, shape:"), "its model's init takes (key, shape), but is called as"),
        (
            LINEAR.replace("params, x, key:", "params, x:"),
            "apply takes (params, x), but is called as its model's apply(par",
        ),
        (
            LINEAR.replace("params, x, key:", "params, key, x:"),
            "takes (params, key, x) in another order than its model's",
        ),
        (
            FOCAL.replace("params, example, key", "params, example"),
            "its loss_fn takes (params, example), but is called",
        ),
        (LINEAR.replace('@ params["w"]', '@ params["w"][:, :3]'), "gives float32[3] for one example; give logits [10]"),
        (LINEAR.replace("x.reshape(-1)", "x[:, 0]"), "its model, which is given ONE example, failed in line 12"),
        (LINEAR.replace("x.reshape(-1)", "x.reshape(len(x), -1)"), "its model, which is given ONE example, failed"),
        (FOCAL.replace("* chances, {}", "* chances"), "return (loss, metrics), metrics a dict"),
        (FOCAL.replace("[label]", ""), "gives a loss of shape float32[10]; it is of ONE example"),
        ("def make_loss(model): return 3\n", "return loss_fn(params, example, key)"),
    ],
)
def test_what_is_no_model_or_loss_is_refused_in_one_sentence(text, sentence, plugin, main):
    code, _, err = main(plugin(text), *FEW)
    assert code != 0
    assert err.count("\n") == 1
    assert sentence in err


def test_a_model_of_one_s_own_and_one_of_the_config_do_not_go_together(plugin, main):
    assert "is read only with a plugin without a make_model of its own" in main(plugin(LINEAR), "model=cnn", *FEW)[2]
    assert "model=scattering brings its own" in main(plugin(FOCAL), "model=scattering", *FEW)[2]


def test_every_hook_of_the_guide_runs_and_its_row_names_it(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(ROOT / "docs/how-to/own-model.md", tmp_path)
    files = sorted(tmp_path.glob("my_*.py"))
    together = "\n".join(file.read_text() for file in files)
    assert [hook for hook in HOOKS if f"def {hook}(" not in together] == []
    assert max(len(file.read_text().splitlines()) for file in files) <= 17
    (tmp_path / "mine.py").write_text(together)
    code, _, err = main("plugin=mine.py", *FEW)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    ran = {name: row[name] for name in ("model", "loss", "optimizer", "clipping")}
    assert ran == {
        "model": "mine.py:make_model",
        "loss": "mine.py:make_loss",
        "optimizer": "mine.py:make_optimizer",
        "clipping": "automatic(γ=0.05)",
    }
    assert 0 <= row["test_worst_class"] <= row["test_accuracy"] <= row["test_top3"]


def test_a_row_without_hooks_names_none(main, tmp_path):
    assert main("model=logistic", *FEW)[0] == 0
    (row,) = rows_of(tmp_path)
    assert {row[name] for name in ("loss", "plugin")} == {None}


@pytest.mark.parametrize("place", ["relative", "absolute", "module"])
def test_a_file_is_found_by_path_or_as_a_module_and_imports_its_neighbours(place, tmp_path, monkeypatch, main):
    folder = tmp_path / ("package" if place == "module" else "my models")
    folder.mkdir()
    size = "package.sizes" if place == "module" else "sizes"
    (folder / "sizes.py").write_text("def numbers(shape):\n    return 64\n")
    head, _, tail = LINEAR.partition("    size = 1\n")
    text = f"from {size} import numbers\n{head}    size = numbers(input_shape)\n{tail[tail.index('    return') :]}"
    (folder / "net.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    named = {"relative": "'my models/net.py'", "absolute": f"'{folder}/net.py'", "module": "package.net"}[place]
    code, _, err = main(f"plugin={named}", *FEW)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert (row["model"], row["trained_parameters"]) == (
        f"{'package.net' if place == 'module' else 'net.py'}:make_model",
        640,
    )
    assert "sizes.py" in row["inputs"]


def test_a_neighbour_of_another_file_is_not_taken_for_one_s_own(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text(f"NAME = '{name}'\n")
        (tmp_path / name / "mine.py").write_text("from helper import NAME\n\n\ndef clipping_rule():\n    return NAME\n")
    found = [load_plugin(str(tmp_path / name / "mine.py")).NAME for name in ("one", "two", "one")]
    assert found == ["one", "two", "one"]
    read = plugin_inputs(str(tmp_path / "two/mine.py"))
    assert [Path(name).parent.name for name in read] == ["two", "two"]
    assert str(tmp_path / "two") not in sys.path


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (
            "x = 1\ndef make_model(:\n",
            "mine.py",
            "can't be imported (SyntaxError: invalid syntax (mine.py, line 2)); give",
        ),
        (
            "def make_modell(n, shape): pass\n",
            "mine.py",
            "nothing calls make_modell; name it make_model, or _make_modell.",
        ),
        (
            "def make_model(n, shape): pass\n",
            "mine.py:make_model",
            "names a function, make_model; give plugin=mine.py, whose",
        ),
        ("import gone\n", "mine.py", "can't be imported (ModuleNotFoundError: No module named 'gone')"),
    ],
)
def test_a_file_that_is_none_says_where_and_what_is_near(text, name, sentence, tmp_path, monkeypatch, main):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    code, _, err = main(f"plugin={name}", *FEW)
    assert code != 0
    assert err.count("\n") == 1
    assert sentence in err


def test_a_helper_that_is_called_almost_like_a_hook_beside_it_is_no_mistake(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def make_models(): pass\ndef make_model(n, shape): pass\ndef _make_los(m): pass\n"
    )
    assert load_plugin(str(tmp_path / "mine.py"))
