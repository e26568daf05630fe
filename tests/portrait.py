"""A real face for tests: NASA's picture of Eileen Collins (public domain), moved as a camera would.

Nothing of KeySync is imported with it: tests inside ComfyUI load it by its path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PORTRAIT = Path(__file__).parent / "data" / "portrait.jpg"


def portrait_frames(count: int, size: int = 384) -> Iterator[NDArray[np.uint8]]:
    """Yields `count` frames (size, size, 3) of the portrait under a slow pan and zoom, at 25 frames a second."""
    with Image.open(PORTRAIT) as file:
        portrait = file.convert("RGB")
    for index in range(count):
        seconds = index / 25
        side = 400 - 24 * math.sin(0.9 * seconds)
        left = 40 + 16 * math.sin(0.7 * seconds)
        top = 4 + 4 * math.cos(1.1 * seconds)
        box = (left, top, left + side, top + side)
        frame = portrait.resize((size, size), Image.Resampling.BICUBIC, box=box)
        yield np.asarray(frame)


def write_portrait_video(path: Path, seconds: float = 5.0) -> Path:
    """Writes the moving portrait as an mp4 without sound; returns its path."""
    from keysync.media.info import PictureFormat
    from keysync.media.writer import VideoWriter

    with VideoWriter(path, PictureFormat(384, 384, time_base=Fraction(1, 25), rate=Fraction(25))) as writer:
        for pts, frame in enumerate(portrait_frames(round(25 * seconds))):
            writer.write(frame, pts)
    return path
