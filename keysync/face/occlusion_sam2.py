"""Follows what was found before a mouth with SAM 2, which sees its edges and the parts beside the face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .occlusion import FoundOccluder
from .sam2 import Frames, Prompt, track_occluder

# Frames that are followed from one prompt; their masks are held meanwhile, a bit for each pixel.
LONGEST = 250
# The least overlap (intersection over union) of SAM 2's mask with what was found; below, that is another thing.
SAME = 0.2
# Things that are marked.
MOST_THINGS = 4


@dataclass(frozen=True)
class Part:
    """The frames `start`..`stop` (exclusive) of a clip."""

    frames: Frames
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int, /) -> Tensor:
        return self.frames[self.start + index]


def follow_found(model: Any, frames: Frames, found: FoundOccluder) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Number and mask (h, w) of each frame in which something was found, in order.

    `model` is the result of `sam2.load_sam2`. Each range of frames is followed in both directions from the frame that
    shows most; where SAM 2 follows another thing, the mask is what was found.
    """
    for start, stop in episodes(found.numbers):
        middle = max(range(start, stop), key=lambda number: int(found.mask(number).sum()))
        points = points_in(found.mask(middle))
        prompt = Prompt(middle - start, tuple(points), (1,) * len(points))
        held = {
            start + number: np.packbits(mask.numpy())
            for number, mask in track_occluder(model, Part(frames, start, stop), prompt)
        }
        for number in range(start, stop):
            own = found.mask(number)
            followed = np.unpackbits(held[number], count=own.size).reshape(own.shape) > 0
            yield number, followed | own if _overlap(followed, own) >= SAME else own


def points_in(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """The innermost pixel (x, y) of each of the `MOST_THINGS` largest things in a mask (h, w), the largest first."""
    from scipy.ndimage import distance_transform_edt, label

    things, count = label(mask)
    depth = distance_transform_edt(mask)
    largest = np.argsort(-np.bincount(things[mask], minlength=count + 1)[1:])[:MOST_THINGS] + 1
    deepest = [np.unravel_index(np.where(things == name, depth, 0).argmax(), mask.shape) for name in largest]
    return [(float(column), float(row)) for row, column in deepest]


def episodes(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers of frames as ranges [start, stop) of at most `LONGEST`."""
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1 or at - start == LONGEST:
            yield numbers[start], numbers[at - 1] + 1
            start = at


def _overlap(followed: NDArray[np.bool_], own: NDArray[np.bool_]) -> float:
    """Of the part of the frame that was searched, which is about that of the thing itself."""
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    if not len(rows):
        return 0.0
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    first, second = followed[window], own[window]
    return float((first & second).sum() / max(1, (first | second).sum()))
