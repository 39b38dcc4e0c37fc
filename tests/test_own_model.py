"""Models and losses of one's own by file: named in the row, seen one example at a time, refused in one sentence."""

import pytest

from dpjax.results import load

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
