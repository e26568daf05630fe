"""Draws the lips and what is visible between them: teeth, tongue and the inside of the mouth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .light import Light
from .mouth import ACROSS, ALONG, LINE, Lips, MouthShape, jaw_drop
from .patch import Patch
from .raster import Floats, draw, grid_triangles
from .smooth import step
from .surface import linear, noise

if TYPE_CHECKING:
    from .identity import Identity

Array = NDArray[np.float64]
Place = Callable[[Array], Array]

FACTOR = 3
# Widths of the teeth from the middle outwards, mm.
UPPER_TEETH = (8.6, 6.8, 7.6, 7.0, 6.8, 9.0)
LOWER_TEETH = (5.4, 5.9, 6.8, 7.0, 7.0, 9.5)
ROWS = ACROSS + 1  # one more row continues behind the inner edge, so that no skin shows there
TRIANGLES = np.concatenate([grid_triangles(ROWS, ALONG), grid_triangles(ROWS, ALONG, ROWS * ALONG)[:, ::-1]])


class LipPaint:
    """The lips of one person: their texture of fine lines, and their drawing over the skin."""

    def __init__(self, person: Identity, rng: np.random.Generator) -> None:
        self.person = person
        lines = noise(rng, (64, 256), (3, 60), 2) * 0.6 + noise(rng, (64, 256), (6, 24), 2) * 0.4
        self._lines = lines.astype(np.float32)

    def lay(self, mouth: Lips, place: Place, camera: Camera, paint: Floats, normal: Floats, openness: Floats) -> None:
        """Blends the lips into colour and gloss (h, w, 4), normals (h, w, 3) in camera axes, openness (h, w)."""
        both = np.stack([_with_hem(mouth.upper, mouth), _with_hem(mouth.lower, mouth)])
        seen = place(both)
        across = np.cross(np.gradient(seen, axis=2), np.gradient(seen, axis=1))
        across[1] *= -1
        unit = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
        t, s = np.meshgrid(np.append(np.linspace(0, 1, ACROSS), 1.1), np.linspace(0, 1, ALONG), indexing="ij")
        values = [np.dstack([unit[lip], t, s, np.full(t.shape, float(lip))]) for lip in (0, 1)]
        pixels = camera.project(seen)
        patch = Patch(pixels.reshape(-1, 2), 1, (paint.shape[0], paint.shape[1]), 1)
        if patch.empty:
            return
        drawn = np.zeros((patch.height, patch.width, 6), dtype=np.float32)
        drawn[..., 3] = -1
        corners = (pixels.reshape(-1, 2) - (patch.left, patch.top)).astype(np.float32)
        flat = np.concatenate([value.reshape(-1, 6) for value in values]).astype(np.float32)
        depth = seen[..., 2].reshape(-1).astype(np.float32)
        draw(corners, depth, flat, TRIANGLES, drawn, np.zeros(len(TRIANGLES), dtype=np.bool_))
        self._blend(drawn, *(layer[patch.window] for layer in (paint, normal, openness)))

    def _blend(self, drawn: Floats, paint: Floats, normal: Floats, openness: Floats) -> None:
        person = self.person
        t, s, lip = drawn[..., 3], drawn[..., 4], drawn[..., 5]
        fine = self._lines[np.clip(t * 30 + 32 * lip, 0, 63).astype(int), np.clip(s * 255, 0, 255).astype(int)]
        sharp = 0.10 + 0.14 * (1 - person.lip_gloss)
        share = (
            step(t.astype(np.float64), -0.01, sharp) * step(np.minimum(s, 1 - s).astype(np.float64), 0, 0.05)
        ).astype(np.float32)
        share *= np.float32(0.94)
        inner = np.clip((t - 0.55) / 0.45, 0, 1)
        tone = 1 + 0.13 * fine - 0.30 * inner * inner - 0.10 * (1 - lip)
        colour = linear(person.lip_colour).astype(np.float32) * tone[..., None]
        paint[..., :3] += (colour - paint[..., :3]) * share[..., None]
        gloss = 0.35 + 2.4 * person.lip_gloss
        paint[..., 3] += (gloss * (1 + 0.5 * fine) - paint[..., 3]) * share
        grain = np.stack([0.22 * fine, 0 * fine, 0 * fine], -1)
        normal += (drawn[..., :3] + grain - normal) * share[..., None]
        openness += (np.float32(1) - 0.45 * inner**3 - openness) * share * np.float32(0.8)


def draw_opening(
    picture: Floats,
    person: Identity,
    mouth: MouthShape,
    edge: Lips,
    place: Place,
    camera: Camera,
    light: Light,
) -> None:
    """Draws the opening between the lips into a picture (h, w, 3) of linear colours."""
    rim = camera.project(place(edge.inner_edge))
    mm = camera.scale
    patch = Patch(rim, 2 * mm + 1, (picture.shape[0], picture.shape[1]), FACTOR)
    if patch.empty:
        return
    part = picture[patch.window]
    upper, lower = rim[:ALONG], np.concatenate([rim[:1], rim[: ALONG - 1 : -1], rim[ALONG - 1 : ALONG]])
    # The line between the lips is dark, even when closed.
    seam = patch.blank(0.0)
    patch.line(seam, (upper + lower) / 2 if mouth.open < 0.03 else upper, 1.0, 0.75 * mm)
    part *= 1 - np.float32(0.72) * patch.small(patch.soften(seam, 0.30 * mm))[..., None]
    if mouth.open < 0.004:
        return
    hole = patch.blank(0.0)
    patch.fill(hole, rim, 1.0)
    inside = _inside(patch, person, mouth, edge, place, camera)
    soft = patch.soften(hole, 1.3 * mm)
    dim = 0.22 + 0.78 * np.clip(2.2 * soft - 1.1, 0, 1)
    # The upper lip blocks light from above.
    below = np.roll(patch.soften(hole, 2.2 * mm), round(2.6 * mm * FACTOR), axis=0)
    dim *= 0.50 + 0.50 * np.clip(1.3 * below, 0, 1)
    bright = 0.72 * np.array(light.key_colour) * max(light.key[2], 0.3) + 0.45 * np.add(light.above, light.below)
    inside *= dim[..., None] * bright.astype(np.float32)
    part += (patch.small(inside) - part) * patch.small(hole)[..., None]


def _inside(patch: Patch, person: Identity, mouth: MouthShape, edge: Lips, place: Place, camera: Camera) -> Floats:
    """The inside of the mouth: background, tongue, lower and upper teeth."""
    canvas = patch.blank(0.055, 0.014, 0.014)
    front = float(edge.upper[-1, ALONG // 2, 2]) - 6.0 - 5.0 * mouth.round
    drop = jaw_drop(person, mouth)
    mm = camera.scale

    def seen(points: Array) -> Array:
        return camera.project(place(points))

    turn = np.linspace(0, 2 * np.pi, 24)
    up = mouth.tongue
    y = LINE + 0.97 * drop + 3.5 - (0.55 * drop + 5.5) * up
    for grow, tone in ((1.0, (0.22, 0.055, 0.055)), (0.72, (0.30, 0.085, 0.080)), (0.40, (0.36, 0.115, 0.105))):
        wide, tall = (18 - 4 * up) * grow, (7.5 + 2.0 * up) * grow
        disc = np.stack(
            [wide * np.cos(turn), y + 1.5 * (1 - grow) + tall * np.sin(turn), np.full(24, front - 12 + 8 * up)], -1
        )
        patch.fill(canvas, seen(disc), tone)
    canvas = patch.soften(canvas, 0.9 * mm)
    bottom = LINE - 2.8 + 5.2 * mouth.teeth
    top = max(LINE + 0.95 * drop + 5.5 - 6.5 * mouth.teeth, bottom - 0.8)
    gum = (0.34, 0.10, 0.10)
    _row(patch, canvas, person, seen, LOWER_TEETH, (top, top + 8.5), front - 2.5, 0.80, gum)
    _row(patch, canvas, person, seen, UPPER_TEETH, (bottom, bottom - 10.0), front, 1.0, gum)
    return patch.soften(canvas, 0.22 * mm)


def _row(
    patch: Patch,
    canvas: Floats,
    person: Identity,
    seen: Place,
    widths: tuple[float, ...],
    heights: tuple[float, float],
    front: float,
    bright: float,
    gum: tuple[float, float, float],
) -> None:
    """One row of teeth from the biting edge to the gum, on an arch."""
    tip, root = heights
    way = np.sign(root - tip)
    teeth, tones = [], []
    for side in (-1, 1):
        start = 0.0
        for number, width in enumerate(widths):
            w = width * person.tooth_width * (1 - 0.06 * number)
            gap = 0.12 + 0.40 * person.tooth_gap * (number == 0)
            a, b = start + gap, start + w - gap
            # Side teeth are shorter; all have round corners.
            end = tip + way * (0.5 * (number == 1) + 0.25 * number)
            x = side * np.array([a, b, b, b - 0.9, a + 0.7, a])
            y = np.array([root, root, end + way * 1.1, end, end, end + way * 0.9])
            teeth.append(np.stack([x, y, front - x**2 / 46], -1))
            tones.append(bright * (1 - 0.62 * min(1.0, ((a + b) / 2 / 27) ** 1.6)))
            start += w
    wide = np.linspace(-30, 30, 17)
    band = np.stack([wide, np.full(17, root - way * 2.0), front - wide**2 / 46], -1)
    far = band + np.array([0, way * 8.0, 0])
    pixels = seen(np.concatenate([*teeth, band, far[::-1]]))
    patch.fill(canvas, pixels[6 * len(teeth) :], gum)
    colour = linear(person.teeth)
    for index, tone in enumerate(tones):
        r, g, b_ = (colour * tone).tolist()
        patch.fill(canvas, pixels[6 * index : 6 * index + 6], (r, g, b_))


def _with_hem(lip: Array, mouth: Lips) -> Array:
    """A lip with one more row behind its inner edge, at most 1 mm inwards and not beyond the other lip."""
    middle = (mouth.upper[-1] + mouth.lower[-1]) / 2
    inward = middle - lip[-1]
    far = np.linalg.norm(inward, axis=-1, keepdims=True)
    hem = lip[-1] + inward * np.minimum(1.0 / np.maximum(far, 1e-6), 1) - [0, 0, 0.5]
    return np.concatenate([lip, hem[None]])
