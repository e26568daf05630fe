"""The people of a video: faces that are one person's by their looks, where places cannot tell.

In a shot, a person who was hidden is found again, and two who met do not swap; across cuts, the shots of one person are
joined. What shows no look, such as a profile, stays with the faces that it continues.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np

from .association import Person, associate
from .face import Box, Face
from .likeness import Look, likeness, mean_look

# Faces are of one person where their looks have at least this cosine. Measured on tracklets of real clips: 0.4 to 0.7
# for one person in other light, up to 0.3 for two.
SAME = 0.35
# Two who met have swapped where the other way round their looks agree better by this, summed over both.
SWAPPED = 0.3
# Faces meet where their centres are closer than this, in their sizes.
NEAR = 1.2
# Frames before and after a meeting that tell who is who.
REACH = 50


def people_of(frames: Sequence[int], faces: Iterable[list[Face]]) -> list[Person]:
    """The people in a shot, given its frame numbers and the faces in each of these frames."""
    found = associate(frames, faces)
    for first, second in combinations(range(len(found)), 2):
        found[first], found[second] = unswapped(found[first], found[second])
    return join([person for person in found if person.faces])


def look_of(person: Person) -> Look | None:
    """The mean of the looks of a person's faces, None where none was read."""
    return mean_look(face.look for face in person.faces.values() if face.look is not None)


def join(people: Sequence[Person], least: float = SAME) -> list[Person]:
    """The people, with those joined that look alike and are never seen in one frame; the most alike first."""
    groups = [replace(person, faces=dict(person.faces)) for person in people]
    looks: list[Look | None] = [look_of(person) for person in groups]
    while True:
        pairs = [
            (likeness(one, other), first, second)
            for (first, one), (second, other) in combinations(enumerate(looks), 2)
            if one is not None and other is not None
        ]
        pairs = [
            (alike, first, second)
            for alike, first, second in pairs
            if alike >= least and groups[first].faces.keys().isdisjoint(groups[second].faces)
        ]
        if not pairs:
            return groups
        _, first, second = max(pairs)
        faces = groups[first].faces | groups[second].faces
        length = max(groups[first].length, groups[second].length)
        groups[first] = Person(length, dict(sorted(faces.items())))
        looks[first] = look_of(groups[first])
        del groups[second], looks[second]


def unswapped(first: Person, second: Person) -> tuple[Person, Person]:
    """Two people of a shot; where they met and looks say that they swapped, what follows is swapped back."""
    for start, stop in meetings(first, second):
        one, other = _look(first, start - REACH, start + 1), _look(second, start - REACH, start + 1)
        then, other_then = _look(first, stop, stop + REACH), _look(second, stop, stop + REACH)
        if one is None or other is None or then is None or other_then is None:
            continue
        straight = likeness(one, then) + likeness(other, other_then)
        crossed = likeness(one, other_then) + likeness(other, then)
        if crossed <= straight + SWAPPED:
            continue
        middle = _middle(first, second, start, stop)
        first, second = (
            replace(person, faces=_before(person, middle) | _from(another, middle))
            for person, another in ((first, second), (second, first))
        )
    return first, second


def meetings(first: Person, second: Person) -> list[tuple[int, int]]:
    """The last frame before each meeting of two people, and the first one after it, in which both are seen apart."""
    both = sorted(first.faces.keys() & second.faces.keys())
    apart = [frame for frame in both if _apart(first.faces[frame].box, second.faces[frame].box) >= NEAR]
    return [
        (start, stop)
        for start, stop in pairwise(apart)
        if stop > start + 1
        and min(_apart(first.faces[at].box, second.faces[at].box) for at in (start, stop)) < 2 * NEAR
    ]


def _middle(first: Person, second: Person, start: int, stop: int) -> int:
    """The frame of a meeting at which they swap: after one is hidden, or where they are closest."""
    both = first.faces.keys() & second.faces.keys()
    hidden = [frame for frame in range(start + 1, stop) if frame not in both]
    if hidden:
        return hidden[len(hidden) // 2]
    return min(range(start + 1, stop), key=lambda at: _apart(first.faces[at].box, second.faces[at].box))


def _look(person: Person, start: int, stop: int) -> Look | None:
    faces = (face for frame, face in person.faces.items() if start <= frame < stop)
    return mean_look(face.look for face in faces if face.look is not None)


def _before(person: Person, frame: int) -> dict[int, Face]:
    return {number: face for number, face in person.faces.items() if number < frame}


def _from(person: Person, frame: int) -> dict[int, Face]:
    return {number: face for number, face in person.faces.items() if number >= frame}


def _apart(first: Box, second: Box) -> float:
    """The distance of the centres of two boxes in their mean size."""
    size = np.mean([max(box[2] - box[0], box[3] - box[1]) for box in (first, second)])
    x, y = ((first[axis] + first[axis + 2] - second[axis] - second[axis + 2]) / 2 for axis in (0, 1))
    return float(np.hypot(x, y) / max(float(size), 1e-6))
