"""Valence and arousal by a file in the layout of KeyFace's predictor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import KeySyncError
from tests.synthetic_face import face_points
from training.data.preparation.emotion import BATCH, EmotionPredictor

from .emotion_file import MEAN_FACE, SIZE, write_predictor


@pytest.fixture
def predictor(tmp_path: Path) -> EmotionPredictor:
    return EmotionPredictor.load(write_predictor(tmp_path / "emotion.pt"))


def test_columns_and_batches(predictor: EmotionPredictor) -> None:
    count = BATCH + 3
    frames = np.zeros((count, 90, 120, 3), np.uint8)
    frames[..., 0], frames[..., 1] = (255 * np.linspace(0, 1, count))[:, None, None], 51
    landmarks = np.repeat(face_points((60.0, 45.0), 40.0)[None], count, 0).astype(np.float32)
    read = predictor.read(frames, landmarks)
    np.testing.assert_allclose(read[:, 0], np.linspace(0, 1, count), atol=5e-3)  # 8 bits
    np.testing.assert_allclose(read[:, 1], 0.2, atol=1e-3)


def test_a_face_is_turned_and_scaled_to_the_mean_face(predictor: EmotionPredictor) -> None:
    """A dot beside each eye of a large, tilted face lands where the mean face has it."""
    angle, scale = 0.3, 1.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    landmarks = (MEAN_FACE - SIZE / 2) @ turn.T + (100, 80)
    frame = np.zeros((160, 200, 3), np.uint8)
    for corner in (36, 45):
        x, y = landmarks[corner].astype(int)
        frame[y - 1 : y + 2, x - 1 : x + 2] = 255
    aligned = predictor.aligned(frame, landmarks.astype(np.float32))[0].numpy()
    for corner in (36, 45):
        x, y = MEAN_FACE[corner].astype(int)
        assert aligned[y - 2 : y + 3, x - 2 : x + 3].max() > 0.5
    assert aligned.sum() < 30


def always(value: float) -> torch.nn.Linear:
    """A layer that gives a value, whatever comes."""
    layer = torch.nn.Linear(10, 10)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(layer.bias, value)
    return layer


def test_no_frames(predictor: EmotionPredictor) -> None:
    assert predictor.read([], np.zeros((0, 68, 2), np.float32)).shape == (0, 2)


def test_values_stay_in_range(tmp_path: Path) -> None:
    predictor = EmotionPredictor.load(write_predictor(tmp_path / "emotion.pt"))
    predictor.network = torch.nn.Sequential(predictor.network, always(7.0))
    frames = np.zeros((1, 90, 120, 3), np.uint8)
    read = predictor.read(frames, face_points((60.0, 45.0), 40.0)[None].astype(np.float32))
    assert (np.abs(read) <= 1).all()


@pytest.mark.parametrize("content", [b"", b"no TorchScript"])
def test_no_predictor(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "emotion.pt"
    path.write_bytes(content)
    with pytest.raises(KeySyncError, match=r"emotion.pt is not an emotion predictor .*: expected TorchScript"):
        EmotionPredictor.load(path)


def test_values_that_are_not_numbers(predictor: EmotionPredictor) -> None:
    predictor.network = torch.nn.Sequential(predictor.network, always(float("nan")))
    frames = np.zeros((1, 90, 120, 3), np.uint8)
    with pytest.raises(KeySyncError, match="not finite"):
        predictor.read(frames, face_points((60.0, 45.0), 40.0)[None].astype(np.float32))
