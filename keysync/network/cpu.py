"""Linear layers and attention as a CPU computes them fastest.

torch multiplies float32 matrices by MKL, which uses the widest vector instructions on Intel's processors alone: on an
AMD EPYC (Zen 5) oneDNN, which torch uses for convolutions, takes half the time for large ones. What oneDNN offers
torch's own compiler is used here; where a build of torch lacks it, or another precision is asked for, torch multiplies.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Products of a multiplication below which oneDNN's preparation takes longer than it spares.
LARGE = 2**20
# Queries for each key from which attention is computed with its scores laid out key by key.
MANY_QUERIES = 4


def _operator() -> Any:
    """oneDNN's linear layer with what follows it; None where torch is built without it."""
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


ONEDNN = _operator()


def infers_on_cpu(x: Tensor) -> bool:
    """Whether what is made of x is computed on a CPU in float32, and needs no gradients.

    torch's compiler chooses itself, and tensors without numbers, which are counted, know no operators of oneDNN.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or type(x) is not Tensor:
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    products = x.numel() * weight.shape[0]
    return ONEDNN is not None and products >= LARGE and infers_on_cpu(x) and weight.dtype == x.dtype


class Linear(nn.Linear):
    """A linear layer."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight
        if not _suits_onednn(input, weight):
            return F.linear(input, weight, self.bias)
        out: Tensor = ONEDNN(input, weight, self.bias, "none", [], "")
        return out


def gated(x: Tensor, layer: nn.Module) -> Tensor:
    """The first half of a linear layer's channels times the GELU of the second, which gates it."""
    if isinstance(layer, Linear) and _suits_onednn(x, weight := layer.weight):
        (value, gate), (value_bias, gate_bias) = weight.chunk(2), layer.bias.chunk(2)
        opened = ONEDNN(x, gate, gate_bias, "gelu", [], "none")
        product: Tensor = ONEDNN.binary(x, opened, value, value_bias, "mul")
        return product
    halves: tuple[Tensor, ...] = layer(x).chunk(2, dim=-1)
    return halves[0] * F.gelu(halves[1])


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of queries (n, heads, s, d) to keys and values (n, heads, t, d).

    torch's kernel goes from query to query; a CPU is faster from key to key where there are few of them. In bfloat16
    its gradients take a CPU six times as long as in float32.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    if q.shape[2] < MANY_QUERIES * k.shape[2] or not infers_on_cpu(q):
        return F.scaled_dot_product_attention(q, k, v)
    scores = torch.matmul(k * k.shape[-1] ** -0.5, q.transpose(2, 3))  # n heads t s
    return torch.matmul(v.transpose(2, 3), scores.softmax(dim=2)).transpose(2, 3)
