"""Turned crops: eyes are level there, points and pixels go there and back, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from keysync.face.crop import Crops
from keysync.face.masks import MASKS
from keysync.face.paste import Place, paste
from keysync.face.pose import rolls
from keysync.face.track import FaceTrack, from_landmarks
from keysync.face.turn import Turned, rotation

from ..synthetic_face import face_points

SIZE = (240, 320)
CENTRE = (150.0, 120.0)
ROLLS = [0, 20, -45, 100, 180]


def tilted(degrees: float, centre: tuple[float, float] = CENTRE, width: float = 50.0) -> NDArray[np.float32]:
    """The points of a face that is tilted clockwise."""
    flat: NDArray[np.float32] = ((face_points((0, 0), width) @ rotation(degrees).T) + centre).astype(np.float32)
    return flat


def still(degrees: float, size: tuple[int, int] = SIZE, centre: tuple[float, float] = CENTRE) -> FaceTrack:
    return from_landmarks([tilted(degrees, centre)] * 3, size)


def blotches(grain: float = 1.0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    soft = gaussian_filter(rng.normal(size=(*SIZE, 3)), (5, 5, 0))
    made: NDArray[np.uint8] = np.clip(128 + 500 * soft + rng.normal(0, grain, soft.shape), 0, 255).astype(np.uint8)
    return made


def test_rolls_are_read_back() -> None:
    assert rolls(np.stack([tilted(degrees) for degrees in (-170, -45, 0, 30)])) == pytest.approx(
        [-170, -45, 0, 30], abs=1e-3
    )


@pytest.mark.parametrize("roll", ROLLS)
def test_a_turned_crop_shows_the_face_as_an_upright_one_would(roll: float) -> None:
    track, upright = still(roll), still(0)
    crops, plain = Crops.of(track, (128, 128), 2.0, align=True), Crops.of(upright, (128, 128), 2.0)
    assert crops.boxes.shape == (3, 4)
    assert crops.rolls == pytest.approx([(roll + 180) % 360 - 180] * 3, abs=0.01)
    # Corners and sides are whole pixels.
    assert crops.points(track.landmarks[0], 0).numpy() == pytest.approx(
        plain.points(upright.landmarks[0], 0).numpy(), abs=1.0
    )


@pytest.mark.parametrize("roll", ROLLS)
@pytest.mark.parametrize("native", [False, True])
def test_pixels_lie_where_the_points_do(roll: float, native: bool) -> None:
    """A white dot at the tip of the nose."""
    track = still(roll)
    x, y = track.landmarks[0, 30]
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    crops = Crops.of(track, (512, 512), 2.0, native, align=True)
    seen = crops.cut(np.repeat(dot[..., None], 3, -1).astype(np.uint8), 0)[..., 0].numpy().astype(float)
    h, w = seen.shape
    rows, columns = np.mgrid[:h, :w] + 0.5
    middle = (seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()
    assert middle == pytest.approx(crops.points(track.landmarks[0], 0)[30].tolist(), abs=0.5)


@pytest.mark.parametrize("roll", ROLLS)
def test_places_are_the_way_back(roll: int) -> None:
    box = Turned(60, 40, 100, roll * 100)
    rows, columns = region = box.region(SIZE)
    y, x = np.mgrid[rows, columns] + 0.5
    inside = box.inside(torch.from_numpy(np.stack([x, y], -1)))
    torch.testing.assert_close(box.places(region), inside / 50 - 1)
    torch.testing.assert_close(box.outside(inside), torch.from_numpy(np.stack([x, y], -1)))


@pytest.mark.parametrize("roll", ROLLS)
@pytest.mark.parametrize("centre", [CENTRE, (40.0, 200.0)])
def test_pixels_outside_the_mask_keep_their_bits(roll: float, centre: tuple[float, float]) -> None:
    track, frame = still(roll, centre=centre), blotches()
    crops = Crops.of(track, (128, 128), 2.0, align=True)
    mask = MASKS["box"](crops.points(track.landmarks[0], 0), (128, 128))
    place = Place.of(mask, crops.boxes[0], SIZE)
    inside = np.zeros(SIZE, bool)
    inside[place.region] = place.mask.numpy() > 0
    result = paste(frame, np.random.default_rng(1).random((128, 128, 3), dtype=np.float32), place)
    assert np.array_equal(result[~inside], frame[~inside])
    assert (result[inside] != frame[inside]).any(-1).mean() > 0.9
    # The mask is where the points say, also in the frame: it has the mouth, and not the eyes.
    columns, rows = np.clip(track.landmarks[0].astype(int), 0, (SIZE[1] - 1, SIZE[0] - 1)).T
    assert inside[rows, columns][48:].mean() > 0.9
    assert not inside[rows, columns][36:48].any()


@pytest.mark.parametrize("roll", ROLLS)
def test_the_frame_s_own_crop_changes_nothing(roll: float) -> None:
    """But for what sampling twice takes from the grain; a shade of the model's own is taken out."""
    track, frame = still(roll), blotches(grain=0)
    side = int(Crops.of(track, (9, 9), 2.0, align=True).boxes[0, 2])
    crops = Crops.of(track, (side, side), 2.0, align=True)
    mask = MASKS["mouth"](crops.points(track.landmarks[0], 0), (side, side))
    for shade in (0.0, 0.05):
        result = paste(frame, crops.cut(frame, 0) + shade, Place.of(mask, crops.boxes[0], SIZE))
        assert np.abs(result.astype(int) - frame).max() <= 3


def test_a_crop_that_shows_in_part_is_turned_too() -> None:
    track, frame = still(30), blotches()
    crops = Crops.of(track, (128, 128), 2.0, align=True)
    shown, mask = torch.zeros(128, 128), torch.ones(128, 128)
    shown[70:100, 40:90] = 1
    place = Place.less(mask, crops.boxes[0], SIZE, shown)
    whole = Place.of(mask, crops.boxes[0], SIZE)
    assert place.matte.numel() < whole.matte.numel()
    changed = (paste(frame, np.zeros((128, 128, 3), np.float32), place) != frame).any(-1)
    inside = np.zeros(SIZE, bool)
    inside[place.region] = place.matte.numpy() > 0
    assert changed[inside].mean() > 0.95
    assert not changed[~inside].any()
    assert (place.matte > 0.5).sum() == pytest.approx(30 * 50 * (crops.boxes[0, 2] / 128) ** 2, rel=0.15)


@pytest.mark.parametrize("centre", [(30.0, 30.0), (300.0, 120.0), (160.0, 239.0), (70.0, 100.0)])
def test_a_turned_crop_holds_the_face_and_is_no_further_outside_than_its_corners(centre: tuple[float, float]) -> None:
    track = still(30, centre=centre)
    crops = Crops.of(track, (128, 128), 2.0, align=True)
    x, y, side, _ = crops.boxes[0].tolist()
    points = Turned.of(crops.boxes[0]).inside(torch.from_numpy(track.landmarks[0]))  # type: ignore[union-attr]
    assert points.min() >= 0
    assert points.max() <= side
    # All of the face counts more.
    if 60 < centre[0] < 260 and 60 < centre[1] < 180:
        assert x >= 0
        assert y >= 0
        assert x + side <= 320
        assert y + side <= 240
    assert torch.isfinite(crops.cut(blotches(), 0)).all()


@pytest.mark.parametrize("size", [(40, 300), (300, 40), (8, 8)])
def test_frames_smaller_than_the_face_are_cut_too(size: tuple[int, int]) -> None:
    track = still(40, size, (size[1] / 2, size[0] / 2))
    crops = Crops.of(track, (64, 64), 2.0, align=True)
    frame = np.full((*size, 3), 100, np.uint8)
    assert crops.cut(frame, 0).numpy() == pytest.approx(100 / 255, abs=1e-5)
    assert paste(frame, np.ones((64, 64, 3), np.float32), Place.of(torch.ones(64, 64), crops.boxes[0], size)).any()


def test_the_roll_is_smoothed_as_boxes_are() -> None:
    def turns(degrees: Sequence[float]) -> list[float]:
        track = from_landmarks([tilted(one) for one in degrees], SIZE)
        return [float(roll) for roll in Crops.of(track, (64, 64), 2.0, align=True).rolls]

    jitter = turns([10 + 0.5 * (-1) ** frame for frame in range(40)])
    assert np.ptp(jitter[10:]) < 0.3
    # A turn of 50 degrees a second, followed.
    assert turns([2.0 * frame for frame in range(20)])[-1] == pytest.approx(38, abs=5)
    # Across the seam of the circle, by the short way.
    assert np.abs(turns([170 + frame for frame in range(20)])).min() > 165


def test_native_turned_crops_of_a_shot_are_equally_large() -> None:
    points = [tilted(5.0 * frame, (100 + 8 * frame, 120), 40 + 4 * frame) for frame in range(8)]
    crops = Crops.of(from_landmarks(points, SIZE), (512, 512), 1.5, native=True, align=True)
    assert len(set(crops.boxes[:, 2].tolist())) == 1
    assert len(set(crops.boxes[:, 3].tolist())) == 8
