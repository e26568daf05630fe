"""Videos side by side in one file, streamed: the same moment of all, each with its label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .info import PictureFormat
from .source import Frame, FrameSource, SoundSource
from .writer import VideoWriter

# Pixels that the result is high and wide at most: two 4K pictures side by side are wider than many players show.
TALLEST, WIDEST = 1080, 3840
INK, SHADE = (255, 255, 255), (40, 40, 40)


def write_comparison(
    videos: Sequence[FrameSource],
    output: Path,
    *,
    labels: Sequence[str] = ("before", "after"),
    sound: SoundSource | None = None,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Writes videos side by side, with the height, the times and the tags of the last one, and `sound`.

    Where another one ends first, its last frame stays. `step` is called for each frame. Raises `KeySyncError` where a
    video cannot be read or the result cannot be written.
    """
    *others, last = videos
    info, stamps = last.info, last.timestamps()
    shapes = [video.info.width * video.info.pixel_aspect / video.info.height for video in videos]
    height = even(min(info.height, TALLEST, int(WIDEST / sum(shapes))))
    sizes = [(height, even(shape * height)) for shape in shapes]
    tags = [tag(label, max(10, height // 20)) for label in labels]
    begin = int(stamps[0])
    seconds = float((int(stamps[-1]) - begin + last.facts().last_duration) * info.time_base)
    form = PictureFormat(sum(width for _, width in sizes), height, info.time_base, info.rate)
    kept = last.extras.fit(output, seconds, same_times=True)
    with VideoWriter(output, form, audio=sound, seconds=seconds, kept=kept) as writer:
        beside = [_Beside(video) for video in others]
        for stamp, frame in last.frames():
            time = (stamp - begin) * info.time_base
            panels = zip((*(one.at(time) for one in beside), frame), sizes, tags, strict=True)
            writer.write(np.concatenate([panel(*part) for part in panels], axis=1), stamp - begin)
            step()


class _Beside:
    """The frames of a video by their time; times rise from call to call."""

    def __init__(self, video: FrameSource) -> None:
        self._spans = _spans(video)
        self._end, self._frame = next(self._spans)

    def at(self, time: Fraction) -> Frame:
        """The frame that is shown at a time since the first."""
        while self._end is not None and self._end <= time:
            self._end, self._frame = next(self._spans)
        return self._frame


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
