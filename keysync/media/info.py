"""The facts of a video that are known before its frames are read: size, time, rotation, colours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat, VideoFormatComponent
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

# Codes of ITU-T H.273 (matrix, primaries, transfer; 2: unspecified); the range as libav counts it (0: unspecified).
LIMITED_RANGE, FULL_RANGE = 1, 2
PQ, HLG = 16, 18
BT2020_PRIMARIES = 9
UNSPECIFIED = 2
# Of a frame's side data, which libav numbers from 0 on, PyAV knows some kinds and fails at the others. Today there are
# about 32 kinds: up to this number the unknown ones are removed before PyAV looks.
SIDE_DATA_KINDS = 64
# The colour of frames that no file stores.
IN_MEMORY = "RGB in memory"
# The order in which the two fields of an interlaced picture are shown, as players name it, and libav's words for it.
TOP_FIRST, BOTTOM_FIRST = "tt", "bb"
FIELD_ORDERS = {TOP_FIRST: "TOPFIRST", BOTTOM_FIRST: "BOTTOMFIRST"}


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
        primaries, transfer = int(stream.color_primaries), int(stream.color_trc)
        # Frames of PyAV 16 and 17 may not tell.
        if primaries == UNSPECIFIED:
            primaries = int(getattr(frame, "color_primaries", UNSPECIFIED))
        if transfer == UNSPECIFIED:
            transfer = int(getattr(frame, "color_trc", UNSPECIFIED))
        return Colours(matrix, range_, primaries, transfer)

    @property
    def hdr(self) -> str:
        """The HDR transfer of these numbers, "PQ" or "HLG"; empty for ordinary ones."""
        return {PQ: "PQ", HLG: "HLG"}.get(self.transfer, "")


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
        side_data: Any = _known_side_data(frame)
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


def _known_side_data(frame: VideoFrame) -> Any:
    """The side data of a frame without the kinds that PyAV has no name for."""
    try:
        return frame.side_data
    except ValueError:
        known: set[Any] = {kind.value for kind in Type}
        foreign = [kind for kind in range(SIDE_DATA_KINDS) if kind not in known]
        cleaned = filtered(frame, *(("sidedata", f"mode=delete:type={kind}") for kind in foreign))
        return {} if cleaned is None else cleaned.side_data


def filtered(frame: VideoFrame, *filters: tuple[str, str]) -> VideoFrame | None:
    """A frame behind libav's filters, (name, arguments) each; None if they let nothing through."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 90_000)
    )
    graph.link_nodes(source, *(graph.add(*each) for each in filters), graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    try:
        result = graph.pull()
    except av.error.BlockingIOError:
        return None
    assert isinstance(result, VideoFrame)
    return result


def _field_order(frame: VideoFrame) -> str:
    """Which field of an interlaced frame comes first; empty for a progressive one."""
    if not frame.interlaced_frame:
        return ""
    top = filtered(frame, ("select", f"eq(interlace_type,{FIELD_ORDERS[TOP_FIRST]})"))
    return BOTTOM_FIRST if top is None else TOP_FIRST


# H.264 codes interlaced pictures in pairs of rows of each field's chroma: the height is a multiple of this.
INTERLACED_ROWS = {"yuv420p": 4, "yuv444p": 2, "bgr0": 1}


@dataclass(frozen=True)
class PictureFormat:
    """What a video file is written as. Sizes and `pixel_aspect` are those of the displayed picture.

    `time_base` is the unit of its timestamps in seconds, `rate` the average number of frames a second. `full_chroma`
    keeps the colour of every pixel (4:4:4). `field_order` is that of an interlaced picture: `TOP_FIRST`,
    `BOTTOM_FIRST` or empty.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction = Fraction(1)
    colours: Colours = BT709
    full_chroma: bool = False
    field_order: str = ""

    @property
    def h264_pixels(self) -> str:
        """The pixel format in H.264: 4:2:0, which every player shows, unless that would lose colour or a row."""
        return "yuv444p" if self.full_chroma or self.width % 2 or self.height % 2 else "yuv420p"

    def keeps_fields(self, *, lossless: bool = False) -> bool:
        """Whether a file of this format is marked as interlaced, as its source is."""
        rows = INTERLACED_ROWS["bgr0" if lossless else self.h264_pixels]
        return bool(self.field_order) and self.height % rows == 0


@dataclass(frozen=True, kw_only=True)
class VideoInfo(PictureFormat):
    """A video at a glance; its format is that of the picture after rotation.

    `rotation` is the counter-clockwise turn in degrees that the file asks for and the reader has applied.
    `duration_seconds` and `frame_count` come from the file's header: good for progress, not for counting; 0 where it
    does not give them. `sampling` names how a file stores colour; `alpha` tells whether it has transparency,
    `captions` whether its pictures carry closed captions; `lost_field_order` is that of an interlaced picture whose
    rows are no longer its fields, because it was turned.
    """

    rotation: int
    bits: int
    duration_seconds: float
    frame_count: int
    has_audio: bool
    sampling: str = IN_MEMORY
    alpha: bool = False
    captions: bool = False
    lost_field_order: str = ""

    @property
    def hdr(self) -> bool:
        """Whether the picture is made for HDR displays (PQ or HLG): its numbers are kept, in 8 bits."""
        return bool(self.colours.hdr)

    @property
    def frame_duration(self) -> int:
        """The average duration of a frame in `time_base`, at least 1."""
        return max(1, round(1 / (self.rate * self.time_base)))


def read_info(container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    """Gathers the facts from the container, its video track and the first decoded frame."""
    time_base = stream.time_base or Fraction(1, 90_000)
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = first.width, first.height
    orientation = Orientation.of(first)
    if orientation.transpose:
        width, height, pixel_aspect = height, width, 1 / pixel_aspect
    begin = first.pts or 0
    end = header_end(container, stream, begin)
    seconds = float(stream.frames / rate) if end is None else float((end - begin) * time_base)
    order = _field_order(first)
    turned = orientation.transpose or orientation.flip_y
    sampling = _sampling(first)
    # A picture of at most 256 colours has none that its neighbours' would blur.
    palette = stream.codec_context.name == "gif" or first.format.has_palette
    return VideoInfo(
        width=width,
        height=height,
        time_base=time_base,
        rate=rate,
        rotation=int(first.rotation),
        pixel_aspect=pixel_aspect,
        colours=Colours.of(stream, first),
        full_chroma=sampling in FULL_CHROMA and not palette,
        field_order="" if turned else order,
        lost_field_order=order if turned else "",
        bits=first.format.components[0].bits,
        duration_seconds=max(0.0, seconds),
        frame_count=stream.frames or max(0, round(seconds * rate)),
        has_audio=bool(container.streams.audio),
        sampling=sampling,
        alpha=_has_alpha(stream, first),
        captions=_known_side_data(first).get("A53_CC") is not None,
    )


def header_end(container: InputContainer, stream: VideoStream, latest: int) -> int | None:
    """When the last picture of a track ends according to the file's header, in the track's time base.

    `latest` is a timestamp that lies before it; None where the header tells nothing that fits.
    """
    time_base = stream.time_base or Fraction(1, 90_000)
    start = stream.start_time or 0
    ends = []
    if stream.duration:
        ends.append(start + stream.duration)
    elif container.duration:
        # Matroska: libav and mkvtoolnix write the length of each track into a tag, which a copied one may contradict.
        whole = round(Fraction(container.duration, 1_000_000) / time_base)
        tag = _tagged_duration(stream)
        own = None if tag is None else round(tag / time_base)
        if own is not None and own <= whole + 1:
            ends += [own, start + own]
        elif len(container.streams) == 1:
            ends += [whole, start + whole]
    return next((end for end in ends if end > latest), None)


def _tagged_duration(stream: VideoStream) -> Fraction | None:
    """The seconds of a tag such as `DURATION: 00:00:02.040000000`."""
    tags = {key.upper().partition("-")[0]: text for key, text in stream.metadata.items()}
    parts = re.fullmatch(r"(\d{1,5}):(\d\d):(\d\d(?:\.\d{1,9})?)", tags.get("DURATION", "").strip("\0 "))
    if parts is None:
        return None
    hours, minutes, seconds = parts.groups()
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def chroma_parts(pixels: VideoFormat) -> list[VideoFormatComponent]:
    """The two chroma components of a format of YUV; none of RGB and grey."""
    coloured = [part for part in pixels.components if not part.is_alpha]
    return [] if pixels.is_rgb or pixels.has_palette or len(coloured) != 3 else coloured[1:]


FULL_CHROMA = ("RGB", "4:4:4")


def _sampling(frame: VideoFrame) -> str:
    """How the colour of a frame is stored: "RGB", "grey", or that of YUV, such as "4:2:0"."""
    pixels = frame.format
    if pixels.is_rgb or pixels.has_palette:
        return "RGB"
    chroma = chroma_parts(pixels)
    if not chroma:
        return "grey"
    across, down = round(frame.width / chroma[0].width), round(frame.height / chroma[0].height)
    return {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0", (4, 4): "4:1:0"}.get(
        (across, down), f"{across}x{down} pixels a colour"
    )


def _has_alpha(stream: VideoStream, frame: VideoFrame) -> bool:
    """Whether a video has transparency. In a GIF every frame has an alpha plane: there a transparent pixel decides."""
    if stream.metadata.get("alpha_mode") == "1" or stream.metadata.get("ALPHA_MODE") == "1":  # VP8 and VP9 in WebM
        return True
    if not any(part.is_alpha for part in frame.format.components):
        return False
    if stream.codec_context.name != "gif":
        return True
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())
