"""A made-up talker: frames with a face that moves, misses of the detector, and speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.choice import Choice
from keysync.face.face import Face, Frame
from keysync.speech.features import SpeechFeatures
from keysync.systems.flashlips.models import FlashLips, load_flashlips

from ..clips import HEIGHT, WIDTH, picture, write_speech, write_video
from ..synthetic_face import face_points
from ..tiny_flashlips import write_tiny_flashlips

FRAMES = 45
# Frames whose face the detector misses: bridged, and too many in a row.
MISSED = {6, 15, 16, 17, *range(26, 34)}


def points(number: int) -> NDArray[np.float32]:
    """Where the face is: it drifts, and jitters."""
    jitter = 0.15 * np.sin(7.0 * number)
    return face_points((WIDTH / 2 + 0.3 * number - 6 + jitter, HEIGHT / 2), 30)


@dataclass
class Finder:
    """Stands in for a detector: finds the face of the frames that come, in order."""

    number: int = 0
    closed: bool = False
    looked: list[int] = field(default_factory=list)

    def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
        number = self.number
        self.number += 1
        self.looked.append(number)
        return [] if number in MISSED else [Face.of(points(number), 1.0)]

    def close(self) -> None:
        self.closed = True


class CheapEars:
    """Stands in for a speech encoder: what a row holds follows from its own samples."""

    channels = 384

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        loud = waveform.reshape(-1, 320).square().mean(1, keepdim=True).sqrt()
        return SpeechFeatures(loud * torch.linspace(-4, 4, self.channels), "whisper")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> FlashLips:
    loaded = load_flashlips(write_tiny_flashlips(tmp_path_factory.mktemp("flashlips")))
    return replace(loaded, encoders={"whisper": CheapEars()})


@pytest.fixture(scope="session")
def pictures() -> list[Frame]:
    return [picture(number) for number in range(FRAMES)]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, pictures: list[Frame]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clip")
    return {
        "video": write_video(folder / "in.mkv", pictures, lossless=True),
        "speech": write_speech(folder / "speech.wav", FRAMES / 25),
    }


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in detector is the stand-in."""

    def make(**_: Any) -> Finder:
        return Finder()

    monkeypatch.setattr("keysync.face.detectors.DETECTORS", {"mediapipe": Choice(make, "", "")})
