"""What a dub reads: frames and sound, from a file or from memory.

`reader.VideoReader` and `audio.AudioReader` are the sources that are files; those in memory are here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KeySyncError
from .info import VideoInfo

Frame = NDArray[np.uint8]
Block = NDArray[np.float32]
# Samples that a sound in memory yields at once.
BLOCK = 4096


class FrameSource(Protocol):
    """The frames of a video, in passes that may run side by side; pts are in `info.time_base`.

    `name` is what messages and the report call it; `path` is the file it reads, None where there is none.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def info(self) -> VideoInfo: ...

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Yields (pts, frame), frames (h, w, 3) uint8 RGB, in display order; pts rise from frame to frame."""

    def timestamps(self) -> NDArray[np.int64]:
        """The pts (n,) of all frames."""

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """Yields the frames with these indices, in any order; `pts` are those of all frames."""


class SoundSource(Protocol):
    """A sound: `rate` in samples per second, `channels`, and `is_16_bit` for samples of at most 16 bits.

    `name` is what messages and the report call it; `path` is the file it reads, None where there is none.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def is_16_bit(self) -> bool: ...

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, -1..1, in blocks (channels, n)."""


def as_bytes(frame: NDArray[Any] | Tensor) -> Frame:
    """A frame (h, w, 3), uint8 or float 0..1, as an RGB picture of whole levels; channels beyond the third are cut.

    Raises `KeySyncError` for NaN and infinities.
    """
    pixels = frame if isinstance(frame, Tensor) else torch.tensor(frame)
    pixels = pixels[..., :3].detach().cpu()
    if pixels.dtype != torch.uint8:
        if not bool(torch.isfinite(pixels).all()):
            raise KeySyncError("a picture holds numbers that are not finite: check what made it")
        pixels = pixels.float().mul(255).round().clamp(0, 255)
    return np.ascontiguousarray(pixels.numpy().astype(np.uint8, copy=False))


class FramesInMemory:
    """Frames (n, h, w, ...) in memory, shown at a constant `rate` from time 0.

    `picture` makes the uint8 RGB (h, w, 3) of one of them; they are converted one at a time, on each pass. Raises
    `KeySyncError` where there is no frame.
    """

    path = None

    def __init__(
        self,
        name: str,
        frames: NDArray[Any] | Tensor,
        rate: Fraction,
        picture: Callable[[Any], Frame] = as_bytes,
    ) -> None:
        if len(frames) == 0:
            raise KeySyncError(f"{name} holds no frames: give at least one")
        height, width = frames.shape[1:3]
        self.name = name
        self.info = VideoInfo(
            width=width,
            height=height,
            time_base=1 / rate,
            rate=rate,
            rotation=0,
            bits=8,
            duration_seconds=float(len(frames) / rate),
            frame_count=len(frames),
            has_audio=False,
        )
        self._frames, self._picture = frames, picture

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Yields (pts, frame) for each frame."""
        yield from enumerate(map(self._picture, self._frames))

    def timestamps(self) -> NDArray[np.int64]:
        """0, 1, ..., n - 1: the time base is the duration of a frame."""
        return np.arange(len(self._frames), dtype=np.int64)

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """Yields the frames with these indices, in any order; `pts` is not needed here."""
        return (self._picture(self._frames[index]) for index in indices)


class SoundInMemory:
    """Samples (channels, n), -1..1, in memory. Raises `KeySyncError` where there is none."""

    path = None
    is_16_bit = False

    def __init__(self, name: str, samples: NDArray[np.float32] | Tensor, rate: int) -> None:
        if samples.shape[1] == 0:
            raise KeySyncError(f"{name} holds no samples: give a sound with at least one")
        self.name, self.rate, self.channels = name, rate, samples.shape[0]
        # The channels of a sample side by side, as files have them: then a mean over channels rounds alike.
        self._samples: Block = np.ascontiguousarray(np.asarray(samples, dtype=np.float32).T).T

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, in blocks (channels, n)."""
        for start in range(0, self._samples.shape[1], BLOCK):
            yield self._samples[:, start : start + BLOCK]
