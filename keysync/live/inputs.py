"""Where live frames and sound come from: files, pipes, cameras and microphones.

A file is read as a dub reads it. Anything else is read once, as it comes: `-` is the standard input, a named pipe is a
path, and a device of libav is its format and name, such as `v4l2:/dev/video0`. Timestamps of both begin with 0.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol, cast

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from ..errors import KeySyncError
from ..media.audio import AudioReader
from ..media.channels import Block, Places, known_places
from ..media.container import describe_streams, libav_errors, url
from ..media.info import Colours, PictureFormat
from ..media.reader import VideoReader
from ..media.source import Frame, check_rate
from .choices import DEVICES, RAW, STANDARD, Raw

# Nothing on the network is opened, see `media.container`.
PROTOCOLS = {"protocol_whitelist": "file,pipe,fd"}
# The ticks of a stream's timestamps, a second.
TICKS = 90_000


class LiveVideo(Protocol):
    """Frames to be read once: `form` is their size and rate; `is_live`: they come at their own time."""

    @property
    def form(self) -> PictureFormat: ...

    @property
    def is_live(self) -> bool: ...

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Yields (pts, frame), frames (h, w, 3) uint8 RGB; pts, in the time base of `form`, begin with 0 and rise."""


class LiveSound(Protocol):
    """A sound to be read once; see `SoundSource`."""

    @property
    def name(self) -> str: ...

    @property
    def rate(self) -> int: ...

    @property
    def places(self) -> Places: ...

    @property
    def is_16_bit(self) -> bool: ...

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, -1..1, in blocks (channels, n)."""


def open_video(name: str, raw: Raw | None = None, *, paced: bool = False) -> LiveVideo:
    """The frames of a file, which may be `paced`, a pipe or a device. Raises `KeySyncError` for what cannot be opened
    or has no frames, and for a file that is said to be `raw`."""
    if is_stream(name):
        return StreamedVideo(name, raw)
    if raw is not None:
        raise KeySyncError(f"{name} is a file, which says its size itself: raw frames come from pipes", about="raw")
    return FileVideo(name, paced=paced)


def open_sound(name: str) -> LiveSound:
    """The sound of a file, a pipe or a device. Raises `KeySyncError` for what cannot be opened or has no sound."""
    return StreamedSound(name) if is_stream(name) else AudioReader(name)


def is_stream(name: str) -> bool:
    """Whether it can be read once only."""
    return name == STANDARD or _device(name) is not None or Path(name).is_fifo()


def _device(name: str) -> tuple[str, str] | None:
    """The device's format and its name there."""
    kind, colon, place = name.partition(":")
    return (kind, place) if colon and kind in DEVICES else None


class FileVideo:
    """A video file. Where it is `paced` its frames come at the times at which they are shown, as from a camera."""

    def __init__(self, name: str, *, paced: bool = False) -> None:
        self._reader = VideoReader(name)
        self.is_live = paced
        self.form: PictureFormat = self._reader.info

    def frames(self) -> Iterator[tuple[int, Frame]]:
        first, began = None, time.monotonic()
        for pts, frame in self._reader.frames():
            first = pts if first is None else first
            if self.is_live:
                time.sleep(max(0.0, float((pts - first) * self.form.time_base) - (time.monotonic() - began)))
            yield pts - first, frame


class StreamedVideo:
    """Frames of a pipe or a device, with the size of the first."""

    is_live = True

    def __init__(self, name: str, raw: Raw | None = None) -> None:
        self._name = name
        options = {}
        if raw is not None:
            size = f"{raw.width}x{raw.height}"
            options = {"video_size": size, "framerate": str(raw.rate), "pixel_format": "rgb24"}
        self._container = _open(name, RAW if raw else None, options)
        if not self._container.streams.video:
            raise KeySyncError(
                f"{name} has no video (it contains {describe_streams(self._container)}): expected frames"
            )
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "NONE" if raw else "SLICE"  # frames in threads would come late
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise KeySyncError(f"{name} has no frame: expected at least one")
        self._first = first
        rate = (raw and raw.rate) or self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        colours = Colours.of(self._stream, first)
        self.form = PictureFormat(first.width, first.height, Fraction(1, TICKS), rate, colours=colours)

    def frames(self) -> Iterator[tuple[int, Frame]]:
        to_rgb, number, last = VideoReformatter(), 0, -1
        begin = self._first.time
        frame: VideoFrame | None = self._first
        with self._container:
            while frame is not None:
                seconds = number / self.form.rate if begin is None or frame.time is None else frame.time - begin
                last = max(last + 1, round(seconds * TICKS))
                size = {"width": self.form.width, "height": self.form.height}
                yield last, cast("Frame", to_rgb.reformat(frame, format="rgb24", **size).to_ndarray())
                number, frame = number + 1, next(self._decoded, None)

    def _decode(self) -> Iterator[VideoFrame]:
        with libav_errors(f"{self._name} cannot be read on ({{}}): check the pipe or the device"):
            yield from self._container.decode(self._stream)


class StreamedSound:
    """The sound of a pipe or a device."""

    is_16_bit = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._container = _open(name)
        if not self._container.streams.audio:
            raise KeySyncError(
                f"{name} has no sound (it contains {describe_streams(self._container)}): expected speech"
            )
        self._stream = self._container.streams.audio[0]
        self.rate = self._stream.codec_context.sample_rate
        self.places = known_places(self._stream.codec_context.layout)
        check_rate(self.rate, name)

    def blocks(self) -> Generator[Block, None, None]:
        planar = AudioResampler("fltp", self._stream.codec_context.layout, self.rate)
        with self._container, libav_errors(f"{self.name} cannot be read on ({{}}): check the pipe or the device"):
            for frame in self._container.decode(self._stream):
                for part in planar.resample(frame):
                    yield part.to_ndarray().astype(np.float32)


def _open(name: str, form: str | None = None, options: dict[str, str] | None = None) -> InputContainer:
    """A pipe or a device. Raises `KeySyncError` where it cannot be opened."""
    device = _device(name)
    if device is not None:
        form, place = device
    else:
        place = "pipe:0" if name == STANDARD else url(Path(name))
    if name == STANDARD and sys.stdin is not None and sys.stdin.isatty():
        raise KeySyncError("the standard input is a terminal: expected a pipe with frames or sound")
    found = {} if device is not None else PROTOCOLS
    message = f"cannot open {name} ({{}}): check its name, and that the format is one that libav knows"
    try:
        with libav_errors(message):
            return av.open(place, "r", format=form, container_options=found | (options or {}))
    except ValueError as error:  # PyAV without this device
        raise KeySyncError(
            f"cannot open {name}: this PyAV has no {form}; read the device by ffmpeg and a pipe"
        ) from error
