"""A method of one's own: its optimizer and clipping rule are used, bounded, and told apart."""

import pytest
from hydra import compose, initialize_config_dir

from experiments import config, identity, jobs, setup, validation
from experiments.plugins import own_rule
from experiments.task import Job

FROZEN = "import optax\n\n\ndef make_optimizer(hparams, cohort_size):\n    return optax.set_to_zero()\n"


def made(tmp_path, text, *more):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        quick = ["model=logistic", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp"]
        return compose("config", [*quick, f"plugin={path}", *more])


def test_its_optimizer_takes_the_place_of_the_configs(tmp_path):
    cfg = made(tmp_path, FROZEN)
    validation.validate(cfg)
    (outcome,) = jobs.run_group([Job(cfg, tmp_path / "out", "")])
    assert outcome.rows[0]["test_loss"] == pytest.approx(2.302585, rel=1e-5)  # ln 10: nothing moved


def test_its_clipping_rule_takes_the_place_of_the_configs(tmp_path):
    text = (
        "from dpjax.clipping import automatic_clipping\n\n\ndef clipping_rule():\n    return automatic_clipping(0.5)\n"
    )
    assert setup.rule_of(made(tmp_path, text)).stability == 0.5


def test_a_rule_that_fails_says_whose_and_why(tmp_path):
    cfg = made(tmp_path, "def clipping_rule():\n    return {}['gone']\n")
    with pytest.raises(config.ConfigError, match=r"clipping_rule\(\) failed \(KeyError: 'gone'\); mend it\."):
        own_rule(cfg.plugin)


def test_what_bounds_nothing_is_refused(tmp_path):
    cfg = made(tmp_path, "def clipping_rule():\n    return lambda gradient: gradient\n")
    with pytest.raises(config.ConfigError, match=r"clipping_rule\(\) gave a function; give a dpjax"):
        own_rule(cfg.plugin)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\n", "has neither make_optimizer nor clipping_rule"),
        ("x = (\n", "can't be imported"),
        ("x = 1 / 0\n", "can't be imported .ZeroDivisionError: division by zero.; give"),
        ("clipping_rule = 3\n", r"clipping_rule must be a function that is called as clipping_rule\(\)\."),
        (
            "from dpjax.clipping import flat_clipping\nclipping_rule = flat_clipping()\n",
            "clipping_rule must be a function",
        ),
        ("def clipping_rule(c):\n    pass\n", "clipping_rule must be a function"),
        (
            "def make_optimizer(h):\n    pass\n",
            r"must be a function that is called as make_optimizer\(hparams, cohort_s",
        ),
        ("class make_optimizer:\n    pass\n", "make_optimizer must be a function"),
    ],
)
def test_files_that_are_no_plugin_are_named_before_anything_runs(tmp_path, text, sentence):
    with pytest.raises(config.ConfigError, match=sentence):
        validation.validate(made(tmp_path, text))


def test_a_plugin_is_part_of_what_a_result_is_of_and_none_is_not(tmp_path):
    one = made(tmp_path, FROZEN)
    none = made(tmp_path, FROZEN, "plugin=''")
    assert identity.digest(one) != identity.digest(none)
    assert identity.signature(one) != identity.signature(none)
