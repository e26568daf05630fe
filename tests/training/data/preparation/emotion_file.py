"""A file in the layout of KeyFace's emotion predictor: valence is how red the face is, arousal how green."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.synthetic_face import face_points

SIZE = 64
# The points that faces are aligned to, in the middle of the picture.
MEAN_FACE: NDArray[np.float32] = face_points((SIZE / 2, SIZE / 2), 0.6 * SIZE).astype(np.float32)


class Tint(nn.Module):
    """Scores of eight classes, then arousal and valence, of pictures (n, 3, h, w) with ImageNet's mean and spread."""

    def forward(self, pictures: Tensor) -> Tensor:
        middle = pictures[:, :, 28:36, 28:36].mean((2, 3))
        red, green = middle[:, 0] * 0.229 + 0.485, middle[:, 1] * 0.224 + 0.456
        return torch.cat((torch.zeros(len(pictures), 8), torch.stack((green, red), 1)), 1)


def write_predictor(path: Path, **info: int) -> Path:
    """Writes the file; `info` changes what it says of itself."""
    points = np.zeros((100, 2), np.float32)
    points[: len(MEAN_FACE)] = MEAN_FACE
    said = {"classes": {str(number): f"class {number}" for number in range(8)}, "img_size": SIZE}
    said |= {"Arousal": 8, "Valence": 9, **info}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.script(Tint())
        torch.jit.save(script, str(path), _extra_files={"info": json.dumps(said), "mean_face": points.tobytes()})
    return path
