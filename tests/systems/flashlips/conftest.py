"""A tiny FlashLips of random weights, untrained, and a clip of a made-up face."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.systems.flashlips.models import FlashLips, load_flashlips

from ...clips import HEIGHT, WIDTH, picture, write_landmarks, write_speech, write_video
from ...synthetic_face import face_points
from ...tiny_flashlips import write_tiny_flashlips

FRAMES = 18


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_flashlips(tmp_path_factory.mktemp("flashlips"))


@pytest.fixture(scope="session")
def models(tiny: Path) -> FlashLips:
    return load_flashlips(tiny)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two shots, and frames without a face between them."""
    folder = tmp_path_factory.mktemp("clip")
    points = face_points((WIDTH / 2, HEIGHT / 2), 30)
    return {
        "video": write_video(folder / "in.mkv", [picture(n, shot=n // 10) for n in range(FRAMES)], lossless=True),
        "speech": write_speech(folder / "speech.wav", FRAMES / 25),
        "landmarks": write_landmarks(folder / "face.json", [points] * 8 + [None] * 3 + [points] * (FRAMES - 11)),
    }
