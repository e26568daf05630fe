"""The picture of upper teeth that `rewrite` draws with: `python -m training.weights.teeth PHOTOGRAPH OUT.png`.

The photograph shows a smile from the front, with nothing but upper teeth between the lips. The built-in picture is of
smiling_front_099_08.jpg of the Face Research Lab London Set (see keysync/assets/NOTICE).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from keysync.errors import KeySyncError
from keysync.face.mesh import MeshReader
from keysync.face.mouth import CORNERS, EYES
from keysync.systems.rewrite.inside import ACROSS, DOWN, PIXELS
from keysync.whole import whole_file

# Teeth are at least as bright, and no redder: what red has more than green and blue, as a share.
BRIGHT, RED = 0.35, 0.22
# The brightness of the teeth's brightest tenth in the result.
WHITE = 90, 1.0
EDGE = 1.2


def teeth(photograph: NDArray[np.uint8]) -> Image.Image:
    """Grey and alpha of the teeth in a square photograph (s, s, 3); the middle of their lower edge is the middle of the
    picture's. Raises `KeySyncError` where there are none."""
    mesh = MeshReader().read(torch.from_numpy(photograph)[None]).points[0, :, :2]
    across = mesh[EYES[1]] - mesh[EYES[0]]
    down = np.array([-across[1], across[0]])
    rows, columns = np.mgrid[: 2 * DOWN, :ACROSS]
    places = np.stack([(columns + 0.5 - ACROSS / 2), rows + 0.5 - DOWN], -1) / PIXELS
    spots = mesh[list(CORNERS)].mean(0) + places[..., :1] * across + places[..., 1:] * down
    grid = torch.from_numpy(spots * 2 / len(photograph) - 1).float()[None]
    planes = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
    seen = F.grid_sample(planes, grid, mode="bicubic", align_corners=False)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    luma = seen @ np.array([0.299, 0.587, 0.114])
    redder = (seen[..., 0] - seen[..., 1:].mean(-1)) / np.maximum(seen[..., 0], 0.05)
    parts, count = ndimage.label((redder < RED) & (luma > BRIGHT))
    if not count:
        raise KeySyncError("the photograph shows no teeth: choose one of a smile from the front")
    largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(luma), parts, np.arange(1, count + 1))))
    inside = ndimage.binary_opening(ndimage.binary_fill_holes(ndimage.binary_closing(parts == largest, iterations=2)))
    white, level = WHITE
    shade = (luma / np.percentile(luma[inside], white) * level).clip(0, 1)
    # Above their upper edge, which the lip hides in speech, teeth go on.
    first = inside.argmax(0)
    above = (np.arange(len(inside))[:, None] < first + 2) & inside.any(0)
    shade = np.where(above, np.take_along_axis(shade, (first + 2)[None].clip(max=len(shade) - 1), 0), shade)
    inside |= above
    grey = Image.fromarray((shade * 255).astype(np.uint8))
    alpha = Image.fromarray(inside.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(EDGE))
    taken = np.flatnonzero(inside.any(0))
    middle = round(float(taken[0] + taken[-1] + 1) / 2)
    lowest = 1 + int(np.flatnonzero(inside[:, middle - 20 : middle + 20].any(1))[-1])
    picture = Image.merge("LA", (grey, alpha))
    left, top = middle - ACROSS // 2, lowest - DOWN
    return picture.crop((left, top, left + ACROSS, top + DOWN))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes the picture of teeth that rewrite draws with.")
    parser.add_argument("photograph", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    image = Image.open(options.photograph).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    found = teeth(np.array(image.crop((left, top, left + side, top + side))))
    with whole_file(options.out) as part:
        found.save(part, "PNG", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
