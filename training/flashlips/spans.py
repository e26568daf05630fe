"""Spans of frames with what is heard and how the lips are: the samples of the speech transformer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from keysync.errors import KeySyncError

from ..data.draws import Order, generator
from ..data.index import TRAIN
from ..data.parts import LANDMARKS
from ..data.shards import Shards
from ..data.table import Clip
from .config import FlashLipsConfig

# Frames whose lips are read at once.
BATCH = 32

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Span:
    """A sample: the rows of `Spans`, each without its first dimension."""

    speech: Tensor
    lips: Tensor
    source: Tensor
    noise: Tensor
    time: Tensor


class Spans(Span):
    """b spans of n frames: `speech` (b, n, 2, c) features, `lips` (b, n, w) and `noise` of that shape, `source`
    (b, k, w), lips vectors of any frames of the clip as the reader reads them, and `time` (b,) in 0..1."""

    def to(self, device: torch.device | str) -> Spans:
        """The same on another device."""
        return Spans(*(getattr(self, field.name).to(device) for field in fields(self)))


def collate(samples: Sequence[Span]) -> Spans:
    """Samples as one batch."""
    return Spans(*(torch.stack([getattr(sample, field.name) for sample in samples]) for field in fields(Span)))


class SpanDataset(Dataset[Span]):
    """Sample `number` >= 0 of a run, a function of the seed and its number only; an epoch visits every clip once.

    `frames` are those of a span, `sources` the lips vectors of the source. `read` must come first. Raises
    `KeySyncError` for data with gaps between its frames, without the speech encoder, and without a clip so long.
    """

    def __init__(self, shards: Shards, config: FlashLipsConfig, frames: int, sources: int, split: str = TRAIN) -> None:
        self._shards, self._config = shards, config
        self._frames, self._sources = frames, sources
        shards.channels(config.speech_encoder)  # an error where it is missing
        if shards.info.spacing != 1:
            raise KeySyncError(
                f"{shards.folder} has one frame in {shards.info.spacing} of its videos but {config.stage} needs all: "
                "train it on data with all frames"
            )
        clips = shards.clips(split)
        held = np.flatnonzero(clips.frames >= frames)
        if not len(held):
            longest = int(clips.frames.max(initial=0))
            raise KeySyncError(
                f"{shards.folder}: none of the {len(clips)} {split} clips has the {frames} frames of a span (the "
                f"longest has {longest}): prepare longer videos"
            )
        self._order = Order(clips, held, config.seed)
        self._lips: list[Tensor] = []
        self._read: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._order)

    def read(self, lips: nn.Module, reader: nn.Module, device: torch.device) -> Tensor:
        """Makes the lips vectors of all clips, which stay in memory; returns them (n, w).

        Those to learn are of the network `lips`, which sees the true points of the face, those of the source of the
        `reader`, as in a dub: what is learnt from its readings moves the lips less, since it reads them closer to the
        mean than they are.
        """
        logger.info("reading the lips of %d clips", len(self))
        pairs = [_vectors(lips, reader, self._shards, clip, device) for clip in self._order.all()]
        self._lips, self._read = map(list, zip(*pairs, strict=True))
        return torch.cat(self._lips)

    def __getitem__(self, number: int) -> Span:
        clip, place = self._order[number], self._order.place(number)
        lips = self._lips[place]
        start = int(torch.randint(clip.frames - self._frames + 1, (), generator=self._draw(number, "span start")))
        frames = start + np.arange(self._frames)
        chosen = torch.randint(clip.frames, (self._sources,), generator=self._draw(number, "source frames"))
        features = self._shards.features(clip, self._config.speech_encoder, frames)
        return Span(
            speech=torch.from_numpy(features),
            lips=lips[start : start + self._frames],
            source=self._read[place][chosen],
            noise=torch.randn(self._frames, lips.shape[1], generator=self._draw(number, "noise")),
            time=torch.rand((), generator=self._draw(number, "time")),
        )

    def _draw(self, number: int, purpose: str) -> torch.Generator:
        return generator(self._config.seed, number, purpose)


@torch.no_grad()
def _vectors(
    lips: nn.Module, reader: nn.Module, shards: Shards, clip: Clip, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The lips vectors (frames, w) of a clip, and those that the reader reads, on the CPU."""
    pictures = torch.from_numpy(shards.pictures(clip)).permute(0, 3, 1, 2)  # n h w c -> n c h w
    points = torch.from_numpy(shards.array(clip, LANDMARKS, (clip.frames, 68, 2)).copy())
    made, read = [], []
    for part, own in zip(pictures.split(BATCH), points.split(BATCH), strict=True):
        shown = part.to(device).float() / 255
        made.append(lips(shown, own.to(device)).float().cpu())
        read.append(reader(shown).float().cpu())
    return torch.cat(made), torch.cat(read)
