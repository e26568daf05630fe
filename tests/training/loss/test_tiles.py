"""Decoding in pieces: the same pictures and gradients as in one, except for what a decoder sees of its surroundings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.loss.tiles import MARGIN, called_on, in_tiles


class Blur(nn.Module):
    """A decoder that sees a few latents around each: three convolutions, then eight pixels for each latent."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append(tuple(z.shape[-2:]))
        pictures: Tensor = self.layers(z).repeat_interleave(8, -1).repeat_interleave(8, -2)
        return pictures


def gradient(decode: Callable[[Tensor], Tensor], latents: Tensor) -> tuple[Tensor, Tensor]:
    leaf = latents.clone().requires_grad_()
    pictures = decode(leaf)
    (pictures * torch.linspace(-1, 1, pictures.shape[-1])).square().sum().backward()
    assert leaf.grad is not None
    return pictures.detach(), leaf.grad


@pytest.mark.parametrize("side", [0, 4, 12, 20, 100])
@pytest.mark.parametrize("size", [(20, 20), (33, 24)])
def test_the_same_pictures_and_gradients(side: int, size: tuple[int, int]) -> None:
    decoder = Blur()
    latents = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(1))
    ours = gradient(lambda z: in_tiles(decoder, z, side), latents)
    expected = gradient(decoder, latents)
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_tile_and_its_margin_is_all_that_is_decoded_at_once() -> None:
    decoder = Blur()
    latents = torch.randn(1, 4, 64, 48)
    in_tiles(decoder, latents.requires_grad_(), 16).sum().backward()
    assert max(max(shape) for shape in decoder.seen) == 16 + 2 * MARGIN
    assert len(decoder.seen) == 2 * 4 * 3  # each once more for its gradients


def test_a_module_that_stays_where_it_is() -> None:
    decoder = Blur()
    latents = torch.randn(1, 4, 8, 8)
    before = {name: part.data_ptr() for name, part in decoder.state_dict().items()}
    assert torch.equal(called_on(decoder, latents.device, latents), decoder(latents))
    assert {name: part.data_ptr() for name, part in decoder.state_dict().items()} == before
    on_meta = called_on(decoder, torch.device("meta"), latents.to("meta"))
    assert (on_meta.shape, on_meta.device.type) == ((1, 3, 64, 64), "meta")
    assert all(part.device.type == "cpu" for part in decoder.parameters())
