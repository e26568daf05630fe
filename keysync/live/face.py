"""A face that is followed as frames come: its track as far as later frames leave it as it is, and its crops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError
from ..face.crop import Crops, crop_boxes
from ..face.track import LONGEST_MISS, FaceChoice, FaceTrack, Tracker
from ..systems.renderer import Needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..face.association import Person
    from ..face.face import Box, Detector, Frame

# Frames whose faces are known before and after those that are tracked: a miss is bridged, and the jitter of two frames
# on each side is removed.
AROUND = LONGEST_MISS + 3


@dataclass(frozen=True)
class SamePerson(FaceChoice):
    """The person whose face has this box in this frame, in the shot that shows it; in others as it was chosen first.

    `chosen` gets the persons that were chosen.
    """

    seen: tuple[int, Box] | None = None
    chosen: list[Person] = field(default_factory=list)

    def of(self, people: Sequence[Person]) -> Person | None:
        person = next((one for one in people if self._shows(one)), None) or super().of(people)
        if person is not None:
            self.chosen.append(person)
        return person

    def _shows(self, person: Person) -> bool:
        if self.seen is None:
            return False
        frame, box = self.seen
        return frame in person.faces and person.faces[frame].box == box


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive frames: their track, and how the face is cut out of them."""

    track: FaceTrack
    crops: Crops


class LiveFace:
    """Follows the chosen face, and no other one as long as it is not lost for `AROUND` frames.

    The track is that of `Tracker` for the whole video, where the chosen face is the only one; boxes go on from piece to
    piece. Memory does not grow. Choices that need the whole video (a picture, who speaks) are refused.
    """

    def __init__(self, detector: Detector, choice: FaceChoice, needs: Needs) -> None:
        """Raises `KeySyncError` for such a choice."""
        if choice.through_cuts:
            raise KeySyncError(
                "a live face is chosen by its number or by a place in the picture: the whole video is not known",
                about="face",
            )
        self._detector, self._choice, self._needs = detector, choice, needs
        self._tracker = Tracker()
        self._begins = self._seen = 0  # the first frame that the tracker holds, and the one behind the last
        self._last: tuple[int, Box] | None = None
        self._box: NDArray[np.float64] = np.full(3, np.nan)
        self._before: tuple[int, int] | None = None  # the frame whose box that is, and its shot

    @property
    def seen(self) -> int:
        """How many frames were seen or left out."""
        return self._seen

    def see(self, frame: Frame) -> None:
        """Searches the next frame (h, w, 3)."""
        self._tracker.follow(frame, self._detector)
        self._seen += 1

    def leave_out(self, frame: Frame) -> None:
        """Takes the next frame for one without a face."""
        self._tracker.add(frame, [])
        self._seen += 1

    def piece(self, first: int, stop: int) -> Piece:
        """The frames `first`..`stop` (exclusive), in the order in which they come; `AROUND` more were seen, unless no
        more will come."""
        kept = self._seen - max(first - AROUND, self._begins)
        self._tracker, self._begins = self._tracker.recent(kept), self._seen - kept
        whole = self._follow(stop)
        part = slice(first - self._begins, stop - self._begins)
        boxes = np.zeros((len(whole.found), 3), dtype=np.int64)
        for begin, end in whole.runs():
            begin, end = max(begin, part.start), min(end, part.stop)
            if begin < end:
                shot = int(whole.shot[begin])
                if self._before != (self._begins + begin - 1, shot):
                    self._box[:] = np.nan
                boxes[begin:end] = crop_boxes(whole, begin, end, self._needs.crop_scale, before=self._box)
                self._before = self._begins + end - 1, shot
        track = replace(whole.at(np.arange(part.start, part.stop)), shot=whole.shot[part])
        return Piece(track, Crops(boxes[part], self._needs.crop_size))

    def _follow(self, stop: int) -> FaceTrack:
        """The track of all frames that the tracker holds; remembers where the face was before frame `stop`."""
        seen = None if self._last is None else (self._last[0] - self._begins, self._last[1])
        choice = SamePerson(self._choice.index, self._choice.point, seen=seen)
        try:
            track = self._tracker.finish(choice)
        except KeySyncError:  # fewer faces than the chosen one's number: it may still come
            return self._tracker.without_choice()
        faces = [
            (frame, face.box)
            for person in choice.chosen
            for frame, face in person.faces.items()
            if frame < stop - self._begins
        ]
        if faces:
            frame, box = max(faces)
            self._last = self._begins + frame, box
        return track
