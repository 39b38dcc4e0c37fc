"""A pretrained language model on texts: tokens, lengths, what is trained, and what it is scored by."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpjax.datasets import Dataset
from dpjax.datasets.own_tables.conversations import read_turns
from dpjax.datasets.own_tables.tokens import UNKNOWN
from dpjax.datasets.selection import Rows, only
from dpjax.lengths import length_buckets, lengths_of
from dpjax.models import logistic, objectives
from dpjax.models.pretrained import Encoded, Pretrained, encode_conversations, encode_ids
from dpjax.models.transformers import Head, Lora, Plan
from dpjax.models.tuning import Tuned, fine_tune
from dpjax.models.tuning_methods import Method
from experiments.argument_fields import TUNING, in_fields
from experiments.config import Config, ConfigError, ModelConf, TuningConf
from experiments.problems import canaries, preferences, synthetic
from experiments.problems.features import load_checkpoint, may_be_kept, pooling_of, vectors
from experiments.problems.problem import Finish, Problem, plain_problem
from experiments.task import Tell

EVALUATED = 512
"""Training rows that are evaluated if the config does not say: a forward pass over all of them would cost an epoch."""

SCANNED_FROM = 12
"""Layers from which on they are compiled as one loop."""


def make_problem(cfg: Config, dataset: Dataset, kept: np.ndarray | None, held_out: Rows | None, tell: Tell) -> Problem:
    """Texts and a checkpoint as a problem.

    Args:
      cfg: of the group of jobs.
      dataset: all of the texts.
      kept: the rows of them that train; None: all.
      held_out: texts for validation, which the data set has no more.
      tell: hears what takes long.

    Raises:
      ValueError: no texts, a task that they or the checkpoint are not made for, or a checkpoint that is not here.
    """
    if dataset.task not in ("document", "tokens", "chat"):
        raise ConfigError(
            f"model=pretrained reads texts, and data={dataset.name} is a {dataset.task}; `dpjax data list` names those "
            "with input text."
        )
    tell("loading the model", 0, 1)
    body = load_checkpoint(cfg.model.checkpoint)
    _check(cfg.model, dataset, body)
    facts = {
        "model": _describe_model(cfg, body),
        "tuning": describe(cfg.tuning, cfg.federated.client_ranks),
        "dtype": _dtype(cfg.model),
        "checkpoint": f"{body.source}; {UNKNOWN}" if dataset.task == "tokens" else body.source,
        "max_length": cfg.model.max_length,
    }
    if cfg.model.task == "preference":
        tuned = make_tuned(cfg.model, cfg.tuning, body, dataset.num_classes)
        return preferences.make_problem(cfg, dataset, kept, held_out, body, tuned, facts, tell)
    made_up = cfg.model.task == "synthetic"
    shown = synthetic.as_pairs(cfg.synthesis, dataset) if made_up else dataset
    tell(f"{'cutting the ids of' if dataset.task == 'tokens' else 'tokenizing'} {dataset.name}", 0, 1)
    train, test = (_encoded(body, shown, texts, cfg.model) for texts in (shown.train_inputs, shown.test_inputs))
    checked = None if held_out is None else _encoded(body, dataset, held_out.inputs, cfg.model)
    facts["cut_share"] = float(np.mean(train.cut))
    if cfg.model.task == "classify" and cfg.tuning.name == "head" and cfg.tuning.cache_features:
        table = None
        if held_out is not None and checked is not None:
            table = held_out._replace(inputs=vectors(cfg.model, body, checked, tell, keep=may_be_kept(cfg)))
        return _on_features(cfg, dataset, kept, body, (train, test), facts, tell, table)
    if kept is not None:
        dataset, train = only(dataset, kept), Encoded(*(column[kept] for column in train))
    numbers = (
        (dataset.train_labels, dataset.test_labels) if cfg.model.task == "classify" else (train.answer, test.answer)
    )
    tell("loading the model", 0, 1)
    tuned = make_tuned(cfg.model, cfg.tuning, body, dataset.num_classes)
    encoded = dataclasses.replace(
        dataset,
        train_inputs=train.ids,
        test_inputs=test.ids,
        train_labels=numbers[0].astype(np.int32),
        test_labels=numbers[1].astype(np.int32),
        input_shape=(cfg.model.max_length,),
    )
    lengths = lengths_of(train, cfg.model.num_lengths)
    some = slice(EVALUATED if cfg.data.num_evaluated is None else cfg.data.num_evaluated)
    # Synthetic text is tested by its readers; of the decoder's own loss an estimate will do.
    evaluated = some if made_up else slice(None)
    validation = None
    if held_out is not None and checked is not None:
        validation = objectives.by_length(
            checked.ids, held_out.labels if cfg.model.task == "classify" else checked.answer, lengths
        )
    return Problem(
        dataset=encoded,
        frozen=(tuned.start, tuned.frozen),
        init=lambda frozen, key: tuned.init(frozen[0], key),
        loss_fn=lambda frozen: objectives.mean_loss(_score(cfg.model.task, tuned, body, frozen)),
        evaluate=lambda frozen, params, rows: objectives.evaluate(
            _score(cfg.model.task, tuned, body, frozen), params, rows, batch_size=16
        ),
        train_rows=objectives.by_length(train.ids[some], numbers[0][some], lengths),
        test_rows=objectives.by_length(test.ids[evaluated], numbers[1][evaluated], lengths),
        predict=(lambda frozen: _batched(tuned, frozen)) if cfg.model.task == "classify" else None,
        by_length=length_buckets(lengths) if len(lengths) > 1 else None,
        facts=facts,
        validation_rows=validation,
        tokens_per_row=float(np.mean((train.ids >= 0).sum(1))),
        finish=_finish(cfg, dataset, body, tuned),
    )


def _finish(cfg: Config, dataset: Dataset, body: Pretrained, tuned: Tuned) -> Finish | None:
    """What is done with what was trained: texts are written, or planted secrets are looked for."""
    if cfg.model.task == "synthetic":
        return synthetic.make_finish(cfg, dataset, body, tuned)
    if not cfg.data.canaries:
        return None
    if cfg.model.task != "causal":
        raise ConfigError(
            f"data.canaries={cfg.data.canaries} are looked for by their likelihood, which model.task={cfg.model.task} "
            "has not; use causal, or leave it at 0."
        )
    least = cfg.federated.records_per_client if cfg.is_federated else cfg.privacy.records_per_unit
    if least is not None and least < max(cfg.data.canary_repetitions, default=0):
        name = "federated.records_per_client" if cfg.is_federated else "privacy.records_per_unit"
        raise ConfigError(
            f"data.canary_repetitions={cfg.data.canary_repetitions} are more than the {name}={least} rows that a "
            "person keeps; lower them, or raise that."
        )
    return canaries.make_finish(
        cfg.data, cfg.model, body, tuned, lambda frozen: _score(cfg.model.task, tuned, body, frozen)
    )


def _encoded(body: Pretrained, dataset: Dataset, texts: np.ndarray, model: ModelConf) -> Encoded:
    if dataset.task == "document":
        return body.tokenizer.encode(texts, model.max_length)
    if dataset.task == "chat":
        turns = [read_turns(each) for each in texts.tolist()]
        encoded = encode_conversations(turns, body.tokenizer, model.max_length, what=f"data={dataset.name}")
        # Of a whole conversation each token counts.
        return encoded if model.task == "completion" else encoded._replace(answer=np.zeros(len(turns), np.int32))
    return encode_ids(texts, body.tokenizer, model.max_length, what=f"data={dataset.name}")


def make_tuned(model: ModelConf, tuning: TuningConf, body: Pretrained, num_classes: int) -> Tuned:
    """The checkpoint split into what the config trains and what stays."""
    scan = model.scan_layers
    separator = body.tokenizer.separator if body.arch.num_segments else None
    with in_fields(TUNING):
        return fine_tune(
            body.arch,
            body.params,
            head_of(model, num_classes),
            method_of(tuning),
            plan=Plan(dtype=jnp.dtype(model.dtype), separator=separator, recompute=model.recompute),
            scan_layers=body.arch.num_layers >= SCANNED_FROM if scan is None else scan,
            frozen_dtype=model.frozen_dtype,  # pyright: ignore[reportArgumentType]
        )


def head_of(model: ModelConf, num_classes: int) -> Head:
    """What comes out at the end."""
    match model.task:
        case "classify":
            return Head("classify", num_classes, pooling_of(model))
        case "masked":
            return Head("masked", 0, pooling_of(model))
        case _:
            return Head("causal", 0, pooling_of(model))


def method_of(made: TuningConf) -> Method:
    """What is trained."""
    with in_fields(TUNING):
        lora = Lora(made.rank, made.alpha, tuple(made.targets))
        return Method(made.name, lora, made.last_layers, made.length, freeze_a=made.freeze_a)


def describe(made: TuningConf, client_ranks: Sequence[int] = ()) -> str:
    """What is trained, in a word and its own number; of clients with different ranks all of them."""
    number = {"lora": made.rank, "dora": made.rank, "last": made.last_layers}
    number |= {"prompt": made.length, "prefix": made.length}
    if made.name == "lora" and made.freeze_a:
        return f"lora_b({'/'.join(map(str, client_ranks)) or made.rank})"
    return f"{made.name}({number[made.name]})" if made.name in number else made.name


def _dtype(model: ModelConf) -> str | None:
    """Of the numbers that are computed with, where it is not the usual one."""
    if model.frozen_dtype is None:
        return None if model.dtype == "float32" else model.dtype
    return f"{model.dtype}, frozen {model.frozen_dtype}"


def _describe_model(cfg: Config, body: Pretrained) -> str:
    match cfg.model.task:
        case "classify":
            return body.name
        case "synthetic":
            return f"{cfg.synthesis.checkpoint} on {cfg.synthesis.num_texts} texts by {body.name}"
        case task:
            return f"{body.name} ({task})"


def _score(task: str, tuned: Tuned, body: Pretrained, frozen: Any) -> objectives.ScoreFn:
    model = tuned.applying(frozen[1])
    match task:
        case "classify":
            return objectives.classification(model)
        case "masked":
            assert body.tokenizer.mask is not None
            special = [] if body.tokenizer.separator is None else [body.tokenizer.separator]
            return objectives.masked(model, body.tokenizer.mask, body.arch.vocab_size, special=special)
        case _:
            return objectives.causal(tuned.next_tokens(frozen[1]))


def _batched(tuned: Tuned, frozen: Any) -> Any:
    model = tuned.applying(frozen[1])
    return jax.vmap(lambda params, row: model.apply(params, row, None), in_axes=(None, 0))


def _on_features(
    cfg: Config,
    dataset: Dataset,
    kept: np.ndarray | None,
    body: Pretrained,
    encoded: tuple[Encoded, Encoded],
    facts: dict[str, Any],
    tell: Tell,
    held_out: Rows | None,
) -> Problem:
    """A head on vectors: the body is run once over every text, and never again."""
    keep = may_be_kept(cfg)
    train, test = (vectors(cfg.model, body, rows, tell, keep=keep) for rows in encoded)
    table = dataclasses.replace(
        dataset, train_inputs=train, test_inputs=test, input_shape=train.shape[1:], task="table"
    )
    model = logistic(num_classes=dataset.num_classes, input_shape=table.input_shape)
    return plain_problem(cfg, only(table, kept), model, facts, held_out)


def _check(made: ModelConf, dataset: Dataset, body: Pretrained) -> None:
    arch = body.arch
    if made.max_length > arch.max_length:
        raise ConfigError(
            f"model.max_length={made.max_length} is more than the {arch.max_length} tokens that {body.name} knows "
            "positions for; lower it."
        )
    if made.task in ("causal", "completion", "preference", "synthetic") and not arch.causal:
        raise ConfigError(
            f"model.task={made.task}: {body.name} is a {arch.family}, which sees later tokens; use masked."
        )
    if made.task in ("causal", "completion", "synthetic") and not arch.tied and "vocabulary" not in body.params:
        raise ConfigError(
            f"model.task={made.task}: {body.name} was saved as a classifier, without its head over the vocabulary; "
            "take the model that it was tuned from."
        )
    if made.task == "masked" and body.tokenizer.mask is None:
        raise ConfigError(f"model.task=masked: {body.name} has no [MASK] token; use causal.")
    chat = dataset.task == "chat"
    if made.task == "synthetic" and dataset.task != "document":
        kind = "conversations" if chat else "token ids"
        raise ConfigError(f"model.task=synthetic writes texts, and data={dataset.name} holds {kind}; use data.text.")
    if (made.task == "preference") != (dataset.input_shape == (3,)):
        has = "three texts a row" if dataset.input_shape == (3,) else "not three texts a row"
        raise ConfigError(
            f"model.task={made.task}: data={dataset.name} has {has}, and preference alone takes prompt, chosen and "
            "rejected; name them in data.text or data.messages."
        )
    if made.task == "completion" and dataset.input_shape != (2,) and not (chat and dataset.input_shape == ()):
        raise ConfigError(
            f"model.task=completion takes pairs of instruction and answer, and data={dataset.name} has single texts; "
            "use causal."
        )
    if made.task == "classify" and dataset.num_classes < 2:
        raise ConfigError(f"model.task=classify: data={dataset.name} has no classes; use causal or completion.")
    if made.pooling == "pooler" and "pooler.kernel" not in body.params:
        raise ConfigError(f"model.pooling=pooler: {body.name} has none; use mean, first or last.")
