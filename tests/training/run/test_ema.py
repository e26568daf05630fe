"""Averaged weights: what they are, and how they stand in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.run.ema import EMA


@pytest.fixture
def module() -> nn.Linear:
    layer = nn.Linear(1, 1)
    nn.init.zeros_(layer.weight)
    layer.bias.requires_grad_(False)
    return layer


def test_only_trained_weights_are_averaged(module: nn.Linear) -> None:
    assert list(EMA(module, 0.9).averages) == ["weight"]


def test_it_follows_faster_at_first(module: nn.Linear) -> None:
    ema = EMA(module, 0.5)
    nn.init.ones_(module.weight)
    ema.update(0)
    assert ema.averages["weight"].item() == pytest.approx(0.9)  # (1 + 0) / (10 + 0) of the old
    ema.update(10_000)
    assert ema.averages["weight"].item() == pytest.approx(0.95)  # half of the old


def test_a_longer_step_forgets_as_much_as_the_steps_that_it_lasts(module: nn.Linear) -> None:
    twice, once = EMA(module, 0.5), EMA(module, 0.5)
    nn.init.ones_(module.weight)
    for step in (10_000, 10_001):
        twice.update(step)
    once.update(10_000, length=2)
    assert once.averages["weight"].item() == pytest.approx(twice.averages["weight"].item()) == pytest.approx(0.75)


def test_it_stands_in_and_goes_again(module: nn.Linear) -> None:
    ema = EMA(module, 0.5)
    nn.init.ones_(module.weight)
    with ema.applied():
        assert module.weight.item() == 0
    assert module.weight.item() == 1


def test_it_takes_over_another(module: nn.Linear) -> None:
    ema = EMA(module, 0.5)
    ema.load({"weight": torch.full((1, 1), 3.0), "bias": torch.zeros(1)})
    assert ema.averages["weight"].item() == 3
