"""Associates the faces of one shot with people: which face of a frame continues which earlier face.

Places decide from frame to frame, looks where places cannot: see `people`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .face import Box, Face, overlap


@dataclass(eq=False)
class Person:
    """One person in a shot of `length` frames: faces by frame number, in order."""

    length: int
    faces: dict[int, Face] = field(default_factory=dict)

    @property
    def prominence(self) -> float:
        """Median face area in square pixels, weighted by the share of the shot's frames that show the face."""
        areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (face.box for face in self.faces.values())]
        return float(np.median(areas)) * len(areas) / self.length


def associate(frames: Sequence[int], faces: Iterable[list[Face]]) -> list[Person]:
    """The people in a shot, given its frame numbers and the faces in each of these frames."""
    people: list[Person] = []
    for frame, seen in zip(frames, faces, strict=True):
        pairs = [
            (cost, known, new)
            for known, person in enumerate(people)
            for new, face in enumerate(seen)
            if (cost := _cost(person, frame, face)) is not None
        ]
        taken: dict[int, int] = {}
        for _, known, new in sorted(pairs):
            if new not in taken and known not in taken.values():
                taken[new] = known
        for new, face in enumerate(seen):
            if new not in taken:
                people.append(Person(len(frames)))
            people[taken.get(new, -1)].faces[frame] = face
    return people


def _cost(person: Person, frame: int, face: Face) -> float | None:
    """The cost of a face continuing a person: centre distance in face sizes minus overlap; None if it cannot."""
    seen = next(reversed(person.faces))
    if frame == seen:
        return None
    last = person.faces[seen].box
    size, other = _side(last), _side(face.box)
    (x, y), (was_x, was_y) = _centre(face.box), _centre(last)
    distance = float(np.hypot(x - was_x, y - was_y))
    # The longer a face was not seen, the further it may have moved, but never across the frame.
    reach = min(0.5 + 0.1 * (frame - seen), 1.5) * max(size, other)
    if distance > reach or not 0.5 < size / other < 2:
        return None
    return distance / max(size, other) - overlap(last, face.box)


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1], 1e-6)
