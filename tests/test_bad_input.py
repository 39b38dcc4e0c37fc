"""Bad input: one clear sentence that names the field and the fix, an exit status, no traceback."""

import re

import pytest
from flax import nnx
from hydra import compose, initialize_config_dir

from dpjax.models import from_nnx, registry
from experiments import config
from experiments.border import from_hydra
from experiments.error_words import explain, is_expected, no_field, report
from experiments.fields import types
from experiments.other_names import OTHER_NAMES
from experiments.problems import choice

QUICK = ["optimizer.num_steps=2", "privacy.accountant=rdp", "figures=false", "num_seeds=1"]

CASES = {
    "privacy.epsilonn=1": "privacy.epsilonn is no field of the config; did you mean privacy.epsilon?",
    "privcy.epsilon=1": "privcy.epsilon is no field of the config; did you mean privacy.epsilon?",
    "model=mpl": "model=mpl is not there; did you mean mlp?",
    "data=xyz": "data=xyz is not there; use adult or bbc_news or breast_cancer or cdnow or digits or "
    "drug_reviews or e2e or fashion_mnist or heart or icd10 or licences or mnist_10k or mnist_5k or mnli or nafld or "
    "own or qnli or qqp or reuters_r8 or rotten_tomatoes or shakespeare or spam_assassin or sst2.",
    "data=credit": "data=credit is no file of settings; write data.name=credit.",
    "model=wide_resnet": "model=wide_resnet is no file of settings; write model.name=wide_resnet.",
    "hydra/launcher=foo": "hydra/launcher=foo is not there; use basic or batched",
    "data.name=digit": "data.name='digit'",
    "model.name=mpl": "did you mean 'mlp'?",
    "privacy.epsilon=abc": "privacy.epsilon=abc has the wrong type; give a number.",
    "privacy.epsilon=": "privacy.epsilon= has the wrong type; give a number.",
    "num_seeds=1.5": "num_seeds=1.5 has the wrong type; give a whole number.",
    "model.hidden=3": "model.hidden must be a list; write it in brackets and quotes, as 'model.hidden=[A,B]'.",
    "privacy.epsilon=0": "privacy.epsilon=0.0 must be > 0; use inf to train without privacy.",
    "privacy.epsilon=nan": "privacy.epsilon=nan is not a number; give it a value.",
    "privacy.delta=0": "privacy.delta=0.0 must be in (0, 1); give a probability well below 1 / population.",
    "privacy.delta=0.001": "privacy.delta=0.001 must be below 1/population = 1/1438 examples; use 1e-5 or less.",
    "~privacy": "privacy can't be taken away, as every field is needed; choose another, or a value.",
    "~privacy.epsilon": "privacy.epsilon can't be taken away, as every field is needed; give it a value.",
    "~optimizer.momentum=0.1": "optimizer.momentum can't be taken away, as every field is needed; give it a value.",
    "privacy.epsilon=null": "privacy.epsilon=null has the wrong type; give it a value.",
    "privacy.clip_norm=1e-13": "privacy.clip_norm=1e-13 must be ≥ 1e-12; use privacy.epsilon=inf to turn",
    "privacy.clip_norm=0": "privacy.clip_norm=0.0 must be ≥ 1e-12; use privacy.epsilon=inf to turn",
    "privacy.clip_norm=inf": "privacy.clip_norm=inf must be finite; use privacy.epsilon=inf to turn clipping off.",
    "privacy.adjacency=foo": "privacy.adjacency=foo is not known; use zero_out or add_or_remove_one or replace_one "
    "or null.",
    "optimizer.sampling=shuffled privacy.adjacency=add_or_remove_one": "has no account with "
    "optimizer.sampling=shuffled, as a unit that joins moves the others between cohorts; use zero_out or replace_one, "
    "or optimizer.sampling=poisson.",
    "optimizer.sampling_rate=1.5": "optimizer.sampling_rate=1.5 must be in (0, 1]",
    "optimizer.name=foo": "optimizer.name=foo is not known; use sgd or adam or adamw or adam_corrected or yogi.",
    "federated.clients_per_round=401": "federated.clients_per_round=401 is more than the population of "
    "federated.num_clients=400; lower it or add clients.",
    "federated.num_clients=2000 federated.clients_per_round=9": "federated.num_clients=2000 cannot share 1438 rows",
    "federated.partition=foo federated.clients_per_round=9": "federated.partition=foo is not known",
    "engine=bookkeeping federated.clients_per_round=9": "engine=bookkeeping takes gradients, and a fedavg client",
    "model=cnn data=breast_cancer": "model=cnn with data=breast_cancer: cnn: input_shape is (30,)",
    "model=text": "model=text with data=digits: text: input_shape is (8, 8",
    "model=text data=breast_cancer": "model=text with data=breast_cancer: text: the input is float32, but ids must be "
    "integers; use mlp or cnn for numbers and images, or cast ids to int32.",
    "data=fashion_mnist": "is not on this machine; fetch it with `dpjax data fetch fashion_mnist`",
    "federated=secure federated.num_clients=40 federated.clients_per_round=20 optimizer.sampling=fixed_size "
    "federated.bits=12 federated.levels=4000": "federated.levels=4000 with federated.bits=12 let a sum over 20 clients",
    "lanes=foo": "lanes=foo is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time.",
    "lanes=0": "lanes=0 is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time.",
    "seed=-1": "seed=-1 must be from 0 to 4294967295; seeds that are equal modulo 2**32 are one",
    "seed=4294967296": "seed=4294967296 is too large a number; give at most 4294967295",
    "seed=4294967295 num_seeds=2": "seed=4294967295 must be from 0 to 4294967294",
    "num_seeds=0": "num_seeds=0 must be ≥ 1; it counts runs of a point.",
    "tracker.name=foo": "tracker.name=foo is not known; use none or wandb.",
    "results_dir=/dev/null/here": "/dev/null/here",
    "privacy.epsilon=(1": "privacy.epsilon=(1 can't be read; write overrides as field=value",
    # a field that is none, however it is added
    "+privacy.eps=8": "privacy.eps is no field of the config; did you mean privacy.epsilon?",
    # what is looked for under a name that no field has
    "privacy.unit=patient": "privacy.unit is no field of the config; the unit follows from what is drawn",
    "optimizer.batch_size=64": "optimizer.batch_size is no field of the config; cohorts are drawn at a rate",
    "optimizer.epochs=3": "optimizer.epochs is no field of the config; a run is as long as optimizer.num_steps",
    "max_grad_norm=1": "max_grad_norm is no field of the config; the bound on one unit's L2 norm is privacy.clip_norm",
    "+batch_size=64": "(or of federated.clients_per_round), so that a size is the EXPECTED one: rate = size / training",
    "++privacy.foo=1": "privacy.foo is no field of the config",
    "+foo.bar=1": "is no field of the config",
    "+foo=1": "foo is no field of the config",
    "+federated.corruption.foo=1": "federated.corruption.foo is no field of the config",
    "+model@foo=mlp": "foo is no field of the config",
    "+hydra.foo=1": "hydra.foo is none of Hydra's settings",
    "+hydra.job.foo=1": "hydra.job.foo is none of Hydra's settings",
    "privacy=[dp,none]": "privacy=[dp,none] chooses several files of one group; take one",
    "data.name=???": "data.name has no value; give it one, or leave it at its default.",
    "governance.seal=???": "governance.seal has no value; give it one, or leave it at its default.",
    # what a program can't hold
    "optimizer.learning_rate=inf": "optimizer.learning_rate=inf must be finite; give it a value.",
    "optimizer.learning_rate=1e39": "optimizer.learning_rate=1e+39 is more than float32 can compute with",
    "privacy.clip_norm=1e39": "privacy.clip_norm=1e+39 is more than float32 can compute with",
    "privacy.noise_multiplier=1e-40": "privacy.noise_multiplier=1e-40 is below 1.2e-38, where float32 has zero; give",
    "federated.client_learning_rate=1e30": "federated.client_learning_rate=1e+30 is more than float32 can compute with",
    "federated.threshold=inf": "federated.threshold=inf must be finite",
    "seed=99999999999999999999": "seed=99999999999999999999 is too large a number",
    "optimizer.evaluate_every=99999999999999999999": "is too large a number; give at most 2147483647",
    # sentences that name the right thing
    "optimizer.num_steps=-1": "optimizer.num_steps=-1 must be ≥ 1; give the steps of the run.",
    "privacy.epsilon=${foo}": "${foo}: foo is no field of the config",
    "optimizer.name=${optimizer.name}": "a field is given as itself, by ${...}; give it a value.",
    "optimizer.name=${oc.env:NOT_THERE}": "can't be looked up",
    'privacy.epsilon="1': "privacy.epsilon=\"1 can't be read; write overrides as field=value",
    "privacy..epsilon=1": "privacy..epsilon=1 can't be read; write overrides as field=value",
    "privacy.epsilön=1": "privacy.epsilön=1 holds 'ö' outside of quotes; quote it as \"field='value'\".",
    "privacy.epsilon=1e-308": "privacy.epsilon=1e-308 must be in [0.001, 500]; accountants resolve no other, and inf",
    "privacy.epsilon=1e300": "privacy.epsilon=1e+300 must be in [0.001, 500]; accountants resolve no other, and inf",
    "clipping=adaptive privacy.noise_multiplier=1e6": "privacy.noise_multiplier=1e+06 is one which clipping=adaptive",
    "federated.clients_per_round=9 federated.dropout_rate=1": "federated.dropout_rate=1.0 must be in [0, 1); of 1,",
    "privacy=none federated.clients_per_round=8 federated.robust=krum federated.robust_fraction=0.4": "is too few for "
    "federated.robust=krum, which with 3 corrupted clients takes 9",
    "federated.clients_per_round=1 federated.aggregation=secure": "federated.clients_per_round=1 must be at least 2",
    "federated=distributed_privacy federated.bits=4": "bits=4 are too few for a cohort",
    "experiment=gen": "To call a sweep gen, write name=gen.",
    "--foo": "unrecognized arguments: --foo; fields are written without dashes, as privacy.epsilon=1: see --help.",
}


@pytest.mark.parametrize("mode", ["single", "sweep"])
@pytest.mark.parametrize("arguments", CASES)
def test_one_sentence_names_the_field_and_the_fix(main, arguments, mode, monkeypatch, tmp_path):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "nothing"))
    choice._loaded.cache_clear()
    if "results_dir" not in arguments:
        arguments += f" results_dir={tmp_path}"
    sweep = ["-m", "hydra.sweeper.reference=false", "seed=1,2"] if mode == "sweep" else []
    code, out, err = main(*sweep, *QUICK, *arguments.split())
    said = [line for line in err.splitlines() if not line.startswith("Group 1")]
    assert code in (1, 2)
    assert len(said) == 1, err  # two jobs that fail alike say it once
    assert said[0].startswith("error: ")
    assert CASES[arguments.removesuffix(f" results_dir={tmp_path}")] in said[0]
    assert "Traceback" not in out + err
    assert not list(tmp_path.rglob("result.json"))


OURS = {
    "privacy.clip_norm": "max_grad_norm l2_norm_clip l2_clip_norm clip_norm privacy.max_grad_norm",
    "privacy.noise_multiplier": "noise_multiplier sigma",
    "privacy.epsilon": "target_epsilon epsilon privcy.epsilon",
    "privacy.delta": "target_delta delta",
    "optimizer.num_steps": "epochs num_epochs num_train_epochs num_steps num_rounds max_steps",
    "optimizer.learning_rate": "lr learning_rate optimizer.lr",
    "optimizer.sampling_rate": "batch_size per_device_train_batch_size lot_size sample_rate optimizer.batch_size",
    "microbatch_size": "num_microbatches gradient_accumulation_steps",
    "optimizer.sampling": "poisson_sampling",
    "engine=": "grad_sample_mode",
    "seed": "secure_mode",
    "num_seeds": "seeds",
    "data.name": "dataset",
    "federated.num_clients": "n_clients num_clients federatd.num_clients",
    "federated.clients_per_round": "clients_per_round fraction_fit",
    "federated.local_epochs": "local_epochs epochs",
}


@pytest.mark.parametrize(("ours", "theirs"), [(ours, each) for ours, names in OURS.items() for each in names.split()])
def test_a_name_of_another_library_is_answered_with_ours(ours, theirs):
    assert f"{theirs} is no field of the config; " in no_field(theirs)
    assert ours in no_field(theirs).partition("; ")[2]


def test_every_answer_names_a_field_that_there_is():
    for theirs, said in OTHER_NAMES.items():
        dotted = re.findall(r"(?:data|model|privacy|optimizer|federated)\.\w+", said)
        assert set(dotted) <= set(types()), (theirs, said)
        assert dotted or {"seed", "num_seeds", "microbatch_size", "engine"} & set(re.findall(r"\w+", said)), (
            theirs,
            said,
        )


SWEEPS = {
    "privacy.epsilon=range(3,1)": "privacy.epsilon=range(3,1) has no values; give it one or more, or leave it out.",
    "seed=range(0,0)": "seed=range(0,0) has no values",
    "seed=choice()": "seed=choice() can't be read (empty choice is not legal); give it one or more values.",
    "model=glob(x*)": "model=glob(x*) has no values",
    "hydra.sweeper.grids=[{seed:'range(1,1)'}]": "seed=range(1,1) has no values",
    "+privacy.eps=2,8": "privacy.eps is no field of the config; did you mean privacy.epsilon?",
    "experiment=quickstart,dp_ftrl": "has several values, but a sweep has one experiment",
    "results_dir=a,b": "results_dir=a,b has several values, but a sweep has one results_dir",
    "figures=true,false": "but a sweep has one figures",
    "tracker.group=a,b": "but a sweep has one tracker",
    "hydra.sweeper.params={a:1}": "hydra.sweeper.params can't be set so",
    "hydra.sweeper.grids=[{hydra.job.name:1}]": "hydra.job.name can't be set so",
    "+hydra.sweeper.foo=1": "hydra.sweeper.foo can't be set so",
    "hydra.run.dir=x": "hydra.run.dir=x is read by single runs only",
    "${foo}=1": "can't be read",
}


@pytest.mark.parametrize("arguments", SWEEPS)
def test_nothing_of_a_sweep_is_passed_over(main, arguments, tmp_path):
    code, out, err = main("-m", *QUICK, *arguments.split())
    assert code in (1, 2)
    assert SWEEPS[arguments] in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in out + err
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize("argument", ["hydra.sweeper.reference=false", "hydra/launcher=basic", "hydra.sweep.dir=x"])
def test_what_only_sweeps_read_is_refused_in_a_single_run(main, argument):
    code, _, err = main(*QUICK, argument)
    assert code == 1
    assert err == f"error: {argument} is read by sweeps only; add -m, or leave it out.\n"


def test_commas_without_m_are_explained(main):
    code, _, err = main(*QUICK, "privacy.epsilon=1,2")
    assert code == 2
    assert err == "error: privacy.epsilon=1,2 has several values, which makes a sweep; add -m to run it.\n"


def test_m_may_stand_anywhere(main, tmp_path):
    code, _, err = main(
        "privacy.epsilon=0,-1", "-m", *QUICK, "hydra.sweeper.reference=false", f"results_dir={tmp_path}"
    )
    assert code == 1
    assert "error: 2 of 2 jobs failed; 0 are finished and on disk." in err


def test_a_model_with_batch_norm_is_refused_before_training(main, monkeypatch, tmp_path):
    class Normed(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(64, rngs=rngs)
            self.out = nnx.Linear(64, 10, rngs=rngs)

        def __call__(self, x):
            return self.out(self.norm(x.reshape(-1)))

    monkeypatch.setitem(registry.MODELS, "normed", lambda num_classes, input_shape: from_nnx(Normed))
    code, _, err = main(*QUICK, "model.name=normed", f"results_dir={tmp_path}")
    assert code == 1
    assert "model=normed with data=digits: layer 'norm' (BatchNorm) keeps batch statistics" in err
    assert "use GroupNorm or LayerNorm instead" in err
    assert "Traceback" not in err


def test_a_bug_keeps_its_traceback(main, monkeypatch):
    def broken(cfg):
        raise KeyError("a bug")

    monkeypatch.setattr("experiments.border.validate", broken)
    with pytest.raises(KeyError):
        main(*QUICK)


def test_memory_that_ran_out_is_explained():
    assert explain(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")).startswith("memory ran out;")
    assert explain(MemoryError()).startswith("memory ran out;")


def test_a_device_that_is_not_there_is_named():
    error = RuntimeError("Unable to initialize backend 'cuda': no devices. (set JAX_PLATFORMS='' to choose one)")
    assert is_expected(error)
    assert explain(error) == "JAX_PLATFORMS=cuda names no device that JAX finds here; leave it out, or set it to cpu."


def test_a_report_is_short():
    lines = report([(f"a={i}", ValueError("no a.")) for i in range(9)], 10, 1)
    assert len(lines) == 1 + 1 + 5 + 1
    assert lines[-1] == "    and 4 more"
    assert report([("a=1", ValueError("no a."))], 1, 0) == ["error: no a."]


@pytest.mark.parametrize("words", ["results_dir=", "-m results_dir=''", "hydra.run.dir=", "-m hydra.sweep.dir="])
def test_an_empty_folder_is_refused_before_anything_is_written(main, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = words.removeprefix("-m ").partition("=")[0]
    code, _, err = main(*QUICK, *words.split(), "optimizer.num_steps=0")  # which is refused later, should this not be
    assert (code, err) == (1, f"error: {name}= is empty; give a folder, as {name}=results, or leave it out.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", ["federated.algorithm", "data.target", "optimizer.learning_rate"])
def test_of_fields_that_follow_from_one_without_a_value_that_one_is_named(field):
    """The learning rate is made of the others unless somebody says one."""
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = compose("config", [f"{field}=???"])
    with pytest.raises(config.ConfigError, match=f"^{field} has no value; give it one"):
        from_hydra(cfg)
