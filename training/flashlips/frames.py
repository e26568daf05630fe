"""Frames to draw and frames to look like: the samples of the editor, of its refinement, and of the vector's reader."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from keysync.errors import KeySyncError
from keysync.face.masks import MASKS
from keysync.network.stage import SCALE_FACTOR
from keysync.vae.vae import LATENT_CHANNELS

from ..data.draws import Order, generator
from ..data.index import SPLITS, TRAIN, VALIDATION
from ..data.parts import LANDMARKS, LATENTS
from ..data.shards import Shards
from ..data.table import Clip
from .config import REFINE

if TYPE_CHECKING:
    from .config import FlashLipsConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Frame:
    """A sample: the rows of `Frames`, each without its first dimension."""

    key: Tensor
    picture: Tensor
    points: Tensor
    latent: Tensor
    mask: Tensor
    references: Tensor
    other_picture: Tensor
    other_points: Tensor
    by_another: Tensor
    reversed: Tensor

    def to(self, device: torch.device | str) -> Frame:
        """The same on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


class Frames(Frame):
    """n frames of a batch: `key` (n, 3) int64, the numbers of the split, the clip in it and the frame; pictures
    (n, 3, H, W) in 0..1, points (n, 68, 2) in their pixels, latents (n, 4, h, w), the scaled means of the VAE; mask
    (n, H, W), 1 = the region to draw; references (n, r, 4, h, w), latents of other frames of the clip.

    For the refinement, else empty: the picture and points of another frame of the clip, whose lips alter the frame,
    unless those of the next frame of the batch do (`by_another`, (n,) bool); `reversed` (n,): the altered frame is the
    target.
    """


def collate(samples: Sequence[Frame]) -> Frames:
    """Samples as one batch."""
    return Frames(*(torch.stack([getattr(sample, field.name) for sample in samples]) for field in fields(Frame)))


class FrameDataset(Dataset[Frame]):
    """Sample `number` >= 0 of a run, a function of the seed and its number only; an epoch visits every clip once.

    Raises `KeySyncError` for data of another resolution, and if no clip has frames far enough apart.
    """

    def __init__(self, shards: Shards, config: FlashLipsConfig, split: str = TRAIN) -> None:
        self._shards, self._config = shards, config
        self._gap = -(-config.reference_gap // shards.info.spacing)
        clips = shards.clips(split)
        held = np.flatnonzero(clips.frames > self._gap)
        if not len(held):
            longest = int(clips.frames.max(initial=0)) * shards.info.spacing
            raise KeySyncError(
                f"{shards.folder}: none of the {len(clips)} {split} clips has two frames {config.reference_gap} apart "
                f"(the longest has {longest}): prepare longer videos, or lower reference_gap"
            )
        self._order, self._split = Order(clips, held, config.seed), SPLITS.index(split)
        most = config.references
        # Those that divide the most: each reference is repeated as often as the others.
        self._counts = [count for count in range(1, most + 1) if most % count == 0]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> Frame:
        config, clip = self._config, self._order[number]
        frames = np.arange(clip.frames)
        frame = self._choice(number, "frame", np.union1d(frames[: -self._gap], frames[self._gap :]))
        away = frames[np.abs(frames - frame) >= self._gap]
        points = self._points(clip, frame)
        refines = config.stage == REFINE
        other = self._choice(number, "other frame", frames[frames != frame]) if refines else frame
        return Frame(
            key=torch.tensor((self._split, self._order.place(number), frame)),
            picture=self._picture(clip, frame),
            points=points,
            latent=self._latents(clip, np.array([frame]))[0],
            mask=MASKS[config.mask](points, self._shards.resolution),
            references=self._latents(clip, self._references(number, away)),
            other_picture=self._picture(clip, other) if refines else torch.empty(0),
            other_points=self._points(clip, other) if refines else torch.empty(0),
            by_another=self._chance(number, "another person", config.other_people),
            reversed=self._chance(number, "reversed", config.reversed_share),
        )

    def _references(self, number: int, away: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames, as many as the most: different ones of some number, each as often as the others."""
        count = min(self._choice(number, "references", np.array(self._counts)), len(away))
        count = max(some for some in self._counts if some <= count)
        order = torch.randperm(len(away), generator=generator(self._config.seed, number, "which references"))
        chosen: NDArray[np.int64] = np.resize(away[order[:count].numpy()], self._config.references)
        return chosen

    def _choice(self, number: int, purpose: str, among: NDArray[np.int64]) -> int:
        place = torch.randint(len(among), (), generator=generator(self._config.seed, number, purpose))
        return int(among[int(place)])

    def _chance(self, number: int, purpose: str, share: float) -> Tensor:
        return torch.rand((), generator=generator(self._config.seed, number, purpose)) < share

    def _picture(self, clip: Clip, frame: int) -> Tensor:
        picture = torch.from_numpy(self._shards.picture(clip, frame))
        return picture.permute(2, 0, 1).float() / 255  # h w c -> c h w

    def _points(self, clip: Clip, frame: int) -> Tensor:
        return torch.from_numpy(self._shards.array(clip, LANDMARKS, (clip.frames, 68, 2))[frame].copy())

    def _latents(self, clip: Clip, frames: NDArray[np.int64]) -> Tensor:
        shape = (clip.frames, 2, LATENT_CHANNELS, *self._shards.latent_size)
        means = self._shards.array(clip, LATENTS, shape)[frames, 0]
        return torch.from_numpy(means).float() * SCALE_FACTOR


def validation_frames(shards: Shards, config: FlashLipsConfig, trained: FrameDataset, count: int) -> Frames:
    """So many samples of the validation clips, or of those that are trained on where none of these is long enough."""
    try:
        frames = FrameDataset(shards, config, VALIDATION)
    except KeySyncError as error:  # only the length can fail: all other checks passed for the training clips
        logger.warning("%s; validating on training clips instead", error)
        frames = trained
    return collate([frames[number] for number in range(count)])
