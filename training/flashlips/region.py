"""The regions of a frame that the loss compares, of 68 points: the lips' polygon and the lower face.

The authors take them from a face parser; the points are ours.
"""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from keysync.face.masks import jaw

OUTER_LIPS = slice(48, 60)


def lips(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels inside the outer lips of faces (n, 68, 2) in pixels, 1 there: (n, 1, H, W) of `size` (H, W)."""
    return torch.stack([_polygon(face[OUTER_LIPS], size) for face in points])[:, None]


def lower_face(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels inside the jaw line below the nose bridge, 1 there: (n, 1, H, W) of `size` (H, W)."""
    return torch.stack([jaw(face, size) for face in points])[:, None]


def _polygon(points: Tensor, size: tuple[int, int]) -> Tensor:
    image = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in points.tolist()], fill=1)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size).float()
