"""Valence and arousal of each frame, by the predictor that KeyFace's data was labelled with, or any file like it.

The file is TorchScript. Its extra files are `info`, JSON with "img_size" and the columns "Valence" and "Arousal" of the
network's output, and `mean_face` (100, 2) float32, the points that faces are aligned to, in pixels of a picture of
that size (KeyFace reference implementation).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from keysync.errors import KeySyncError, install_line, one_line
from keysync.face.face import Frame, Points

from .stage import VideoFailed

# Of the 68 points, those that a face is aligned by: they hardly move when it talks.
STABLE = (28, 33, 36, 39, 42, 45, 48, 54)
MEAN_FACE = (100, 2)
# Of ImageNet, which such networks are trained with.
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32


class EmotionPredictor:
    """Reads valence and arousal in pictures of faces."""

    def __init__(self, network: torch.nn.Module, size: int, columns: tuple[int, int], mean_face: Points) -> None:
        self.network, self.size, self.columns = network.eval(), size, list(columns)
        self._target = normalised(mean_face[list(STABLE)], (size, size))
        self._mean, self._spread = (torch.tensor(part)[:, None, None] for part in (MEAN, SPREAD))

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> EmotionPredictor:
        """The predictor in a file. Raises `KeySyncError` for a file that holds none.

        TorchScript is a program: load only files from sources that you trust.
        """
        extra: dict[str, Any] = {"info": "", "mean_face": ""}
        try:
            with warnings.catch_warnings():  # TorchScript is deprecated, but the file is what there is
                warnings.simplefilter("ignore", DeprecationWarning)
                network = torch.jit.load(str(path), map_location=device, _extra_files=extra)
            info = json.loads(extra["info"])
            size, columns = int(info["img_size"]), (int(info["Valence"]), int(info["Arousal"]))
            mean_face = np.frombuffer(_bytes(extra["mean_face"]), dtype=np.float32).reshape(MEAN_FACE)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise KeySyncError(
                f"{path} is not an emotion predictor ({one_line(error)}): expected TorchScript with the extra files "
                "info and mean_face, such as detector_8class_va.pt"
            ) from error
        return cls(network, size, columns, mean_face)

    @torch.no_grad()
    def read(self, frames: Iterable[Frame], landmarks: Points) -> NDArray[np.float32]:
        """Valence and arousal (n, 2) in -1..1 of frames (h, w, 3) with landmarks (n, 68, 2) in their pixels.

        Raises `VideoFailed` where the network returns anything but numbers.
        """
        source, parts = iter(frames), [np.zeros((0, 2), np.float32)]
        while batch := list(islice(source, BATCH)):
            done = sum(map(len, parts))
            faces = zip(batch, landmarks[done : done + len(batch)], strict=True)
            aligned = torch.stack([self.aligned(frame, points) for frame, points in faces])
            place = next(iter(self.network.parameters()), aligned).device
            read = self.network(((aligned - self._mean) / self._spread).to(place))[:, self.columns]
            parts.append(read.float().cpu().numpy())
        values = np.concatenate(parts)
        if not np.isfinite(values).all():
            raise VideoFailed(
                "the emotion predictor returns values that are not finite: check that it is the right file"
            )
        return np.clip(values, -1, 1)

    def aligned(self, frame: Frame, landmarks: Points) -> Tensor:
        """The face (3, size, size) in 0..1, turned and scaled to the mean face; black beyond the frame."""
        height, width = frame.shape[:2]
        matrix = partial_affine(self._target, normalised(landmarks[list(STABLE)], (height, width)))
        grid = F.affine_grid(torch.from_numpy(matrix)[None].float(), [1, 3, self.size, self.size], align_corners=False)
        planes = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255  # h w c -> 1 c h w
        return F.grid_sample(planes, grid, padding_mode="zeros", align_corners=False)[0]


def normalised(points: Points, size: tuple[int, int]) -> NDArray[np.float64]:
    """Points (n, 2) in pixels of a picture (H, W) as -1..1 across and down."""
    height, width = size
    scaled: NDArray[np.float64] = 2 * np.asarray(points, dtype=np.float64) / (width, height) - 1
    return scaled


def partial_affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The turn, scale and shift (2, 3) from points (n, 2) to others by the least median of squares.

    Raises `KeySyncError` where there is none, and without OpenCV.
    """
    try:
        import cv2
    except ImportError as error:
        raise KeySyncError(f"aligning faces needs OpenCV: {install_line('opencv-python-headless')}") from error
    matrix, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.LMEDS)
    if matrix is None:
        raise KeySyncError("a face's points do not fit a face: expected 68 points in iBUG's order")
    found: NDArray[np.float64] = np.asarray(matrix, dtype=np.float64)
    return found


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode("latin-1")
