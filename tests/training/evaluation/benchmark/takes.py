"""Takes made of nothing: frames of one level each, with a face in the middle."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from tests.synthetic_face import face_points
from training.evaluation.benchmark.take import SIDE, Take


def take(levels: ArrayLike, speech: ArrayLike, rate: float = 25.0) -> Take:
    """A take of grey frames (k,) of 0..255, at `rate` a second."""
    grey = np.asarray(levels, np.uint8)
    crops = np.broadcast_to(grey[:, None, None, None], (len(grey), SIDE, SIDE, 3)).copy()
    points = np.broadcast_to(face_points((256.0, 256.0), 230.0), (len(grey), 68, 2)).astype(np.float64)
    return Take(np.arange(len(grey)) / rate, crops, points, torch.from_numpy(np.asarray(speech, np.float32)))
