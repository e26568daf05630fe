"""Two videos side by side in one file, streamed: the same moment of both, each with its label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .info import PictureFormat
from .source import Frame, FrameSource, SoundSource
from .writer import VideoWriter

# Pixels that the result is high at most: two 4K pictures side by side are wider than many players show.
TALLEST = 1080
INK, SHADE = (255, 255, 255), (40, 40, 40)


def write_comparison(
    before: FrameSource,
    after: FrameSource,
    output: Path,
    *,
    labels: tuple[str, str] = ("before", "after"),
    sound: SoundSource | None = None,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Writes `before` to the left of `after`, with the times and the tags of `after`, and `sound`.

    Where `before` ends first, its last frame stays. `step` is called for each frame. Raises `KeySyncError` where a
    video cannot be read or the result cannot be written.
    """
    info, stamps = after.info, after.timestamps()
    height = even(min(info.height, TALLEST))
    sizes = [(height, even(shape.width * shape.pixel_aspect * height / shape.height)) for shape in (before.info, info)]
    tags = [tag(label, max(10, height // 20)) for label in labels]
    begin = int(stamps[0])
    seconds = float((int(stamps[-1]) - begin + after.facts().last_duration) * info.time_base)
    form = PictureFormat(sum(width for _, width in sizes), height, info.time_base, info.rate)
    kept = after.extras.fit(output, seconds, same_times=True)
    with VideoWriter(output, form, audio=sound, seconds=seconds, kept=kept) as writer:
        spans = _spans(before)
        end, left = next(spans)
        for stamp, right in after.frames():
            while end is not None and end <= (stamp - begin) * info.time_base:
                end, left = next(spans)
            halves = zip((left, right), sizes, tags, strict=True)
            writer.write(np.concatenate([panel(*half) for half in halves], axis=1), stamp - begin)
            step()


def even(length: float | Fraction) -> int:
    """The nearest even number of pixels, as 4:2:0 needs; at least 2."""
    return max(2, 2 * round(length / 2))


def tag(label: str, size: int) -> Frame:
    """A label of `size` pixels on its background: (h, w, 3)."""
    font = ImageFont.load_default(size)
    _, _, width, _ = font.getbbox(label)
    image = Image.new("RGB", (round(width) + size, 2 * size), SHADE)
    ImageDraw.Draw(image).text((size / 2, size), label, fill=INK, font=font, anchor="lm")
    return np.asarray(image)


def panel(frame: Frame, size: tuple[int, int], label: Frame) -> Frame:
    """A frame (h, w, 3) at `size` (h, w), with a label (h, w, 3) in its upper left corner."""
    h, w = size
    picture = frame if frame.shape[:2] == size else Image.fromarray(frame).resize((w, h), Image.Resampling.BICUBIC)
    drawn = np.array(picture)
    corner = drawn[: label.shape[0], : label.shape[1]]
    corner[:] = label[: corner.shape[0], : corner.shape[1]]
    return drawn


def _spans(source: FrameSource) -> Iterator[tuple[Fraction | None, Frame]]:
    """Each frame with the time since the first one at which the next one replaces it, None for the last."""
    frames = source.frames()
    begin, held = next(frames)
    for stamp, frame in frames:
        yield (stamp - begin) * source.info.time_base, held
        held = frame
    yield None, held
