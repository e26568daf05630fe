"""What a dub reads: frames and sound, from a file or from memory.

`reader.VideoReader` and `audio.AudioReader` are the sources that are files; those in memory are here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KeySyncError
from .channels import Block, Places, assumed_places
from .extras import Extras
from .info import VideoInfo

Frame = NDArray[np.uint8]
# Samples that a sound in memory yields at once.
BLOCK = 4096
# How far the colours of a grey picture may differ from it: conversions round by a level or two.
GREY_LEVELS = 2


@dataclass(frozen=True)
class Facts:
    """What only a pass over the whole video tells.

    `last_duration` is how long the last frame is shown, in the video's time base. `grey`: no frame has colour.
    `damaged` counts the frames that the decoder had to patch up, the first at `first_damage` seconds; `undecoded`
    those that it could make no picture of; `promised` is the length in seconds that a file's header gives where it is
    not believable; `new_clocks` is how often timestamps begin anew.
    """

    last_duration: int
    grey: bool = False
    damaged: int = 0
    first_damage: float = 0.0
    undecoded: int = 0
    promised: float | None = None
    new_clocks: int = 0


# Sample rates in Hz from that of the coarsest speech codecs to twice that of the finest recorders.
SLOWEST, FASTEST = 1_000, 768_000
# Floating-point sound may exceed 1 by some decibels; beyond this its numbers have another scale.
LOUDEST = 10


class FrameSource(Protocol):
    """The frames of a video, in passes that may run side by side; pts are in `info.time_base`.

    `name` is what messages and the report call it; `path` is the file it reads, None where there is none; `extras` is
    what that file holds beside picture and sound.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def info(self) -> VideoInfo: ...

    @property
    def extras(self) -> Extras: ...

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Yields (pts, frame), frames (h, w, 3) uint8 RGB, in display order; pts rise from frame to frame."""

    def timestamps(self) -> NDArray[np.int64]:
        """The pts (n,) of all frames."""

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """Yields the frames with these indices, in any order; `pts` are those of all frames."""

    def facts(self) -> Facts:
        """What the last whole pass told; where there was none, one is made."""


@runtime_checkable
class Recognisable(Protocol):
    """A source whose facts can be kept, and are then spared a pass."""

    def fingerprint(self) -> str:
        """The same for the same frames, and for no others."""

    def recall(self, facts: Facts) -> None:
        """Takes the facts that a whole pass over the same frames told."""


class SoundSource(Protocol):
    """A sound: `rate` in samples per second, `channels`, and `is_16_bit` for samples of at most 16 bits.

    `places` are the places of its channels' speakers. `name` is what messages and the report call it; `path` is the
    file it reads, None where there is none. `notes` are for the user; they are complete after a pass of `blocks`.
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
    def places(self) -> Places: ...

    @property
    def is_16_bit(self) -> bool: ...

    @property
    def notes(self) -> Sequence[str]: ...

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


def is_grey(frame: Frame) -> bool:
    """Whether red, green and blue (h, w, 3) are equal everywhere, apart from rounding."""
    middle = frame[..., 1:2].astype(np.int16)
    return bool((np.abs(frame - middle) <= GREY_LEVELS).all())


class FramesInMemory:
    """Frames (n, h, w, ...) in memory, shown at a constant `rate` from time 0.

    `picture` makes the uint8 RGB (h, w, 3) of one of them; they are converted one at a time, on each pass. Raises
    `KeySyncError` where there is no frame.
    """

    path = None
    extras = Extras()

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
        self._facts: Facts | None = None

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Yields (pts, frame) for each frame."""
        yield from enumerate(map(self._picture, self._frames))

    def timestamps(self) -> NDArray[np.int64]:
        """0, 1, ..., n - 1: the time base is the duration of a frame."""
        return np.arange(len(self._frames), dtype=np.int64)

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """Yields the frames with these indices, in any order; `pts` is not needed here."""
        return (self._picture(self._frames[index]) for index in indices)

    def facts(self) -> Facts:
        """The last frame lasts as long as the others; whether there is colour is looked for once."""
        if self._facts is None:
            self._facts = Facts(1, grey=all(is_grey(frame) for _, frame in self.frames()))
        return self._facts

    def fingerprint(self) -> str:
        """By every number of the frames."""
        digest = sha256(f"{self.info.rate} {tuple(self._frames.shape)} {self._frames.dtype}".encode())
        for frame in self._frames:
            numbers = frame.detach().cpu().numpy() if isinstance(frame, Tensor) else frame
            digest.update(np.ascontiguousarray(numbers).data.cast("B"))
        return digest.hexdigest()

    def recall(self, facts: Facts) -> None:
        """See `Recognisable`."""
        self._facts = facts


def check_rate(rate: int, name: str) -> None:
    """Raises `KeySyncError` for a sample rate that no sound has."""
    if not SLOWEST <= rate <= FASTEST:
        raise KeySyncError(
            f"{name} has {rate} samples a second, expected {SLOWEST} to {FASTEST}: export it at 16000 Hz or more"
        )


def check_samples(samples: NDArray[np.float32] | Tensor, name: str) -> None:
    """Raises `KeySyncError` for numbers that are not samples of a sound."""
    if not samples.shape[0] or not samples.shape[1]:
        return
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite((low, high)).all():
        raise KeySyncError(f"{name} contains samples that are not finite numbers: export it again")
    if max(-low, high) > LOUDEST:
        raise KeySyncError(
            f"{name} has samples up to {max(-low, high):.6g}, expected -1 to 1: divide them by the largest number of "
            "their format (32768 for 16 bits), or export it again"
        )


class SoundInMemory:
    """Samples (channels, n), -1..1, in memory; their channels are placed by their number.

    Raises `KeySyncError` where there is none, or what is there is not sound.
    """

    path = None
    is_16_bit = False
    notes = ()

    def __init__(self, name: str, samples: NDArray[np.float32] | Tensor, rate: int) -> None:
        if samples.shape[0] == 0 or samples.shape[1] == 0:
            raise KeySyncError(f"{name} holds no samples: give a sound with at least one")
        check_rate(rate, name)
        check_samples(samples, name)
        self.name, self.rate, self.channels = name, rate, samples.shape[0]
        self.places = assumed_places(self.channels)
        # The channels of a sample side by side, as files have them: then a mean over channels rounds alike.
        self._samples: Block = np.ascontiguousarray(np.asarray(samples, dtype=np.float32).T).T

    @property
    def waveform(self) -> Tensor:
        """The samples (channels, n), which are not copied."""
        return torch.from_numpy(self._samples)

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, in blocks (channels, n)."""
        for start in range(0, self._samples.shape[1], BLOCK):
            yield self._samples[:, start : start + BLOCK]
