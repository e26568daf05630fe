"""One video as the columns see it: crops of the face, its points, the sound that it should follow, and figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.face.crop import Crops
from keysync.face.track import FaceTrack
from keysync.measure.figures import Figures
from keysync.media.reader import VideoReader
from keysync.method import PUBLISHED_CROP_SCALE

# Pixels of a crop: those of the models in the paper.
SIDE = 512

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Take:
    """The k frames of a video that show the face.

    times (k,) in seconds; crops (k, SIDE, SIDE, 3) in RGB; points (k, 68, 2) in pixels of the crops; `speech` (m,) at
    16 kHz is what the mouth should follow; `figures` are those of `keysync measure`, None for the clips themselves.
    """

    times: Floats
    crops: NDArray[np.uint8]
    points: Floats
    speech: Tensor
    figures: Figures | None = None

    @classmethod
    def of(cls, video: VideoReader, track: FaceTrack, speech: Tensor, figures: Figures | None = None) -> Take:
        """The take of a video; its frames are the first of the track's."""
        crops = Crops.of(track, (SIDE, SIDE), PUBLISHED_CROP_SCALE)
        pixels = np.empty((int(track.found.sum()), SIDE, SIDE, 3), np.uint8)  # at once: they take much memory
        times: list[float] = []
        points = []
        first = 0
        for number, (pts, frame) in enumerate(video.frames()):
            first = pts if number == 0 else first
            if track.found[number]:
                pixels[len(times)] = (255 * crops.cut(frame, number)).round().to(torch.uint8).numpy()
                times.append(float((pts - first) * video.info.time_base))
                points.append(crops.points(track.landmarks[number], number).numpy())
        landmarks = np.array(points, np.float64).reshape(-1, 68, 2)
        return cls(np.array(times), pixels[: len(times)], landmarks, speech, figures)

    @classmethod
    def unseen(cls, speech: Tensor, figures: Figures) -> Take:
        """The take of a video of which only figures count."""
        return cls(np.zeros(0), np.zeros((0, SIDE, SIDE, 3), np.uint8), np.zeros((0, 68, 2)), speech, figures)

    def __len__(self) -> int:
        return len(self.times)


def nearest(times: Floats, wanted: Floats) -> NDArray[np.int64]:
    """The index of the time (n,) that is nearest to each wanted one (m,); times rise."""
    place = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    before = np.maximum(place - 1, 0)
    place = np.minimum(place, len(times) - 1)
    closer = np.abs(times[before] - wanted) <= np.abs(times[place] - wanted)
    return np.where(closer, before, place).astype(np.int64)
