"""Masks: what parity does not say (jaw, latent sizes, occluders, emptiness, errors)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keysync.errors import KeySyncError
from keysync.face.masks import MASKS, is_empty, subtract, to_latent

from ..synthetic_face import face_points

LANDMARKS = torch.from_numpy(face_points((32, 30), 30))


@pytest.mark.parametrize("name", sorted(MASKS))
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 64)])
def test_every_mask_covers_the_lips(name: str, size: tuple[int, int]) -> None:
    mask = MASKS[name](LANDMARKS, size)
    assert mask.shape == size
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    for x, y in LANDMARKS[48:].long().tolist():
        assert mask[y, x] == 1


def test_jaw_is_the_face_below_the_nose_bridge() -> None:
    mask = MASKS["jaw"](LANDMARKS, (64, 64))
    x, y = LANDMARKS[8].long().tolist()
    assert mask[y - 1, x] == 1
    assert mask[y + 2 :].sum() == 0
    x, y = LANDMARKS[27].long().tolist()
    assert mask[: y + 1, x].sum() == 0


def test_a_face_outside_the_image_gives_an_empty_mask() -> None:
    for name in ("box", "mouth", "face", "jaw"):
        assert is_empty(MASKS[name](LANDMARKS - 500, (64, 64))), name
    assert not is_empty(MASKS["full"](LANDMARKS + 500, (64, 64)))


@pytest.mark.parametrize("latent", [(8, 8), (8, 16), (5, 7)])
def test_the_nearest_pixel_decides_the_latent(latent: tuple[int, int]) -> None:
    mask = (torch.rand(3, 2, 64, 128, generator=torch.manual_seed(1)) > 0.5).float()
    small = to_latent(mask, latent)
    rows = torch.tensor([int(np.floor(row * 64 / latent[0])) for row in range(latent[0])])
    columns = torch.tensor([int(np.floor(column * 128 / latent[1])) for column in range(latent[1])])
    assert torch.equal(small, mask[:, :, rows][..., columns])


def test_an_occluder_is_cut_out_and_may_leave_nothing() -> None:
    mask = MASKS["box"](LANDMARKS, (64, 64))
    half = torch.zeros(64, 64)
    half[:, :32] = 1
    assert torch.equal(subtract(mask, half), mask * (1 - half))
    assert is_empty(subtract(mask, torch.ones(64, 64)))


def test_an_occluder_of_another_size_is_an_error() -> None:
    with pytest.raises(KeySyncError, match="occluder mask has 32x32 pixels but the mask has 64x64"):
        subtract(torch.ones(64, 64), torch.ones(32, 32))


def test_frames_without_a_face_have_no_mask() -> None:
    with pytest.raises(KeySyncError, match=r"68 points .* with NaN: draw masks only for frames that show a face"):
        MASKS["box"](torch.full((68, 2), torch.nan), (64, 64))
    with pytest.raises(KeySyncError, match="got 478x2"):
        MASKS["face"](torch.zeros(478, 2), (64, 64))
