"""The pixels of a frame that a dub may change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from ..face.crop import Crops, region
from ..face.masks import MASKS


def changeable(
    crops: Crops, number: int, landmarks: NDArray[np.floating[Any]], mask: str, size: tuple[int, ...]
) -> NDArray[np.bool_]:
    """(h, w): the pixels inside the `mask` of a frame of `size` (h, w) whose face has these points (68, 2).

    `number` is that of the frame; its crop is upright.
    """
    drawn = MASKS[mask](crops.points(landmarks, number), crops.size_of(number))
    box, inside = crops.boxes[number], np.zeros(size, np.bool_)
    side = int(box[2])
    inside[region(box)] = F.interpolate(drawn[None, None], (side, side))[0, 0].numpy() > 0.5
    return inside
