"""Crop boxes follow the face, hold it and stay inside the frame; points go there and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from keysync.face.crop import Crops, crop, crop_boxes, to_crop
from keysync.face.track import FaceTrack, from_landmarks

from ..synthetic_face import face_points


def moving(centres: Sequence[tuple[float, float]], size: tuple[int, int], width: float = 40.0) -> FaceTrack:
    return from_landmarks([face_points(centre, width) for centre in centres], size)


def test_a_face_at_rest_has_twice_its_box() -> None:
    track = moving([(150, 120)] * 5, (240, 320))
    low, high = track.landmarks[0].min(0), track.landmarks[0].max(0)
    boxes = crop_boxes(track, 0, 5)
    assert boxes.dtype == np.int64
    assert (boxes == boxes[0]).all()
    x, y, side = boxes[0].tolist()
    assert side == pytest.approx(2 * (high - low).max(), abs=1)
    assert x + side / 2 == pytest.approx((low[0] + high[0]) / 2, abs=1)
    assert y + side / 2 == pytest.approx((low[1] + high[1]) / 2, abs=1)


def test_a_model_may_see_the_face_closer() -> None:
    track = moving([(150, 120)] * 2, (240, 320))
    low, high = track.landmarks[0].min(0), track.landmarks[0].max(0)
    x, y, side = crop_boxes(track, 0, 2, 1.4)[0].tolist()
    assert side == pytest.approx(1.4 * (high - low).max(), abs=1)
    assert x + side / 2 == pytest.approx((low[0] + high[0]) / 2, abs=1)
    assert y + side / 2 == pytest.approx((low[1] + high[1]) / 2, abs=1)


def test_small_motion_is_smoothed_by_the_published_factor() -> None:
    track = moving([(150, 120), (160, 120)], (240, 320))
    first, second = crop_boxes(track, 0, 2)
    assert second[0] - first[0] == pytest.approx(10 * (0.2 + 0.6 * 10 / 100), abs=1)


@pytest.mark.parametrize("step", [1.0, 15.0, 60.0])
def test_the_face_stays_in_the_crop_and_the_crop_in_the_frame(step: float) -> None:
    size = (240, 640)
    track = moving([(60 + step * frame, 120 + 30 * np.sin(frame)) for frame in range(9)], size, width=50)
    boxes = crop_boxes(track, 0, 9)
    for points, (x, y, side) in zip(track.landmarks, boxes, strict=True):
        assert x >= 0
        assert y >= 0
        assert x + side <= size[1]
        assert y + side <= size[0]
        assert (points >= (x, y)).all()
        assert (points <= (x + side, y + side)).all()


def test_a_face_larger_than_the_frame_gets_the_largest_square() -> None:
    track = moving([(40, 30)], (60, 80), width=100)
    x, y, side = crop_boxes(track, 0, 1)[0]
    assert side == 60
    assert y == 0
    assert 0 <= x <= 20


def test_a_later_run_starts_at_its_own_box() -> None:
    track = moving([(60, 120)] * 3 + [(260, 120)] * 3, (240, 320))
    assert (crop_boxes(track, 3, 6) == crop_boxes(track, 3, 6)[0]).all()


def test_crop_reads_bytes_and_floats_alike() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    small = crop(frame, (10, 5, 40), (16, 16))
    assert small.shape == (16, 16, 3)
    assert small.dtype == torch.float32
    torch.testing.assert_close(small, crop(torch.from_numpy(frame).float() / 255, (10, 5, 40), (16, 16)))
    exact = crop(frame, (10, 5, 40), (40, 40))
    torch.testing.assert_close(exact, torch.from_numpy(frame[5:45, 10:50]).float() / 255)


def test_enlarging_is_plain_bilinear_and_shrinking_averages() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    plain = F.interpolate(planes, (32, 48), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    torch.testing.assert_close(crop(frame, (0, 0, 16), (32, 48)), plain)
    # White lines an eighth as wide as the pixels of the crop, where plain bilinear never looks.
    for lines in (np.s_[:, ::8], np.s_[::8]):
        stripes = np.zeros((64, 64, 3), dtype=np.uint8)
        stripes[lines] = 255
        middle = crop(stripes, (0, 0, 64), (8, 8))[1:-1, 1:-1]
        assert (middle - 1 / 8).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(16, 24), (45, 20), (64, 20), (20, 64), (90, 30)])
def test_crops_are_scaled_as_pillow_does(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    planes = [
        Image.fromarray(np.ascontiguousarray(frame[..., plane])).resize(size[::-1], Image.Resampling.BILINEAR)
        for plane in range(3)
    ]
    expected = torch.from_numpy(np.stack([np.asarray(plane) for plane in planes], axis=-1))
    torch.testing.assert_close(crop(frame, (0, 0, 64), size), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_points_go_to_the_crop_and_back(size: tuple[int, int]) -> None:
    box, points = np.array([20, 30, 100]), face_points((70, 80), 40)
    there = to_crop(points, box, size)
    back = there.numpy() * (100 / size[1], 100 / size[0]) + (20, 30)
    np.testing.assert_allclose(back, points, atol=1e-3)


def test_points_outside_the_crop_are_kept_at_its_edge() -> None:
    there = to_crop(face_points((0, 200), 40), (0, 0, 100), (64, 128))
    assert there[:, 0].min() == 0
    assert there[:, 1].max() == 63
    assert to_crop(np.full((68, 2), 1e4, dtype=np.float32), (0, 0, 100), (64, 128))[0].tolist() == [127, 63]


def test_native_crops_of_a_shot_are_equally_large_and_the_frame_s_own_pixels() -> None:
    size = (240, 640)
    points = [face_points((60 + 50 * frame, 120 + frame), 40 + 4 * frame) for frame in range(8)]
    track = from_landmarks(points, size, [0] * 5 + [1] * 3)
    crops = Crops.of(track, (512, 512), 1.5, native=True)
    first, second = set(crops.boxes[:5, 2].tolist()), set(crops.boxes[5:, 2].tolist())
    assert len(first) == len(second) == 1
    assert first != second
    random = np.random.default_rng(0)
    for number, (x, y, side) in enumerate(crops.boxes.tolist()):
        frame = random.integers(0, 255, (*size, 3), dtype=np.uint8)
        assert crops.size_of(number) == (side, side)
        cut = crops.cut(frame, number)
        assert ((cut.numpy() * 255).round() == frame[y : y + side, x : x + side]).all()
        inside = crops.points(track.landmarks[number], number)
        assert np.allclose(inside.numpy(), (track.landmarks[number] - (x, y)).clip(0, side - 1), atol=1e-3)


def test_native_crops_are_no_larger_than_the_system_s() -> None:
    track = moving([(150, 120)] * 2, (240, 320), width=100)
    crops = Crops.of(track, (64, 64), 1.5, native=True)
    assert crops.size_of(0) == (64, 64)
    assert crops.cut(np.zeros((240, 320, 3), np.uint8), 0).shape == (64, 64, 3)


def test_other_crops_have_the_system_s_size_and_their_own_boxes() -> None:
    track = moving([(150, 120), (180, 120)], (240, 320))
    crops = Crops.of(track, (512, 384), 1.5)
    assert crops.size_of(1) == (512, 384)
    assert (crops.boxes == crop_boxes(track, 0, 2, 1.5)).all()
