"""Who is seen in a clip, for the split by people: told by the list of videos, by their folders, or by the faces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keysync.face.people import SAME

from .videos import Video

VIDEO, FOLDER, LIKENESS = PEOPLE = ("video", "folder", "likeness")
Looks = NDArray[np.float32]


def name_of(video: Video, by: str) -> str:
    """The person in all clips of a video: the one that its list names, or with `FOLDER` its folder; "" if unknown."""
    return video.person or (video.folder if by == FOLDER else "")


def alike(looks: Mapping[str, Looks], known: Mapping[str, str]) -> dict[str, str]:
    """The person of each clip by its look (c,), NaN for a face that tells nothing, which has no person.

    Clips whose person is `known` keep it; each other one joins the person whose mean look it is most alike, or begins
    a new one, who is called by the clip's key. The order of the clips is that of their keys.
    """
    telling = {key: look for key, look in sorted(looks.items()) if np.isfinite(look).all()}
    people = {key: known[key] for key in telling if key in known}
    sums: dict[str, Looks] = {}
    for key, person in people.items():
        sums[person] = sums.get(person, np.zeros_like(telling[key])) + telling[key]
    for key, look in telling.items():
        if key in people:
            continue
        person = _most_alike(look, sums) or key
        people[key] = person
        sums[person] = sums.get(person, np.zeros_like(look)) + look
    return people


def _most_alike(look: Looks, sums: Mapping[str, Looks]) -> str | None:
    if not sums:
        return None
    names = list(sums)
    means = np.stack([sums[name] for name in names])
    likeness = means @ look / np.maximum(np.linalg.norm(means, axis=1), 1e-9)
    best = int(likeness.argmax())
    return names[best] if likeness[best] >= SAME else None
