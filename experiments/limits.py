"""What each field may be by itself: the library's own ranges and names of the arguments that fields become."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dpjax import ranges
from dpjax.accounting.accountants import ACCOUNTANTS
from dpjax.accounting.mechanism import ADJACENCIES
from dpjax.accounting.recipes import FACTORIZATIONS
from dpjax.accounting.samplings import DRAWN
from dpjax.ranges import Range, WholeRange
from experiments.config import NOISES, Config, ConfigError
from experiments.fields import DEFAULTS, value_of
from experiments.notifying import NO_ADDRESS, is_address


class Kinds:
    """The names that a field may have.

    Args:
      *names: those that are known here.
      others: looks up those of the library; called only where a name is none of the above, as it may need JAX.

    Example:
      >>> Kinds("none", others=_robust_means).names[:2]
      ('none', 'trimmed_mean')
    """

    def __init__(self, *names: str, others: Callable[[], Iterable[str]] = tuple) -> None:
        self._known, self._others = names, others

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self._known, *self._others())

    def refuse(self, field: str, value: Any) -> None:
        """Refuse a name that is none of them, or a list with one.

        Raises:
          ConfigError: it lists them.
        """
        asked = value if isinstance(value, list) else [value]
        if set(asked) <= set(self._known) and asked:
            return
        if not asked or not set(asked) <= set(self.names):
            names = [*self.names, "null"] if DEFAULTS[field] is None else self.names
            raise ConfigError(f"{field}={value} is not known; use {' or '.join(names)}.")


class Notes(Kinds):
    """How a sweep's end is told; an address, which is a secret, is refused without being repeated."""

    def refuse(self, field: str, value: Any) -> None:
        if is_address(value):
            raise ConfigError(NO_ADDRESS)
        if value not in self.names:
            raise ConfigError(f"{field}={value} is not known; use desktop or webhook, or leave it out.")


def _tuning_methods() -> Iterable[str]:
    from dpjax.models.tuning_methods import METHODS

    return METHODS


def _stored_as() -> Iterable[str]:
    from dpjax.models.transformers.narrow import NARROW

    return NARROW


def _tuning_targets() -> Iterable[str]:
    from dpjax.models.tuning_methods import TARGETS

    return TARGETS


def _decays() -> Iterable[str]:
    from dpjax.optimizers import DECAYS

    return DECAYS


def _corruptions() -> Iterable[str]:
    from dpjax.federated.corrupted_clients import KINDS

    return KINDS


def _robust_means() -> Iterable[str]:
    from dpjax.federated.aggregation.robust import KINDS

    return KINDS


def _engines() -> Iterable[str]:
    from dpjax.clipping.kernel import ENGINES

    return ENGINES


COUNT = WholeRange("it is a count")

MAY_BE: Mapping[str, Range | WholeRange | Kinds] = {
    "data.split": Kinds("owner", "rows", "time", "column", "files"),
    "data.decimal": Kinds(".", ","),
    "data.target": Kinds("class", "number"),
    "data.release_noise_multiplier": Range("a release without noise has no ε", above=0),
    "data.release_seed": WholeRange("it is a seed", least=0),
    "data.raw": Kinds("table", "documents", "mailbox"),
    "data.piece_words": COUNT._replace(fix="leave it null to keep texts whole"),
    "data.canaries": WholeRange("0 plants none", least=0),
    "data.canary_candidates": WholeRange("a rank needs two", least=2, most=100_000),
    "data.canary_seed": WholeRange("it is a seed", least=0),
    "data.validation": Range("0.1 keeps a tenth out of training", least=0, below=1),
    "data.num_train": COUNT._replace(fix="leave it null to keep all"),
    "data.num_evaluated": COUNT._replace(fix="leave it null for all"),
    "model.task": Kinds("classify", "causal", "masked", "completion", "preference", "synthetic"),
    "model.beta": Range("0.1 is usual", above=0),
    "model.max_length": WholeRange("fewer leave no room for a text", least=4),
    "model.num_lengths": COUNT._replace(fix="1 pads all texts alike"),
    "model.pooling": Kinds("mean", "first", "last", "pooler"),
    "model.dtype": Kinds("float32", "bfloat16"),
    "model.frozen_dtype": Kinds(others=_stored_as),
    "tuning.name": Kinds(others=_tuning_methods),
    "tuning.rank": ranges.RANK,
    "tuning.targets": Kinds(others=_tuning_targets),
    "tuning.last_layers": ranges.LAST_LAYERS,
    "tuning.length": ranges.PROMPT_LENGTH,
    "synthesis.num_texts": WholeRange("classes need a text each", least=2),
    "synthesis.num_tokens": ranges.NUM_TOKENS._replace(least=2),
    "synthesis.temperature": Range("near 0 all texts of a class are the same", above=0),
    "synthesis.top_p": Range("1 draws from all tokens", above=0, most=1),
    "privacy.epsilon": ranges.EPSILON._replace(fix="use inf to train without privacy"),
    "privacy.noise_multiplier": ranges.NOISE_MULTIPLIER._replace(
        least=None,
        above=0,
        fix="leave it null to have it calibrated, or use privacy.epsilon=inf to train without privacy",
    ),
    "privacy.delta": ranges.DELTA,
    "privacy.clip_norm": ranges.CLIP_NORM._replace(fix="use privacy.epsilon=inf to turn clipping off"),
    "privacy.records_per_unit": ranges.RECORDS_PER_UNIT._replace(fix="leave it null for a row"),
    "privacy.adjacency": Kinds(*ADJACENCIES),
    "privacy.accountant": Kinds(*ACCOUNTANTS),
    "privacy.noise": Kinds(*NOISES),
    "privacy.factorization": Kinds(*FACTORIZATIONS),
    "privacy.bands": COUNT._replace(fix="leave it null for the steps between participations"),
    "privacy.colluding": ranges.COLLUDING,
    "clipping.name": Kinds("flat", "per_layer", "automatic", "adaptive"),
    "clipping.stability": ranges.STABILITY,
    "clipping.target_quantile": ranges.TARGET_QUANTILE,
    "clipping.learning_rate": ranges.CLIP_NORM_RATE,
    "clipping.count_stddev": ranges.COUNT_STDDEV._replace(fix="leave it null for the expected cohort size / 20"),
    "optimizer.name": Kinds("sgd", "adam", "adamw", "adam_corrected", "yogi"),
    "optimizer.learning_rate": Range("0 trains nothing", above=0),
    "optimizer.momentum": Range("0 is none", least=0, below=1),
    "optimizer.weight_decay": Range("0 is none", least=0),
    "optimizer.second_decay": ranges.MOMENT_DECAY,
    "optimizer.adaptivity": ranges.FLOOR,
    "optimizer.warmup_steps": ranges.WARMUP_STEPS,
    "optimizer.decay": Kinds(others=_decays),
    "optimizer.ema": ranges.AVERAGE_DECAY._replace(most=None, below=1, fix="0 keeps no average"),
    "optimizer.num_steps": ranges.NUM_STEPS,
    "optimizer.sampling": Kinds(*DRAWN),
    "optimizer.sampling_rate": ranges.SAMPLING_RATE,
    "optimizer.evaluate_every": COUNT._replace(fix="it counts steps"),
    "federated.corruption.name": Kinds("none", "labels", others=_corruptions),
    "federated.corruption.fraction": ranges.CORRUPTED_FRACTION,
    "federated.corruption.factor": ranges.CORRUPTION_FACTOR,
    "federated.compression.name": Kinds("none", "quantized", "random_k", "top_k", "sketch"),
    "federated.compression.bits": ranges.COORDINATE_BITS,
    "federated.compression.fraction": ranges.COORDINATE_FRACTION,
    "federated.clients_per_round": COUNT._replace(fix="leave it null to train centrally"),
    "federated.num_clients": ranges.NUM_CLIENTS,
    "federated.algorithm": Kinds("fedavg", "fedprox", "fednova", "scaffold", "personalized", "fedsgd"),
    "federated.partition": Kinds("iid", "dirichlet", "shards", "quantity", "sampled", "natural"),
    "federated.alpha": ranges.ALPHA._replace(fix="large is close to iid"),
    "federated.shards_per_client": ranges.SHARDS_PER_CLIENT,
    "federated.records_per_client": ranges.RECORDS_PER_CLIENT,
    "federated.num_buckets": ranges.NUM_BUCKETS,
    "federated.weights": Kinds("uniform", "sizes"),
    "federated.local_steps": ranges.LOCAL_STEPS,
    "federated.local_epochs": ranges.LOCAL_STEPS._replace(fix="leave it null for federated.local_steps"),
    "federated.local_batch_size": ranges.LOCAL_BATCH_SIZE._replace(fix="it counts rows of a local step"),
    "federated.client_learning_rate": Range("0 trains nothing", above=0),
    "federated.proximal": ranges.PROXIMAL,
    "federated.head_steps": ranges.HEAD_STEPS._replace(fix="leave it null to train all together"),
    "federated.straggler_rate": ranges.STRAGGLER_RATE,
    "federated.dropout_rate": ranges.DROPOUT_RATE._replace(most=None, below=1, fix="of 1, every message is lost"),
    "federated.aggregation": Kinds("plain", "secure", "homomorphic"),
    "federated.threshold": Range("it is a share of the clients of a round", above=0, most=1),
    "federated.bits": ranges.RING_BITS,
    "federated.levels": ranges.RING_LEVELS._replace(fix="leave it null to have it chosen"),
    "federated.robust": Kinds("none", others=_robust_means),
    "federated.robust_fraction": ranges.ROBUST_FRACTION,
    "federated.local_sampling_rate": ranges.SAMPLING_RATE._replace(fix="it is a share of a client's rows"),
    "federated.noise_cohort": COUNT._replace(fix="leave it null for the noise of the round itself"),
    "tracker.name": Kinds("none", "wandb"),
    "governance.name": Kinds("off", "local"),
    "num_seeds": COUNT._replace(fix="it counts runs of a point"),
    "engine": Kinds("auto", "tuned", others=_engines),
    "microbatch_size": ranges.MICROBATCH_SIZE._replace(fix="leave it null to have it chosen"),
    "checkpoint_seconds": Range("60 loses a minute at most; leave it null to keep none", above=0),
    "resume": Kinds("same", "config"),
    "notify": Notes("", "desktop", "webhook"),
}
"""Field → what it may be, whatever the others are; and None, where its type says so."""


def refuse_out_of_range(cfg: Config) -> None:
    """Refuse the first field that is not what it may be.

    Raises:
      ConfigError: in one sentence with the field, its value and the fix.

    Example:
      >>> from experiments.config import PrivacyConf
      >>> refuse_out_of_range(Config(privacy=PrivacyConf(delta=2.0)))
      Traceback (most recent call last):
      experiments.config.ConfigError: privacy.delta=2.0 must be in (0, 1); give a probability well below 1 / population.
    """
    for field, allowed in MAY_BE.items():
        value = value_of(cfg, field)
        if value is None or value == DEFAULTS[field]:
            continue
        if isinstance(allowed, Kinds):
            allowed.refuse(field, value)
            continue
        try:
            allowed.known(field, value)
        except ValueError as error:
            raise ConfigError(str(error)) from None
