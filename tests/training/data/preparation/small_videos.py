"""Videos of a second with a face that only these tests' detector sees, and settings that such videos pass."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import Face
from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter
from keysync.speech.encoders import ENCODERS
from tests.clips import HEIGHT, WIDTH, picture, write_speech
from tests.synthetic_face import face
from tests.tiny_models import write_tiny_models
from training.data.preparation.settings import ModelFile, Settings

FACE, NO_FACE = 0, 1


class BrightnessDetector:
    """Sees one face, which wanders, in every dark picture and none in a bright one."""

    def __init__(self, **_: object) -> None:
        pass

    def detect(self, frame: NDArray[np.uint8], before: Sequence[Face] = ()) -> list[Face]:
        return [face((46 + frame[0, 0, 0] / 32, 34), 30)] if frame.mean() < 130 else []

    def close(self) -> None:
        pass


def write_talk(path: Path, shots: list[tuple[int, int]], sound: float | None = None) -> Path:
    """A video of shots (kind, frames); its sound is as long, or `sound` seconds; 0 for none."""
    pictures = [picture(number, kind) for kind, frames in shots for number in range(frames)]
    seconds = len(pictures) / 25 if sound is None else sound
    speech = write_speech(path.with_suffix(".wav"), seconds) if seconds else None
    like = PictureFormat(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25))
    with VideoWriter(path, like, audio=speech) as writer:
        for number, frame in enumerate(pictures):
            writer.write(frame, number)
    if speech:
        speech.unlink()
    return path


def small_settings(data: Path, **changes: Any) -> Settings:
    """The tiny models, and nothing is too poor to be kept; a speech encoder is changed by its name, or None."""
    encoders = {name: changes.pop(name, tiny_models().get(name)) for name in ENCODERS}
    given: dict[str, Any] = {
        "resolution": 64,
        "vae": tiny_models()["vae"],
        "encoders": {name: file for name, file in encoders.items() if file is not None},
        "least_quality": 0.0,
        "least_agreement": -1.0,
        **changes,
    }
    return Settings(data, **given)


@cache
def tiny_models() -> dict[str, ModelFile]:
    """The tiny models that a preparation works with, as files that lie there until the tests end."""
    folder = TemporaryDirectory(prefix="keysync-tiny-")
    atexit.register(folder.cleanup)
    paths = write_tiny_models(Path(folder.name))
    return {name: ModelFile.of(paths[name]) for name in ("vae", "hubert", "wavlm")}
