"""Recordings of the kinds that cameras, screen recorders and broadcasters make, as small files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.packet import Packet
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
MILLISECONDS = Fraction(1, 1000)
EVERY_40 = [40 * number for number in range(10)]


def picture(number: int, height: int = 48, width: int = 64) -> Frame:
    """A smooth picture in colour that tells its number and which way is up."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * y, 3 * x, np.full_like(x, 10 * number % 256)], -1).clip(0, 255).astype(np.uint8)


def grey_picture(number: int, height: int = 48, width: int = 64) -> Frame:
    return np.repeat(picture(number, height, width)[..., :1], 3, -1)


def record(
    path: Path,
    pts: Sequence[int] = EVERY_40,
    *,
    last: int = 40,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    colours: tuple[int, int, int] | None = None,
    fields: str = "",
    sound: tuple[float, float] | None = None,
    draw: Callable[[int], Frame] | None = None,
    height: int = 48,
    change: Callable[[bytes], bytes] | None = None,
    container: dict[str, str] | None = None,
    prepare: Callable[[Any], None] | None = None,
) -> Path:
    """A video whose pictures are shown at `pts` milliseconds, the last of them for `last`.

    `fields` is "tff" or "bff" for interlaced pictures; `colours` matrix, primaries and transfer; `sound` the start and
    the length in seconds of a tone; `change` edits the coded pictures; `prepare` the output before the first packet.
    """
    with av.open(str(path), "w", container_options=container or {}) as output:
        stream = output.add_stream(codec, rate=25, width=64, height=height, pix_fmt=pixels, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.time_base = MILLISECONDS
        if colours:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = colours
        voice = output.add_stream("aac", rate=16_000, layout="mono") if sound else None
        if prepare:
            prepare(output)
        graph: Graph | None = None
        packets: list[Packet[Any]] = []
        for number, stamp in enumerate(pts):
            pixel_values = draw(number) if draw else picture(number, height)
            frame = av.VideoFrame.from_ndarray(pixel_values, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = stamp, MILLISECONDS
            if fields:
                graph = graph or _marker(frame, fields)
                graph.push(frame)
                marked = graph.pull()
                assert isinstance(marked, av.VideoFrame)
                frame = marked
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if packet.pts == pts[-1] or number == len(packets) - 1:
                packet.duration = pts[-1] + last - (packet.pts or 0)
            output.mux(_edited(packet, change) if change else packet)
        if voice and sound:
            start, seconds = sound
            wave = np.sin(np.arange(round(seconds * 16_000)) / 8).astype(np.float32)[None] / 2
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate, tone.time_base, tone.pts = 16_000, Fraction(1, 16_000), round(start * 16_000)
            output.mux(voice.encode(tone))
            output.mux(voice.encode(None))
    return path


def write_gif(path: Path, milliseconds: Sequence[int], draw: Callable[[int], Frame] = picture) -> Path:
    """An animated GIF whose pictures are shown so long."""
    from PIL import Image

    first, *others = (Image.fromarray(draw(number)) for number in range(len(milliseconds)))
    first.save(path, save_all=True, append_images=others, duration=list(milliseconds), loop=0)
    return path


def exif(orientation: int) -> Callable[[bytes], bytes]:
    """Puts an Exif segment that asks for one of the eight orientations into a JPEG."""
    entry = b"\x12\x01" + b"\x03\x00" + (1).to_bytes(4, "little") + orientation.to_bytes(2, "little") + bytes(2)
    content = b"Exif\0\0" + b"II*\0" + (8).to_bytes(4, "little") + b"\x01\x00" + entry + bytes(4)
    segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
    return lambda jpeg: jpeg[:2] + segment + jpeg[2:]


def _edited(packet: Packet[Any], change: Callable[[bytes], bytes]) -> Packet[Any]:
    edited: Packet[Any] = Packet(change(bytes(packet)))
    edited.stream, edited.pts, edited.dts = packet.stream, packet.pts, packet.dts
    edited.time_base, edited.duration, edited.is_keyframe = packet.time_base, packet.duration or 0, packet.is_keyframe
    return edited


def _marker(frame: av.VideoFrame, fields: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=MILLISECONDS)
    graph.link_nodes(source, graph.add("setfield", f"mode={fields}"), graph.add("buffersink"))
    graph.configure()
    return graph
