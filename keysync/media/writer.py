"""Video files out: frames (h, w, 3) uint8 RGB with their timestamps, and the new speech, into one file, streamed.

H.264 in mp4, mov or mkv; lossless: FFV1 in mkv, which keeps every bit of the RGB. Timestamps are exact, except in mkv,
which rounds them to milliseconds.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import KeySyncError
from ..provenance import COMMENTS, MATROSKA_TAG, SOURCE_TYPE, Provenance, Signing, is_mark
from ..whole import IS_FOLDER, reason, whole_file, why_not
from .audio import open_sound
from .container import url
from .extras import Kept, Subtitles
from .info import BOTTOM_FIRST, BT709, FULL_RANGE, LIMITED_RANGE, TOP_FIRST, PictureFormat
from .soundtrack import Soundtrack
from .source import Frame, SoundSource

log = logging.getLogger(__name__)

# By suffix, what libav calls the format.
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
# Near what the eye can tell, and finer in the chroma, where smooth skin would show the steps. x264 gives the same bytes
# each time only if they do not depend on the CPU: its AVX-512 code for widths such as 360 does not.
H264 = {"crf": "14", "preset": "veryfast", "x264-params": "chroma-qp-offset=-6:cpu-independent=1"}
# Bits a pixel that results of people talking have at crf 15, and losslessly; a compressed source with fewer says that
# its pictures need fewer. Low, so that what fits is not refused.
H264_BITS, LOSSLESS_BITS = 0.2, 4.0
# Bytes of a file without frames, and of a second of its sound, AAC in one channel of speech.
EMPTY_BYTES, SOUND_BYTES = 4096, 6000
# Ticks a second that put sound to a fraction of a millisecond.
FINE = 90_000
# From the matrices of H.273 that swscale converts with to its own numbers; unspecified ones are decoded as BT.601.
SWS_MATRIX = {1: 1, 2: 5, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# Chroma averaged over the pixels that share it: undoes exactly how the decoder repeats it.
# SWS_AREA, SWS_ACCURATE_RND and SWS_FULL_CHR_H_INP as numbers: PyAV before 18 has no names for the last two.
AVERAGED = 0x20 | 0x40000 | 0x4000
# By field order, what libav's filter and x264 call it, and libav's own number, which the container notes.
FIELDS = {TOP_FIRST: ("tff", 2), BOTTOM_FIRST: ("bff", 3)}


def check_output(path: str | Path, inputs: Iterable[str | Path] = (), *, lossless: bool = False) -> Path:
    """Raises `KeySyncError` unless a result can go there: a known suffix, a folder that takes it, not an input."""
    path = Path(path)
    suffixes = (".mkv",) if lossless else tuple(FORMATS)
    if path.suffix.lower() not in suffixes:
        kind = "a lossless result" if lossless else "a result"
        raise KeySyncError(
            f"{path} has an unsupported file extension for {kind}: expected {', '.join(suffixes)}", about="output"
        )
    problem = why_not(path)
    if problem is not None and problem[0] == IS_FOLDER:
        raise KeySyncError(f"{path} is a folder: choose another name for the result", about="output")
    if problem is not None:
        raise KeySyncError(f"{path} cannot be written: {'; '.join(problem)}", about="output")
    for source in map(Path, inputs):
        if path.exists() and source.exists() and path.samefile(source):
            raise KeySyncError(f"{path} is also an input: choose another name for the result", about="output")
    return path


def check_space(path: Path, like: PictureFormat, seconds: float, source_bytes: float | None, *, lossless: bool) -> None:
    """Raises `KeySyncError` where a result of so many seconds does not fit on the disk, by a low estimate.

    `source_bytes`: those of the source for as many seconds, None for one in memory.
    """
    pixels = like.width * like.height * float(like.rate) * seconds
    needed = pixels * (LOSSLESS_BITS if lossless else H264_BITS) / 8
    if source_bytes is not None and not lossless:
        needed = min(needed, source_bytes)
    needed += EMPTY_BYTES + SOUND_BYTES * seconds
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise KeySyncError(f"{path} cannot be written: {'; '.join(reason(error, path))}", about="output") from error
    if free < needed:
        raise KeySyncError(
            f"{path} needs about {_size(needed)} but the disk of {path.parent} has {_size(free)} free: "
            "free some space or choose another folder",
            about="output",
        )


def _size(count: float) -> str:
    return (
        f"{count / 1e9:.1f} GB"
        if count >= 1e9
        else f"{count / 1e6:.1f} MB"
        if count >= 1e5
        else f"{count / 1e3:.1f} kB"
    )


class VideoWriter:
    """Writes one video file; a context manager. The file appears under its name when all of it is written.

    `like` gives size, timing and colours; a `VideoInfo` does. `audio`, a file or another source, is cut or padded with
    silence to `seconds` (its own length where that is None). The last frame is shown until then; without `seconds`, as
    long as frames last on average. `kept` are the tags, chapters and subtitles to write;
    `provenance` is what the file says about how it was made, and `signing` signs that.

    Raises `KeySyncError` where nothing can be written, as on a full disk; then, and at any other exception, no file is
    left and an older one stays.
    """

    def __init__(
        self,
        path: str | Path,
        like: PictureFormat,
        *,
        lossless: bool = False,
        audio: str | Path | SoundSource | None = None,
        seconds: float | None = None,
        kept: Kept | None = None,
        provenance: Provenance | None = None,
        signing: Signing | None = None,
    ) -> None:
        sound = None if audio is None else open_sound(audio)
        self.path = check_output(path, [sound.path] if sound and sound.path else [], lossless=lossless)
        self._like, self._lossless, self._audio, self._seconds = like, lossless, sound, seconds
        self._kept = kept
        self._provenance, self._signing = provenance, signing
        self._first: int | None = None
        self._shift = 0
        self._latest: int | None = None
        self._first_dts: int | None = None
        self._lasting: dict[int, int] = {}  # how long frames are shown, by pts, until their packets are written
        self._held: list[Packet[VideoStream]] = []  # the latest packet: the last of all ends with the video
        self._to_yuv = VideoReformatter()
        self._marked: Graph | None = None
        self._subtitles: Subtitles | None = None

    def __enter__(self) -> VideoWriter:
        with ExitStack() as undo:
            with self._disk():
                temporary = self._temporary = undo.enter_context(whole_file(self.path))
                suffix = self.path.suffix.lower()
                flags = "+faststart+use_metadata_tags" if suffix == ".mov" else "+faststart"
                mov_options = {"movflags": flags, "movie_timescale": str(self._movie_timescale())}
                options = {} if suffix == ".mkv" else mov_options
                self._container = av.open(url(temporary), "w", FORMATS[suffix], container_options=options)
                undo.callback(self._close)
                self._stream = self._add_stream()
                self._sound: Soundtrack | None = None
                if self._audio is not None:
                    self._sound = Soundtrack(self._container, self._audio, self._seconds, self._lossless)
                    undo.callback(self._sound.close)
                if self._kept is not None:
                    self._kept.write(self._container)
                    if self._kept.subtitles:
                        self._subtitles = Subtitles(self._container, self._kept)
                        undo.callback(self._subtitles.close)
                if self._provenance is not None:
                    self._mark(self._provenance)
            self._undo = undo.pop_all()
        return self

    def write(self, frame: Frame, pts: int) -> None:
        """Adds a frame (h, w, 3) uint8; `pts`, in the format's time base, must rise from frame to frame."""
        if frame.shape != (self._like.height, self._like.width, 3) or frame.dtype != np.uint8:
            raise ValueError(f"a frame {frame.shape} of {frame.dtype} for {self._like.width}x{self._like.height} uint8")
        time_base = self._like.time_base
        if self._first is None:
            self._shift = max(0, -pts)  # players skip what comes before time 0
            self._first = pts + self._shift
            if self._sound is not None:
                self._sound.start(self._first * time_base)
        picture = VideoFrame.from_ndarray(frame, format="rgb24") if self._lossless else self._converted(frame)
        picture.pts = pts + self._shift
        picture.time_base = time_base
        if self._latest is not None:
            self._lasting[self._latest] = picture.pts - self._latest
        self._latest = picture.pts
        with self._disk():
            self._mux(self._stream.encode(self._as_fields(picture)))
            self._advance(float((picture.pts - self._first) * time_base))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._undo.__exit__(kind, error, trace)
            return
        with self._disk(), self._undo:
            if self._first is None:
                raise KeySyncError(f"{self.path} is not written: it has no frame")
            self._lasting[cast("int", self._latest)] = self._last_duration()
            self._mux(self._stream.encode(None))
            for packet in self._held:
                self._container.mux(self._last_packet(packet))
            self._advance(math.inf)
            if self._sound is not None:
                for sound in self._sound.finish():
                    self._container.mux(sound)
            self._container.close()
            if self._provenance is not None:
                self._seal(self._provenance)

    def _mark(self, provenance: Provenance) -> None:
        """Says in the container's metadata how the result was made."""
        metadata = self._container.metadata
        # Tags of the source stay, but for marks of earlier dubs; names differ in case between containers.
        for name in [name for name, value in metadata.items() if is_mark(value)]:
            del metadata[name]
        taken = {name.lower(): name for name, value in metadata.items() if value}
        key = next((key for key in COMMENTS if key not in taken), None)
        if key is None:
            first = taken[COMMENTS[0]]
            metadata[first] = f"{metadata[first]}\n{provenance.line()}"
        else:
            metadata[key] = provenance.line()
        if self.path.suffix.lower() == ".mkv":
            metadata[MATROSKA_TAG] = SOURCE_TYPE

    def _seal(self, provenance: Provenance) -> None:
        """Adds to the finished file what libav does not write: XMP, and a signed manifest."""
        if self.path.suffix.lower() != ".mkv":
            with self._temporary.open("ab") as file:
                file.write(provenance.xmp_box())
        if self._signing is not None:
            with whole_file(self._temporary) as signed:
                self._signing.sign(self._temporary, signed, self.path.name, provenance)

    def _advance(self, seconds: float) -> None:
        """Writes sound and subtitles up to a time since the first frame."""
        if self._sound is not None and seconds < math.inf:
            self._container.mux(list(self._sound.advance(seconds)))
        if self._subtitles is not None:
            for packet in self._subtitles.advance(seconds):
                self._container.mux(packet)

    def _last_packet(self, packet: Packet[VideoStream]) -> Packet[VideoStream]:
        """The packet that is coded last, with its duration.

        Mp4 and mov count the durations of packets in the order of coding: this one's makes them last as long as the
        video, whichever frame it holds.
        """
        latest, first = cast("int", self._latest), cast("int", self._first)
        last_duration = self._last_duration()
        packet.duration = self._lasting.get(packet.pts or 0, last_duration)
        if self.path.suffix.lower() != ".mkv" and packet.dts is not None and self._first_dts is not None:
            packet.duration = max(1, latest + last_duration - first - (packet.dts - self._first_dts))
        return packet

    def _last_duration(self) -> int:
        like, latest = self._like, cast("int", self._latest)
        if self._seconds is None:
            return self._average()
        return max(1, cast("int", self._first) + round(Fraction(self._seconds) / like.time_base) - latest)

    def _average(self) -> int:
        return max(1, round(1 / (self._like.rate * self._like.time_base)))

    def _movie_timescale(self) -> int:
        """Ticks a second of the start of each track: a multiple of the video's, fine enough for sound."""
        ticks = self._like.time_base.denominator
        return ticks * math.ceil(FINE / ticks)

    def _add_stream(self) -> VideoStream:
        like = self._like
        if self._lossless:
            options, colours = {"level": "3", "g": "1"}, replace(like.colours, matrix=0, range=FULL_RANGE)
            stream = self._container.add_stream("ffv1", rate=like.rate, options=options)
            stream.pix_fmt = "bgr0"
        else:
            colours = like.colours if like.colours.matrix in SWS_MATRIX else replace(like.colours, matrix=BT709.matrix)
            stream = self._container.add_stream("libx264", rate=like.rate, options=H264 | self._x264_fields())
            stream.pix_fmt = like.h264_pixels
            if stream.pix_fmt == "yuv444p" and not like.full_chroma:
                log.info("%dx%d is odd: %s keeps all of its colour (4:4:4)", like.width, like.height, self.path)
        context = stream.codec_context
        stream.time_base = context.time_base = like.time_base
        context.width, context.height, context.sample_aspect_ratio = like.width, like.height, like.pixel_aspect
        context.colorspace, context.color_range = colours.matrix, colours.range
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        if self._fields and hasattr(context, "field_order"):  # PyAV before 18 has none: the pictures themselves tell
            context.field_order = FIELDS[self._fields][1]
        return stream

    @property
    def _fields(self) -> str:
        """The field order of the result; empty if it is progressive."""
        return self._like.field_order if self._like.keeps_fields(lossless=self._lossless) else ""

    def _x264_fields(self) -> dict[str, str]:
        if not self._fields:
            return {}
        return {"x264-params": f"{H264['x264-params']}:{FIELDS[self._fields][0]}=1"}

    def _as_fields(self, picture: VideoFrame) -> VideoFrame:
        """The picture marked as interlaced, where the result is."""
        if not self._fields:
            return picture
        if self._marked is None:
            self._marked = Graph()
            source = self._marked.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=self._like.time_base
            )
            mark = self._marked.add("setfield", f"mode={FIELDS[self._fields][0]}")
            self._marked.link_nodes(source, mark, self._marked.add("buffersink"))
            self._marked.configure()
        self._marked.push(picture)
        marked = self._marked.pull()
        assert isinstance(marked, VideoFrame)
        return marked

    def _converted(self, frame: Frame) -> VideoFrame:
        """RGB to YUV, such that PyAV's decoder gives the RGB back.

        That decoder rounds down: its result is a level too dark. So the loss of one trip there and back is added
        beforehand, and a source's untouched pixels get their original YUV back.
        """
        yuv = self._to_yuv_once(frame)
        again = self._to_yuv_once(cast("Frame", yuv.to_ndarray(format="rgb24")))
        values = 2 * yuv.to_ndarray().astype(np.int16) - again.to_ndarray()
        return VideoFrame.from_ndarray(values.clip(0, 255).astype(np.uint8), format=yuv.format.name)

    def _to_yuv_once(self, frame: Frame) -> VideoFrame:
        colours = self._like.colours
        return self._to_yuv.reformat(
            VideoFrame.from_ndarray(frame, format="rgb24"),
            format=self._stream.pix_fmt,
            dst_colorspace=SWS_MATRIX.get(colours.matrix, SWS_MATRIX[BT709.matrix]),
            dst_color_range=colours.range or LIMITED_RANGE,
            interpolation=AVERAGED,
        )

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        self._held += packets
        if self._first_dts is None and packets:
            self._first_dts = packets[0].dts
        for packet in self._held[:-1]:
            packet.duration = self._lasting.pop(packet.pts or 0, self._average())
            self._container.mux(packet)
        del self._held[:-1]

    def _disk(self) -> AbstractContextManager[None]:
        return _disk_errors(self.path)

    def _close(self) -> None:
        with suppress(av.FFmpegError):  # the file is whole already, or given up
            self._container.close()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turns what PyAV and the disk raise inside into a `KeySyncError` that says what to do."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        what, remedy = reason(error, path)
        raise KeySyncError(f"{path} cannot be written ({what}): {remedy}", about="output") from error
