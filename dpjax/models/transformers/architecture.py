"""What a transformer looks like, in numbers: every difference between families is a field."""

from dataclasses import dataclass
from typing import Literal

from dpjax.models.transformers.config_fields import ArchitectureError, size
from dpjax.models.transformers.rotary import Rope, check_rope

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
Residual = Literal["pre", "post", "both", "output", "parallel"]

_SIZES = "vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_width", "hidden_width", "max_length"


@dataclass(frozen=True)
class View:
    """What the tokens of a layer see of each other.

    Attributes:
      window: only tokens at a distance below it; None: all.
      rope: how heads turn with the position; None: they do not.
    """

    window: int | None = None
    rope: Rope | None = None


@dataclass(frozen=True)
class Architecture:
    """One transformer, of whichever family.

    Attributes:
      family: ``model_type`` of its checkpoints: how they name their tensors.
      vocab_size: rows of the token embedding.
      width: of the residual stream.
      num_layers: blocks.
      num_heads: query heads of a block.
      num_kv_heads: key and value heads, shared by ``num_heads / num_kv_heads`` query heads each.
      head_width: of one head.
      hidden_width: of the MLP between its two matrices.
      max_length: most tokens that positions are known for.
      norm_epsilon: added to the variance in every norm.
      activation: of the MLP.
      causal: a token sees only itself and those before it.
      residual: where norms stand: ``"pre"``, before attention and MLP (Llama, GPT-2); ``"post"``, after the residual
        sum (BERT); ``"both"``, before, and after but inside the sum (Gemma); ``"output"``, after, inside the sum (OLMo
        2); ``"parallel"``, before both, which read the same vectors (GPT-NeoX).
      norm: ``"layer"`` (mean and variance) or ``"rms"`` (root mean square alone).
      norm_bias: whether the former adds a bias.
      norm_offset: is added to the scale of every norm: 1 for Gemma, which stores what is beyond one.
      gated: the MLP is ``down(act(gate(x)) * up(x))`` instead of ``down(act(up(x)))``.
      bias: queries, keys and values have biases.
      output_bias: the attention's last matrix has one.
      mlp_bias: the MLP has them.
      query_norm: queries and keys are normed: each ``"head"`` by itself, or ``"all"`` at once; None: not at all.
      query_scalar: scores are divided by its square root; None: by that of ``head_width``.
      attention_cap, logit_cap: scores, and logits, are held below it by ``cap · tanh(x / cap)``; None: not.
      embedding_scale: embedded tokens are multiplied by it.
      embedding_norm: embedded tokens are normed.
      first_norm: whether the first layer has a norm before its attention; ModernBERT's has none.
      learned: positions have trained vectors.
      position_offset: rows of them that no token has: RoBERTa begins to count at 2.
      views: of the layers in turn, and again from the first.
      num_segments: rows of the embedding of segments (BERT's token types); 0: none.
      pooler_activation: of the dense layer that a classifier reads the first token through.
      head_activation, head_bias: of the dense layer in the head over masked tokens.
      vocabulary_bias: whether that head adds a bias to the scores.
      tied: the language model's head is the token embedding.
    """

    family: str
    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    hidden_width: int
    max_length: int
    norm_epsilon: float
    activation: Activation
    causal: bool
    residual: Residual
    norm: Literal["layer", "rms"] = "layer"
    norm_bias: bool = True
    norm_offset: float = 0.0
    gated: bool = False
    bias: bool = True
    output_bias: bool = True
    mlp_bias: bool = True
    query_norm: Literal["head", "all"] | None = None
    query_scalar: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    embedding_norm: bool = False
    first_norm: bool = True
    learned: bool = False
    position_offset: int = 0
    views: tuple[View, ...] = (View(),)
    num_segments: int = 0
    pooler_activation: Literal["tanh", "relu"] = "tanh"
    head_activation: Activation = "gelu"
    head_bias: bool = True
    vocabulary_bias: bool = True
    tied: bool = True

    def __post_init__(self) -> None:
        for name in _SIZES:
            size({name: getattr(self, name)}, name)
        if self.num_heads % self.num_kv_heads:
            raise ArchitectureError(
                f"num_kv_heads is {self.num_kv_heads}, which does not divide num_heads={self.num_heads}; every key "
                "head must serve equally many query heads."
            )
        for view in self.views:
            if view.rope is not None:
                check_rope(view.rope, self.head_width)

    @property
    def final_norm(self) -> bool:
        """Whether the last layer's vectors are normed."""
        return self.residual != "post"

    @property
    def biased(self) -> bool:
        """Whether a dense layer of the blocks has a bias."""
        return self.bias or self.output_bias or self.mlp_bias

    @property
    def kinds(self) -> tuple[View, ...]:
        """The different views of its layers."""
        return tuple(dict.fromkeys(self.view(layer) for layer in range(self.num_layers)))

    def view(self, layer: int) -> View:
        """What a layer sees, counted from 0."""
        return self.views[layer % len(self.views)]
