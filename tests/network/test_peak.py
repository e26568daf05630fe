"""What is counted without numbers is what lives at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keysync.network.peak import peak_bytes
from keysync.network.stage import STAGES, Stage
from keysync.systems.keysync.models import Models

NUMBERS = 1000


class Chain(nn.Module):
    """Makes `count` tensors of 4000 bytes, of which two live at once, or all."""

    def __init__(self, count: int, keep: bool) -> None:
        super().__init__()
        self.scale, self.count, self.keep = nn.Parameter(torch.ones(1)), count, keep

    def forward(self, x: Tensor) -> Tensor:
        held = [x * self.scale]
        for _ in range(self.count - 1):
            made = held[-1] * 2
            held = [*held, made] if self.keep else [made]
            held[-1].view(10, -1)  # takes nothing
            del made
        return held[-1]


def test_what_lives_at_once_is_counted() -> None:
    x = torch.zeros(NUMBERS)
    assert peak_bytes(Chain(5, keep=False), x) == 2 * 4 * NUMBERS
    assert peak_bytes(Chain(5, keep=True), x) == 5 * 4 * NUMBERS


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


def test_attention_holds_no_scores() -> None:
    x = torch.zeros(1, 1, NUMBERS, 8)
    assert peak_bytes(Attention(), x) == 4 * x.numel()


def test_more_windows_take_more(models: Models) -> None:
    assert isinstance(models.interpolation, Stage)
    one, four = (models.interpolation.peak_bytes(count) for count in (1, 4))
    assert 3.5 * one < four < 4.5 * one
    assert all(parameter.device.type == "cpu" for parameter in models.interpolation.parameters())


def test_the_published_size_is_counted_without_its_memory() -> None:
    with torch.device("meta"):
        stage = Stage(STAGES["interpolation"])
    assert 0.3e9 < stage.peak_bytes(1) < 4e9
