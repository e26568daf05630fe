"""Detects the cuts of a video on thumbnails, frame by frame."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .face import Frame

THUMBNAIL = (36, 64)
# Change of a frame from the previous one: mean colour difference plus half the histogram distance, both 0..1. Hard cuts
# measure 0.18 and more, hands and heads in motion up to 0.09.
LEAST_CHANGE = 0.12
# A cut must also exceed these multiples of the previous changes: of their median and of the last one. In a fast pan all
# changes are about equal, and the end of a camera flash changes as much as its start.
TIMES_RECENT, TIMES_LAST = 3.0, 2.0
RECENT = 8


class ShotCounter:
    """Numbers shots from 0. Keeps only one thumbnail in memory."""

    def __init__(self) -> None:
        self._shot = 0
        self._last: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)

    def add(self, frame: Frame) -> int:
        """The shot number of the next frame (h, w, 3) of the video."""
        picture = _thumbnail(frame)
        histogram = _histogram(picture)
        if self._last is not None:
            difference = float(np.abs(picture - self._last[0]).mean())
            change = difference + float(np.abs(histogram - self._last[1]).sum()) / 4
            usual = float(np.median(self._recent)) if self._recent else 0.0
            last = self._recent[-1] if self._recent else 0.0
            self._shot += change > max(LEAST_CHANGE, TIMES_RECENT * usual, TIMES_LAST * last)
            self._recent.append(change)
        self._last = picture, histogram
        return self._shot


def _thumbnail(frame: Frame) -> NDArray[np.float32]:
    """The frame at (36, 64, 3), 0..1; large frames are subsampled first, for speed."""
    h, w = frame.shape[:2]
    thinned = frame[:: max(1, h // 144), :: max(1, w // 256)]
    planes = torch.from_numpy(np.ascontiguousarray(thinned)).permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, THUMBNAIL, mode="area")[0].permute(1, 2, 0) / 255
    picture: NDArray[np.float32] = small.numpy()
    return picture


def _histogram(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    """The shares of 8 x 8 x 8 colours, (512,)."""
    levels = np.minimum((picture * 8).astype(np.int64), 7)
    colours = levels @ np.array([64, 8, 1])
    shares: NDArray[np.float64] = np.bincount(colours.ravel(), minlength=512) / colours.size
    return shares
