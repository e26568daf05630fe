"""LipScore (Bigata et al., KeyFace, 2025): how alike two mouths are to a lip reader, frame by frame.

The mouths are cut as Auto-AVSR does: turned and scaled so that eyes, nose and corners of the mouth lie where a mean
face has them, in 256 x 256 pixels, and 88 x 88 of these around the lips.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keysync.systems.renderer import Option

from .hook import Hook, fill, read_weights
from .lip_reader import LipReader, own_names
from .meters import Likenesses
from .pictures import Files
from .take import SIDE, Floats, Take

LIP_READER = Hook(
    Option.file("--lipscore", "Auto-AVSR's lip reader, vsr_trlrs2lrs3vox2avsp_base.pth, for LipScore", "FILE"),
    "Auto-AVSR's lip reader, vsr_trlrs2lrs3vox2avsp_base.pth",
    "github.com/mpc001/auto_avsr",
    "terms of the data it was trained with; the code is Apache-2.0",
)

# Points of 68 that hardly move, and where Auto-AVSR's mean face has them in 256 x 256 pixels.
STABLE = (28, 33, 36, 39, 42, 45, 48, 54)
MEAN_FACE = np.array(
    [
        (128.49, 106.92),
        (128.87, 137.30),
        (92.52, 94.37),
        (112.77, 94.94),
        (145.53, 94.53),
        (166.68, 93.57),
        (107.17, 157.20),
        (152.19, 156.99),
    ]
)
LIPS = slice(48, 68)
# Pixels of the patch around the lips, and of its middle that the reader sees.
PATCH, MIDDLE = 96, 88
# Frames either way over which the points are averaged.
AROUND = 6
GREY, MEAN, STD = (0.2989, 0.587, 0.114), 0.421, 0.165
# The centre of a pixel: there it has whole coordinates, here those of its corners are whole.
HALF = 0.5


def open_lipscore(files: Files, device: torch.device) -> Likenesses:
    """LipScore. Raises `Missing` without weights, `KeySyncError` for those of another network."""
    path = LIP_READER.file(files)
    with torch.device("meta"):
        reader = LipReader()
    fill(reader, own_names(read_weights(path, "state_dict", "model_state_dict")), path, LIP_READER.what)
    reader.to(device)

    @torch.inference_mode()
    def features(take: Take) -> Floats | None:
        return reader(mouths(take).to(device)).double().cpu().numpy() if len(take) else None

    return Likenesses(features)


def mouths(take: Take) -> Tensor:
    """The mouths (k, 1, 88, 88) of a take, grey and normalised."""
    points = take.points - HALF
    return torch.stack([_mouth(take, points, number) for number in range(len(take))])


def _mouth(take: Take, points: Floats, number: int) -> Tensor:
    reach = min(AROUND, number, len(points) - 1 - number)
    steady = points[number - reach : number + reach + 1].mean(0)
    steady = steady + points[number].mean(0) - steady.mean(0)
    turn, shift = similarity(steady[list(STABLE)], MEAN_FACE)
    centre = (steady[LIPS] @ turn.T + shift).mean(0)
    corner = np.round(centre - PATCH / 2) + (PATCH - MIDDLE) // 2
    y, x = np.mgrid[:MIDDLE, :MIDDLE]
    there = (np.stack([x, y], -1) + corner - shift) @ np.linalg.inv(turn).T
    grid = torch.from_numpy((there + HALF) * 2 / SIDE - 1).float()[None]
    picture = torch.from_numpy(take.crops[number]).permute(2, 0, 1)[None].float() / 255  # h w c -> 1 c h w
    mouth = F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    grey = torch.einsum("chw,c->hw", mouth, torch.tensor(GREY))
    return ((grey - MEAN) / STD)[None]


def similarity(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """A turn with a scale (2, 2) and a shift (2,) that bring points (n, 2) nearest to others, by least squares."""
    one, other = source - source.mean(0), target - target.mean(0)
    along = float((one * other).sum())
    across = float((one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum())
    a, b = (value / max(float((one**2).sum()), 1e-9) for value in (along, across))
    turn = np.array([[a, -b], [b, a]])
    return turn, target.mean(0) - turn @ source.mean(0)
