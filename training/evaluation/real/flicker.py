"""Flicker: how badly a patch of skin is predicted by its neighbours in time along the best straight motion.

Skin around the mouth moves with speech, and smoothly so. Each block of a patch is compared with the mean of the frames
before and after it, shifted against each other by up to `REACH` pixels: what no such motion explains is flicker.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from keysync.face.finder.squares import Square
from keysync.measure.sharpness import LIPS

from .anchors import Anchors
from .looks import PATCH, Floats, Look

BLOCK = 8  # pixels of a block's side
REACH = 2  # pixels
# The lower face in the mesh: from ear to ear along the jaw, and back over the base of the nose.
JAW = (93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 326, 2, 97)
# How far the jaw line is moved towards the mouth, and how much the lips are enlarged, of the distance from the mouth.
INSET, SPREAD = 0.15, 0.3

Blocks = NDArray[np.bool_]


def bends(look: Look) -> Floats:
    """The mean absolute error of each block of the frames 1..n-2, in levels of luma: (n-2, rows, columns)."""
    patches = torch.from_numpy(look.patches).float()
    before, here, after = patches[:-2], patches[1:-1], patches[2:]
    best = torch.full((len(here), PATCH // BLOCK, PATCH // BLOCK), torch.inf)
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            expected = (_moved(before, down, right) + _moved(after, -down, -right)) / 2
            best = torch.minimum(best, F.avg_pool2d((here - expected).abs()[:, None], BLOCK)[:, 0])
    return best.double().numpy()


def skin(source: Look, dub: Look, anchors: Anchors) -> Blocks:
    """The blocks (n-2, rows, columns) of skin on the lower face of n frames, outside the lips of source and dub.

    None where one of the three frames is without a face or belongs to another shot.
    """
    count = len(dub.opening)
    inside = np.zeros((count, PATCH // BLOCK, PATCH // BLOCK), np.bool_)
    for frame in np.flatnonzero(anchors.seen[:count]).tolist():
        square = anchors.patches[frame]
        inside[frame] = _skin([_placed(look.points[frame, :, :2], square) for look in (source, dub)])
    run = np.where(anchors.seen[:count], anchors.run[:count], -1)
    same = (run[1:-1] >= 0) & (run[:-2] == run[1:-1]) & (run[2:] == run[1:-1])
    return np.asarray(inside[:-2] & inside[1:-1] & inside[2:] & same[:, None, None])


def _moved(patches: Tensor, down: int, right: int) -> Tensor:
    """Patches shifted by whole pixels; what leaves on one side comes back on the other, far from any skin."""
    return torch.roll(patches, (down, right), (1, 2))


def _placed(points: Floats, square: Square) -> Floats:
    """Points (m, 2) of a frame in pixels of the patch."""
    matrix = square.matrix
    placed: Floats = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T * PATCH
    return placed


def _skin(meshes: list[Floats]) -> Blocks:
    picture = Image.new("L", (PATCH, PATCH))
    draw = ImageDraw.Draw(picture)
    source = meshes[0]
    draw.polygon(_about_mouth(source, JAW, 1 - INSET), fill=255)
    for mesh in meshes:
        draw.polygon(_about_mouth(mesh, LIPS, 1 + SPREAD), fill=0)
    cells = np.asarray(picture).reshape(PATCH // BLOCK, BLOCK, PATCH // BLOCK, BLOCK)
    return np.asarray(cells.min((1, 3)) > 0)


def _about_mouth(mesh: Floats, ring: tuple[int, ...], scale: float) -> list[tuple[float, float]]:
    middle = mesh[LIPS, :].mean(0)
    return [(float(x), float(y)) for x, y in middle + scale * (mesh[ring, :] - middle)]
