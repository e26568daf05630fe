"""The learning rate of each step: a linear warm-up, then constant or a cosine to a final rate.

A step is one of the run's clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..config.config import TrainConfig

# The warm-up starts at this share of the learning rate (KeySync reference implementation).
WARMUP_START = 1e-6


def schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, step: float) -> float:
    """Sets what the settings say of the step at `step`, which a checkpoint may have of other settings; returns the
    learning rate."""
    rate = learning_rate(config, step)
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = rate, config.weight_decay
    return rate


def learning_rate(config: TrainConfig, step: float) -> float:
    """The learning rate of step `step`, counted from 0."""
    share = 1.0
    if step < config.warmup_steps:
        share = WARMUP_START + (1.0 - WARMUP_START) * step / config.warmup_steps
    if not config.final_learning_rate:
        return config.learning_rate * share
    progress = min(1.0, step / max(1, config.steps))
    falling = 0.5 * (1.0 + math.cos(math.pi * progress))
    final = config.final_learning_rate
    return (final + (config.learning_rate - final) * falling) * share
