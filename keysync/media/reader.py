"""Video files in: frames (h, w, 3) uint8 RGB as they are displayed, each with its own timestamp, streamed.

The RGB is exactly what PyAV's `frame.to_ndarray(format="rgb24")` gives, turned as the file's display matrix asks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ..errors import KeySyncError
from .checksums import is_intact
from .container import MediaFile, describe_streams, libav_errors, open_input, video_tracks
from .extras import Extras
from .info import Orientation, chroma_parts, header_end, read_info
from .source import GREY_LEVELS, Facts, Frame, FrameSource, is_grey

Decoded = Generator[VideoFrame, None, None]
Stamped = Generator[tuple[int, VideoFrame], None, None]
log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 2**20
# How many seconds before the target to look for a keyframe: more where a file's index points too late.
SEEK_BACK = (0, 2, 20)
# A header that shows the last picture longer than this is not believed, for the speech is held as long as the video:
# 230 MB an hour.
LONGEST_PICTURE = 3600
# Seconds by which timestamps may fall behind before it is another clock, as where recordings were joined; and by which
# they may jump ahead in formats that are known for it (libav takes the same number). A real pause is shorter.
NEW_CLOCK_BACK, NEW_CLOCK_AHEAD = 1, 10
# The flag of these formats: AVFMT_TS_DISCONT.
TS_DISCONT = 0x0200
# Checksums and the bit stream's own rules are checked: what breaks them is counted.
ERROR_DETECTION = {"err_detect": "crccheck+bitstream+buffer"}
# Decoders of these take one packet for every picture: what is missing could not be decoded.
PACKET_A_PICTURE = ("h264", "hevc", "mjpeg", "prores", "ffv1")


def open_video(video: str | Path | FrameSource) -> FrameSource:
    """The video of a file; any other source is one already."""
    return VideoReader(video) if isinstance(video, str | Path) else video


class VideoReader:
    """A video file, or the window of it that begins `start` seconds after its first frame and lasts `duration` seconds.

    Every pass opens the file anew, so passes may run side by side. Raises `KeySyncError` at once for a file that holds
    no video, and when a pass reaches a damaged place.
    """

    def __init__(self, file: str | Path | MediaFile, start: float = 0, duration: float | None = None) -> None:
        self._file = MediaFile.of(file)
        self.name, self.path = self._file.name, self._file.path
        if start < 0 or (duration is not None and duration <= 0):
            raise KeySyncError(
                f"{self.name} cannot be trimmed to {duration} s from {start} s on: "
                "choose a start >= 0 and a duration > 0"
            )
        with _open_pass(self._file, _Tally()) as (container, stream, frames):
            first = next(frames, None)
            if first is None:
                raise KeySyncError(f"{self.name} has a video track without a single frame: copy or export it again")
            info = read_info(container, stream, first)
            self._jumpy = bool(container.format.flags & TS_DISCONT)
            self._header_end = header_end(container, stream, first.pts or 0)
            begin = (first.pts or 0) * info.time_base + Fraction(start)
            self.extras = Extras.of(partial(open_input, self._file), container, video_tracks(container), begin)
        if info.bits > 8:
            hdr = f" ({info.colours.hdr})" if info.hdr else ""
            log.warning("%s has %d bits a colour%s: the result has 8", self.name, info.bits, hdr)
        self._facts: Facts | None = None
        self._new_clocks = 0
        self._orientation = Orientation.of(first)
        self._stored_size = first.width, first.height
        self._first = first.pts or 0
        self._begin = self._first + round(Fraction(start) / info.time_base)
        self._end = math.inf if duration is None else self._first + round(Fraction(start + duration) / info.time_base)
        seconds = min(max(0.0, info.duration_seconds - start), duration or math.inf)
        share = seconds / info.duration_seconds if info.duration_seconds else 1.0
        self.info = replace(info, duration_seconds=seconds, frame_count=round(info.frame_count * share))

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Yields (pts, frame) in display order; pts are in `info.time_base` and rise from frame to frame.

        A frame without a timestamp, or with that of the frame before, gets one from the frame rate.
        """
        to_rgb = VideoReformatter()
        with closing(self._window()) as window:
            for pts, frame in window:
                yield pts, self._picture(frame, to_rgb)

    def timestamps(self) -> NDArray[np.int64]:
        """The pts (n,) of all frames, from a pass that converts no picture."""
        return np.fromiter((pts for pts, _ in self._window()), dtype=np.int64)

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """Yields the frames with these indices, in any order; `pts` are those of all frames, from an earlier pass.

        Indices that never fall are served in one pass. Where they fall, the file is decoded anew from a keyframe on, in
        pieces of at most 256 MB of pictures. Neighbours of the same index may be one array: copy it before changing it.
        """
        stamps = np.asarray(pts, dtype=np.int64)
        chunk = max(1, CHUNK_BYTES // (3 * self.info.width * self.info.height))
        to_rgb = VideoReformatter()
        held: dict[int, Frame] = {}
        position: int | None = None  # index of the frame decoded last
        with ExitStack() as passes:
            source: Iterator[tuple[int, VideoFrame]] = iter(())
            for index, following in _with_next(indices):
                first = index
                if index in held:
                    yield held[index]
                    continue
                if position is None or index <= position:
                    if position is not None and following < index:
                        first = max(0, index - chunk + 1)
                    passes.close()
                    source = passes.enter_context(closing(self._indexed(stamps, first)))
                held = {}
                while index not in held:
                    position, frame = next(source, (index, None))
                    if frame is None:
                        raise KeySyncError(f"{self.name} has lost its frame {index}: do not change it during a run")
                    if position >= first:
                        held[position] = self._picture(frame, to_rgb)
                yield held[index]

    def facts(self) -> Facts:
        """What the last whole pass over this window told; where there was none, one is made."""
        if self._facts is None:
            self.timestamps()
        assert self._facts is not None
        return self._facts

    def fingerprint(self) -> str:
        """By the file and the window."""
        return f"{self._file.fingerprint()} {self._begin} {self._end}"

    def recall(self, facts: Facts) -> None:
        """See `Recognisable`."""
        self._facts, self._new_clocks = facts, facts.new_clocks

    def seconds(self) -> float:
        """The exact length in seconds, from a pass over the frames."""
        stamps = self.timestamps()
        return float((int(stamps[-1] - stamps[0]) + self.facts().last_duration) * self.info.time_base)

    def _picture(self, frame: VideoFrame, to_rgb: VideoReformatter) -> Frame:
        width, height = self._stored_size  # a track whose size changes keeps that of its first frame
        message = f"{self.name} has colours that cannot become RGB ({{}}): convert it to an ordinary H.264 mp4"
        with libav_errors(message):
            rgb = to_rgb.reformat(frame, width=width, height=height, format="rgb24")
        return self._orientation.apply(cast("Frame", rgb.to_ndarray()))

    def _window(self) -> Stamped:
        last: int | None = None
        tally, length, ended = _Tally(), 0, True
        grey = _Grey()
        with closing(self._from(self._begin, tally)) as frames:
            for pts, frame in frames:
                if pts >= self._end:
                    ended = False
                    break
                if pts >= self._begin:
                    last, length = pts, frame.duration or 0
                    tally.note(float((pts - self._first) * self.info.time_base), frame)
                    grey.look(frame)
                    yield pts, frame
        if last is None:
            raise KeySyncError(f"{self.name} has no frame in the chosen window of time: choose an earlier start")
        self._file.check_unchanged()
        duration, promised = self._last_duration(last, length, ended)
        undecoded = tally.undecoded if ended and self._begin == self._first else tally.skipped
        self._facts = Facts(
            duration, grey.so_far, tally.damaged, tally.first_damage, undecoded, promised, self._new_clocks
        )

    def _last_duration(self, last: int, length: int, ended: bool) -> tuple[int, float | None]:
        """How long the last frame is shown, and the length in seconds that the header promised in vain.

        It is shown until the window ends; where the track ends before, as long as the header says, else the frame's
        own packet, else as long as frames last on average.
        """
        if not ended:
            return round(self._end) - last, None
        longest = round(LONGEST_PICTURE / self.info.time_base)
        promised = None
        end = None if self._new_clocks else self._header_end
        if end is not None and end - last > longest:
            promised, end = float((end - self._first) * self.info.time_base), None
        if end is None or end <= last:
            end = last + (length if 0 < length <= longest else self.info.frame_duration)
        return round(min(end, self._end)) - last, promised

    def _indexed(self, stamps: NDArray[np.int64], first: int) -> Stamped:
        """Yields (index, frame) from `first` or an earlier frame on; its index is that of its pts, never counted."""
        last = -1
        with closing(self._from(int(stamps[first]))) as frames:
            for pts, frame in frames:
                index = _index_of(stamps, pts)
                if pts < stamps[0]:
                    continue
                if index < 0 or (last >= 0 and index != last + 1):
                    break
                last = index
                yield index, frame
        # Made-up timestamps can differ after a jump; then only a pass from the start tells the frames apart.
        if last < len(stamps) - 1:
            with closing(self._from(self._first)) as frames:
                for pts, frame in frames:
                    index = _index_of(stamps, pts)
                    if index > last:
                        last = index
                        yield index, frame

    def _from(self, target: int, tally: _Tally | None = None) -> Stamped:
        """Yields (pts, frame) from a keyframe at or before the pts `target` on, or from the start of the file."""
        tally = tally or _Tally()
        # Behind a new clock the same timestamp may come twice: then frames are found from the start.
        for back in SEEK_BACK if target > self._first and not self._new_clocks else ():
            with _open_pass(self._file, tally) as (container, stream, frames):
                try:
                    container.seek(target - round(back / self.info.time_base), stream=stream)
                except av.FFmpegError:
                    break  # a format that cannot be jumped in
                # Frames that are shown before the first keyframe lean on pictures that were jumped over.
                landed = next((frame for frame in frames if frame.key_frame), None)
                if landed is not None and landed.pts is not None and landed.pts <= target:
                    yield from self._stamp(chain((landed,), frames))
                    return
        with _open_pass(self._file, tally) as (_, _, frames):
            yield from self._stamp(frames)

    def _stamp(self, frames: Iterable[VideoFrame]) -> Stamped:
        last: int | None = None
        shift = clocks = 0
        for frame in frames:
            pts = frame.pts
            if pts is None:
                pts = self._first if last is None else last + self.info.frame_duration
            elif last is not None and self._is_new_clock(pts + shift - last):
                clocks += 1
                shift = last + self.info.frame_duration - pts
                self._new_clocks = max(self._new_clocks, clocks)
                pts += shift
            else:
                pts += shift
            if last is not None and pts <= last:
                pts = last + 1
            last = pts
            yield pts, frame

    def _is_new_clock(self, step: int) -> bool:
        """Whether so many ticks from one frame to the next mean that timestamps begin anew."""
        seconds = step * self.info.time_base
        return seconds < -NEW_CLOCK_BACK or (self._jumpy and seconds > NEW_CLOCK_AHEAD)


def first_picture(file: MediaFile) -> float | None:
    """When the first picture that can be decoded is shown, in seconds of a file's own time; None without a time."""
    with _open_pass(file, _Tally()) as (_, _, frames):
        first = next(frames, None)
        return None if first is None else first.time


def _index_of(stamps: NDArray[np.int64], pts: int) -> int:
    """The index of a timestamp among rising ones (n,); -1 where it is none of them."""
    index = int(np.searchsorted(stamps, pts))
    return index if index < len(stamps) and stamps[index] == pts else -1


def _with_next(indices: Iterable[int]) -> Iterator[tuple[int, float]]:
    """Yields each index with the one after it; with infinity at the end."""
    ahead = iter(indices)
    index = next(ahead, None)
    while index is not None:
        following = next(ahead, None)
        yield int(index), math.inf if following is None else following
        index = following


class _Tally:
    """Counts the damage of one pass."""

    def __init__(self) -> None:
        self.packets = self.pictures = self.skipped = self.damaged = 0
        self.first_damage = 0.0
        self.countable = True
        self.broken: set[int | None] = set()  # pts of packets that container or checksum call damaged
        self._has_checksums = False
        self._doubtful: set[int | None] = set()
        self._noted: dict[int | None, float] = {}

    def note(self, seconds: float, frame: VideoFrame) -> None:
        """Counts a frame of the window that was patched up by the decoder, or whose packet is damaged."""
        if frame.is_corrupt or frame.pts in self.broken:
            self._count(1, seconds)
        elif frame.pts in self._doubtful:
            self._noted[frame.pts] = seconds

    def _count(self, frames: int, seconds: float) -> None:
        self.first_damage = seconds if self.damaged == 0 else min(seconds, self.first_damage)
        self.damaged += frames

    def check(self, pts: int | None, packet: bytes) -> None:
        """Takes a packet of FFV1 for damaged if it lacks the checksums that others have; a file without any is intact.

        Whether a file has checksums is known from its first intact packet on: packets before it are doubtful till then.
        """
        if not packet:
            return
        if not is_intact(packet):
            (self.broken if self._has_checksums else self._doubtful).add(pts)
        elif not self._has_checksums:
            self._has_checksums = True
            self.broken |= self._doubtful
            if self._noted:
                self._count(len(self._noted), min(self._noted.values()))

    @property
    def undecoded(self) -> int:
        """How many pictures of the file could not be decoded at all."""
        return max(self.skipped, self.packets - self.pictures) if self.countable else self.skipped


class _Grey:
    """Whether the frames of a pass have colour; they are looked at until the first that has."""

    def __init__(self) -> None:
        self.so_far = True
        self._lowest, self._highest = np.full(2, 255), np.zeros(2, np.int64)

    def look(self, frame: VideoFrame) -> None:
        """Takes a frame into account: a constant tint, as of a film that was coloured as a whole, is grey too."""
        if not self.so_far:
            return
        chroma = chroma_parts(frame.format)
        planes = {part.plane for part in chroma}
        if not chroma and not frame.format.is_rgb and not frame.format.has_palette:
            return  # luma alone
        if frame.format.is_rgb or frame.format.has_palette or len(planes) != 2 or not frame.format.is_planar:
            self.so_far = is_grey(cast("Frame", frame.to_ndarray(format="rgb24")))
            return
        for number, part in enumerate(chroma):
            plane = frame.planes[part.plane]
            wide = part.bits > 8
            kind = np.dtype(np.uint16 if wide else np.uint8).newbyteorder(">" if frame.format.is_big_endian else "<")
            rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:, : plane.width]
            levels = rows >> (part.bits - 8) if wide else rows
            self._lowest[number] = min(self._lowest[number], int(levels.min()))
            self._highest[number] = max(self._highest[number], int(levels.max()))
        self.so_far = bool((self._highest - self._lowest <= 2 * GREY_LEVELS).all())


@contextmanager
def _open_pass(file: MediaFile, tally: _Tally) -> Iterator[tuple[InputContainer, VideoStream, Decoded]]:
    """An open file, its best video track and that track's frames; all closed at the end."""
    with open_input(file) as container:
        stream = _best_track(file, container)
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.options = ERROR_DETECTION
        with closing(_decode(file, container, stream, tally)) as frames:
            yield container, stream, frames


def _best_track(file: MediaFile, container: InputContainer) -> VideoStream:
    """The default video track, the largest of several; cover pictures are not video."""
    tracks = video_tracks(container)
    if not tracks:
        raise KeySyncError(f"{file} has no video track (it contains {describe_streams(container)}): expected a video")
    known = [stream for stream in tracks if stream.codec_context is not None]
    if not known:
        raise KeySyncError(f"{file} uses a codec that PyAV cannot decode: convert it to an H.264 mp4")
    return max(known, key=lambda track: (bool(track.disposition & Disposition.default), track.width * track.height))


def _decode(file: MediaFile, container: InputContainer, stream: VideoStream, tally: _Tally) -> Decoded:
    """Yields the frames from the container's current position on.

    Packets before the first frame that cannot be decoded are skipped and counted: recordings often begin in the middle
    of a group of pictures. Later ones are an error.
    """
    seconds: float | None = None
    packets = container.demux(stream)
    is_ffv1 = stream.codec_context.name == "ffv1"
    tally.countable = stream.codec_context.name in PACKET_A_PICTURE
    while True:
        with libav_errors(f"{file} is damaged or cut off after {seconds or 0:.2f} s ({{}}): copy or export it again"):
            packet = next(packets, None)
            if packet is None:
                return
            tally.packets += packet.size > 0 and not packet.is_discard
            if packet.is_corrupt:
                tally.broken.add(packet.pts)
            elif is_ffv1:
                tally.check(packet.pts, bytes(packet))
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if seconds is not None:
                    raise
                tally.skipped += 1
                continue
        for frame in frames:
            seconds = frame.time or seconds or 0.0
            tally.pictures += 1
            tally.countable &= not frame.interlaced_frame  # two packets may make one picture
            yield frame
