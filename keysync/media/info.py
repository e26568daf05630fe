"""The facts of a video that are known before its frames are read: size, time, rotation, colours."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

# Codes of ITU-T H.273 (matrix, primaries, transfer; 2: unspecified); the range as libav counts it (0: unspecified).
LIMITED_RANGE, FULL_RANGE = 1, 2
PQ, HLG = 16, 18


@dataclass(frozen=True)
class Colours:
    """What the numbers of a picture mean."""

    matrix: int = 2
    range: int = 0
    primaries: int = 2
    transfer: int = 2

    @staticmethod
    def of(stream: VideoStream, frame: VideoFrame) -> Colours:
        """The colours of a track's decoded frame; RGB has no matrix and gets that of BT.709 for the way back."""
        matrix, range_ = int(frame.colorspace), int(frame.color_range)
        if frame.format.is_rgb:
            matrix, range_ = BT709.matrix, BT709.range
        elif frame.format.name.startswith("yuvj"):
            range_ = FULL_RANGE
        return Colours(matrix, range_, int(stream.color_primaries), int(stream.color_trc))


BT709 = Colours(matrix=1, range=LIMITED_RANGE, primaries=1, transfer=1)


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to turn and mirror a picture: swap the axes, then flip them."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @staticmethod
    def of(frame: VideoFrame) -> Orientation:
        """The orientation that the frame's display matrix asks for, to the nearest quarter turn."""
        side_data: Any = frame.side_data
        matrix = side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return Orientation()
        a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()  # x' = ax + cy, y' = bx + dy
        if abs(b) > abs(a):
            return Orientation(True, c < 0, b < 0)
        return Orientation(False, a < 0, d < 0)

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turns a picture (h, w, 3)."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


@dataclass(frozen=True)
class PictureFormat:
    """What a video file is written as. Sizes and `pixel_aspect` are those of the displayed picture.

    `time_base` is the unit of its timestamps in seconds, `rate` the average number of frames a second.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction = Fraction(1)
    colours: Colours = BT709


@dataclass(frozen=True, kw_only=True)
class VideoInfo(PictureFormat):
    """A video at a glance; its format is that of the picture after rotation.

    `rotation` is the counter-clockwise turn in degrees that the file asks for and the reader has applied.
    `duration_seconds` and `frame_count` come from the file's header: good for progress, not for counting.
    """

    rotation: int
    bits: int
    duration_seconds: float
    frame_count: int
    has_audio: bool

    @property
    def hdr(self) -> bool:
        """Whether the picture is made for HDR displays (PQ or HLG): its numbers are kept, in 8 bits."""
        return self.colours.transfer in (PQ, HLG)

    @property
    def frame_duration(self) -> int:
        """The average duration of a frame in `time_base`, at least 1: how long the last frame lasts."""
        return max(1, round(1 / (self.rate * self.time_base)))


def read_info(container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    """Gathers the facts from the container, its video track and the first decoded frame."""
    time_base = stream.time_base or Fraction(1, 90_000)
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = first.width, first.height
    if Orientation.of(first).transpose:
        width, height, pixel_aspect = height, width, 1 / pixel_aspect
    if stream.duration:
        seconds = float(stream.duration * time_base)
    elif container.duration:
        seconds = container.duration / 1_000_000
    else:
        seconds = float(stream.frames / rate)
    return VideoInfo(
        width=width,
        height=height,
        time_base=time_base,
        rate=rate,
        rotation=int(first.rotation),
        pixel_aspect=pixel_aspect,
        colours=Colours.of(stream, first),
        bits=first.format.components[0].bits,
        duration_seconds=seconds,
        frame_count=stream.frames or round(seconds * rate),
        has_audio=bool(container.streams.audio),
    )
