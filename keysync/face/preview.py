"""Draws the points, the crop and the mask of a frame, and the number of each face in it, for visual inspection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .crop import Box, Picture
from .face import Box as FaceBox
from .face import Frame

POINT, CROP, MASK = (0, 255, 0), (255, 220, 0), np.array([255, 0, 80], dtype=np.float32)
FACE, NUMBER = (90, 200, 255), (0, 0, 0)


def draw_track(
    frame: Frame,
    landmarks: NDArray[Any] | None = None,
    box: Box | None = None,
    mask: Picture | None = None,
    faces: Mapping[int, FaceBox] | None = None,
) -> Frame:
    """A copy of the frame (h, w, 3) with the 68 points, the outline of the crop and a tint for the mask (any size).

    `faces` are the boxes of all faces by number: each gets a thin outline and its number.
    """
    picture = frame.copy()
    if box is not None and mask is not None:
        x, y, side = (int(value) for value in box)
        inside = (
            F.interpolate(torch.as_tensor(mask)[None, None].float(), (side, side), mode="nearest")[0, 0].numpy() > 0.5
        )
        region = picture[y : y + side, x : x + side]
        region[inside] = (0.65 * region[inside] + 0.35 * MASK).astype(np.uint8)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    if box is not None:
        x, y, side = (int(value) for value in box)
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=CROP, width=max(1, frame.shape[0] // 300))
    if landmarks is not None and np.isfinite(landmarks).all():
        radius = max(1.0, float(np.ptp(landmarks, axis=0).max()) / 100)
        for x, y in landmarks.tolist():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=POINT)
    for number, (x0, y0, x1, y1) in (faces or {}).items():
        _draw_face(draw, number, (x0, y0, x1, y1), max(12, max(frame.shape[:2]) // 24))
    return np.asarray(image)


def _draw_face(draw: ImageDraw.ImageDraw, number: int, box: FaceBox, size: int) -> None:
    """A thin outline, with the number in its upper left corner; `size` is the height of the digits in pixels."""
    x, y = box[:2]
    draw.rectangle(box, outline=FACE, width=1)
    font = ImageFont.load_default(size)
    _, _, width, _ = font.getbbox(str(number))
    draw.rectangle((x, y, x + width + size / 2, y + 1.2 * size), fill=FACE)
    draw.text((x + size / 4, y + 0.6 * size), str(number), fill=NUMBER, font=font, anchor="lm")
