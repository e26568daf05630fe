"""A shot of one person that can be rendered again with another mouth or another person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import Points

from . import eyes
from .camera import Camera, Pose
from .feeling import Feeling
from .identity import Identity
from .motion import Take
from .mouth import MouthShape
from .portrait import Portrait
from .scene import Actor, Scene, Truth, framed


@dataclass(frozen=True, eq=False)
class Pictures:
    """Rendered frames (n, h, w, 3) uint8, their landmarks (n, 68, 2), and the masks of the occluder."""

    frames: NDArray[np.uint8]
    landmarks: Points
    occluder: NDArray[np.bool_]  # (n, h, w)

    @classmethod
    def of(cls, truths: Sequence[Truth]) -> Pictures:
        return cls(
            np.stack([truth.picture for truth in truths]),
            np.stack([truth.landmarks for truth in truths]),
            np.stack([truth.occluder for truth in truths]),
        )


@dataclass(frozen=True, eq=False)
class Shot:
    """A shot of `frames` frames, `side` pixels wide and high; `seeds` determine everything but the mouth.

    `stranger` 1, 2, ...: other people in the same place and light with the same motion. `occluder` is a key of
    `OCCLUDERS` or "none"; it crosses the mouth throughout. `roll` (radians, clockwise) tilts the head further, in its
    place. `feelings` are those of the frames, if people show any; `liveliness` scales the motion of the head.
    """

    seeds: tuple[int, ...]
    frames: int
    side: int
    occluder: str = "none"
    stranger: int = 0
    roll: float = 0.0
    feelings: tuple[Feeling, ...] = ()
    liveliness: float = 1.0

    def draw(self, mouths: Sequence[MouthShape], frames: Iterable[int] | None = None) -> Pictures:
        """Renders all frames, or those with the given numbers, each with its mouth."""
        numbers = range(self.frames) if frames is None else frames
        return Pictures.of([self._scene.render(number, (self._felt(mouths, number),)) for number in numbers])

    def landmarks(self, mouths: Sequence[MouthShape]) -> Points:
        """The landmarks (n, 68, 2) of all frames, computed without rendering."""
        return np.stack([self._landmarks(number, self._felt(mouths, number)) for number in range(self.frames)])

    def _felt(self, mouths: Sequence[MouthShape], number: int) -> MouthShape:
        """The mouth of a frame with its feeling."""
        return self.feelings[number].mouth(mouths[number]) if self.feelings else mouths[number]

    def bare(self) -> Shot:
        """The same shot without an occluder."""
        return self if self.occluder == "none" else replace(self, occluder="none")

    def of_stranger(self, number: int) -> Shot:
        """The same shot with another person; numbers from 1."""
        return replace(self, stranger=number)

    def _landmarks(self, number: int, mouth: MouthShape) -> Points:
        actor = self._scene.actors[0]
        portrait, pose = actor.portrait, actor.take.poses[number]
        camera = Camera(actor.camera.centre, actor.camera.scale * pose.scale)
        lids = eyes.lids(portrait.person, portrait.shape, pose)
        return portrait.landmarks(pose, mouth, portrait.lips(mouth), lids, camera)

    @cached_property
    def _scene(self) -> Scene:
        rng = np.random.default_rng((*self.seeds, self.stranger))
        person = Identity.sample(rng)
        rng = np.random.default_rng(self.seeds)
        take = Take.sample(rng, self.frames, self.liveliness).tilted(self.roll)
        if self.feelings:
            take = take.feeling(self.feelings)
        size = self.side, self.side
        camera = framed(size, rng.uniform(0.46, 0.54), rng.uniform(0.43, 0.48), rng.uniform(0.93, 1.08))
        actor = Actor(Portrait(person), camera, take)
        return Scene(rng, size, (actor,), self.occluder, occluded=1.0)


def render(
    person: Identity | Portrait, pose: Pose, mouth: MouthShape, size: tuple[int, int] = (256, 256), seed: int = 0
) -> Truth:
    """One frame of one person. A `Portrait` is faster than an `Identity`, which is prepared first."""
    portrait = person if isinstance(person, Portrait) else Portrait(person)
    scene = Scene(np.random.default_rng(seed), size, (Actor(portrait, framed(size), Take((pose,))),))
    return scene.render(0, (mouth,))
