"""Draws what was measured: the mouth over time with the sound under it, the lag, and LipLeak by its threshold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..plot import BACKGROUND, COLOURS, LINES, SOUND, TEXT, seconds_between
from ..speech.lips_curve import LIPS
from .drawing import Colour, Drawing, Pixels, Point, drawing_kind, write_drawing
from .leak import OPEN, THRESHOLDS
from .sound import OUTLINE
from .verdict import verdict

if TYPE_CHECKING:
    from .figures import Measured

SIZE = 720, 1280
MOUTH, ASKED, SOURCE, MARK = COLOURS[0], COLOURS[1], COLOURS[4], COLOURS[3]
QUIET = (34, 38, 46)
# Pixels: at the sides of the panels, and between them.
LEFT, RIGHT, GAP, TITLE = 56, 16, 22, 84
# Shares of the height that the mouth and the sound take.
MOUTH_SHARE, SOUND_SHARE = 0.44, 0.14
# A mark closer to the end of the time axis, of its length, has no text: there is no room.
NEAR_END = 0.02
# Of an aspect ratio: the panel shows at least this much.
LEAST_TOP = 0.4

Row = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """A part of the picture, from `corner` (x, y) of `size` (w, h), that shows x from `across[0]` to `across[1]` and y
    from `up[0]`, at its lower edge, to `up[1]`."""

    draw: Drawing
    corner: Point
    size: Point
    across: tuple[float, float]
    up: tuple[float, float]

    def place(self, x: float, y: float) -> Point:
        """Where a value is."""
        share = (x - self.across[0]) / max(self.across[1] - self.across[0], 1e-9)
        height = (min(max(y, self.up[0]), self.up[1]) - self.up[0]) / (self.up[1] - self.up[0])
        return self.corner[0] + share * self.size[0], self.corner[1] + (1 - height) * self.size[1]

    def curve(self, x: Sequence[float] | Row, y: Sequence[float] | Row, colour: Colour, width: float = 2) -> None:
        """A curve (n,), interrupted where it is NaN, with the extremes of what falls into the same pixel."""
        points = [(self.place(*pair) if np.isfinite(pair[1]) else None) for pair in _thinned(x, y, self.size[0])]
        run: list[Point] = []
        for point in [*points, None]:
            if point is not None:
                run.append(point)
            elif run:
                self.draw.line(run if len(run) > 1 else [run[0], (run[0][0] + 1, run[0][1])], colour, width)
                run = []

    def level(self, y: float, text: str, colour: Colour = LINES) -> None:
        """A line across at a value, with its text at the left."""
        self.draw.line([self.place(self.across[0], y), self.place(self.across[1], y)], colour)
        self.draw.text((8, self.place(0, y)[1] - 7), text, TEXT, 11)

    def upright(self, x: float, text: str, colour: Colour = LINES) -> None:
        """A line upwards at a value, with its text below."""
        self.draw.line([self.place(x, self.up[0]), self.place(x, self.up[1])], colour)
        self.draw.text((self.place(x, 0)[0] + 2, self.corner[1] + self.size[1] + 3), text, TEXT, 11)

    def shade(self, first: float, last: float, colour: Colour) -> None:
        """The panel's background between two x."""
        (left, _), (right, _) = self.place(first, 0), self.place(last, 0)
        self.draw.area(((left, self.corner[1]), (right, self.corner[1] + self.size[1])), colour)


def write_picture(measured: Measured, path: Path, size: tuple[int, int] = SIZE) -> None:
    """Writes the picture of `size` (h, w) as .png or .svg. Raises `KeySyncError` where it cannot be written."""
    drawing = drawing_kind(path)(size, BACKGROUND)
    draw_measured(measured, drawing, size)
    write_drawing(drawing, path)


def picture_of(measured: Measured, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """The picture (h, w, 3) of `size` (h, w)."""
    drawing = Pixels(size, BACKGROUND)
    draw_measured(measured, drawing, size)
    return drawing.picture


def draw_measured(measured: Measured, draw: Drawing, size: tuple[int, int]) -> None:
    """Draws all panels."""
    h, w = size
    wide = w - LEFT - RIGHT
    draw.text((LEFT, 8), Path(measured.video).name, TEXT, 15)
    for number, line in enumerate(textwrap.wrap(verdict(measured.figures), max(20, wide // 7))[:3]):
        draw.text((LEFT, 28 + 16 * number), line, TEXT, 13)
    seconds = float(measured.times[-1]) + 1 / measured.rate
    top, high = TITLE + GAP, round(MOUTH_SHARE * h)
    _mouth(Panel(draw, (LEFT, top), (wide, high), (0, seconds), (0, _top(measured))), measured)
    top, high = top + high + 4, round(SOUND_SHARE * h)
    _sound(Panel(draw, (LEFT, top), (wide, high), (0, seconds), (-1, 1)), measured)
    top += high + 2 * GAP + 8
    half, high = (wide - LEFT) / 2, h - top - GAP - 6
    _lag(Panel(draw, (LEFT, top), (half, high), (-1, 1), (-0.5, 1)), measured)
    _leak(Panel(draw, (2 * LEFT + half, top), (half, high), (THRESHOLDS[0], THRESHOLDS[-1]), (0, 1)), measured)


def _top(measured: Measured) -> float:
    ratios = measured.mouths.ratio[measured.mouths.seen]
    return max(LEAST_TOP, 1.1 * float(ratios.max(initial=0)))


def _mouth(panel: Panel, measured: Measured) -> None:
    times, ratio = measured.times, measured.mouths.ratio
    for first, last in _runs(measured.sound.silent_at(times)):
        panel.shade(times[first], times[last] + 1 / measured.rate, QUIET)
    step = seconds_between(panel.size[0] / panel.across[1])
    for number in range(int(panel.across[1] / step) + 1):
        panel.upright(number * step, "")
    panel.level(0, "0")
    panel.level(OPEN, f"{OPEN:g}", MARK)
    middle = times + 0.5 / measured.rate
    names = {"mouth aspect ratio": MOUTH}
    asked = measured.sound.lips_at(times)[:, LIPS.index("opening")]
    if not measured.sound.silent and np.isfinite(asked).any():
        panel.curve(middle, _scaled(asked, ratio), ASKED, 1)
        names["asked by the speech (scaled)"] = ASKED
    if measured.source is not None:
        panel.curve(middle, measured.source.ratio[: len(times)], SOURCE, 1)
        names["the source's"] = SOURCE
    panel.curve(middle, ratio, MOUTH, 2)
    names[f"open above {OPEN:g}"] = MARK
    x = panel.corner[0]
    for name, colour in names.items():
        panel.draw.line([(x, panel.corner[1] - 10), (x + 18, panel.corner[1] - 10)], colour, 3)
        panel.draw.text((x + 24, panel.corner[1] - 18), name, TEXT, 12)
        x += 48 + 7 * len(name)


def _sound(panel: Panel, measured: Measured) -> None:
    outline = measured.sound.outline
    loudest = max(float(outline.max(initial=0)), 1e-6)
    columns = int(panel.size[0])
    edges = np.linspace(0, panel.across[1] / OUTLINE, columns + 1)
    for column, (first, last) in enumerate(pairwise(edges)):
        part = outline[int(first) : max(int(first) + 1, int(last))]
        if not len(part):
            break
        x, height = panel.corner[0] + column, float(part.max()) / loudest
        panel.draw.line([(x, panel.place(0, height)[1]), (x, panel.place(0, -height)[1])], SOUND)
    step = seconds_between(panel.size[0] / panel.across[1])
    for number in range(int(panel.across[1] / step) + 1):
        at_end = number * step > (1 - NEAR_END) * panel.across[1]
        panel.upright(number * step, "" if at_end else f"{number * step:g} s")
    panel.draw.text((8, panel.place(0, 0)[1] - 7), "sound", TEXT, 11)


def _lag(panel: Panel, measured: Measured) -> None:
    lag = measured.lag
    if lag is None:
        panel.draw.text(panel.corner, "no lag: the sound or the mouth does not change, or too little is seen", TEXT)
        return
    reach = float(lag.lags[-1])
    panel = Panel(panel.draw, panel.corner, panel.size, (-reach, reach), panel.up)
    panel.level(0, "0")
    for frames in range(-(int(reach) // 5 * 5), int(reach) + 1, 5):
        panel.upright(frames, f"{frames:+d}" if frames else "0")
    panel.upright(lag.frames, "", MARK)
    panel.curve(lag.lags.astype(np.float64), lag.scores, ASKED)
    title = f"correlation by lag: best at {lag.frames} frames (positive: the mouth is late)"
    panel.draw.text((panel.corner[0], panel.corner[1] - 18), title, TEXT)


def _leak(panel: Panel, measured: Measured) -> None:
    curve = measured.lipleak_curve
    title = "LipLeak by threshold: no silence with a face"
    if curve:
        panel.level(0, "")
        panel.level(1, "")
        for x in (0.0, 0.5, 1.0):
            panel.upright(x, f"{x:g}")
        panel.upright(OPEN, f"{OPEN:g}", MARK)
        panel.curve(THRESHOLDS, curve, MOUTH)
        title = f"LipLeak by threshold: {measured.figures.lipleak or 0:.1%} at {OPEN:g}"
    panel.draw.text((panel.corner[0], panel.corner[1] - 18), title, TEXT)


def _scaled(asked: Row, ratio: Row) -> Row:
    """What is asked, as high as the mouth opens."""
    most, widest = (np.nanpercentile(row, 95) if np.isfinite(row).any() else 0.0 for row in (asked, ratio))
    return asked * (widest / most) if most > 0 else asked


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first and the last of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return [(int(first), int(stop) - 1) for first, stop in edges.reshape(-1, 2)]


def _thinned(x: Sequence[float] | Row, y: Sequence[float] | Row, pixels: float) -> list[tuple[float, float]]:
    """The points of a curve; of more than four to a pixel, the least and the greatest of each group."""
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    size = int(len(up) // (2 * pixels))
    if size < 2:
        return list(zip(across.tolist(), up.tolist(), strict=True))
    count = len(up) // size
    groups, starts = up[: count * size].reshape(count, size), across[: count * size : size]
    known = np.isfinite(groups).any(1)
    low = np.where(known, np.min(np.where(np.isfinite(groups), groups, np.inf), 1), np.nan)
    high = np.where(known, np.max(np.where(np.isfinite(groups), groups, -np.inf), 1), np.nan)
    return [(at, value) for at, *pair in zip(starts, low, high, strict=True) for value in pair]
