"""A method of one's own: its optimizer and clipping rule are used, bounded, and told apart."""

import importlib
import os
import sys

import pytest
from hydra import compose, initialize_config_dir

from dpjax.datasets import load
from experiments import config, identity, inputs, jobs, setup
from experiments.border import from_hydra
from experiments.config import ConfigError, DataConf
from experiments.plugins import load_plugin, own_rule
from experiments.task import Job

FROZEN = "import optax\n\n\ndef make_optimizer(hparams, cohort_size):\n    return optax.set_to_zero()\n"


def made(tmp_path, text, *more):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        quick = ["model=logistic", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp"]
        return from_hydra(compose("config", [*quick, f"plugin={path}", *more]))


def test_its_optimizer_takes_the_place_of_the_configs(tmp_path):
    cfg = made(tmp_path, FROZEN)
    (outcome,) = jobs.run_group([Job(cfg, tmp_path / "out", "")])
    assert outcome.rows[0]["test_loss"] == pytest.approx(2.302585, rel=1e-5)  # ln 10: nothing moved


def test_its_clipping_rule_takes_the_place_of_the_configs(tmp_path):
    text = (
        "from dpjax.clipping import automatic_clipping\n\n\ndef clipping_rule():\n    return automatic_clipping(0.5)\n"
    )
    assert setup.rule_of(made(tmp_path, text).plugin, config.ClippingConf()).stability == 0.5


def test_a_rule_that_fails_says_whose_and_why(tmp_path):
    cfg = made(tmp_path, "def clipping_rule():\n    return {}['gone']\n")
    with pytest.raises(config.ConfigError, match=r"clipping_rule\(\) failed in line 2 \(KeyError: 'gone'\); mend it\."):
        own_rule(cfg.plugin)


def test_what_bounds_nothing_is_refused(tmp_path):
    cfg = made(tmp_path, "def clipping_rule():\n    return lambda gradient: gradient\n")
    with pytest.raises(config.ConfigError, match=r"clipping_rule\(\) gave a function; give a dpjax"):
        own_rule(cfg.plugin)


OPTIMIZER = r"but is called as make_optimizer\(hparams, cohort_size\); write it as def make_optimizer\(hparams, c"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\n", "has none of make_optimizer, clipping_rule, make_model, make_loss"),
        ("x = (\n", "can't be imported"),
        ("x = 1 / 0\n", "can't be imported .ZeroDivisionError: division by zero.; give"),
        ("import sys\n\nsys.exit(3)\n", "can't be imported .SystemExit: 3.; give"),
        ("raise ValueError('two\\nlines')\n", "can't be imported .ValueError: two lines.; give"),
        (
            "clipping_rule = 3\n",
            r"clipping_rule is 3, but is called as clipping_rule\(\); write it as def clipping_r",
        ),
        (
            "from dpjax.clipping import flat_clipping\nclipping_rule = flat_clipping()\n",
            "clipping_rule is ClippingRule.*, but is called as",
        ),
        ("def clipping_rule(c):\n    pass\n", r"clipping_rule takes \(c\), but is called as clipping_rule\(\)"),
        ("def make_optimizer(h):\n    pass\n", f"make_optimizer takes .h., {OPTIMIZER}"),
        ("def make_optimizer(learning_rate: float, steps, more=3): pass\n", None),
        ("def make_optimizer(*arguments): pass\n", None),
        ("def make_optimizer(a, b, c, d=3): pass\n", f"make_optimizer takes .a, b, c, d=...., {OPTIMIZER}"),
        (
            "def make_optimizer(*, hparams, size): pass\n",
            f"takes .hparams by name only, size by name only., {OPTIMIZER}",
        ),
        (
            "def make_optimizer(cohort_size, hparams): pass\n",
            "takes .cohort_size, hparams. in another order than make_o",
        ),
        ("class make_optimizer:\n    pass\n", f"make_optimizer is a class that takes .., {OPTIMIZER}"),
        (
            "class make_loss:\n    def __init__(self): pass\n",
            "make_loss is a class that takes .., but is called as make_lo",
        ),
        (
            "def make_loss(): pass\n",
            r"make_loss takes .., but is called as make_loss\(model\); write it as def make_loss\(mo",
        ),
    ],
)
def test_files_that_are_no_plugin_are_named_before_anything_runs(tmp_path, text, sentence):
    if sentence is None:  # whatever its arguments are called, it takes as many
        assert made(tmp_path, text)
        return
    with pytest.raises(config.ConfigError, match=sentence):
        made(tmp_path, text)


def test_a_plugin_is_part_of_what_a_result_is_of_and_none_is_not(tmp_path):
    one = made(tmp_path, FROZEN)
    none = made(tmp_path, FROZEN, "plugin=''")
    assert identity.digest(one) != identity.digest(none)
    assert identity.signature(one) != identity.signature(none)


GIVES = "import jax.numpy as jnp\nimport optax\n\n\ndef make_optimizer(hparams, cohort_size):\n"
RULE = "from dpjax.clipping import group_clipping\n\n\ndef clipping_rule():\n    return group_clipping({})\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{GIVES}    optax.sgd(0.1)\n", "make_optimizer.hparams, cohort_size. gave None; return an optax.Gradient"),
        (f"{GIVES}    return 3\n", "make_optimizer.hparams, cohort_size. gave 3; return an optax.GradientTransf"),
        (
            f"{GIVES}    return optax.sgd(float(hparams.learning_rate))\n",
            r"make_optimizer.* failed in line 6 .ConcretizationTypeError: Abstract .* traced, so use jax.numpy where",
        ),
        (f"{GIVES}    import no_such_thing\n", "failed in line 6 .ModuleNotFoundError: No module named .*; mend it"),
        (f"{GIVES}    raise ValueError('two\\nlines')\n", "failed in line 6 .ValueError: two lines.; mend it"),
        (f"{GIVES}    raise SystemExit(3)\n", "make_optimizer.* failed in line 6 .SystemExit: 3.; mend it"),
        (f"{GIVES}    raise SystemExit\n", "make_optimizer.* failed in line 6 .SystemExit.; mend it"),
        (
            f"{GIVES}    return optax.GradientTransformation(lambda params: params['gone'], None)\n",
            "make_optimizer.* gave GradientTransformation.* return an optax",
        ),
        (
            f"{GIVES}    return optax.GradientTransformation(lambda params: params['gone'], optax.identity().update)\n",
            "init of its optimizer failed in line 6 .KeyError: 'gone'.; mend it",
        ),
        (
            f"{GIVES}    return optax.polyak_sgd()\n",
            "update of its optimizer, which is given the noised mean and the parameters alone, failed .TypeError",
        ),
        (f"{GIVES}    return optax.stateless(lambda updates, params: 3)\n", "adding what its optimizer gave to"),
        (
            f"{GIVES}    return optax.stateless(lambda updates, params: {{'head': jnp.zeros(3)}})\n",
            "adding what its optimizer gave to the parameters failed",
        ),
        (
            f"{GIVES}    stay = optax.identity()\n"
            "    return optax.GradientTransformation(stay.init, lambda updates, *_: (updates, updates))\n",
            "its optimizer gives parameters or a state of other shapes or dtypes than it was given",
        ),
        (RULE.format("lambda path: path[99]"), "groups of its clipping_rule.. failed in line 5 .IndexError"),
        (
            "from dpjax.clipping import ClippingRule as Rule\n\n\ndef clipping_rule():\n    return Rule(None, -1.0)\n",
            "what its clipping_rule.. gave failed .ValueError: .*stability",
        ),
    ],
)
def test_what_its_functions_do_wrong_is_one_sentence_before_anything_is_compiled(tmp_path, text, sentence):
    cfg = made(tmp_path, text)
    with pytest.raises(config.ConfigError, match=sentence) as raised:
        setup.build(cfg)
    assert str(raised.value).startswith(f"plugin={cfg.plugin}: ")
    assert "\n" not in str(raised.value)


READERS = {
    "optax.sgd(0.3)": set(),
    "optax.sgd(hparams.learning_rate)": {"learning_rate"},
    "optax.chain(optax.add_decayed_weights(hparams.weight_decay), optax.sgd(hparams.learning_rate))": {
        "learning_rate",
        "weight_decay",
    },
    "optax.sgd(lambda step: hparams.momentum)": {"momentum"},
    "optax.sgd(hparams._replace(momentum=0.5).learning_rate)": {"learning_rate"},
    "optax.sgd(tuple(hparams)[0] if len(hparams) else None, momentum=hparams[3])": {"learning_rate", "momentum"},
    "optax.inject_hyperparams(optax.sgd)(learning_rate=hparams.learning_rate)": {"learning_rate"},
    "optax.sgd(hparams.learning_rate if cohort_size > 1e9 else 0.1)": set(),
}


FEDERAL = ("federated=personalized", "model=mlp", "federated.compression.name=quantized")


@pytest.mark.parametrize(("text", "more"), [*((text, ()) for text in READERS), (list(READERS)[2], FEDERAL)])
def test_it_is_known_which_hyper_parameters_its_optimizer_depends_on(tmp_path, text, more):
    few = ["federated.clients_per_round=4", "federated.num_clients=20"] if more else []
    assert setup.build(made(tmp_path, f"{GIVES}    return {text}\n", *more, *few)).read == READERS[text]


def test_a_hyper_parameter_that_its_optimizer_does_not_depend_on_is_not_in_the_row(tmp_path):
    text = "optax.chain(optax.add_decayed_weights(hparams.weight_decay), optax.sgd(0.1, hparams.momentum))"
    cfg = made(tmp_path, f"{GIVES}    return {text}\n", "optimizer.momentum=0.4", "optimizer.weight_decay=0.2")
    overrides = "optimizer.momentum=0.4 optimizer.weight_decay=0.2"
    (outcome,) = jobs.run_group([Job(cfg, tmp_path / "out", overrides)])
    told = {"learning_rate": None, "momentum": 0.4, "optimizer": "mine.py:make_optimizer(weight_decay=0.2)"}
    assert {name: outcome.rows[0][name] for name in told} == told


def test_a_hyper_parameter_that_its_optimizer_does_not_depend_on_is_refused_where_it_is_set_or_swept(tmp_path):
    text = f"{GIVES}    return optax.sgd(0.3)\n"

    def refused(*values, given=True):
        cfgs = [made(tmp_path, text, f"optimizer.learning_rate={value}") for value in values]
        words = [f"optimizer.learning_rate={value}" if given else "experiment=mine" for value in values]
        return jobs._sound([Job(*each) for each in zip(cfgs, [tmp_path] * 2, words, strict=False)], built)[1]

    built = setup.build(made(tmp_path, text))
    for values in ((0.7,), (0.5, 0.7)):  # 0.5 is where it stands by itself
        for outcome, value in zip(refused(*values), values, strict=True):
            assert str(outcome.error).startswith(
                f"optimizer.learning_rate={value} is read by nothing, as the optimizer of"
            )
    assert refused(0.5) == []
    assert refused(0.7, given=False) == []  # a chosen file may say it


def test_a_pipe_is_waited_for_neither_as_a_plugin_nor_as_data(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(config.ConfigError, match=r"can't be imported .OSError: it is no regular file"):
        load_plugin(str(tmp_path / "pipe.py"))
    assert inputs.data_inputs(DataConf(name=str(tmp_path / "pipe.csv"))) == {str(tmp_path / "pipe.csv"): "absent"}
    with pytest.raises(ValueError, match=r"pipe\.csv cannot be read: it is no regular file; give one"):
        load(str(tmp_path / "pipe.csv"))


@pytest.mark.parametrize("name", ["abc", "json", "numpy"])
def test_what_is_installed_is_not_imported_anew(name):
    before = importlib.import_module(name)
    with pytest.raises(ConfigError, match=f"plugin={name} has none of"):
        load_plugin(name)
    assert sys.modules[name] is before  # or classes of two abc would not go together
