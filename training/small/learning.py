"""What the trainings of the small VAE and the small speech encoder share: learning rate, optimiser step, averaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def learning_rate(first: float, last: float, progress: float, step: int, warm_up: int) -> float:
    """The learning rate of step `step`, counted from 0: a cosine from `first` to `last` over `progress` 0..1, after a
    linear warm-up of `warm_up` steps."""
    cosine = last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
    return cosine * min((step + 1) / warm_up, 1.0)


def take_step(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One optimiser step down a loss, with the gradients' norm limited to 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, decay: float, steps: int) -> None:
    """Moves the exponential moving average towards the network after `steps` steps; early averages forget faster."""
    decay = min(decay, steps / (steps + 10))
    for mean, value in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
