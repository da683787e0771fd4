"""A transformer of specs/models in plain PyTorch, operation by operation as perfsim's graphs have it.

Imported only where PyTorch is there.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perfsim.core.model import Model

LORA_ALPHA, LORA_DROPOUT = 32.0, 0.05
CLASSES = 2
ROPE_BASE = 500_000.0
SPREAD = 0.02  # standard deviation of random weights
Rope = tuple[torch.Tensor, torch.Tensor] | None


class Linear(nn.Linear):
    """A product; with a rank, a frozen one and a trained low-rank addition (LoRA, arXiv 2106.09685)."""

    def __init__(self, inputs: int, outputs: int, has_bias: bool, rank: int) -> None:
        super().__init__(inputs, outputs, bias=has_bias)
        self.rank = rank
        if rank:
            self.lora_a = nn.Linear(inputs, rank, bias=False)
            self.lora_b = nn.Linear(rank, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., inputs)."""
        y = super().forward(x)
        if not self.rank:
            return y
        low = self.lora_a(functional.dropout(x, LORA_DROPOUT, self.training))
        return y + self.lora_b(low) * (LORA_ALPHA / self.rank)


class RmsNorm(nn.Module):
    """Written out in fp32, as Llama models in eager code have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., width)."""
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.weight * h.to(x.dtype)


class Layer(nn.Module):
    """Attention and MLP, each with its norm (before it or after the sum) and residual sum."""

    def __init__(self, model: Model, dropout: float, rank: int) -> None:
        super().__init__()
        self.model, self.dropout = model, dropout
        h, d = model.hidden_size, model.head_dim
        has_bias = model.qkv_bias == "all"
        self.query = Linear(h, model.heads * d, has_bias, rank)
        self.key = Linear(h, model.kv_heads * d, has_bias, rank)
        self.value = Linear(h, model.kv_heads * d, has_bias, rank)
        self.output = Linear(model.heads * d, h, model.has_output_bias, rank)
        self.attention_norm, self.mlp_norm = _norm(model), _norm(model)
        if model.is_gated_mlp:
            self.gate = Linear(h, model.ffn_hidden_size, model.has_mlp_bias, rank)
        self.up = Linear(h, model.ffn_hidden_size, model.has_mlp_bias, rank)
        self.down = Linear(model.ffn_hidden_size, h, model.has_mlp_bias, rank)
        self.activate = functional.silu if model.activation == "silu" else functional.gelu

    def forward(self, x: torch.Tensor, rope: Rope = None) -> torch.Tensor:
        """x: (batch, tokens, hidden)."""
        if self.model.norm_position == "post":
            x = self.attention_norm(x + self._dropped(self.attend(x, rope)))
            return self.mlp_norm(x + self._dropped(self.mlp(x)))
        x = x + self._dropped(self.attend(self.attention_norm(x), rope))
        return x + self._dropped(self.mlp(self.mlp_norm(x)))

    def attend(self, x: torch.Tensor, rope: Rope) -> torch.Tensor:
        """Self-attention by PyTorch's fused kernels."""
        model = self.model

        def heads(values: torch.Tensor, count: int) -> torch.Tensor:
            return values.view(*x.shape[:2], count, model.head_dim).transpose(1, 2)

        q, k = heads(self.query(x), model.heads), heads(self.key(x), model.kv_heads)
        v = heads(self.value(x), model.kv_heads)
        if rope:
            q, k = _rotated(q, *rope), _rotated(k, *rope)
        more: dict[str, Any] = {"enable_gqa": True} if model.kv_heads != model.heads else {}
        dropout = self.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=model.is_causal, **more)
        return self.output(y.transpose(1, 2).reshape(*x.shape[:2], -1))

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """The MLP, gated where the model's is."""
        if self.model.is_gated_mlp:
            return self.down(self.activate(self.gate(x)) * self.up(x))
        return self.down(self.activate(self.up(x)))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


class Transformer(nn.Module):
    """`forward(ids, labels)` is the loss: of the next word at every position, or of two classes of a sequence.

    An encoder gets the classes, a decoder the words. `rank`: only adapters are trained. `recomputes`: layers keep
    nothing but their input.
    """

    def __init__(self, model: Model, dropout: float = 0.0, rank: int = 0, recomputes: bool = False) -> None:
        super().__init__()
        self.model, self.dropout, self.recomputes = model, dropout, recomputes
        h = model.hidden_size
        self.words = nn.Embedding(model.vocab_size, h)
        if model.positions == "learned":
            self.places = nn.Embedding(model.max_positions, h)
        if model.token_types:
            self.types = nn.Embedding(model.token_types, h)
        if model.has_embedding_norm:
            self.embedding_norm = _norm(model)
        self.layers = nn.ModuleList(Layer(model, dropout, rank) for _ in range(model.layers))
        if model.has_final_norm and model.norm_position != "post":
            self.final_norm = _norm(model)
        if model.kind == "encoder":
            self.pooler, self.classifier = nn.Linear(h, h), nn.Linear(h, CLASSES)
        elif not model.has_tied_embeddings:
            self.head = nn.Linear(h, model.vocab_size, bias=False)

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """ids: (batch, tokens); labels: the same, or (batch,) for classes."""
        x = self.embedded(ids)
        rope = self.rope(x) if self.model.positions == "rope" else None
        if self.recomputes and not x.requires_grad:
            x.requires_grad_()  # frozen word vectors: recomputation still needs a graph
        for layer in self.layers:
            x = checkpoint(layer, x, rope, use_reentrant=False) if self.recomputes else layer(x, rope)
        if hasattr(self, "final_norm"):
            x = self.final_norm(x)
        if self.model.kind == "encoder":
            return functional.cross_entropy(self.classifier(torch.tanh(self.pooler(x[:, 0]))).float(), labels)
        logits = functional.linear(x, self.words.weight if self.model.has_tied_embeddings else self.head.weight)
        return functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    def embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Word, position and type vectors added up; norm and dropout where the model has them."""
        x = self.words(ids)
        if hasattr(self, "places"):
            x = x + self.places(torch.arange(ids.shape[1], device=ids.device))
        if hasattr(self, "types"):
            x = x + self.types(torch.zeros_like(ids))
        if hasattr(self, "embedding_norm"):
            x = self.embedding_norm(x)
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x

    def rope(self, x: torch.Tensor) -> Rope:
        """Cosines and sines of rotary positions (tokens, head_dim), in the type of the queries."""
        d, kind = self.model.head_dim, x.device.type
        rates = ROPE_BASE ** (-torch.arange(0, d, 2, device=x.device).float() / d)
        angles = torch.arange(x.shape[1], device=x.device).float()[:, None] * rates
        angles = torch.cat((angles, angles), -1)
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        return angles.cos().to(dtype), angles.sin().to(dtype)


def build(model: Model, device: Any, dtype: Any, dropout: float, rank: int, recomputes: bool) -> Transformer:
    """The model on its device with random weights of `dtype`, ready to be trained."""
    with torch.device("meta"):
        made = Transformer(model, dropout, rank, recomputes)
    made = made.to(dtype).to_empty(device=device)
    with torch.no_grad():
        for name, values in made.named_parameters():
            if name.endswith("norm.weight"):
                values.fill_(1.0)
            else:
                values.normal_(0.0, SPREAD)
            values.requires_grad_(not rank or ".lora_" in name)
    return made.train()


def _norm(model: Model) -> nn.Module:
    if model.norm == "rmsnorm":
        return RmsNorm(model.hidden_size)
    return nn.LayerNorm(model.hidden_size, bias=model.has_norm_bias)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin
