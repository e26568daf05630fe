"""Latents of hidden frames: what is encoded, and what is remembered."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.flashlips.hidden_latents import HiddenLatents

from .samples import frames


class Means:
    """A VAE whose latents are the means of squares of 8 pixels; it notes how many pictures it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def encode(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        cells = torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2), 8)
        return torch.cat([cells, cells[:, :1]], 1)


def test_the_mask_is_grey_and_the_rest_as_it_is() -> None:
    vae: Any = Means()
    batch = frames(2)
    made = HiddenLatents(vae)(batch)
    assert made.shape == batch.latent.shape
    assert (made[:, :, 4:] == 0.5).all()
    assert torch.allclose(made[:, :3, :4], torch.nn.functional.avg_pool2d(batch.picture, 8)[:, :, :4])


def test_known_frames_are_not_encoded_again() -> None:
    vae: Any = Means()
    hide = HiddenLatents(vae, kept=3)
    first = hide(frames(2))
    again = hide(frames(4))
    assert vae.seen == [2, 2]
    assert torch.allclose(first, again[:2], atol=1e-3)  # kept in float16
    hide(frames(4))
    assert vae.seen == [2, 2, 1]  # of four, three are kept
