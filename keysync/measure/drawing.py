"""What a picture is drawn on: pixels, or the elements of an SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import KeySyncError
from ..whole import reason, whole_file

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Drawing(Protocol):
    """Draws at continuous pixel coordinates (x, y) from the upper left corner."""

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1) -> None:
        """A line through points."""

    def area(self, corners: tuple[Point, Point], colour: Colour) -> None:
        """A filled rectangle between its upper left and lower right corner."""

    def text(self, place: Point, text: str, colour: Colour, size: float = 12) -> None:
        """A line of text below and to the right of a place; `size` is the height of its letters in pixels."""


class Pixels:
    """A drawing of `size` (h, w) in RGB."""

    def __init__(self, size: tuple[int, int], background: Colour) -> None:
        self._image = Image.new("RGB", (size[1], size[0]), background)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1) -> None:
        self._draw.line(list(points), fill=colour, width=round(width))

    def area(self, corners: tuple[Point, Point], colour: Colour) -> None:
        self._draw.rectangle(list(corners), fill=colour)

    def text(self, place: Point, text: str, colour: Colour, size: float = 12) -> None:
        self._draw.text(place, text, fill=colour, font_size=size)

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What was drawn: (h, w, 3)."""
        return np.array(self._image)

    def write(self, path: Path) -> None:
        """Writes a PNG file. Raises `OSError` where that fails."""
        self._image.save(path, "PNG")


class Elements:
    """A drawing of `size` (h, w) as SVG."""

    def __init__(self, size: tuple[int, int], background: Colour) -> None:
        h, w = size
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif">',
        ]
        self.area(((0, 0), (w, h)), background)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1) -> None:
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="rgb{colour}" stroke-width="{width:g}"/>')

    def area(self, corners: tuple[Point, Point], colour: Colour) -> None:
        (left, top), (right, bottom) = corners
        sides = f'x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{bottom - top:.2f}"'
        self._parts.append(f'<rect {sides} fill="rgb{colour}"/>')

    def text(self, place: Point, text: str, colour: Colour, size: float = 12) -> None:
        x, y = place
        words = escape("".join(letter if letter.isprintable() else "?" for letter in text))
        at = f'x="{x:.2f}" y="{y + size:.2f}" font-size="{size:g}"'
        self._parts.append(f'<text {at} fill="rgb{colour}">{words}</text>')

    def write(self, path: Path) -> None:
        """Writes an SVG file. Raises `OSError` where that fails."""
        path.write_text("\n".join([*self._parts, "</svg>", ""]), encoding="utf-8", errors="replace")


# The drawings by the ending of their file's name.
KINDS: dict[str, Any] = {".png": Pixels, ".svg": Elements}


def drawing_kind(path: Path) -> Any:
    """The kind of drawing that a file name asks for. Raises `KeySyncError` for another ending."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise KeySyncError(
            f"a picture cannot be written to {path}: expected a name that ends in .png or .svg", about="plot"
        )
    return kind


def write_drawing(drawing: Any, path: Path) -> None:
    """Writes a drawing whole or not at all. Raises `KeySyncError` where that fails."""
    try:
        with whole_file(path) as temporary:
            drawing.write(temporary)
    except OSError as error:
        raise KeySyncError(
            f"cannot write the picture {path}: {'; '.join(reason(error, path))}", about="plot"
        ) from error
