"""The inside of a mouth that a clip never shows: upper teeth, tongue and dark, lit and coloured like the face.

Lengths are in eye distances, places those of a reference (see `head`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from ...assets import ASSETS

# The picture of the upper teeth, made by `python -m training.weights.teeth`: pixels an eye distance, across and down.
# The lower edge of its middle is that of the incisors.
TEETH = ASSETS / "teeth.png"
PIXELS, ACROSS, DOWN = 400, 240, 64
# How far the incisors reach below the lips' line in a mouth at rest. They do not move with the lips.
SHOWN = 0.03
# Brightness of teeth, of that of white in the face's light, and at most.
WHITE, WHITEST = 0.92, 0.8
# Brightness of the dark and of the tongue, of that of the lips.
DARK, TONGUE = 0.2, 0.62
# How much of the highlights' colour white has.
TINT = 0.4
# The share of bright pixels whose mean is white in the face's light: at least so bright, but no more than so many times
# as bright as the skin.
HIGHLIGHTS, LEAST, OVER_SKIN = 0.02, 0.5, 4.0
# How far the lips' shadow reaches, and how much of the light is left at the lips.
SHADOW, LEFT = 0.035, 0.3
# Of the gap: how high the tongue's middle is, and how far it is behind before it shows: at small gaps not at all.
HIGH, TONGUE_FROM = 0.45, (0.05, 0.14)
# Pixels of the outline drawn for each of the picture, and how soft its edge is in these.
FINE, SOFT = 4, 0.8


@dataclass(frozen=True)
class Colours:
    """RGB, 0..1, of a face: its `light`, the colour of what is white, and its `lips`."""

    light: NDArray[np.float64]
    lips: NDArray[np.float64]

    @classmethod
    def of(cls, patch: Tensor, face: NDArray[np.floating[Any]], lips: NDArray[np.floating[Any]]) -> Colours:
        """From a patch (p, p, 3) uint8 and places in it: (n, 2) all over the lower face, and in the middle of the
        lips."""
        (left, top), (right, bottom) = (
            edge(face, axis=0).round().astype(int).clip(0, len(patch)) for edge in (np.min, np.max)
        )
        pixels = patch[top:bottom, left:right].reshape(-1, 3).double().numpy() / 255
        luma = pixels.mean(1)
        white = pixels[luma >= np.quantile(luma, 1 - HIGHLIGHTS)].mean(0)
        white = white.mean() + TINT * (white - white.mean())
        white *= max(1, min(LEAST, OVER_SKIN * float(np.median(luma))) / float(white.mean()))
        x, y = lips.round().astype(int).T.clip(0, len(patch) - 1)
        return cls(white, np.median(patch[y, x].double().numpy() / 255, axis=0))


def fill(
    picture: Tensor,
    outline: NDArray[np.float64],
    to_reference: NDArray[np.float64],
    lips: tuple[float, float],
    rest: float,
    colours: Colours,
) -> Tensor:
    """A picture (3, h, w), 0..1, with the inside of a mouth within an outline (n, 2) in its pixels.

    `to_reference` (2, 3) maps pixels to the reference; there, `lips` are the middles of the upper and the lower lip's
    edge, and `rest` that of both while the mouth is closed.
    """
    left, top = (max(int(edge) - 2, 0) for edge in outline.min(0))
    right, bottom = (int(edge) + 4 for edge in outline.max(0))
    part = picture[:, top:bottom, left:right]
    h, w = part.shape[1:]
    if not h or not w:
        return picture
    shape = _filled(outline - (left, top), w, h)
    rows, columns = np.mgrid[top : top + h, left : left + w] + 0.5
    x, y = (row[0] * columns + row[1] * rows + row[2] for row in to_reference)
    shade = torch.from_numpy(_depth(shape, SHADOW / float(np.hypot(*to_reference[:, 0]))))
    made = _inside(torch.from_numpy(x).float(), torch.from_numpy(y).float(), lips, rest, colours)
    made *= LEFT + (1 - LEFT) * shade
    share = torch.from_numpy(shape)
    filled = picture.clone()
    filled[:, top:bottom, left:right] = part + share * (made - part)
    return filled


def _inside(x: Tensor, y: Tensor, lips: tuple[float, float], rest: float, colours: Colours) -> Tensor:
    """(3, h, w): what is at places x, y (h, w) of the reference, not yet in the lips' shadow."""
    upper, lower = lips
    gap = lower - upper
    dark = torch.from_numpy(colours.lips * DARK).float()[:, None, None]
    tongue = torch.from_numpy(colours.lips * TONGUE).float()[:, None, None]
    start, stop = TONGUE_FROM
    rise = min(max((gap - start) / (stop - start), 0), 1)
    top = lower - HIGH * gap * rise + 2.5 * x.square()
    share = ((y - top) / (0.3 * gap + 1e-3)).clamp(0, 1) * rise
    made = dark + (tongue - dark) * share * share
    grey, alpha = _teeth()
    grid = torch.stack([x * PIXELS * 2 / ACROSS, (y - rest - SHOWN) * PIXELS * 2 / DOWN + 1], -1)[None]
    grey, alpha = F.grid_sample(torch.stack([grey, alpha])[None], grid, align_corners=False)[0]
    light = torch.from_numpy(colours.light * min(WHITE, WHITEST / float(colours.light.mean())))
    inside: Tensor = made + alpha * (grey * light.float()[:, None, None] - made)
    return inside


@lru_cache(1)
def _teeth() -> tuple[Tensor, Tensor]:
    """Grey and alpha of the teeth (DOWN, ACROSS), 0..1."""
    with Image.open(TEETH) as image:
        grey, alpha = (torch.from_numpy(np.array(band, np.float32) / 255) for band in image.split())
    return grey, alpha


def _filled(outline: NDArray[np.float64], w: int, h: int) -> NDArray[np.float32]:
    """(h, w), 0..1: how much of each pixel is within an outline."""
    image = Image.new("L", (FINE * w, FINE * h))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in (outline * FINE).tolist()], fill=255)
    small = image.resize((w, h), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(SOFT))
    return np.asarray(small, np.float32) / np.float32(255)


def _depth(shape: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """(h, w), 0..1: how far inside a shape pixels are, 1 from `reach` pixels on."""
    side = max(1, round(reach))
    blurred = torch.from_numpy(shape)[None, None]
    for _ in range(2):
        blurred = F.avg_pool2d(blurred, 2 * side + 1, stride=1, padding=side)
    depth: NDArray[np.float32] = (2 * blurred[0, 0] - 0.6).clamp(0, 1).numpy()
    return depth
