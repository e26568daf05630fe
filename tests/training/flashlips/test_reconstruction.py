"""The loss of a drawn frame, against numbers computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.network.stage import SCALE_FACTOR
from training.config.config import load_as
from training.flashlips import region
from training.flashlips.config import FlashLipsConfig
from training.flashlips.reconstruction import Reconstruction

from .samples import SIDE, frames

PUBLISHED = {"latent": 0.1, "masked": 0.1, "lower": 10.0, "lips": 100.0, "perceptual": 50.0, "face": 5.0}


class Planes(nn.Module):
    """A decoder whose pictures are the first three channels of the unscaled latents."""

    def __init__(self) -> None:
        super().__init__()
        self.like = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor, image_only_indicator: Tensor, num_frames: int) -> Tensor:
        return z[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3) * SCALE_FACTOR


def config(**changes: str) -> FlashLipsConfig:
    return load_as(FlashLipsConfig, "lips-editor", None, changes)


def halves(pictures: Tensor) -> Tensor:
    """Features that any network could say."""
    return pictures.mean((2, 3))


def two(pictures: Tensor) -> list[Tensor]:
    """Features of two layers."""
    return [pictures, 3 * pictures]


@pytest.mark.parametrize("error", [0.25, -0.25])
def test_each_term_of_an_even_error_is_that_error(error: float) -> None:
    made = Reconstruction(config(), Planes(), two, halves)
    batch = frames(2)
    target = torch.zeros_like(batch.latent)
    pixels = torch.full_like(batch.picture, 0.5)  # 0 in -1..1
    found = made.errors(target + error, target, batch, pixels)
    expected = {"latent": 0.25, "masked": 0.25, "lower": 0.25, "lips": 0.25, "perceptual": 0.25 + 0.75, "face": 0.25}
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(value, rel=1e-5), name
    assert float(found.total) == pytest.approx(sum(PUBLISHED[name] * value for name, value in expected.items()))


def test_what_is_above_the_mask_counts_in_the_latent_alone() -> None:
    made = Reconstruction(config(), Planes(), None, None)
    batch = frames()
    target = torch.zeros_like(batch.latent)
    drawn = target.clone()
    drawn[:, :, 0] = 1  # the first of eight rows of cells
    found = made.errors(drawn, target, batch, torch.full_like(batch.picture, 0.5))
    assert float(found.latent) == pytest.approx(1 / 8)
    assert [float(value) for value in found[2:]] == [0] * 5
    assert float(found.total) == pytest.approx(0.1 / 8)


def test_the_lips_are_compared_where_they_are() -> None:
    made = Reconstruction(config(), Planes(), None, None)
    batch = frames()
    target = torch.zeros_like(batch.latent)
    lips = region.lips(batch.points, (SIDE, SIDE))
    pixels = 0.5 + 0.5 * lips.expand_as(batch.picture)  # 1 in -1..1 at the lips
    found = made.errors(target, target, batch, pixels)
    assert float(found.lips) == pytest.approx(1)
    lower = region.lower_face(batch.points, (SIDE, SIDE))
    assert float(found.lower) == pytest.approx(float(lips.sum() / lower.sum()))


def test_small_lips_do_not_count() -> None:
    batch = frames()
    area = float(region.lips(batch.points, (SIDE, SIDE)).mean())
    target = torch.zeros_like(batch.latent)
    for share, counts in ((area * 0.99, True), (area * 1.01, False)):
        made = Reconstruction(config(lips_area=str(share)), Planes(), None, None)
        found = made.errors(target + 1, target, batch, torch.full_like(batch.picture, 0.5))
        assert (float(found.lips) > 0) == counts


def test_only_so_many_pictures_are_decoded() -> None:
    made = Reconstruction(config(decoded="1"), Planes(), None, None)
    batch = frames(2)
    target = torch.zeros_like(batch.latent)
    drawn = target.clone()
    drawn[1] = 1
    found = made.errors(drawn, target, batch, torch.full_like(batch.picture, 0.5))
    assert float(found.lower) == 0
    assert float(found.latent) == pytest.approx(0.5)


def test_cells_at_the_lips_weigh_more() -> None:
    batch = frames()
    target = torch.zeros_like(batch.latent)
    plain, weighted = (
        Reconstruction(config(mouth_weight=weight), Planes(), None, None).errors(target + 1, target, batch).latent
        for weight in ("1", "3")
    )
    lips = batch.points[0, 48:68] / 8
    (left, top), (right, bottom) = (lips.amin(0).floor() - 1).tolist(), (lips.amax(0).ceil() + 1).tolist()
    share = (right - left) * (bottom - top) / 64
    assert float(plain) == pytest.approx(1)
    assert float(weighted) == pytest.approx(1 + 2 * share)


def test_without_pixel_terms_nothing_is_decoded() -> None:
    made = Reconstruction(config(lower_weight="0", lips_weight="0"), None, None, None)
    batch = frames()
    found = made.errors(batch.latent + 1, batch.latent, batch)
    assert float(found.total) == pytest.approx(0.2)
    assert float(found.lower) == float(found.lips) == 0


def test_gradients_reach_the_latent_through_every_term() -> None:
    batch = frames()
    for name in PUBLISHED:
        weights = {f"{other}_weight": "1" if other == name else "0" for other in PUBLISHED}
        hooks: dict[str, Any] = {"perceptual": "some:hook", "face": "some:hook"}
        made = Reconstruction(config(**weights, **hooks), Planes(), two, halves)
        drawn = batch.latent.clone().requires_grad_()
        made.errors(drawn, batch.latent + 1, batch).total.backward()
        assert drawn.grad is not None
        assert float(drawn.grad.abs().sum()) > 0, name


def test_pixel_terms_need_a_decoder() -> None:
    with pytest.raises(KeySyncError, match="compares pixels but there is no VAE decoder"):
        Reconstruction(config(), None, None, None)
