"""Typed configs: every field says what it means and whether a sweep over it recompiles."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from dpjax.accounting import distributed, local
from dpjax.accounting.samplings import DRAWN
from experiments.data_config import DataConf
from experiments.field_kinds import static, traced
from experiments.usual_rate import OF_CNN, OF_NUMBERS

CONF = Path(__file__).parent / "conf"

LOCAL_NOISE = {kind.noise: name for name, kind in local.KINDS.items()}
"""What a client may put on its own report, and the kind of report that it makes."""

SHARED_NOISE = tuple(distributed.KINDS)
"""What clients may add shares of before secure aggregation."""

NOISES = ("gaussian", "correlated", *LOCAL_NOISE, *SHARED_NOISE, "inside_clients")


def _either(names: Collection[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


class ConfigError(ValueError):
    """A value that can't be run: one sentence with the field, the value and the fix."""


@dataclass(frozen=True)
class ModelConf:
    name: str = static(
        "mlp", "scattering (fixed wavelets, then logistic), pretrained, or of dpjax.models.MODELS: mlp, cnn, ..."
    )
    hidden: list[int] = static([64], "widths of the hidden layers of mlp and text")
    activation: str = static("tanh", "activation of mlp, cnn and text; tanh bounds gradients, which helps under DP")
    groups: int = static(27, "scattering: groups of channels that each image is normalised in; 0: none")
    context: int = static(16, "text: how many of the last characters are read")
    embedding: int = static(16, "text: width of the embedding of a character")
    checkpoint: str = static("minilm", "pretrained: name in `dpjax models list`, owner/name of the hub, or a folder")
    task: str = static(
        "classify",
        "pretrained: classify, causal (next tokens), masked (hidden tokens), completion (of pairs and conversations), "
        "preference (of two answers) or synthetic (texts of each class are written; a head that learns from those is "
        "tested)",
    )
    beta: float = static(0.1, "preference: how near the model stays to its start; smaller lets it go farther")
    max_length: int = static(64, "pretrained: tokens of a text; longer ones lose their end")
    num_lengths: int = static(
        3, "pretrained: lengths that texts are cut to, so that short ones cost less; central only"
    )
    pooling: str = static("mean", "pretrained: what a class is read from: mean, first, last or pooler")
    dtype: str = static("float32", "pretrained: of activations and what stays, float32 or bfloat16")
    frozen_dtype: str | None = static(
        None,
        "pretrained: how matrices that stay are stored: float32, bfloat16, float16, int8, nf4 (QLoRA); null: in dtype",
    )
    recompute: bool = static(False, "pretrained: a layer's activations are computed again, not kept: a third slower")
    scan_layers: bool | None = static(
        None, "pretrained: layers as one loop, quicker to compile; null: from 12 layers on"
    )


@dataclass(frozen=True)
class TuningConf:
    name: str = static("lora", "pretrained: head, bitfit, lora, dora, ia3, last, prompt, prefix or full")
    rank: int = static(8, "lora, dora: rank of the adapters")
    alpha: float = static(16.0, "lora, dora: their scale; what they add is multiplied by alpha / rank")
    targets: list[str] = static(["query", "value"], "lora, dora: some of query, key, value, output, gate, up, down")
    freeze_a: bool = static(
        False, "lora: train b alone; a stays as drawn, so that a mean of messages is one of products"
    )
    last_layers: int = static(1, "last: layers that are trained")
    length: int = static(8, "prompt, prefix: trained vectors")
    cache_features: bool = static(True, "head: embed every text once, and train the head on the vectors")


@dataclass(frozen=True)
class SynthesisConf:
    instruction: str = static("A text of the class {class}:", "what the decoder is asked; {class} becomes a name")
    classes: list[str] = static([], "names of the classes in the instruction, in their order; []: the data's own")
    num_texts: int = static(400, "texts written, as many of each class")
    num_tokens: int = static(40, "most tokens of a text")
    temperature: float = static(1.0, "of the draws; 1: as the decoder believes")
    top_p: float = static(0.95, "tokens are drawn from the likeliest up to this mass")
    checkpoint: str = static("minilm", "what reads the texts; the head on it is what is tested")


@dataclass(frozen=True)
class PrivacyConf:
    epsilon: float = traced(1.0, "target ε; inf trains without clipping and noise")
    noise_multiplier: float | None = traced(
        None, "train with this noise and state its ε; epsilon is then only what cohorts must have room for"
    )
    delta: float = static(1e-5, "target δ, below 1/population; it decides the cohorts' capacity")
    clip_norm: float = traced(1.0, "bound on one unit's L2 norm; with clipping=adaptive the first of them")
    records_per_unit: int | None = static(
        None,
        "central: ε is for the owner of rows, who keeps at most so many, drawn and clipped one by one; null: for a row",
    )
    adjacency: str | None = static(
        None,
        "zero_out (the number of units is public), add_or_remove_one or replace_one; null: zero_out, and "
        "add_or_remove_one for independent noise on fixed_size cohorts, where it has the smaller ε",
    )
    accountant: str = traced("pld", "which accountant calibrates the noise: pld (tight) or rdp")
    noise: str = static(
        "gaussian",
        f"gaussian (on the sum), correlated (over the steps: DP-FTRL), {_either(LOCAL_NOISE)} (on each "
        f"client's report), {_either(SHARED_NOISE)} (clients add shares, with federated.aggregation=secure), or "
        "inside_clients (DP-SGD over each client's own rows: ε per example)",
    )
    factorization: str = static("banded", "correlated: banded, optimal, buffered or tree")
    bands: int | None = static(None, "correlated: bands of banded; null: the steps between participations")
    colluding: int = static(0, "discrete_gaussian and skellam: clients of a round whose noise does not count")
    secret_cohorts: bool = static(
        False,
        "discrete_gaussian, skellam: claim amplification, against those who do not see who takes part",
    )

    @property
    def is_private(self) -> bool:
        """Whether there is a finite ε, without which there is neither clipping nor noise."""
        return math.isfinite(self.epsilon)


@dataclass(frozen=True)
class ClippingConf:
    name: str = static("flat", "flat, per_layer, automatic or adaptive")
    stability: float = static(0.01, "γ of automatic clipping: gradients far below it stay small")
    target_quantile: float = static(0.5, "share of units that adaptive clipping leaves whole")
    learning_rate: float = static(0.2, "step size of the clip norm under adaptive clipping")
    count_stddev: float | None = static(
        None, "noise on the count of adaptive clipping; null: expected cohort size / 20"
    )


@dataclass(frozen=True)
class OptimizerConf:
    name: str = static("sgd", "sgd, adam, adamw, adam_corrected or yogi, applied to the noised mean")
    learning_rate: float = traced(
        0.5,
        f"step size; of the server if federated; of sgd, central or fedsgd, with data.target=number {OF_NUMBERS}, and "
        f"with model=cnn {OF_CNN}",
        hparam=True,
    )
    momentum: float = traced(0.9, "heavy-ball momentum of sgd", hparam=True)
    weight_decay: float = traced(0.0, "decoupled weight decay of adamw", hparam=True)
    second_decay: float = static(0.999, "decay β₂ of the squares in all but sgd; 0.99 is usual in a server")
    adaptivity: float = static(
        1e-8, "what adam, adamw and yogi add to the root of the squares, 1e-3 in a server; floor of adam_corrected"
    )
    warmup_steps: int = static(0, "steps in which the learning rate rises to its value")
    decay: str = static("none", "how it falls afterwards: none, linear or cosine")
    ema: float = static(0.0, "decay of a moving average of the parameters, which is what is evaluated; 0: none")
    num_steps: int = static(100, "steps; rounds if federated")
    sampling: str = static("poisson", f"how cohorts are drawn: {', '.join(DRAWN)}")
    sampling_rate: float = static(0.25, "share of examples in a step; federated: clients_per_round / num_clients")
    evaluate_every: int = static(10, "steps between evaluations")


@dataclass(frozen=True)
class CorruptionConf:
    name: str = static("none", "none, nan, scaled, sign_flipped, noise (what clients send) or labels (flipped rows)")
    fraction: float = static(0.1, "share of the clients that are corrupted")
    factor: float | None = static(None, "of scaled (10 if null) and sign_flipped (1)")


@dataclass(frozen=True)
class CompressionConf:
    name: str = static("none", "none, quantized, random_k, top_k or sketch")
    bits: int = static(8, "quantized: of a coordinate, 2 to 16")
    fraction: float = static(0.1, "random_k, top_k: share of coordinates sent; sketch: sums / coordinates")
    error_feedback: bool = static(False, "top_k: clients send later what they kept back")


@dataclass(frozen=True)
class FederatedConf:
    clients_per_round: int | None = static(None, "expected clients in a round; null trains centrally")
    num_clients: int = static(400, "clients that share the training set; partition=natural has its own number")
    algorithm: str = static(
        "fedavg",
        "fedavg, fedprox, fednova, scaffold or personalized (clients send deltas), or fedsgd (one gradient each)",
    )
    partition: str = static("iid", "iid, dirichlet, shards, quantity, sampled (clients share rows) or natural (owners)")
    alpha: float = static(0.5, "concentration of the dirichlet, quantity and sampled partitions; small is skewed")
    shards_per_client: int = static(2, "shards of one class each that a client gets under partition=shards")
    records_per_client: int | None = static(None, "rows of a client under sampled; most rows of one under natural")
    num_buckets: int = static(1, "sizes that clients are padded to; more save memory and time where sizes differ much")
    weights: str = static("uniform", "uniform, or sizes: p_k by rows, which are private, so only without DP")
    client_ranks: list[int] = static(
        [], "ranks of adapters, as many clients of each, with tuning.freeze_a; []: all have tuning.rank"
    )
    local_steps: int = static(5, "local steps of a client")
    local_epochs: int | None = static(None, "passes over a client's rows instead of local_steps")
    local_batch_size: int = static(10, "records in a local step")
    client_learning_rate: float = traced(
        0.5, f"step size of local training; with data.target=number {OF_NUMBERS}", hparam=True
    )
    proximal: float = traced(0.1, "μ of algorithm=fedprox; the first one if adaptive", hparam=True)
    adaptive_proximal: bool = static(False, "let μ follow the clients' loss, which is noised with the deltas")
    personal: str = static("head", "parameters whose path holds this word stay with their client if personalized")
    head_steps: int | None = static(None, "local steps on the personal part first; null trains all together")
    straggler_rate: float = traced(0.0, "chance that a client is stopped after a part of its local steps", hparam=True)
    dropout_rate: float = traced(0.0, "chance that a client is lost before its message arrives", hparam=True)
    aggregation: str = static("plain", "plain, secure (masks and shares) or homomorphic (CKKS)")
    threshold: float = static(0.5, "secure: share of clients_per_round that could unmask others; fewer answers abort")
    bits: int = static(32, "secure: width of a ring element")
    levels: int | None = static(None, "secure: grid steps in a clip norm; the most that cannot wrap around if null")
    masks: bool = static(True, "secure: run keys, shares and masks; false leaves out what cancels, for large sweeps")
    robust: str = static(
        "none", "none, or a mean without sensitivity: trimmed_mean, median, krum, multi_krum, geometric_median"
    )
    robust_fraction: float = static(0.2, "share of corrupted clients that trimmed_mean, krum and multi_krum expect")
    corruption: CorruptionConf = field(default_factory=CorruptionConf)
    compression: CompressionConf = field(default_factory=CompressionConf)
    local_sampling_rate: float = static(0.1, "privacy.noise=inside_clients: share of a client's rows in a local step")
    noise_cohort: int | None = traced(
        None, "simulate a federation as many times larger: noise is that of a round with so many clients"
    )

    @property
    def expected_clients(self) -> int:
        """``clients_per_round`` of what is federated.

        Raises:
          ConfigError: it trains centrally.
        """
        if self.clients_per_round is None:
            raise ConfigError("federated.clients_per_round=None trains centrally; give the clients of a round.")
        return self.clients_per_round


@dataclass(frozen=True)
class TrackerConf:
    name: str = traced("none", "none or wandb")
    project: str = traced("dpjax", "wandb project")
    entity: str | None = traced(None, "wandb account or team")
    mode: str | None = traced(None, "online, offline or disabled; null is offline without an account")
    group: str | None = traced(None, "wandb group; the experiment's name if null")


@dataclass(frozen=True)
class GovernanceConf:
    name: str = traced("off", "off, or local: runs reserve their ε in a ledger of budgets before their first step")
    ledger: str | None = traced(
        None, "local: its database, a file or postgresql://user@host/name; null: $DPJAX_LEDGER, or the user's own file"
    )
    seal: bool = traced(False, "local: results and checkpoints lie encrypted, by the keys that $DPJAX_KEYS names")


@dataclass(frozen=True)
class Config:
    experiment: str = traced("default", "file of settings, which names the sweep and its results folder")
    name: str = traced("", "of the sweep and its results folder, in place of the experiment's")
    method: str = traced("", "name under which a leaderboard lists the run")
    task: str = traced("", "name of a leaderboard's task")
    data: DataConf = field(default_factory=DataConf)
    model: ModelConf = field(default_factory=ModelConf)
    tuning: TuningConf = field(default_factory=TuningConf)
    synthesis: SynthesisConf = field(default_factory=SynthesisConf)
    privacy: PrivacyConf = field(default_factory=PrivacyConf)
    clipping: ClippingConf = field(default_factory=ClippingConf)
    optimizer: OptimizerConf = field(default_factory=OptimizerConf)
    federated: FederatedConf = field(default_factory=FederatedConf)
    tracker: TrackerConf = field(default_factory=TrackerConf)
    governance: GovernanceConf = field(default_factory=GovernanceConf)
    plugin: str = static(
        "",
        "a .py file, or module, whose make_optimizer(hparams, cohort_size), clipping_rule(), "
        "make_model(num_classes, input_shape), make_loss(model) or "
        "make_sampler(population, sampling_rate, num_steps) takes the place of the config's, or whose "
        "test_scores(logits, labels) adds columns",
    )
    num_seeds: int = traced(3, "runs of each point, as lanes; mean and deviation are over them")
    seed: int = traced(0, "first seed; the others follow")
    engine: str = static("auto", "clipping engine: auto, bookkeeping, microbatch, materialize or tuned (by the clock)")
    microbatch_size: int | None = static(None, "contributions formed at once; chosen if null")
    lanes: str = static("auto", "how lanes run: auto, map, vmap, or so many at a time (8)")
    save_model: bool = static(
        False, "write what each job's first seed has trained: adapters in PEFT's layout, tuned models as safetensors"
    )
    checkpoint_seconds: float | None = traced(
        None, "seconds between states kept on disk, from which the same command goes on after a kill; null: none"
    )
    resume: str = traced(
        "same", "which results count as finished: same (config, code and files) or config (code and files may differ)"
    )
    figures: bool = traced(True, "whether a sweep ends in figures")
    notify: str = traced(
        "", "at the end of a sweep: desktop (a notification) or webhook (one sentence is posted to $DPJAX_WEBHOOK)"
    )
    results_dir: str = traced("results", "folder of all results")

    @property
    def is_federated(self) -> bool:
        """Whether clients train, or users are drawn whole."""
        return self.federated.clients_per_round is not None


def writable(schema: type) -> DictConfig:
    """A schema that Hydra can compose into, whose objects can't be changed once they are made."""
    node = OmegaConf.structured(schema)
    for path in ("", *_groups(schema)):
        OmegaConf.set_readonly(OmegaConf.select(node, path) if path else node, None)
    OmegaConf.set_struct(OmegaConf.select(node, "data.columns"), False)  # its names are the table's
    return node


def _groups(schema: Any, prefix: str = "") -> list[str]:
    """The paths of what holds fields."""
    nested = [spec for spec in fields(schema) if is_dataclass(spec.type)]
    return [path for spec in nested for path in (prefix + spec.name, *_groups(spec.type, f"{prefix}{spec.name}."))]


ConfigStore.instance().store(name="schema", node=writable(Config))
