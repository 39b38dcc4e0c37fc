"""A pretrained language model on pairs of answers: the chosen one is to become likelier than the checkpoint has it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpjax.datasets import Dataset
from dpjax.datasets.own_tables.conversations import read_turns
from dpjax.datasets.selection import Rows, only
from dpjax.lengths import length_buckets, lengths_of
from dpjax.models import objectives
from dpjax.models.preference import Judged, log_probabilities, packed, preference
from dpjax.models.pretrained import Encoded, Pairs, Pretrained, encode_answers, encode_preferences
from dpjax.models.transformers import Head, Plan
from dpjax.models.tuning import Tuned, fine_tune
from dpjax.models.tuning_methods import Method
from experiments.config import Config, ModelConf
from experiments.problems.problem import Problem
from experiments.task import Tell

BATCH = 8
"""Pairs that the start is asked about at once."""


def make_problem(
    cfg: Config,
    dataset: Dataset,
    kept: np.ndarray | None,
    held_out: Rows | None,
    body: Pretrained,
    tuned: Tuned,
    facts: dict[str, Any],
    tell: Tell,
) -> Problem:
    """Pairs of answers and a checkpoint as a problem.

    Args:
      cfg: of the group of jobs.
      dataset: prompts with two answers.
      kept: the rows of them that train; None: all.
      held_out: rows for validation, which the data set has no more.
      body: the checkpoint.
      tuned: what of it is trained.
      facts: columns of the results.
      tell: hears what takes long.
    """
    tell(f"tokenizing {dataset.name}", 0, 1)
    dataset = only(dataset, kept)
    given = [dataset.train_inputs, dataset.test_inputs, *([] if held_out is None else [held_out.inputs])]
    pairs = [_encoded(body, dataset, rows, cfg.model) for rows in given]
    sizes = [len(each.ids) for each in pairs]
    tell("asking the start", 0, 1)
    known = _judged(cfg.model, body, pairs)
    train, test = pairs[0], pairs[1]
    longest = Encoded(train.ids.max(1), train.answer[:, 0], train.cut)
    lengths = lengths_of(longest, cfg.model.num_lengths)
    parts = np.split(known, np.cumsum(sizes)[:-1])

    def score(frozen: Any) -> objectives.ScoreFn:
        return preference(tuned.next_tokens(frozen[1]), cfg.model.beta)

    def rows(place: int, number: int | None = None) -> list[Any]:
        ids, numbers = pairs[place].ids[:number], parts[place][:number]
        groups = objectives.by_length(ids.max(1), np.arange(len(ids), dtype=np.int32), lengths)
        return [(jnp.asarray(ids[index][..., : cut.shape[1]]), jnp.asarray(numbers[index])) for cut, index in groups]

    return Problem(
        dataset=dataclasses.replace(
            dataset,
            train_inputs=train.ids,
            test_inputs=test.ids,
            train_labels=parts[0],
            test_labels=parts[1],
            input_shape=train.ids.shape[1:],
        ),
        frozen=(tuned.start, tuned.frozen),
        init=lambda frozen, key: tuned.init(frozen[0], key),
        loss_fn=lambda frozen: objectives.mean_loss(score(frozen)),
        evaluate=lambda frozen, params, rows: objectives.evaluate(score(frozen), params, rows, batch_size=BATCH),
        train_rows=rows(0, cfg.data.num_evaluated or EVALUATED),
        test_rows=rows(1),
        predict=None,
        by_length=None
        if len(lengths) == 1
        else length_buckets(
            lengths,
            ids_of=lambda units: units[0].max(1),
            replace_ids=lambda units, ids: (units[0][..., : ids.shape[1]], *units[1:]),
        ),
        facts=facts | {"cut_share": float(np.mean(train.cut))},
        validation_rows=None if held_out is None else rows(2),
        tokens_per_row=float(np.mean((train.ids >= 0).sum((1, 2)))),
    )


EVALUATED = 512
"""Training pairs that are evaluated if the config does not say."""


def _encoded(body: Pretrained, dataset: Dataset, rows: np.ndarray, model: ModelConf) -> Pairs:
    what = f"data={dataset.name}"
    if dataset.task == "document":
        return encode_answers([(str(a), str(b), str(c)) for a, b, c in rows], body.tokenizer, model.max_length)
    turns = [(read_turns(prompt), read_turns(chosen), read_turns(other)) for prompt, chosen, other in rows.tolist()]
    return encode_preferences(turns, body.tokenizer, model.max_length, what=what)


def _judged(model: ModelConf, body: Pretrained, pairs: list[Pairs]) -> np.ndarray:
    """Facts of all pairs: where answers begin, and how likely the checkpoint has them, once and for all."""
    plan = Plan(dtype=jnp.dtype(model.dtype))
    # Adapters that were not trained add nothing: the start is then the checkpoint as it is stored.
    method, kind = Method("full" if model.frozen_dtype is None else "lora"), model.frozen_dtype
    start = fine_tune(
        body.arch,
        body.params,
        Head("causal", 0),
        method,
        plan=plan,
        scan_layers=True,
        frozen_dtype=kind,  # pyright: ignore[reportArgumentType]
    )

    @jax.jit
    def judge(params: Any, frozen: Any, ids: jax.Array, answer: jax.Array) -> jax.Array:
        known = start.next_tokens(frozen)
        return jax.vmap(lambda *pair: log_probabilities(known, params, *pair))(ids, answer)

    trained, frozen = start.init(start.start, jax.random.key(0)), jax.tree.map(jnp.asarray, start.frozen)
    ids, answer = (np.concatenate([getattr(each, name) for each in pairs]) for name in ("ids", "answer"))
    found = []
    for first in range(0, len(ids), BATCH):
        some = np.arange(first, first + BATCH) % len(ids)  # of one shape, so that it is compiled once
        found.append(np.asarray(judge(trained, frozen, ids[some], answer[some])))
    reference = np.concatenate(found)[: len(ids)]
    return np.asarray(packed(Judged(jnp.asarray(answer), jnp.asarray(reference))))
