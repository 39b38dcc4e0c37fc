"""What a field may be is the library's own range of the argument that it becomes, and no field is forgotten."""

import subprocess
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import optax
import pytest

from dpjax import clipping, federated, optimizers, ranges, sampling
from dpjax.accounting import Mechanism, calibrate_noise, epsilon
from dpjax.clipping.adaptive import adaptive_clipping
from dpjax.contributions import local_training
from dpjax.datasets.own_tables.source import Predicted, Split
from dpjax.models.transformers import Lora
from dpjax.models.tuning_methods import Method
from experiments.accountable import refuse_unaccounted
from experiments.config import Config, ConfigError
from experiments.fields import DEFAULTS, describe, types
from experiments.limits import MAY_BE, Kinds, refuse_out_of_range

RUN = {"unit": "example", "adjacency": "zero_out", "sampling": "full", "sampling_rate": 1.0, "num_steps": 1}
SGD = optax.sgd(0.1)
LABELS = np.arange(40) % 4

TAKES = {
    "privacy.delta": lambda x: epsilon(Mechanism(**RUN, noise_multiplier=1.0), x),
    "privacy.epsilon": lambda x: calibrate_noise(Mechanism(**RUN, noise_multiplier=0.0), epsilon=x, delta=1e-5),
    "privacy.records_per_unit": lambda x: Mechanism(**RUN | {"unit": "user"}, noise_multiplier=1.0, records_per_unit=x),
    "clipping.stability": clipping.automatic_clipping,
    "clipping.target_quantile": adaptive_clipping,
    "clipping.learning_rate": lambda x: adaptive_clipping(learning_rate=x),
    "clipping.count_stddev": lambda x: adaptive_clipping(count_stddev=x),
    "optimizer.second_decay": lambda x: optimizers.scale_by_corrected_adam(0.1, b2=x),
    "optimizer.adaptivity": lambda x: optimizers.scale_by_corrected_adam(0.1, floor=x),
    "optimizer.sampling_rate": lambda x: sampling.poisson_sampler(40, x, num_steps=1),
    "federated.num_clients": lambda x: federated.iid_partition(40, x, seed=0),
    "federated.alpha": lambda x: federated.dirichlet_partition(LABELS, 4, alpha=x, seed=0),
    "federated.shards_per_client": lambda x: federated.shard_partition(LABELS, 4, shards_per_client=x, seed=0),
    "federated.local_steps": lambda x: local_training(_loss, SGD, num_steps=x),
    "federated.local_batch_size": lambda x: local_training(_loss, SGD, num_steps=1, batch_size=x),
    "federated.straggler_rate": lambda x: local_training(_loss, SGD, num_steps=1, straggler_rate=x),
    "federated.bits": lambda x: federated.secure_aggregation(threshold=2, bits=x),
    "federated.levels": lambda x: federated.secure_aggregation(threshold=2, levels=x),
    "federated.robust_fraction": lambda x: federated.robust_aggregation("krum", corrupted_fraction=x),
    "federated.compression.bits": lambda x: federated.quantized(_loss, x),
    "federated.compression.fraction": lambda x: federated.random_k(_loss, x),
    "tuning.rank": lambda x: Method("lora", Lora(rank=x)),
    "tuning.last_layers": lambda x: Method("last", last_layers=x),
    "tuning.length": lambda x: Method("prompt", length=x),
}
"""Field → the function of the library that takes its value."""


def _loss(params, example, key):
    return 0.0


def edges(allowed):
    """(values just inside, values just outside) of a range."""
    if isinstance(allowed, ranges.WholeRange):
        inside, outside = [allowed.least], [allowed.least - 1]
        if allowed.most is not None:
            inside, outside = [*inside, allowed.most], [*outside, allowed.most + 1]
        return inside, outside
    inside, outside = [], []
    for end, side, open_ in (
        (allowed.least, -1, False),
        (allowed.above, -1, True),
        (allowed.most, 1, False),
        (allowed.below, 1, True),
    ):
        if end is not None:
            beyond = end + side * max(abs(end), 1.0) * 1e-9
            outside.append(float(end) if open_ else beyond)
            if not open_:
                inside.append(float(end))
    return inside, outside


@pytest.mark.parametrize("field", TAKES)
def test_the_library_and_the_config_end_at_the_same_number(field):
    inside, outside = edges(MAY_BE[field])
    assert outside
    for value in outside:
        with pytest.raises(ConfigError, match=f"^{field}="):
            refuse_out_of_range(with_value(field, value))
        with pytest.raises(ValueError, match="must be"):
            TAKES[field](value)
    for value in inside:
        refuse_out_of_range(with_value(field, value))
        TAKES[field](value)


def with_value(field, value):
    def put(node, path):
        name, _, rest = path.partition(".")
        return replace(node, **{name: put(getattr(node, name), rest) if rest else value})

    return put(Config(), field)


FREE = {
    "synthesis.instruction",
    "lanes",
    "seed",
    *("model.groups", "model.context", "model.embedding", "model.hidden", "tuning.alpha"),  # models say what they take
    *("experiment", "name", "method", "task", "plugin", "results_dir", "data.name", "model.name", "model.activation"),
    *(
        "data.path",
        "data.label",
        "data.text",
        "data.messages",
        "data.tokens",
        "data.padding",
        "data.mask",
        "data.size",
        "data.channels",
        "data.unit",
        "data.split_column",
        "data.columns",
        "data.missing",
        "data.classes",
        "data.target_range",
        "data.release",
        "data.split_at",
        "data.encoding",
        "data.owners",
        "data.canary_form",
        "data.canary_repetitions",
    ),
    *("model.checkpoint", "synthesis.checkpoint", "synthesis.classes", "federated.personal", "federated.client_ranks"),
    *("tracker.project", "tracker.entity", "tracker.mode", "tracker.group", "governance.ledger"),
}
"""Fields that are looked at elsewhere, or may be anything."""


def test_the_splits_of_a_table_are_the_library_s():
    assert MAY_BE["data.split"].names == get_args(Split)
    assert MAY_BE["data.target"].names == get_args(Predicted)


def test_every_field_has_its_limits_or_is_free():
    looked_at = {field for field, kind in types().items() if kind is not bool}
    assert looked_at == set(MAY_BE) | FREE
    assert not set(MAY_BE) & FREE


def test_every_default_is_what_its_field_may_be():
    for field, allowed in MAY_BE.items():
        if DEFAULTS[field] is None:
            continue
        if isinstance(allowed, Kinds):
            allowed.refuse(field, DEFAULTS[field])
        else:
            allowed.known(field, DEFAULTS[field])


@pytest.mark.parametrize("field", [field for field, allowed in MAY_BE.items() if isinstance(allowed, Kinds)])
def test_help_names_every_kind(field):
    meaning = next(row[3] for row in describe() if row[0] == field)
    for name in MAY_BE[field].names:
        assert name in meaning.replace("(", " ").replace(")", " "), f"{field} may be {name}, which its help leaves out"


def test_a_kind_of_the_library_that_is_new_may_be_asked_for(monkeypatch):
    from dpjax.federated.aggregation import robust

    monkeypatch.setattr(robust, "KINDS", (*robust.KINDS, "trimmed_median"))
    refuse_out_of_range(with_value("federated.robust", "trimmed_median"))
    with pytest.raises(ConfigError, match=r"^federated.robust=mode is not known; use none or .* or trimmed_median\.$"):
        refuse_out_of_range(with_value("federated.robust", "mode"))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"privacy.noise": "laplace"}, "privacy.adjacency=zero_out must be replace_one with local reports"),
        (
            {"privacy.noise": "skellam"},
            "privacy.accountant=pld knows no dominating pair for noise of kind=skellam; use",
        ),
        ({"privacy.records_per_unit": 2, "privacy.noise": "correlated"}, "privacy.records_per_unit=2 has no account"),
        ({"privacy.records_per_unit": 2, "optimizer.sampling": "shuffled"}, "has no account with optimizer.sampling="),
        (
            {"privacy.adjacency": "add_or_remove_one", "optimizer.sampling": "cyclic"},
            "use zero_out or replace_one, or optimizer.sampling=poisson.",
        ),
    ],
)
def test_what_nothing_accounts_for_is_said_by_the_accountant_about_fields(overrides, sentence):
    cfg = Config()
    for field, value in overrides.items():
        name, _, rest = field.partition(".")
        cfg = replace(cfg, **{name: replace(getattr(cfg, name), **{rest: value})})
    with pytest.raises(ConfigError) as error:
        refuse_unaccounted(cfg)
    assert sentence in str(error.value)
    assert "'" not in str(error.value)


def test_nothing_of_this_waits_for_jax():
    code = "import sys; from experiments.config import Config; from experiments.validation import validate; "
    code += "validate(Config()); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_word_that_another_field_s_number_is_put_into_is_a_word():
    from hydra import compose, initialize_config_dir

    from experiments import config
    from experiments.border import from_hydra

    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", ["lanes=${seed}", "seed=2", "method=${privacy.epsilon}"]))
    assert (cfg.lanes, cfg.method) == ("2", "1.0")
