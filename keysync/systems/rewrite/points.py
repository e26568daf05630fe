"""Points of the face mesh that mouths are drawn by, and what each does: how much it follows a mouth, where it blends.

The mesh is MediaPipe's (see `face.finder.points`). References are those of `head`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from ...face.mouth import CORNERS

# fmt: off
UPPER_INNER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_INNER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
INNER = (78, *UPPER_INNER, 308, *LOWER_INNER[::-1])
UPPER_OUTER = (185, 40, 39, 37, 0, 267, 269, 270, 409)
LOWER_OUTER = (146, 91, 181, 84, 17, 314, 405, 321, 375)
OUTER = (61, *UPPER_OUTER, 291, *LOWER_OUTER[::-1])
JAW = (
    234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454,
)
CHIN = (18, 83, 313, 200, 199, 175, 201, 421, 208, 428, 194, 418, 204, 424, 182, 406, 32, 262, 140, 369, 171, 396)
CHEEKS = (
    164, 167, 393, 165, 391, 92, 322, 186, 410, 57, 287, 43, 273, 106, 335, 202, 422, 210, 430, 212, 432, 214, 434, 216,
    436, 206, 426, 203, 423, 207, 427, 192, 416, 187, 411, 205, 425, 50, 280, 36, 266, 101, 330, 147, 376, 213, 433,
    169, 394, 135, 364, 138, 367, 123, 352,
)
NOSE = (1, 2, 4, 98, 327, 97, 326, 129, 358, 6, 168)
# The outline of what is taken from a chosen mouth: from beside the nose down to the crease above the chin.
OUTLINE = (164, 167, 165, 206, 216, 212, 202, 204, 194, 201, 200, 421, 418, 424, 422, 432, 436, 426, 391, 393)
# Points around the mouth whose colours tell whether something hides it.
SEEN = (
    2, 164, 167, 393, 165, 391, 92, 322, 186, 410, 57, 287, 43, 273, 106, 335, 202, 422, 212, 432, 216, 436, 200, 201,
    421, 194, 418, 204, 424, 182, 406, 18, 83, 313, 0, 17, 61, 291,
)
# fmt: on

# All points that warps go by.
POINTS = tuple(dict.fromkeys((*INNER, *OUTER, *JAW, *CHIN, *CHEEKS, *NOSE)))
# Where following begins and is complete: below the nose in shares of the way to the mouth, beside the mouth in eye
# distances.
BELOW, BESIDE = 0.55, (0.74, 0.42)
# The share of a gap by which the upper lip rises. In half widths of the mouth: how far beside its middle the jaw moves
# fully and no more, how far below the mouth skin moves with the jaw alone, how far above it skin rises with the lip.
RISE, NEAR, FAR, DEEP, HIGH = 0.25, 0.7, 2.4, 0.8, 1.2
# The matte's picture: pixels of its side, eye distances that it spans, eye distances of its soft edge.
SIDE, SPAN, EDGE = 160, 1.6, 0.045
# How far skin is from the lips, in eye distances.
LIPS_MARGIN = 0.03

Reference = NDArray[np.float64]


def following(reference: Reference) -> NDArray[np.float64]:
    """How much each of `POINTS` follows a chosen mouth: (n,), 1 at mouth and chin, 0 at the nose and the ears."""
    points = reference[list(POINTS)]
    mouth, nose = _mouth(reference), reference[2]
    down = _smooth((points[:, 1] - nose[1]) / (BELOW * (mouth[1] - nose[1])))
    far, near = BESIDE
    return down * _smooth((far - np.abs(points[:, 0] - mouth[0])) / (far - near))


def parting(reference: Reference) -> NDArray[np.float64]:
    """How far each of `POINTS` moves down (n,) where the gap between the lips grows by 1; up is negative.

    Below the mouth all skin moves with the jaw, the further below the more of it: nothing folds at large gaps.
    """
    points = reference[list(POINTS), :2]
    corners = reference[list(CORNERS), :2]
    half = abs(float(corners[1, 0] - corners[0, 0])) / 2
    x, y = ((points - corners.mean(0)) / half).T
    lips = np.maximum(0, 1 - x**2)
    jaw = _smooth((FAR - np.abs(x)) / (FAR - NEAR))
    lower = np.isin(POINTS, (*LOWER_INNER, *LOWER_OUTER))
    below = np.where(lower, lips, lips + (jaw - lips) * _smooth(y / DEEP))
    upper = np.isin(POINTS, (*UPPER_INNER, *UPPER_OUTER)) | ((y <= 0) & ~lower)
    moved: NDArray[np.float64] = np.where(upper, -RISE * lips * _smooth(1 + y / HIGH), (1 - RISE) * below)
    return moved


def chart(reference: Reference) -> Tensor:
    """The places (n, 2) of `POINTS`, -1..1, in the picture of `matte`."""
    places = (reference[list(POINTS), :2] - _centre(reference)) * 2 / SPAN
    return torch.from_numpy(places).float()


def matte(reference: Reference) -> Tensor:
    """(1, 2, `SIDE`, `SIDE`), 0..1: where a chosen mouth replaces the crop, and where of that it is skin."""
    places = (reference[:, :2] - _centre(reference)) / SPAN * SIDE + SIDE / 2
    edge, margin = EDGE / SPAN * SIDE, LIPS_MARGIN / SPAN * SIDE
    shown = _filled(places[list(OUTLINE)]).filter(ImageFilter.GaussianBlur(edge))
    lips = places[list(OUTER)]
    middle = lips.mean(0)
    away = lips - middle
    lips = middle + away * (1 + margin / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6))
    inside = np.asarray(_filled(lips), np.float32) / 255
    share = np.asarray(shown, np.float32) / 255
    near = np.asarray(_filled(places[list(OUTLINE)]).filter(ImageFilter.GaussianBlur(2 * edge)), np.float32) / 255
    return torch.from_numpy(np.stack([share, np.clip(near * 4, 0, 1) * (1 - inside)]))[None]


def _filled(outline: NDArray[np.float64]) -> Image.Image:
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in outline.tolist()], fill=255)
    return image


def _mouth(reference: Reference) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = (reference[13] + reference[14]) / 2
    return middle


def _centre(reference: Reference) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = _mouth(reference)[:2] + np.array((0, 0.1))
    return centre


def _smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
