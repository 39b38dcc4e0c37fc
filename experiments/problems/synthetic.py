"""Synthetic text: a decoder tuned privately on texts given their class writes new ones, and a head learns from those.

The head sees nothing but what was written, which is computed from the tuned parameters alone: its ε is the decoder's.
"""

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.datasets import Dataset
from dpjax.models.generation import Sampling
from dpjax.models.pretrained import Pretrained
from dpjax.models.pretrained.writing import write_tuned
from dpjax.models.probing import head_scores
from dpjax.models.tuning import Tuned
from dpjax.results import write_claim
from experiments.config import Config, ConfigError, SynthesisConf
from experiments.own_data import classes_are_learnt
from experiments.problems.features import load_checkpoint, may_be_kept, vectors
from experiments.problems.problem import Finish
from experiments.task import Tell


def as_pairs(made: SynthesisConf, dataset: Dataset) -> Dataset:
    """Each text as the answer to an instruction that names its class, which is what the decoder learns from.

    Raises:
      ConfigError: texts without classes, or names for another number of classes.
    """
    if dataset.num_classes < 2 or dataset.input_shape != ():
        raise ConfigError(
            f"model.task=synthetic: data={dataset.name} has no single texts with classes; use causal or completion."
        )
    prompts = instructions(made, dataset)

    def pairs(texts: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.stack([prompts[labels], texts.astype(prompts.dtype)], axis=1)

    return dataclasses.replace(
        dataset,
        train_inputs=pairs(dataset.train_inputs, dataset.train_labels),
        test_inputs=pairs(dataset.test_inputs, dataset.test_labels),
        input_shape=(2,),
    )


def instructions(made: SynthesisConf, dataset: Dataset) -> np.ndarray:
    """``[classes]`` what the decoder is asked for each class."""
    names = list(made.classes) or [name.replace("_", " ") for name in dataset.class_names]
    if len(names) != dataset.num_classes:
        raise ConfigError(
            f"synthesis.classes={names} names {len(names)} classes and data={dataset.name} has "
            f"{dataset.num_classes}; name each, in their order, or leave it empty."
        )
    return np.array([made.instruction.replace("{class}", name) for name in names], np.dtypes.StringDType())


def make_finish(cfg: Config, dataset: Dataset, body: Pretrained, tuned: Tuned) -> Finish:
    """What is done with a tuned decoder: write, learn a head from what was written, test it on real texts.

    Args:
      cfg: of the group of jobs.
      dataset: real texts and their classes; only those that test are looked at.
      body: the decoder's checkpoint.
      tuned: how it was split.

    Raises:
      ConfigError: texts that the decoder has no positions for.
    """
    synthesis, classes = cfg.synthesis, dataset.num_classes
    reader = load_checkpoint(synthesis.checkpoint)
    prompts = [str(each) for each in instructions(synthesis, dataset)]
    room = body.arch.max_length - max(len(body.tokenizer.raw.encode(prompt).ids) for prompt in prompts) - 1
    if synthesis.num_tokens > room:
        raise ConfigError(
            f"synthesis.num_tokens={synthesis.num_tokens} is more than the {room} tokens that {body.name} has "
            "positions for after the instruction; lower it."
        )

    def finish(trained: Any, seed: int, folder: Path, row: Mapping[str, Any], tell: Tell) -> dict[str, float]:
        # As many of each class: how many there are among the private texts is not given away.
        labels = np.arange(synthesis.num_texts) % classes
        texts = write_tuned(
            tuned,
            trained,
            body.tokenizer,
            [prompts[label] for label in labels],
            num_tokens=synthesis.num_tokens,
            sampling=Sampling(synthesis.temperature, synthesis.top_p),
            seed=seed,
            progress=lambda done, total: tell("writing texts", done, total),
        )
        written = [(text.strip(), int(label)) for text, label in zip(texts, labels, strict=True) if text.strip()]
        if not written:
            raise ConfigError(
                f"synthesis.num_texts={synthesis.num_texts}: the tuned {body.name} ended every text at once, so there "
                "is nothing to learn from; lower optimizer.learning_rate, or raise privacy.epsilon."
            )
        _save(folder / f"synthetic-{seed}.csv", written, dataset.class_names)
        weights = "average" if cfg.optimizer.ema else "last"
        named = classes_are_learnt(cfg.data, dataset.learnt)
        write_claim(
            folder, row, weights=weights, class_names=named, file=f"synthetic-{seed}.privacy.json", readme=False
        )

        def read(rows: Any, keep: bool) -> np.ndarray:
            return vectors(cfg.model, reader, reader.tokenizer.encode(rows, cfg.model.max_length), tell, keep=keep)

        known = read([text for text, _ in written], False), np.array([label for _, label in written], np.int32)
        test_rows = read(dataset.test_inputs, may_be_kept(cfg)), dataset.test_labels.astype(np.int32)
        return head_scores(known, test_rows, classes)

    return finish


def _save(path: Path, written: list[tuple[str, int]], class_names: tuple[str, ...]) -> None:
    """What was written, for people and as a data set of its own: data.name='PATH?text=text&label=label'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        out.writerows((text, class_names[label]) for text, label in written)
