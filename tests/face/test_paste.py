"""Pasting touches nothing outside the mask, matches colours and blends softly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from keysync.face.crop import crop
from keysync.face.masks import MASKS, to_latent
from keysync.face.paste import Place, Sides, feathered, paste

from ..synthetic_face import face_points

RANDOM = np.random.default_rng(7)
FRAME = RANDOM.integers(0, 256, (120, 160, 3), dtype=np.uint8)
SMOOTH = np.tile(np.linspace(60, 180, 160, dtype=np.uint8)[None, :, None], (120, 1, 3))
BOX = (30, 20, 80)


def square_mask(size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    mask = torch.zeros(size)
    mask[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 1
    return mask


def paste_at(frame: Any, generated: Any, box: tuple[int, int, int], mask: torch.Tensor) -> Any:
    return paste(frame, generated, Place.of(mask, box, frame.shape[:2]))


def in_frame(mask: torch.Tensor, box: tuple[int, int, int] = BOX) -> np.ndarray:
    x, y, side = box
    inside = np.zeros(FRAME.shape[:2], dtype=bool)
    inside[y : y + side, x : x + side] = to_latent(mask, (side, side)).numpy() > 0.5
    return inside


@pytest.mark.parametrize("name", sorted(MASKS))
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 128)])
def test_pixels_outside_the_mask_keep_their_bits(name: str, size: tuple[int, int]) -> None:
    mask = MASKS[name](torch.from_numpy(face_points((size[1] / 2, 30), 30)), size)
    before = FRAME.copy()
    result = paste_at(FRAME, RANDOM.random((*size, 3), dtype=np.float32), BOX, mask)
    inside = in_frame(mask)
    assert np.array_equal(FRAME, before)
    assert result.dtype == np.uint8
    assert np.array_equal(result[~inside], FRAME[~inside])
    assert (result[inside] != FRAME[inside]).any()


def test_float_frames_and_tensors_keep_their_kind_and_bits() -> None:
    frame = RANDOM.random((120, 160, 3), dtype=np.float32)
    mask, generated = square_mask(), torch.rand(64, 64, 3)
    as_array, as_tensor = paste_at(frame, generated, BOX, mask), paste_at(torch.from_numpy(frame), generated, BOX, mask)
    assert as_array.dtype == np.float32
    assert isinstance(as_tensor, torch.Tensor)
    assert np.array_equal(as_array, as_tensor.numpy())
    assert np.array_equal(as_array[~in_frame(mask)], frame[~in_frame(mask)])


def test_the_frame_s_own_crop_changes_nothing() -> None:
    result = paste_at(SMOOTH, crop(SMOOTH, BOX, (80, 80)), BOX, square_mask((80, 80)))
    assert np.abs(result.astype(int) - SMOOTH).max() <= 1


def test_a_colour_shift_of_the_model_is_taken_out() -> None:
    shifted = crop(SMOOTH, BOX, (64, 64)) + torch.tensor([0.06, -0.04, 0.02])
    result = paste_at(SMOOTH, shifted, BOX, square_mask())
    assert np.abs(result.astype(int) - SMOOTH).max() <= 3


def test_another_content_is_not_taken_for_a_colour_shift() -> None:
    result = paste_at(np.zeros_like(FRAME), torch.ones(64, 64, 3), BOX, square_mask())
    assert result.max() == round(255 * 0.9)


def test_the_matte_rises_inside_the_mask_only() -> None:
    mask = square_mask()
    alpha = feathered(mask, 4.0)
    assert torch.equal(alpha > 0, mask > 0)
    assert alpha.max() == 1
    row = alpha[32, 16:24].tolist()
    assert row == sorted(row)
    assert 0 < row[0] < 0.2
    assert row[5:] == [1, 1, 1]
    assert torch.equal(feathered(mask, 0.0), mask)


def test_the_matte_falls_at_the_crop_s_border_but_not_at_the_frame_s() -> None:
    mask = torch.zeros(64, 64)
    mask[32:, 16:48] = 1
    assert feathered(mask, 4.0)[-1, 32] < 0.2
    open_below = feathered(mask, 4.0, Sides(bottom=True))
    assert open_below[-1, 32] == 1
    assert open_below[-1, 16] < 0.2
    assert (feathered(torch.ones(8, 8), 2.0, Sides(True, True, True, True)) == 1).all()


def test_a_crop_at_the_frame_s_border_is_pasted_up_to_it() -> None:
    mask = torch.ones(64, 64)
    result = paste_at(np.zeros_like(FRAME), torch.ones(64, 64, 3), (0, 40, 80), mask)
    assert (result[-1, :70] > 200).all()
    assert (result[60:, 0] > 200).all()
    assert (result[-1, 79] < 60).all()


def test_an_occluder_cut_out_of_the_mask_stays_as_it_is() -> None:
    mask = square_mask((80, 80))
    mask[35:45, 30:60] = 0
    result = paste_at(FRAME, torch.zeros(80, 80, 3), BOX, mask)
    hand = FRAME[55:65, 60:90]
    assert np.array_equal(result[55:65, 60:90], hand)


def test_an_empty_mask_gives_the_frame_back() -> None:
    assert np.array_equal(paste_at(FRAME, torch.rand(64, 64, 3), BOX, torch.zeros(64, 64)), FRAME)


def test_the_place_of_a_crop() -> None:
    place = Place.of(square_mask() * 0.6, BOX, FRAME.shape[:2], 0.1)
    assert place.region == (slice(20, 100), slice(30, 110))
    assert place.feather == pytest.approx(8)
    whole = torch.zeros(FRAME.shape[:2])
    whole[place.region] = place.mask
    assert np.array_equal(whole.numpy() > 0, in_frame(square_mask()))
    assert torch.equal(place.matte > 0, place.mask > 0)
    assert place.matte[20, 40] < 0.1
    assert place.matte[40, 40] == 1


def test_the_matte_is_how_much_of_a_pixel_the_paste_takes_from_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keysync.face.paste.LARGEST_SHIFT", 0.0)
    place = Place.of(square_mask(), BOX, (120, 160), 0.1)
    pasted = paste(torch.zeros(120, 160, 3), torch.ones(64, 64, 3), place)
    torch.testing.assert_close(pasted[place.region][..., 0], place.matte)


def test_a_mask_at_the_frame_s_border_is_not_feathered_there() -> None:
    mask = torch.zeros(48, 48)
    mask[10:, 10:30] = 1
    assert Place.of(mask, (0, 16, 48), (64, 64), 0.1).matte[-1, 20] == 1
    assert Place.of(mask, (0, 10, 48), (64, 64), 0.1).matte[-1, 20] < 1


@pytest.mark.parametrize("box", [BOX, (0, 20, 80), (80, 40, 80)])
def test_a_crop_shows_by_so_much_as_it_says_within_the_matte(box: tuple[int, int, int]) -> None:
    mask, shown = square_mask((80, 80)), torch.zeros(80, 80)
    mask[:, :30] = 1
    shown[:50, :45] = torch.linspace(1, 0.2, 45)
    place = Place.less(mask, box, FRAME.shape[:2], shown)
    generated = RANDOM.random((80, 80, 3), dtype=np.float32)
    result = paste(FRAME, generated, place)
    x, y, side = box
    share = (Place.of(mask, box, FRAME.shape[:2]).matte * shown).numpy()[..., None]
    source = FRAME[y : y + side, x : x + side] / np.float32(255)
    expected = FRAME.copy()
    expected[y : y + side, x : x + side] = np.round((source + share * (generated - source)) * np.float32(255))
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert place.matte.numel() < side * side


def test_a_crop_that_shows_nowhere_gives_the_frame_back() -> None:
    place = Place.less(square_mask(), BOX, FRAME.shape[:2], torch.zeros(64, 64))
    assert np.array_equal(paste(FRAME, np.ones((64, 64, 3), np.float32), place), FRAME)
