"""Masks of the region to generate: 1 = generate, 0 = keep (paper §3.3).

A mask is drawn from 68 points (x, y) in pixels at image size (h, w), with points truncated to whole pixels, like the
filled contours (OpenCV) and polygons (Pillow) of the KeySync reference implementation; it is resized to the latent size
by nearest neighbour. A mask may be empty if points are outside the image: callers check `is_empty`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ..choice import Choice
from ..errors import KeySyncError

NOSE = 28  # the second point of the nose bridge: the region to generate is below it
MOUTH_MARGIN = 0.01  # of the image's width
FACE_MARGIN = 0.05  # of the image's height

Mask = Callable[[Tensor, tuple[int, int]], Tensor]


def box(landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """Rows from `NOSE` to the last, columns of the outermost points."""
    points = _whole_pixels(landmarks)
    return _rectangle(points[:, 0].min(), points[NOSE, 1], points[:, 0].max(), size[0], size)


def full(landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """Rows from `NOSE` to the last, at least one; all columns."""
    top = min(max(int(_whole_pixels(landmarks)[NOSE, 1]), 0), size[0] - 1)
    return _rectangle(0, top, size[1], size[0], size)


def mouth(landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """Rows from `NOSE` to the lowest point, by `MOUTH_MARGIN` more on both ends; columns of the outermost points."""
    points = _whole_pixels(landmarks)
    margin = int(MOUTH_MARGIN * size[1])
    bottom = min(size[0], points[:, 1].max() + margin)
    return _rectangle(points[:, 0].min(), points[NOSE, 1] - margin, points[:, 0].max(), bottom, size)


def face(landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """The polygon of points 2 to 14, each pushed away from their centre by `FACE_MARGIN`."""
    jaw = _whole_pixels(landmarks)[2:15].astype(np.float64)
    away = jaw - jaw.mean(0)
    # Avoids a division by zero if all points are in the same pixel.
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    return _polygon(jaw + away * int(FACE_MARGIN * size[0]), size)


def jaw(landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """The polygon of points 0 to 16, closed through `NOSE`."""
    points = _whole_pixels(landmarks)
    return _polygon(points[[*range(17), NOSE]].astype(np.float64), size)


MASKS: dict[str, Choice[[Tensor, tuple[int, int]], Tensor]] = {
    "box": Choice(
        box,
        "rectangle from the nose bridge to the bottom of the crop, as wide as the face (used by the built-in and the "
        "published models)",
        "从鼻梁到裁剪底部的矩形,与脸同宽(内置模型和公开模型所用)",
    ),
    "full": Choice(full, "like box, but over the full width of the crop", "与 box 相同,但占裁剪的整个宽度"),
    "mouth": Choice(
        mouth,
        "rectangle from the nose bridge to just below the chin, as wide as the face",
        "从鼻梁到下巴稍下的矩形,与脸同宽",
    ),
    "face": Choice(face, "area inside the jaw line, slightly enlarged", "下颌线以内的区域,略微扩大"),
    "jaw": Choice(jaw, "area inside the jaw line, up to the nose bridge", "下颌线以内、鼻梁以下的区域"),
}


def to_latent(mask: Tensor, latent_size: tuple[int, int]) -> Tensor:
    """A mask (..., H, W) at the latent size (h, w): the upper left pixel of each cell, as published."""
    flat = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    return F.interpolate(flat, latent_size, mode="nearest").reshape(*mask.shape[:-2], *latent_size)


def subtract(mask: Tensor, occluder: Tensor) -> Tensor:
    """The mask (..., H, W) without the pixels where an occluder (H, W) or (..., H, W) exceeds 0.5."""
    if mask.shape[-2:] != occluder.shape[-2:]:
        raise KeySyncError(
            f"the occluder mask has {occluder.shape[-1]}x{occluder.shape[-2]} pixels but the mask has "
            f"{mask.shape[-1]}x{mask.shape[-2]}: draw both at the same size"
        )
    return mask * (occluder <= 0.5)


def is_empty(mask: Tensor) -> bool:
    """Whether nothing would be generated, because the face is outside the image or an occluder covers the mask."""
    return not bool((mask > 0).any())


def _whole_pixels(landmarks: Tensor) -> NDArray[np.int64]:
    points = landmarks.detach().cpu().double().numpy()
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise KeySyncError(
            f"a mask cannot be drawn from {'x'.join(map(str, points.shape))} points"
            f"{'' if np.isfinite(points).all() else ' with NaN'}: expected 68x2; draw masks only for frames with a face"
        )
    return points.astype(np.int64)


def _rectangle(left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> Tensor:
    """A filled rectangle; both ends are inclusive and in either order, like OpenCV's filled contours."""
    mask = torch.zeros(size)
    rows, columns = sorted((int(top), int(bottom))), sorted((int(left), int(right)))
    mask[max(rows[0], 0) : max(rows[1] + 1, 0), max(columns[0], 0) : max(columns[1] + 1, 0)] = 1
    return mask


def _polygon(points: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
    image = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in points.tolist()], fill=1)
    return torch.from_numpy(np.array(image)).float()
