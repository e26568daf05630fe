"""Draws the points, the crop and the mask of a frame, for visual inspection."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .crop import Box, Picture
from .face import Frame

POINT, CROP, MASK = (0, 255, 0), (255, 220, 0), np.array([255, 0, 80], dtype=np.float32)


def draw_track(
    frame: Frame, landmarks: NDArray[Any] | None = None, box: Box | None = None, mask: Picture | None = None
) -> Frame:
    """A copy of the frame (h, w, 3) with the 68 points, the outline of the crop and a tint for the mask (any size)."""
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
    return np.asarray(image)
