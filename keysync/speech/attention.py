"""Self-attention whose position bias depends on the distance of query and key, gated by each query: WavLM's and BEATs'.

All biases of a minute of speech would be heads x tokens x tokens numbers; here they exist for some queries at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Queries that attention is computed for at once.
QUERIES = 256


def gate_of(projected: Tensor, constant: Tensor) -> Tensor:
    """How strong the bias of each query is, (heads, s, 1), from its projection (heads, s, 8) and the heads' (heads,)
    constants."""
    a, b = projected.unflatten(-1, (2, 4)).sum(-1).sigmoid().unbind(-1)
    gate: Tensor = a * (b * constant[:, None] - 1) + 2
    return gate[..., None]


def attend(q: Tensor, k: Tensor, v: Tensor, gate: Tensor, biases: Tensor) -> Tensor:
    """What queries, keys and values (heads, s, d) give, (s, heads d); `gate` (heads, s, 1); `biases` (heads, 2 s - 1)
    by distance, of the last query to the first key first."""
    tokens = q.shape[1]
    rows = biases.unfold(1, tokens, 1)  # heads s s, those of the last query first
    attended = []
    for first in range(0, tokens, QUERIES):
        stop = min(first + QUERIES, tokens)
        bias = gate[:, first:stop] * rows[:, tokens - stop : tokens - first].flip(1)
        attended.append(F.scaled_dot_product_attention(q[:, first:stop], k, v, attn_mask=bias))
    return torch.cat(attended, 1).transpose(0, 1).flatten(1)
