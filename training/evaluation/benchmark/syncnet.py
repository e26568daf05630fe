"""LSE-C and LSE-D: the confidence and the distance of SyncNet (Chung and Zisserman, 2016; Prajwal et al., 2020).

Two networks put 0.2 s of a face, five frames at 25 a second, and of its sound into one space. The mean distance of both
is least where they are in sync: LSE-D is that least distance, LSE-C how far it is below the median over lags. The
layout is that of the published `syncnet_v2.model`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from keysync.method import NETWORK_RATE, SAMPLE_RATE
from keysync.systems.renderer import Option

from .hook import Hook, fill, read_weights
from .meters import Scores
from .mfcc import ROWS_PER_SECOND, mfcc
from .pictures import Files
from .take import SIDE, Floats, Take, nearest

# Pixels of a face, frames of a window, and rows of sound in it.
FACE, FRAMES = 224, 5
ROWS_PER_FRAME = ROWS_PER_SECOND // NETWORK_RATE
ROWS = FRAMES * ROWS_PER_FRAME
# Frames either way in which the lag is looked for.
REACH = 15
# Windows that go through the networks at once.
BATCH = 20
# The published pipeline pads the box of a face detector, from brows to chin, by this share of its larger side.
PADDING = 0.4
BROWS_TO_CHIN = slice(0, 27)
# The level of what lies outside a picture there.
GREY = 110

SYNCNET = Hook(
    Option.file("--lse", "syncnet_v2.model, for LSE-C and LSE-D", "FILE"),
    "the published SyncNet, syncnet_v2.model",
    "www.robots.ox.ac.uk/~vgg/software/lipsync",
    "see its page; the code is MIT",
)


class SyncNet(nn.Module):
    """The two networks. Each makes rows (n, 1024): of faces (n, 3, 5, 224, 224), BGR of 0..255, and of sound
    (n, 1, 13, 20), coefficients by time."""

    def __init__(self, channels: int = 1024) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *_flat(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_flat(192, 384, 3, 1),
            *_flat(384, 256, 3, 1),
            *_flat(256, 256, 3, 1),
            nn.MaxPool2d(3, 2),
            *_flat(256, 512, (5, 4), 0),
        )
        self.netfcaud = _top(channels)
        self.netfclip = _top(channels)
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (5, 7, 7), 2, 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(256, 256, (1, 3, 3), 1, 1),
            *_deep(256, 256, (1, 3, 3), 1, 1),
            *_deep(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(256, 512, (1, 6, 6), 1, 0),
        )

    def sound(self, rows: Tensor) -> Tensor:
        """The rows of sound."""
        found: Tensor = self.netfcaud(self.netcnnaud(rows).flatten(1))
        return found

    def face(self, windows: Tensor) -> Tensor:
        """The rows of faces."""
        found: Tensor = self.netfclip(self.netcnnlip(windows).flatten(1))
        return found


def _flat(inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()


def _deep(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int, padding: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    return convolution, nn.BatchNorm3d(outputs), nn.ReLU()


def _top(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, channels))


@dataclass(frozen=True)
class Sync:
    """LSE-D, the least mean `distance`; LSE-C, the `confidence`; and the `lag` of the mouth in frames, negative if
    it is early."""

    distance: float
    confidence: float
    lag: int


def sync(faces: Tensor, sounds: Tensor) -> Sync:
    """The sync of rows (n, c) of faces and of sounds, one each frame; beyond the ends the sound is 0."""
    padded = F.pad(sounds, (0, 0, REACH, REACH))
    count = len(faces)
    means = torch.stack(
        [F.pairwise_distance(faces, padded[shift : shift + count]).mean() for shift in range(2 * REACH + 1)]
    )
    least, place = means.min(0)
    return Sync(float(least), float(means.median() - least), REACH - int(place))


def open_lse(name: str, files: Files, device: torch.device) -> Scores:
    """LSE-C or LSE-D by its `name` in `Sync`.

    Raises `Missing` without weights, `KeySyncError` for those of another network.
    """
    found = _found(SYNCNET.file(files), device)

    def score(take: Take) -> float | None:
        both = found(take)
        return None if both is None else float(getattr(both, name))

    return Scores(score)


@cache
def _found(path: Path, device: torch.device) -> Callable[[Take], Sync | None]:
    """The sync of a take, found once for both columns."""
    with torch.device("meta"):
        network = SyncNet()
    fill(network, read_weights(path, "state_dict", "model"), path, SYNCNET.what)
    network.to(device)
    return lru_cache(maxsize=1)(lambda take: sync_of(take, network, device))


@torch.inference_mode()
def sync_of(take: Take, network: SyncNet, device: torch.device) -> Sync | None:
    """The sync of a video, its frames resampled to 25 a second; None for less than six of them."""
    pictures = faces(take)
    speech = take.speech[round(float(take.times[0]) * SAMPLE_RATE) if len(take) else 0 :]
    count = min(len(pictures), len(speech) * NETWORK_RATE // SAMPLE_RATE) - FRAMES
    if count < 1:
        return None
    rows = mfcc(speech.numpy())
    seen, heard = [], []
    for first in range(0, count, BATCH):
        starts = range(first, min(count, first + BATCH))
        windows = torch.stack([pictures[start : start + FRAMES] for start in starts])
        seen.append(network.face(windows.permute(0, 2, 1, 3, 4).float().to(device)))  # n t c h w -> n c t h w
        sounds = np.stack([rows[ROWS_PER_FRAME * start :][:ROWS].T for start in starts])
        heard.append(network.sound(torch.from_numpy(sounds)[:, None].float().to(device)))
    return sync(torch.cat(seen), torch.cat(heard))


def faces(take: Take) -> Tensor:
    """The faces (n, 3, 224, 224) of a take, BGR uint8 of 0..255, 25 a second.

    The published pipeline cuts them with a face detector: here the box is that of the points from brows to chin.
    """
    if not len(take):
        return torch.zeros(0, 3, FACE, FACE, dtype=torch.uint8)
    times = take.times[0] + np.arange(int((take.times[-1] - take.times[0]) * NETWORK_RATE + 1.25)) / NETWORK_RATE
    numbers = nearest(take.times, times)
    boxes = _boxes(take.points)
    cut = [_cut(take.crops[number], boxes[number]) for number in numbers.tolist()]
    return torch.stack(cut)


def _boxes(points: Floats) -> Floats:
    """(k, 3): the centre and half the side of each frame's face, smoothed by a median over 13 frames."""
    from scipy.ndimage import median_filter  # here: slow to import

    outline = points[:, BROWS_TO_CHIN]
    low, high = outline.min(1), outline.max(1)
    half = (high - low).max(1, keepdims=True) / 2
    found: Floats = median_filter(np.concatenate([(low + high) / 2, half], 1), size=(13, 1), mode="nearest")
    return found


def _cut(crop: NDArray[np.uint8], box: Floats) -> Tensor:
    """A face (3, 224, 224): padded at both sides and below, as in the published pipeline; grey outside the crop."""
    x, y, half = box.tolist()
    side = half * (2 + 2 * PADDING)
    left, top = x - half * (1 + PADDING), y - half
    axis = (torch.arange(FACE) + 0.5) / FACE * side
    grid = torch.stack(torch.meshgrid((left + axis), (top + axis), indexing="xy"), -1) * 2 / SIDE - 1
    picture = torch.from_numpy(crop).permute(2, 0, 1)[None].float() - GREY  # h w c -> 1 c h w
    found = F.grid_sample(picture, grid[None].float(), mode="bilinear", padding_mode="zeros", align_corners=False)
    return (found[0] + GREY).round().clamp(0, 255).to(torch.uint8).flip(0)  # RGB -> BGR
