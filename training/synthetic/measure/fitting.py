"""Trains the small networks that read pictures: the loop, and what augmentation does to light and colour."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger(__name__)

RATE = 2e-3

Net = TypeVar("Net", bound=nn.Module)
# The error of a network on a batch: pictures (n, 3, h, w) in 0..1, and the rest of the examples' tensors.
Loss = Callable[[Net, Tensor, Sequence[Tensor], torch.Generator], Tensor]


def fit(
    make: Callable[[], Net],
    examples: Sequence[Tensor],
    loss: Loss[Net],
    batch_size: int,
    epochs: int,
    seed: int,
    rate: float = RATE,
) -> Net:
    """A network trained on `examples`: pictures (n, 3, h, w) uint8, and tensors (n, ...) of what they show.

    Batches are whole: each epoch leaves out a rest.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = make()
    pictures, *shown = examples
    size = min(batch_size, len(pictures))
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.02)
    steps = epochs * (len(pictures) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, max(steps, 2), pct_start=0.1)
    for epoch in range(epochs):
        order = torch.randperm(len(pictures), generator=generator)
        batches = [batch for batch in order.split(size) if len(batch) == size]
        total = 0.0
        for batch in batches:
            wrong = loss(net, pictures[batch].float() / 255, [part[batch] for part in shown], generator)
            optimizer.zero_grad()
            wrong.backward()
            optimizer.step()
            schedule.step()
            total += float(wrong.detach())
        log.info("epoch %d of %d: loss %.4f", epoch + 1, epochs, total / len(batches))
    return net.eval()


def distance(read: Tensor, true: Tensor, spread: Sequence[float]) -> Tensor:
    """How far readings (n, m) are from the truth, a scalar; errors count in units of `spread` (m,)."""
    wrong = (read - true) / torch.tensor(spread)
    return F.smooth_l1_loss(wrong, torch.zeros_like(wrong), beta=0.3)


def uniform(low: float, high: float, generator: torch.Generator, *size: int) -> Tensor:
    """Evenly distributed values of this size; (1,) without one."""
    return torch.rand(size or (1,), generator=generator) * (high - low) + low


def mirrored(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (n, 3, h, w), half of them mirrored."""
    turned = torch.rand(len(pictures), generator=generator) < 0.5
    return torch.where(turned[:, None, None, None], pictures.flip(3), pictures)


def relit(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (n, 3, h, w) in 0..1, each in other light and colour and with noise."""
    count = len(pictures)
    made = pictures.clamp(1e-3, 1) ** uniform(0.75, 1.3, generator, count, 1, 1, 1)
    made = made * uniform(0.8, 1.2, generator, count, 3, 1, 1)
    noise = torch.randn(made.shape, generator=generator) * uniform(0, 0.03, generator, count, 1, 1, 1)
    return (made + noise).clamp(0, 1)
