"""What is measured, in the order of its worth: when the time is used up, what is left out is what matters least."""

from typing import NamedTuple

PRIVATE = ("auto", "bookkeeping", "microbatch", "materialize", "jax_privacy")
STEPS = ("ordinary", "auto", "ordinary+noise", *PRIVATE[1:])
"""Ways to take a step, those that matter most first; what needs most memory comes late."""
FEW = ("ordinary", "bookkeeping", "microbatch")
"""Those of ``--tiny`` on every work but the first, which has them all."""
TURNS = "turns"
"""The request, after a work's contestants, that times all of them again side by side."""


class Piece(NamedTuple):
    """One table of the report.

    Attributes:
      name: for ``--only``.
      title: above its table.
      kind: which module measures it: ``steps``, ``lanes``, ``rounds`` or ``draws``.
      contestants: its rows.
      least: seconds without which a row isn't begun.
      most: seconds after which a row is given up.
    """

    name: str
    title: str
    kind: str
    contestants: tuple[str, ...]
    least: float = 4.0
    most: float = 60.0

    @property
    def requests(self) -> tuple[str, ...]:
        """What is asked for: every row, then the turns that steps take."""
        return (*self.contestants, TURNS) if self.kind == "steps" else self.contestants


def _steps(name: str, title: str, *, peer: bool = False, least: float = 4.0, most: float = 60.0) -> Piece:
    return Piece(name, title, "steps", (*STEPS, "opacus_ghost") if peer else STEPS, least, most)


PLAN = (
    _steps("mlp", "MLP 784-128-10, batch 256, float32", peer=True),
    _steps("llama_135m", "Llama shape of 135M, full, 16 texts of 256 tokens, bfloat16", least=10.0),
    _steps("cnn", "4-layer CNN on 28×28, batch 256, float32", peer=True),
    _steps("minilm_full", "MiniLM, full, 64 texts of 32 tokens, float32", peer=True, least=6.0),
    Piece("noise", "Noise", "draws", ("matrix", "matrix, jax.random.normal", "model", "model, jax.random.normal")),
    Piece("sweep", "Sixteen settings of the MLP as lanes of one program", "lanes", ("map", "vmap", "chunk(4)")),
    Piece("federated", "Federated averaging, 100 clients a round", "rounds", ("mlp", "cnn"), least=8.0),
    _steps("llama_1.5b_lora", "Llama shape of 1.5B, LoRA, 8 texts of 256 tokens, bfloat16", least=15.0),
    _steps("resnet", "Wide ResNet 16-4 on 32×32×3, batch 128, float32", least=10.0),
    _steps("llama_1.5b", "Llama shape of 1.5B, full, 8 texts of 256 tokens, bfloat16", least=15.0, most=75.0),
    _steps("minilm_bf16", "MiniLM, full, 64 texts of 32 tokens, bfloat16", least=6.0),
    _steps("llama_360m", "Llama shape of 360M, full, 16 texts of 256 tokens, bfloat16", least=10.0),
)


def small(plan: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The plan of ``--tiny``: what differs in size alone is one there, and few contestants take a step."""
    alike = ("minilm_bf16", "llama_1.5b", "llama_360m")
    few = {"sweep": ("map", "chunk(4)")} | {p.name: FEW for p in plan if p.kind == "steps" and p.name != "mlp"}
    return tuple(
        piece._replace(contestants=few.get(piece.name, piece.contestants)) for piece in plan if piece.name not in alike
    )
