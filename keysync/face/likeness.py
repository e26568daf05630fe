"""Who a face is: a row of numbers, a look, that pictures of one person share and those of two people do not.

The gradients of the aligned face, a histogram of their directions in each of 8 x 8 cells, are averaged with those of
its mirror image, which light from one side changes less. They go through a linear layer that keeps what differs between
people and drops what light, blur, expression and small turns change (linear discriminant analysis;
`python -m training.small.likeness` fits it). docs/who.md says how well it works.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from safetensors.torch import load_file
from torch import Tensor

from ..assets import ASSETS
from ..errors import KeySyncError
from .face import Detector, Frame, Points

WEIGHTS = ASSETS / "likeness.safetensors"
# Numbers of a look.
CHANNELS = 96
# The aligned face in distances between the eyes' centres, from the middle between them, and its pixels.
ACROSS, DOWN, SIDE = (-1.2, 1.2), (-1.05, 1.35), 64
CELLS, DIRECTIONS = 8, 9
# Gradients, of logarithms, that are weaker are noise; a cell has no more of one direction.
WEAK, MOST = 0.02, 0.6
# Darker values do not differ.
BLACK = 1e-3
RIGHT_EYE, LEFT_EYE, NOSE_TIP = slice(36, 42), slice(42, 48), 30
# A face tells nothing where its eyes are closer (pixels), its nose is further from the middle between them (in their
# distances: a profile), or it is darker (0..1).
CLOSEST, FURTHEST, DARKEST = 8.0, 0.55, 0.1

Look = NDArray[np.float32]


class LikenessReader:
    """Reads looks; the weights are built in."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        stored = load_file(weights)
        scale = stored["weight.scale"].float()  # of groups of integers, see `weights.eight_bits`
        groups = stored["weight"].float().unflatten(1, (scale.shape[1], -1))
        self._weight, self._mean = (groups * scale[..., None]).flatten(1), stored["mean"].float()

    def look(self, frame: Frame, landmarks: Points) -> Look | None:
        """The look (CHANNELS,) of length 1 of a face with these points (68, 2); None for a face that tells nothing."""
        if not is_telling(landmarks):
            return None
        aligned = align(frame, landmarks)
        if float(aligned.mean()) < DARKEST:
            return None
        return self.look_of(aligned)

    @torch.inference_mode()
    def look_of(self, aligned: Tensor) -> Look:
        """The look of an aligned face (3, SIDE, SIDE), 0..1."""
        row = self._weight @ (gradients(aligned) - self._mean)
        look: Look = F.normalize(row, dim=0).numpy()
        return look


@cache
def likeness_reader() -> LikenessReader:
    """The reader of the built-in weights, loaded once."""
    return LikenessReader()


def likeness(first: Look, second: Look) -> float:
    """How much two looks are of one person: their cosine, -1..1."""
    return float(first @ second)


def mean_look(looks: Iterable[Look]) -> Look | None:
    """The look of a person seen several times, of length 1; None without any."""
    rows = list(looks)
    if not rows:
        return None
    mean = np.stack(rows).astype(np.float64).mean(0)
    look: Look = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), dtype=np.float32)
    return look


def look_in(picture: Frame, name: str, detector: Detector) -> Look:
    """The look of the largest face in a picture (h, w, 3), which messages call by `name`.

    Raises `KeySyncError` where there is none that tells anything.
    """
    faces = detector.detect(picture)
    if not faces:
        raise KeySyncError(f"{name} shows no face: choose a picture of the person from the front", about="face")
    face = max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
    look = likeness_reader().look(picture, face.landmarks)
    if look is None:
        raise KeySyncError(
            f"the face in {name} is too small, too dark or in profile: choose a picture of the person from the front",
            about="face",
        )
    return look


def read_picture(path: Path) -> Frame:
    """A picture file as RGB (h, w, 3). Raises `KeySyncError` for a file that is none."""
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise KeySyncError(f"no such file: {path}; expected a picture of the person", about="face") from error
    except (UnidentifiedImageError, OSError) as error:
        raise KeySyncError(f"{path} is not a picture: choose a JPEG or PNG file", about="face") from error


def is_telling(landmarks: Points) -> bool:
    """Whether a face is large enough and turned towards the camera."""
    right, left = landmarks[RIGHT_EYE].mean(0), landmarks[LEFT_EYE].mean(0)
    across = left - right
    apart = float(np.hypot(*across))
    if apart < CLOSEST:
        return False
    off = float((landmarks[NOSE_TIP] - (right + left) / 2) @ across) / apart**2
    return abs(off) <= FURTHEST


def align(frame: Frame, landmarks: Points) -> Tensor:
    """The face (3, SIDE, SIDE), 0..1, with its eyes at fixed places; beyond the frame its edge is repeated."""
    right, left = (complex(*landmarks[eye].mean(0)) for eye in (RIGHT_EYE, LEFT_EYE))
    unit, middle = left - right, (left + right) / 2
    x, y = (low + (np.arange(SIDE) + 0.5) * (high - low) / SIDE for low, high in (ACROSS, DOWN))
    places = middle + unit * (x[None] + 1j * y[:, None])
    h, w = frame.shape[:2]
    # The part of the frame with the face, averaged down where it is larger than the aligned face.
    low = [int(np.clip(math.floor(part.min()) - 1, 0, side - 1)) for part, side in ((places.real, w), (places.imag, h))]
    high = [int(np.clip(math.ceil(part.max()) + 2, 1, side)) for part, side in ((places.real, w), (places.imag, h))]
    part = np.ascontiguousarray(frame[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)])
    planes = torch.from_numpy(part).permute(2, 0, 1)[None].float() / 255  # h w c -> 1 c h w
    places = places - complex(*low)
    factor = min(round(abs(unit) * (ACROSS[1] - ACROSS[0]) / SIDE), *planes.shape[2:])
    if factor > 1:
        planes, places = F.avg_pool2d(planes, factor), places / factor
    h, w = planes.shape[2:]
    grid = torch.from_numpy(np.stack([2 * places.real / w - 1, 2 * places.imag / h - 1], -1)).float()
    return F.grid_sample(planes, grid[None], padding_mode="border", align_corners=False)[0]


def gradients(aligned: Tensor) -> Tensor:
    """Histograms of the directions of an aligned face's gradients, of its left half averaged with the right one in the
    mirror: (DIRECTIONS * CELLS * CELLS / 2,), of length 1."""
    grey = aligned.mean(0).clamp_min(BLACK).log()
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    strength = torch.hypot(across, down)
    turn = torch.atan2(down, across).remainder(math.pi) * (DIRECTIONS / math.pi)
    lower, share = turn.floor(), turn - turn.floor()
    number = torch.arange(DIRECTIONS)[:, None, None]
    votes = (lower.remainder(DIRECTIONS) == number) * (1 - share)
    votes += ((lower + 1).remainder(DIRECTIONS) == number) * share
    cells = F.adaptive_avg_pool2d(votes * strength, CELLS)
    power = F.avg_pool2d(cells.square().sum(0)[None], 3, 1, 1, count_include_pad=False)
    cells = (cells / (power.sqrt() + WEAK)).clamp(max=MOST)
    # In the mirror, a direction is what is left of half a turn.
    mirrored = cells[(DIRECTIONS - torch.arange(DIRECTIONS)) % DIRECTIONS].flip(-1)
    return F.normalize((cells + mirrored)[..., : CELLS // 2].flatten(), dim=0)
