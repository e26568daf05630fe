"""The training of small networks that read pictures: the same every time, and of any number of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from training.synthetic.measure.fitting import distance, fit, mirrored, relit


class Mean(nn.Module):
    """The mean of a picture, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        read: Tensor = self.layer(pictures.mean((1, 2, 3))[:, None])
        return read


def error_of(net: Mean, pictures: Tensor, shown: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    return distance(net(pictures), shown[0], (1.0,))


@pytest.mark.parametrize("count", [3, 50])
def test_it_learns_the_same_every_time(count: int) -> None:
    """Also from fewer pictures than a batch has."""
    values = torch.linspace(0, 255, count)
    examples = values[:, None, None, None].expand(-1, 3, 4, 4).byte(), values[:, None] / 255
    first, again = (fit(Mean, examples, error_of, 8, 100, seed=3) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), again.parameters(), strict=True))
    assert not first.training
    torch.manual_seed(3)
    pictures = examples[0].float() / 255
    untrained, trained = ((net(pictures) - examples[1]).abs().mean() for net in (Mean(), first))
    assert trained < 0.95 * untrained


def test_errors_count_in_units_of_the_spread() -> None:
    zero = torch.zeros(1, 2)
    one = distance(torch.tensor([[1.0, 0.0]]), zero, (1.0, 1.0))
    assert distance(torch.tensor([[0.5, 0.0]]), zero, (0.5, 1.0)) == one
    assert distance(torch.tensor([[2.0, 0.0]]), zero, (1.0, 1.0)) > one


def test_half_are_mirrored() -> None:
    pictures = torch.zeros(64, 3, 8, 8)
    pictures[..., 1:3] = 1
    turned = mirrored(pictures, torch.Generator().manual_seed(0))[..., 6].mean((1, 2)) > 0
    assert 16 < turned.sum() < 48


def test_light_and_colour_change_and_nothing_moves() -> None:
    pictures = torch.zeros(64, 3, 8, 8)
    pictures[..., 2:4, 1:3] = 0.6
    made = relit(pictures, torch.Generator().manual_seed(0))
    assert made.shape == pictures.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert made[..., 2:4, 1:3].mean((1, 2, 3)).std() > 0.02
    assert made[..., 2:4, 5:7].mean((1, 2, 3)).max() < 0.05
