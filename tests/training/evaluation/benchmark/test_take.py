from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from keysync.face.track import from_landmarks
from keysync.media.reader import VideoReader
from tests.clips import picture, write_video
from tests.synthetic_face import face_points
from training.evaluation.benchmark.take import SIDE, Take

WIDTH = 96


def test_frames_with_a_face_are_cut(tmp_path: Path) -> None:
    """Five frames of a longer track, one of them without a face."""
    frames = [picture(number, 0, WIDTH, WIDTH) for number in range(5)]
    video = VideoReader(write_video(tmp_path / "clip.mkv", frames, rate=Fraction(10), lossless=True))
    points = face_points((48.0, 48.0), 30.0)
    track = from_landmarks([points, points, None, points, points, points], (WIDTH, WIDTH))
    made = Take.of(video, track, torch.zeros(8))
    assert len(made) == 4
    np.testing.assert_allclose(made.times, [0, 0.1, 0.3, 0.4])
    assert made.crops.shape == (4, SIDE, SIDE, 3)
    assert made.crops.dtype == np.uint8
    low, high = made.points.min((0, 1)), made.points.max((0, 1))
    assert (low > 0).all()
    assert (high < SIDE).all()
    assert 0.4 < (high - low).max() / SIDE < 0.6  # the crop is twice as wide as the face
    middle = made.crops[3, SIDE // 2, SIDE // 2].astype(int)
    around = frames[4][44:53, 44:53].reshape(-1, 3).astype(int)
    assert (middle >= around.min(0) - 2).all()
    assert (middle <= around.max(0) + 2).all()
