# pyright: basic, reportMissingImports=false
"""MiniLM's architecture in PyTorch, of layers that Opacus has per-example gradients for."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEXTS, TOKENS, CLASSES, RANK = 64, 32, 2, 8
LAYERS, WIDTH, HEADS, HIDDEN, VOCABULARY, POSITIONS, EPSILON = 6, 384, 12, 1_536, 30_522, 512, 1e-12


class Adapted(nn.Module):
    """A dense layer with low-rank A and B beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.lora = nn.Sequential(nn.Linear(WIDTH, RANK, bias=False), nn.Linear(RANK, WIDTH, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2.0 * self.lora(x)  # alpha / rank


class Layer(nn.Module):
    """One BERT layer: norms after the sums."""

    def __init__(self, lora: bool) -> None:
        super().__init__()
        self.query, self.value = (Adapted() if lora else nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.key, self.output = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.attention_norm, self.mlp_norm = (nn.LayerNorm(WIDTH, eps=EPSILON) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (p(x).view(batch, tokens, HEADS, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v)
        x = self.attention_norm(x + self.output(attended.transpose(1, 2).reshape(batch, tokens, WIDTH)))
        return self.mlp_norm(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    """An encoder with a class on the mean of its tokens; trains what dpjax's LoRA or full tuning trains."""

    def __init__(self, lora: bool) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.segments, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH, eps=EPSILON)
        self.layers = nn.Sequential(*(Layer(lora) for _ in range(LAYERS)))
        self.classifier = nn.Linear(WIDTH, CLASSES)
        for name, parameter in self.named_parameters():
            # A key's bias has no gradient: dpjax leaves it out, so it is left out here.
            trained = ".lora." in name or name.startswith("classifier") if lora else not name.endswith("key.bias")
            parameter.requires_grad_(trained)
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1]).repeat(len(ids), 1)  # one contiguous row per example, for Opacus
        x = self.tokens(ids) + self.positions(positions) + self.segments(torch.zeros_like(ids))
        pooled = self.layers(self.norm(x)).mean(1)
        # To unit root mean square, as dpjax's head reads it.
        return self.classifier(F.normalize(pooled, dim=1) * WIDTH**0.5)


def labelled_texts() -> tuple[Tensor, Tensor]:
    """A batch without padding."""
    return torch.randint(VOCABULARY, (TEXTS, TOKENS)), torch.randint(CLASSES, (TEXTS,))
