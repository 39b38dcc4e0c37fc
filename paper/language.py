"""Rows 21 to 23: published scores of tuned language models, and what of a result each is compared with."""

from typing import NamedTuple


class PublishedScore(NamedTuple):
    """A published score of a tuned language model.

    Attributes:
      row: number in the list of published values.
      source: who published it.
      task: what it was tuned on, in words.
      dataset: of a result, and of the config that has its recipe.
      model: part of the checkpoint's name.
      tuning: what was trained, as a result says it.
      clipping: as a result says it.
      epsilon: of the run.
      value: test accuracy in percent, or BLEU.
      unit: of the value: ``"%"`` or ``"BLEU"``.
    """

    row: int
    source: str
    task: str
    dataset: str
    model: str
    tuning: str
    clipping: str
    epsilon: float
    value: float
    unit: str = "%"

    @property
    def experiment(self) -> str:
        """Name of the config that has the recipe.

        >>> LANGUAGE[0].experiment
        'published_roberta_qnli'
        """
        return "published_e2e_gpt2" if self.dataset == "e2e" else f"published_roberta_{self.dataset}"

    @property
    def quantity(self) -> str:
        """What it is, in the words of a table.

        >>> LANGUAGE[0].quantity
        'RoBERTa-large, QNLI, LoRA, ε=8'
        """
        name = "GPT-2" if self.model == "gpt2" else "RoBERTa-large"
        how = "LoRA" if self.tuning.startswith("lora") else "full"
        auto = ", automatic clipping" if self.clipping.startswith("automatic") else ""
        return f"{name}, {self.task}, {how}{auto}, ε={self.epsilon:g}"


_LARGE = "roberta-large"
_TASKS = {"sst2": "SST-2", "qnli": "QNLI", "qqp": "QQP", "mnli": "MNLI"}
# SST-2 of the first is compared with a smaller model on other reviews.
_LORA = {"qnli": 91.1, "qqp": 88.1, "mnli": 87.9}
_FULL = {
    (3.0, "flat", "Li et al., 2021"): {"sst2": 93.04, "qnli": 90.76, "qqp": 86.43, "mnli": 86.43},
    (8.0, "flat", "Li et al., 2021"): {"sst2": 93.81, "qnli": 91.10, "qqp": 87.47, "mnli": 87.02},
    (3.0, "automatic", "Bu et al., 2023"): {"sst2": 93.92, "qnli": 91.01, "qqp": 86.76, "mnli": 86.27},
    (8.0, "automatic", "Bu et al., 2023"): {"sst2": 94.61, "qnli": 91.45, "qqp": 87.47, "mnli": 87.07},
}
_E2E = (("full", 3.0, 61.519), ("full", 8.0, 63.189), ("lora(4)", 3.0, 58.153), ("lora(4)", 8.0, 63.389))

LANGUAGE: tuple[PublishedScore, ...] = (
    *(
        PublishedScore(21, "Yu et al., 2021", _TASKS[name], name, _LARGE, "lora(16)", "flat", 8.0, value)
        for name, value in _LORA.items()
    ),
    *(
        PublishedScore(22, source, _TASKS[name], name, _LARGE, "full", clipping, epsilon, value)
        for (epsilon, clipping, source), values in _FULL.items()
        for name, value in values.items()
    ),
    *(
        PublishedScore(23, "Li et al., 2021", "E2E", "e2e", "gpt2", tuning, "flat", epsilon, value, "BLEU")
        for tuning, epsilon, value in _E2E
    ),
)
"""Of accuracies the matched half of MNLI; both of Li et al. stand as well in the tables of Bu et al."""
