"""The learning rate of each step: a warm-up, then constant or a cosine to a final rate; or one cycle.

A step is one of the run's clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ..config.run_config import ONE_CYCLE

if TYPE_CHECKING:
    from ..config.run_config import RunConfig

# The warm-up starts at this share of the learning rate (KeySync reference implementation).
WARMUP_START = 1e-6
# One cycle (Smith & Topin, 2019) with the defaults of PyTorch: the rate rises from a share of its peak, for a share of
# the steps.
CYCLE_START, CYCLE_RISE = 1 / 25, 0.3


def schedule(optimizer: torch.optim.Optimizer, config: RunConfig, step: float) -> float:
    """Sets what the settings say of the step at `step`, which a checkpoint may have of other settings; returns the
    learning rate."""
    rate = learning_rate(config, step)
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = rate, config.weight_decay
    return rate


def learning_rate(config: RunConfig, step: float) -> float:
    """The learning rate of step `step`, counted from 0."""
    if config.rate_schedule == ONE_CYCLE:
        return _one_cycle(config, step)
    share = 1.0
    if step < config.warmup_steps:
        share = WARMUP_START + (1.0 - WARMUP_START) * step / config.warmup_steps
    if not config.final_learning_rate:
        return config.learning_rate * share
    progress = min(1.0, step / max(1, config.steps))
    return _cosine(config.learning_rate, config.final_learning_rate, progress) * share


def _one_cycle(config: RunConfig, step: float) -> float:
    """A cosine up to the learning rate, then one down to the final rate, which the last step has."""
    last = max(1, config.steps - 1)
    peak = CYCLE_RISE * last
    if step <= peak:
        return _cosine(CYCLE_START * config.learning_rate, config.learning_rate, step / peak)
    progress = min(1.0, (step - peak) / (last - peak))
    return _cosine(config.learning_rate, config.final_learning_rate, progress)


def _cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` to `end` over `progress` 0..1."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
