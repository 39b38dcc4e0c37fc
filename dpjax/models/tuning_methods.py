"""What of a pretrained model may be trained, and what each way adds to it."""

from dataclasses import dataclass

from dpjax.checks import one_of
from dpjax.models.transformers import Added, Ia3, Lora, SoftPrompt
from dpjax.ranges import LAST_LAYERS, PROMPT_LENGTH, RANK

METHODS = ("full", "head", "bitfit", "lora", "dora", "ia3", "last", "prompt", "prefix")

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
"""Dense layers that an adapter may sit on."""


@dataclass(frozen=True)
class Method:
    """What is trained. The head of a task that the checkpoint has no head for is trained with every method.

    Attributes:
      name: ``"full"``; ``"head"`` (the new head alone); ``"bitfit"`` (all biases); ``"lora"`` (low-rank adapters);
        ``"dora"`` (adapters, and the length of each output of the sum); ``"ia3"`` (vectors that scale keys, values and
        what the MLP hides); ``"last"`` (the last layers); ``"prompt"`` (vectors before the text); ``"prefix"`` (keys
        and values in every block). Keys' biases are never trained where positions are learned: their gradient is
        always zero.
      lora: rank, scale and targets of ``"lora"`` and ``"dora"``.
      last_layers: of ``"last"``.
      length: vectors of ``"prompt"`` and ``"prefix"``.
      ia3: what ``"ia3"`` scales.
      freeze_a: of ``"lora"``: ``a`` stays as it was drawn, the same for every run, and ``b`` alone is trained. What
        adapters add is then linear in what is trained: a mean of messages is a mean of products (FFA-LoRA).

    References:
      Hu et al., LoRA, 2022 (https://arxiv.org/abs/2106.09685); Liu et al., DoRA, 2024
      (https://arxiv.org/abs/2402.09353); Liu et al., IA³, 2022 (https://arxiv.org/abs/2205.05638); Ben Zaken et al.,
      BitFit, 2022 (https://arxiv.org/abs/2106.10199); Lester et al., prompt tuning, 2021
      (https://arxiv.org/abs/2104.08691); Li and Liang, prefix tuning, 2021 (https://arxiv.org/abs/2101.00190); under
      DP: Yu et al., 2022 (https://arxiv.org/abs/2110.06500), Bu et al., 2022 (https://arxiv.org/abs/2210.00036); Sun
      et al., FFA-LoRA, 2024 (https://arxiv.org/abs/2403.12313).
    """

    name: str
    lora: Lora = Lora()
    last_layers: int = 1
    length: int = 8
    ia3: Ia3 = Ia3()
    freeze_a: bool = False

    def __post_init__(self) -> None:
        one_of("name", self.name, METHODS)
        if self.lora.dora and self.name == "lora":
            object.__setattr__(self, "name", "dora")
        RANK.known("rank", self.lora.rank)
        if not self.lora.targets:
            raise ValueError(f"targets=[] must name some of {', '.join(TARGETS)}; adapters stand beside those.")
        for target in (*self.lora.targets, *self.ia3.outputs, *self.ia3.inputs):
            one_of("targets", target, TARGETS)
        LAST_LAYERS.known("last_layers", self.last_layers)
        PROMPT_LENGTH.known("length", self.length)

    @classmethod
    def of(cls, adapters: Lora | Ia3 | SoftPrompt) -> "Method":
        """What goes on training adapters of this kind, as ``load_adapters`` found them.

        Example:
          >>> Method.of(Ia3()).name, Method.of(Lora(dora=True)).name, Method.of(SoftPrompt(4)).length
          ('ia3', 'dora', 4)
        """
        match adapters:
            case Lora():
                return cls("dora" if adapters.dora else "lora", lora=adapters)
            case Ia3():
                return cls("ia3", ia3=adapters)
            case SoftPrompt():
                return cls("prefix" if adapters.everywhere else "prompt", length=adapters.length)

    @property
    def adapters(self) -> Lora | Ia3 | SoftPrompt | None:
        """What ``save_adapters`` is told of it; None: it adds nothing."""
        match self.name:
            case "lora" | "dora":
                return self.lora._replace(dora=self.name == "dora")
            case "ia3":
                return self.ia3
            case "prompt" | "prefix":
                return SoftPrompt(self.length, everywhere=self.name == "prefix")
            case _:
                return None

    @property
    def added(self) -> Added:
        """What it adds to the architecture."""
        adapters = self.adapters
        return Added(
            lora=adapters if isinstance(adapters, Lora) else None,
            ia3=adapters if isinstance(adapters, Ia3) else None,
            prompt_length=self.length if self.name == "prompt" else 0,
            prefix_length=self.length if self.name == "prefix" else 0,
        )
