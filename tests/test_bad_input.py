"""Bad input: one clear sentence that names the field and the fix, an exit status, no traceback."""

import pytest
from flax import nnx

from dpjax.models import from_nnx, registry
from experiments import problem
from experiments.explain import explain, report

QUICK = ["optimizer.num_steps=2", "privacy.accountant=rdp", "figures=false", "num_seeds=1"]

CASES = {
    "privacy.epsilonn=1": "privacy.epsilonn is no field of the config; did you mean privacy.epsilon?",
    "privcy.epsilon=1": "privcy.epsilon is no field of the config; did you mean privacy.epsilon?",
    "model=mpl": "model=mpl is not there; did you mean mlp?",
    "data=xyz": "data=xyz is not there; use adult or bbc_news or breast_cancer or cdnow or digits or "
    "drug_reviews or e2e or fashion_mnist or heart or icd10 or licences or mnist_10k or mnist_5k or mnli or nafld or "
    "qnli or reuters_r8 or rotten_tomatoes or shakespeare or spam_assassin or sst2.",
    "hydra/launcher=foo": "hydra/launcher=foo is not there; use basic or batched.",
    "data.name=digit": "data.name='digit'",
    "model.name=mpl": "did you mean 'mlp'?",
    "privacy.epsilon=abc": "privacy.epsilon=abc has the wrong type; give a number.",
    "privacy.epsilon=": "privacy.epsilon= has the wrong type; give a number.",
    "num_seeds=1.5": "num_seeds=1.5 has the wrong type; give a whole number.",
    "model.hidden=3": "model.hidden has a value of the wrong type",
    "privacy.epsilon=0": "privacy.epsilon=0.0 must be > 0; use inf to train without privacy.",
    "privacy.epsilon=nan": "privacy.epsilon=nan is not a number; give it a value.",
    "privacy.delta=0": "privacy.delta=0.0 must be in (0, 1); below 1/population is customary.",
    "privacy.delta=0.001": "privacy.delta=0.001 must be below 1/population = 1/1438 examples; use 7e-05 or less.",
    "privacy.clip_norm=0": "privacy.clip_norm=0.0 must be > 0; use privacy.epsilon=inf to turn clipping off.",
    "privacy.clip_norm=inf": "privacy.clip_norm=inf must be finite; use privacy.epsilon=inf to turn clipping off.",
    "privacy.adjacency=foo": "privacy.adjacency=foo is not known; use add_or_remove_one or zero_out or replace_one.",
    "optimizer.sampling=shuffled": "use 'zero_out' or 'replace_one', or sampling='poisson'",
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
    "lanes=foo": "lanes=foo is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time.",
    "lanes=0": "lanes=0 is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time.",
    "num_seeds=0": "num_seeds=0 must be at least 1.",
    "tracker.name=foo": "tracker.name=foo is not known; use none or wandb.",
    "results_dir=/dev/null/here": "/dev/null/here",
    "privacy.epsilon=(1": "Error parsing override 'privacy.epsilon=(1'",
}


@pytest.mark.parametrize("mode", ["single", "sweep"])
@pytest.mark.parametrize("arguments", CASES)
def test_one_sentence_names_the_field_and_the_fix(main, arguments, mode, monkeypatch, tmp_path):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "nothing"))
    problem._load.cache_clear()
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

    monkeypatch.setattr("experiments.validation.validate", broken)
    with pytest.raises(KeyError):
        main(*QUICK)


def test_memory_that_ran_out_is_explained():
    assert explain(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")).startswith("memory ran out;")
    assert explain(MemoryError()).startswith("memory ran out;")


def test_a_report_is_short():
    lines = report([(f"a={i}", ValueError("no a.")) for i in range(9)], 10, 1)
    assert len(lines) == 1 + 1 + 5 + 1
    assert lines[-1] == "    and 4 more"
    assert report([("a=1", ValueError("no a."))], 1, 0) == ["error: no a."]
