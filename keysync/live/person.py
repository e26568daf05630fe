"""The person whose face is dubbed live, from a clip that was made before: references and a manner of speaking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..face.crop import Crops
from ..face.masks import MASKS
from ..face.track import FaceTrack
from ..media.source import FrameSource
from ..systems.renderer import Look, Surveyor

AnySurveyor = TypeVar("AnySurveyor", bound=Surveyor)


def meet_person(
    renderer: AnySurveyor, source: FrameSource, pts: NDArray[np.int64], track: FaceTrack, most: int = 3000
) -> AnySurveyor:
    """The renderer with the person of a clip, who is the same in all its shots; looks at `most` frames, evenly
    spread. Raises `UnsuitableError` where no frame shows the face."""
    needs = renderer.needs
    crops = Crops.of(track, needs.crop_size, needs.crop_scale)
    found = np.flatnonzero(track.found)
    numbers: list[int] = found[:: -(-len(found) // most) or 1].tolist()

    def looks() -> Iterator[Look]:
        for number, frame in zip(numbers, source.pick(pts, numbers), strict=True):
            points = crops.points(track.landmarks[number], number)
            mask = MASKS[needs.mask or "mouth"](points, needs.crop_size)
            yield Look(number, 0, crops.cut(frame, number), mask)

    known = renderer.survey(looks(), lambda note: None)
    assert isinstance(known, type(renderer))
    return known
