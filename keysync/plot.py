"""Draws curves over the sound that they belong to, for visual inspection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLOURS = ((255, 96, 80), (80, 170, 255), (200, 120, 255), (255, 190, 60), (190, 200, 205))
BACKGROUND, LINES, SOUND, TEXT = (24, 26, 30), (60, 64, 72), (52, 84, 74), (205, 210, 216)
# Values with a line across.
ACROSS = (1.0, 0.0, -1.0)
# Pixels: left of the plot, above and below it.
LEFT, ABOVE, BELOW = 40, 28, 28
# Seconds between marks: the least of these that leaves so many pixels between two.
STEPS, APART = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300), 60


def draw_curves(
    curves: Mapping[str, NDArray[np.floating[Any]]],
    fps: float,
    edges: tuple[float, float],
    size: tuple[int, int],
    sound: NDArray[np.float32] | None = None,
    rate: float = 1,
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) of `size` (h, w): curves (n,) by name over seconds, `fps` values a second, in front of the
    waveform of `sound` (n,). `edges` are the values at the upper and the lower edge."""
    top, bottom = edges
    count = len(next(iter(curves.values())))
    h, w = size
    image = Image.new("RGB", (w, h), BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    seconds = count / fps
    scale = (w - LEFT) / seconds  # pixels a second

    def row(value: float | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        share = (top - np.clip(np.asarray(value, np.float64), bottom, top)) / (top - bottom)
        height: NDArray[np.float64] = ABOVE + share * (h - ABOVE - BELOW)
        return height

    if sound is not None and len(sound):
        _draw_sound(draw, sound, rate / scale, w, (float(row(top)), float(row(bottom))))
    step = seconds_between(scale)
    for number in range(int(seconds / step) + 1):
        x = LEFT + number * step * scale
        draw.line((x, ABOVE, x, h - BELOW), fill=LINES)
        draw.text((x + 2, h - BELOW + 8), f"{number * step:g} s", fill=TEXT, font=font)
    for value in ACROSS:
        y = float(row(value))
        draw.line((LEFT, y, w, y), fill=LINES)
        draw.text((8, y - 6), f"{value:g}", fill=TEXT, font=font)
    across = LEFT + (np.arange(count) + 0.5) / fps * scale
    colours = dict(zip(curves, COLOURS, strict=False))
    for name, column in reversed(list(curves.items())):
        points = list(zip(across.tolist(), row(column).tolist(), strict=True))
        draw.line(points if len(points) > 1 else [(LEFT, points[0][1]), (w, points[0][1])], fill=colours[name], width=2)
    for number, name in enumerate(curves):
        x = LEFT + 8 + number * 110
        draw.line((x, 14, x + 18, 14), fill=colours[name], width=3)
        draw.text((x + 24, 8), name, fill=TEXT, font=font)
    return np.array(image)


def seconds_between(scale: float) -> float:
    """The seconds between two marks of a time axis with `scale` pixels a second."""
    return next((step for step in STEPS if step * scale >= APART), STEPS[-1])


def _draw_sound(
    draw: ImageDraw.ImageDraw, sound: NDArray[np.float32], samples: float, width: int, rows: tuple[float, float]
) -> None:
    """The range of the sound (n,) in each column of pixels, of which each lasts so many samples."""
    top, bottom = rows
    loudest = max(float(np.abs(sound).max()), 1e-6)
    for column in range(width - LEFT):
        part = sound[round(column * samples) : max(round((column + 1) * samples), round(column * samples) + 1)]
        if not len(part):
            break
        low, high = (
            (top + bottom) / 2 - float(edge) / loudest * (bottom - top) / 2 for edge in (part.max(), part.min())
        )
        draw.line((LEFT + column, low, LEFT + column, high), fill=SOUND)
