"""Where a live dub goes: a file, a pipe, or any place that libav can send to."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import tee
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import av
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import KeySyncError, one_line
from ..media.channels import Block
from ..media.container import url
from ..media.info import BT709, PictureFormat
from ..media.soundtrack import Soundtrack
from ..media.source import Frame
from ..media.writer import SWS_MATRIX, VideoWriter
from ..provenance import COMMENTS, Provenance
from .choices import RAW, SCHEMES, STANDARD

if TYPE_CHECKING:
    from .inputs import LiveSound

# What pipes carry unless another format is named.
PIPED = "matroska"
# Without frames that lean on later ones; a keyframe every two seconds lets viewers join.
STREAMED = {"preset": "veryfast", "tune": "zerolatency", "crf": "18"}
KEYFRAME_SECONDS = 2


class Passing:
    """A sound on its way to two readers: `heard` yields its blocks to one, `blocks` to what writes them, as a
    `SoundSource` does. What one has taken waits for the other."""

    path = None
    notes = ()

    def __init__(self, sound: LiveSound, blocks: Iterable[Block]) -> None:
        self.name, self.rate, self.places = sound.name, sound.rate, sound.places
        self.channels, self.is_16_bit = len(sound.places), sound.is_16_bit
        self.heard, self._written = tee(blocks)
        self._end = math.inf

    def end(self, seconds: float) -> None:
        """Nothing behind this is written."""
        self._end = round(seconds * self.rate)

    def blocks(self) -> Generator[Block, None, None]:
        """Yields the samples in order, up to the end where that is known."""
        sent = 0
        while sent < self._end and (block := next(self._written, None)) is not None:
            part = block if math.isinf(self._end) else block[:, : int(self._end) - sent]
            sent += part.shape[1]
            yield part


class Sink(Protocol):
    """Takes frames in order; the sound goes with them. A context manager."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, pts: int) -> None: ...


def open_sink(
    target: str, like: PictureFormat, sound: Passing, form: str | None = None, provenance: Provenance | None = None
) -> Sink:
    """The sink of a file's path, of the standard output (`-`), or of a URL. `form` is the format as libav calls it,
    None for what is usual there. A file has an ordinary dub's quality, and appears when it is whole.

    Raises `KeySyncError` for a place that cannot be written to.
    """
    scheme = target.partition("://")[0] if "://" in target else None
    if form is None and scheme is None and target != STANDARD and not Path(target).is_fifo():
        return VideoWriter(Path(target), like, audio=sound, provenance=provenance)
    if scheme is not None and form is None and scheme not in SCHEMES:
        raise KeySyncError(
            f"{target}: no format is known for {scheme}; name one, or use one of {', '.join(SCHEMES)}", about="output"
        )
    place = target if scheme else "pipe:1" if target == STANDARD else url(Path(target))
    return StreamSink(place, target, like, sound, form or SCHEMES.get(scheme or "", PIPED), provenance)


class StreamSink:
    """Sends each frame at once: H.264 and AAC, or raw frames of RGB without sound."""

    def __init__(
        self,
        place: str,
        name: str,
        like: PictureFormat,
        sound: Passing,
        form: str,
        provenance: Provenance | None = None,
    ) -> None:
        self._name, self._like, self._raw = name, like, form == RAW
        self._to_yuv, self._first = VideoReformatter(), True
        with self._errors():
            self._container: OutputContainer = av.open(place, "w", form)
            self._stream = self._add_stream()
            self._sound = None if self._raw else Soundtrack(self._container, sound, None, lossless=False)
            if provenance is not None:
                self._container.metadata[COMMENTS[0]] = provenance.line()
            self._container.start_encoding()  # so that a place that is not there shows now

    def __enter__(self) -> StreamSink:
        return self

    def write(self, frame: Frame, pts: int) -> None:
        """Sends a frame (h, w, 3) uint8, and the sound up to it."""
        picture = VideoFrame.from_ndarray(frame, format="rgb24")
        if not self._raw:
            picture = self._to_yuv.reformat(
                picture,
                format=self._stream.pix_fmt,
                dst_colorspace=SWS_MATRIX[BT709.matrix],
                dst_color_range=BT709.range,
            )
        picture.pts, picture.time_base = pts, self._like.time_base
        with self._errors():
            if self._sound is not None:
                if self._first:
                    self._sound.start(pts * self._like.time_base)
                for packet in self._sound.advance(float(pts * self._like.time_base)):
                    self._container.mux(packet)
            self._first = False
            self._container.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(av.FFmpegError, OSError):
                self._container.close()
            return
        with self._errors():
            self._container.mux(self._stream.encode(None))
            for packet in self._sound.finish() if self._sound is not None else ():
                self._container.mux(packet)
            self._container.close()

    def _add_stream(self) -> VideoStream:
        like = self._like
        if self._raw:
            stream = self._container.add_stream(RAW, rate=like.rate)
            stream.pix_fmt = "rgb24"
        else:
            options = STREAMED | {"g": str(round(KEYFRAME_SECONDS * like.rate))}
            stream = self._container.add_stream("libx264", rate=like.rate, options=options)
            stream.pix_fmt = like.h264_pixels
            context = stream.codec_context
            context.colorspace, context.color_range = BT709.matrix, BT709.range
            context.color_primaries, context.color_trc = BT709.primaries, BT709.transfer
        stream.width, stream.height = like.width, like.height
        stream.time_base = stream.codec_context.time_base = like.time_base
        return stream

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise KeySyncError(
                f"{self._name} cannot be written to ({one_line(error)}): check the place and the format", about="output"
            ) from error
