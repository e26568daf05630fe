"""A shot: people in front of a backdrop, seen by a camera; renders frames with their ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import POINTS, Frame, Points

from .backdrop import BACKDROPS
from .camera import Camera
from .light import Light, shown
from .motion import Take
from .mouth import LINE, MouthShape
from .occluder import OCCLUDERS, Crossing
from .opencv import cv2
from .raster import Floats

if TYPE_CHECKING:
    from .portrait import Portrait

SHUT = MouthShape()
FIELD = 360.0  # mm covered by the shorter side of a picture of one person
NOBODY: Points = np.full((POINTS, 2), np.nan, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Truth:
    """A picture and its ground truth.

    picture (h, w, 3) uint8 RGB; landmarks (68, 2) of the speaker in pixels, NaN without a visible face; opening: from
    point 62 to 66, and width: from 60 to 64, both over the distance of the eyes' centres; occluder (h, w): True where
    something hides the person; others: the landmarks of other people; shot: its number in the clip.
    """

    picture: Frame
    landmarks: Points
    occluder: NDArray[np.bool_]
    mouth: MouthShape
    others: tuple[Points, ...] = ()
    shot: int = 0

    @property
    def opening(self) -> float:
        return float(np.linalg.norm(self.landmarks[62] - self.landmarks[66]) / self._eyes)

    @property
    def width(self) -> float:
        return float(np.linalg.norm(self.landmarks[60] - self.landmarks[64]) / self._eyes)

    @property
    def _eyes(self) -> float:
        left, right = self.landmarks[36:42].mean(0), self.landmarks[42:48].mean(0)
        return float(np.linalg.norm(left - right))


@dataclass(frozen=True, eq=False)
class Actor:
    """A person with a position in the picture and a take."""

    portrait: Portrait
    camera: Camera
    take: Take


class Scene:
    """A shot in a picture of size (h, w). The first actor speaks."""

    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[int, int],
        actors: tuple[Actor, ...],
        crossing: str | Crossing = "none",
        occluded: float = 0.5,
        light: Light | None = None,
    ) -> None:
        self.size, self.actors = size, actors
        self.light = light or Light.sample(rng)
        kind = str(rng.choice(list(BACKDROPS), p=(0.45, 0.4, 0.15)))
        self._backdrop = BACKDROPS[kind](rng, size)
        y, x = np.mgrid[0 : size[0], 0 : size[1]] / np.array(size)[:, None, None] - 0.5
        self._gain = (1 - rng.uniform(0.1, 0.5) * (x * x + y * y)).astype(np.float32)[..., None]
        grain = rng.normal(0, rng.uniform(0.8, 2.4), (size[0] + 32, size[1] + 32, 3)).astype(np.float32)
        self._grain = cv2.GaussianBlur(grain, (0, 0), 0.5)
        self._steps = rng.integers(0, 32, (997, 2))
        self._crossing = crossing if isinstance(crossing, Crossing) else None
        if isinstance(crossing, str) and crossing in OCCLUDERS and actors:
            thing = OCCLUDERS[crossing](actors[0].portrait.person, self.light, rng)
            self._crossing = Crossing.sample(thing, rng, len(actors[0].take), occluded)

    def render(self, frame: int, mouths: tuple[MouthShape, ...], shot: int = 0) -> Truth:
        """Frame `frame` of the shot; `mouths` are those of the actors, by default closed."""
        picture = self._backdrop.copy()
        cover = np.zeros(self.size, dtype=np.float32)
        order = sorted(range(len(self.actors)), key=lambda number: self.actors[number].camera.scale)
        found = [NOBODY] * max(len(self.actors), 1)
        for number in order:
            actor = self.actors[number]
            pose = actor.take.poses[frame]
            mouth = mouths[number] if number < len(mouths) else SHUT
            found[number], covered = actor.portrait.draw(picture, pose, mouth, self.light, actor.camera)
            cover = np.maximum(cover, covered)
            if pose.away:
                found[number] = NOBODY
        occluder = self._occlude(picture, frame, cover)
        picture *= self._gain
        spoken = mouths[0] if mouths else SHUT
        return Truth(self._developed(picture, frame), found[0], occluder, spoken, tuple(found[1:]), shot)

    def _occlude(self, picture: Floats, frame: int, cover: Floats) -> NDArray[np.bool_]:
        if self._crossing is None:
            return np.zeros(self.size, dtype=np.bool_)
        first = self.actors[0]
        mouth = np.array([0.0, LINE, first.portrait.shape.front(np.array(LINE))[1]])
        at = first.camera.project(first.take.poses[frame].place_head(mouth))
        return self._crossing.draw(picture, frame, at, first.camera.scale, self.light, cover)

    def _developed(self, picture: Floats, frame: int) -> Frame:
        """Linear colours as a camera picture: highlight roll-off, soft lens and grain."""
        h, w = self.size
        toned = shown(picture * (np.float32(1) / (1 + np.float32(0.22) * picture)) * np.float32(1.15))
        soft = np.asarray(cv2.GaussianBlur(toned, (0, 0), 0.55), dtype=np.float32)
        y, x = self._steps[frame % len(self._steps)]
        soft += self._grain[y : y + h, x : x + w]
        return np.clip(soft, 0, 255).astype(np.uint8)


def framed(size: tuple[int, int], across: float = 0.5, down: float = 0.46, zoom: float = 1.0) -> Camera:
    """A camera with the head at these fractions of the picture's width and height."""
    h, w = size
    return Camera((across * w, down * h), min(h, w) / FIELD * zoom)
