"""Tracks one chosen face through a video: 68 points or none per frame, smoothed within each shot.

`Tracker` takes frames one by one and keeps only points and looks; `finish` associates the faces of each shot with
people, follows the chosen one, bridges short misses of the detector and removes its jitter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import combinations, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError
from .association import Person
from .boxes import Boxes
from .face import POINTS, Box, Detector, Face, Frame, Points
from .face_store import FaceStore
from .likeness import Look, likeness, likeness_reader
from .people import SAME, join, look_of, people_of
from .pose import rolls, yaws
from .shots import ShotCounter
from .speaking import Row, turns

# Misses of the detector of up to this many frames are bridged.
LONGEST_MISS = 5
# Mean deviation from the neighbours' average, relative to the face's size, that is half removed as jitter.
JITTER = 0.01
# Heads that are turned further are not dubbed: masks extend downwards from the nose, no model was trained on them, and
# the points of a profile are off by a twentieth of the face and more (docs/face-finder.md). Degrees: tilted, sideways.
FURTHEST_ROLL, FURTHEST_YAW = 50.0, 65.0
TURNED = f"tilted by more than {FURTHEST_ROLL:.0f} or turned sideways by more than {FURTHEST_YAW:.0f} degrees"
# Looks are read in every so many frames of a shot, and in all where faces are within so many of their sizes.
LOOK_EVERY, MEETING = 5, 1.0
# The least likeness of a person to a picture; of strangers, one in five is as alike (docs/who.md).
ALIKE = 0.2
NO_SPEAKER = (
    "no face in the video moves its mouth with the video's sound: choose the face by its number, or by a picture"
)
# A symmetric kernel follows steady motion without lag.
KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0])


@dataclass(frozen=True)
class FaceChoice:
    """The face to track: the `index`-th largest of each shot (0 = largest), or the one at `point` (x, y) in pixels.

    `kept`: the person is chosen once and followed through cuts, the `index`-th most prominent of the video. `picture`
    is a file that shows the person to follow, `speaking` follows the one who speaks most; both are followed through
    cuts.
    """

    index: int = 0
    point: tuple[float, float] | None = None
    kept: bool = False
    picture: Path | None = None
    speaking: bool = False

    def __post_init__(self) -> None:
        if self.index < 0:
            raise KeySyncError(
                f"face {self.index} does not exist: expected 0 for the largest face, 1 for the next, and so on",
                about="face",
            )

    @property
    def through_cuts(self) -> bool:
        """Whether one person is followed through all shots."""
        return self.kept or self.speaking or self.picture is not None

    def causes(self) -> list[Any]:
        """What the chosen person depends on besides the video."""
        digest = None if self.picture is None else sha256(self.picture.read_bytes()).hexdigest()
        return [self.index, self.point, self.kept, digest, self.speaking]

    def of(self, people: Sequence[Person]) -> Person | None:
        """The chosen person of a shot, or None if the shot shows too few people."""
        if self.point is not None:
            return _nearest(people, self.point)
        ranked = by_size(people)
        return ranked[self.index] if self.index < len(ranked) else None


@dataclass(frozen=True, eq=False)
class Clues:
    """What a choice by picture or by voice compares people with.

    look: that of the person in the picture; said (n,): the opening of the mouth that the video's own sound says, in
    each of its frames, `rate` of them a second.
    """

    look: Look | None = None
    said: Row | None = None
    rate: float = 25.0


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """The chosen face in each of n frames.

    landmarks (n, 68, 2) in source pixels, NaN if not visible; confidence (n,), 0 if not detected; person (n,), -1 for
    none; shot (n,); size (h, w) of a frame; filled (n,): bridged, not detected; faces (n,): the number of all detected
    faces; turned (n,): the chosen face is visible, but turned too far to be dubbed. people: for each frame the boxes of
    all detected faces by the index that chooses them; empty for a track of known landmarks.
    """

    landmarks: Points
    confidence: NDArray[np.float32]
    person: NDArray[np.int64]
    shot: NDArray[np.int64]
    size: tuple[int, int]
    filled: NDArray[np.bool_]
    faces: NDArray[np.int64]
    turned: NDArray[np.bool_]
    people: Sequence[Mapping[int, Box]] = ()

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether each frame shows the chosen face: (n,)."""
        return self.person >= 0

    def at(self, frames: NDArray[np.int64]) -> FaceTrack:
        """The track of a video that shows these frames of this one; where it jumps back, a shot begins."""
        shot = self.shot[frames]
        cuts = (np.diff(shot) != 0) | (np.diff(frames) < -1)
        return FaceTrack(
            landmarks=self.landmarks[frames],
            confidence=self.confidence[frames],
            person=self.person[frames],
            shot=np.concatenate(([0], np.cumsum(cuts)))[: len(frames)],
            size=self.size,
            filled=self.filled[frames],
            faces=self.faces[frames],
            turned=self.turned[frames],
            people=self.people.at(frames) if isinstance(self.people, Boxes) else (),
        )

    def during(self, frames: NDArray[np.bool_]) -> FaceTrack:
        """The track that shows the chosen face in these of its frames (n,) only."""
        shown = self.found & frames
        return replace(
            self,
            landmarks=np.where(shown[:, None, None], self.landmarks, np.nan).astype(np.float32),
            confidence=np.where(shown, self.confidence, 0).astype(np.float32),
            person=np.where(shown, self.person, -1),
            filled=self.filled & shown,
            turned=self.turned & frames,
        )

    def runs(self) -> list[tuple[int, int]]:
        """The maximal ranges [start, stop) of consecutive frames of one shot that show the chosen face."""
        return _runs(self.found, self.shot)

    def why_not(self, frame: int) -> str:
        """The reason why a frame is not dubbed."""
        if self.turned[frame]:
            return f"the head is {TURNED}"
        return "the chosen face is not visible" if self.faces[frame] else "no face found"


class Tracker:
    """Collects the faces of a video frame by frame. Memory: about 620 bytes per face, no images.

    `exact`: the faces are final, at most one per frame: they are neither selected, smoothed nor bridged. `looks`: it is
    read who each face is, which a choice that is followed through cuts needs; of faces that share a frame it always is.
    """

    def __init__(self, *, exact: bool = False, looks: bool = False) -> None:
        self.exact, self.looks = exact, looks
        self._size: tuple[int, int] | None = None
        self._counter = ShotCounter()
        self._shots: list[int] = []
        self._faces = FaceStore()
        self._crowded = self._since = 0

    def add(self, frame: Frame, faces: list[Face]) -> None:
        """Adds the next frame (h, w, 3) with its known faces."""
        self._append(frame, self._counter.add(frame), faces)

    def follow(self, frame: Frame, detector: Detector) -> None:
        """Adds the next frame (h, w, 3) with the faces that a detector finds in it."""
        shot = self._counter.add(frame)
        before = self._faces[-1] if self._shots and self._shots[-1] == shot else ()
        self._append(frame, shot, detector.detect(frame, before))

    def _append(self, frame: Frame, shot: int, faces: list[Face]) -> None:
        self._size = self._size or (frame.shape[0], frame.shape[1])
        first = not self._shots or self._shots[-1] != shot
        self._crowded = LOOK_EVERY if len(faces) > 1 else 0 if first else max(0, self._crowded - 1)
        self._since = 0 if first or len(faces) > len(self._faces[-1]) else self._since + 1
        if not self.exact and (self.looks or self._crowded) and (self._since % LOOK_EVERY == 0 or _meet(faces)):
            reader = likeness_reader()
            faces = [replace(face, look=reader.look(frame, face.landmarks)) for face in faces]
        self._shots.append(shot)
        self._faces.add(faces)

    def so_far(self, frames: int) -> Tracker:
        """One that holds the first frames that were added, while another thread adds more."""
        copied = Tracker(exact=self.exact, looks=self.looks)
        copied._size, copied._shots, copied._faces = self._size, self._shots[:frames], self._faces.first(frames)
        return copied

    def recent(self, frames: int) -> Tracker:
        """One that goes on from here, and holds the last `frames` that were added only; this one must not be used any
        more."""
        kept = Tracker(exact=self.exact, looks=self.looks)
        kept._size, kept._counter = self._size, self._counter
        kept._crowded, kept._since = self._crowded, self._since
        begin = max(0, len(self._shots) - frames)
        kept._shots = self._shots[begin:]
        for faces in self._faces[begin:]:
            kept._faces.add(faces)
        return kept

    def people(self) -> list[list[Person]]:
        """The people of each shot."""
        shot = np.array(self._shots, dtype=np.int64)
        found = []
        for index in np.unique(shot).tolist():
            frames = np.flatnonzero(shot == index).tolist()
            found.append(people_of(frames, map(self._faces.__getitem__, frames)))
        return found

    def finish(self, choice: FaceChoice | None = None, clues: Clues | None = None) -> FaceTrack:
        """The track of the chosen face, by default the largest of each shot.

        `clues` are needed by a choice by picture or by voice. Raises `KeySyncError` if there are no frames, if no shot
        shows enough people for the choice, and if no one looks like the picture or speaks.
        """
        if self._size is None:
            raise KeySyncError("the video has no frames: expected at least one; choose another video")
        if self.exact:
            return from_landmarks(
                [faces[0].landmarks if faces else None for faces in self._faces], self._size, self._shots
            )
        choice = choice or FaceChoice()
        shot = np.array(self._shots, dtype=np.int64)
        chosen: dict[int, tuple[int, Face]] = {}
        ranked: list[tuple[int, Person]] = []
        shots = self.people()
        groups = [join([person for people in shots for person in people])] if choice.through_cuts else shots
        most, number = 0, 0
        for people in groups:
            person = _chosen(people, choice, clues or Clues(), len(shot))
            most = max(most, len(people))
            if person is not None:
                chosen |= {frame: (number, face) for frame, face in person.faces.items()}
            number += len(people)
            ranked += enumerate(by_size(people))
        if most and not chosen:
            choices = "0" if most == 1 else f"0 to {most - 1}"
            raise KeySyncError(
                f"face {choice.index} was chosen but no shot shows more than {most}: choose {choices}", about="face"
            )
        boxes = ((frame, rank, face.box) for rank, person in ranked for frame, face in person.faces.items())
        return self._made(chosen, shot, Boxes.of(boxes, len(shot)))

    def without_choice(self) -> FaceTrack:
        """The track of a face that is never to be seen. Raises `KeySyncError` if there are no frames."""
        if self._size is None:
            raise KeySyncError("the video has no frames: expected at least one; choose another video")
        return self._made({}, np.array(self._shots, dtype=np.int64), ())

    def each_speaker(self, clues: Clues) -> list[FaceTrack]:
        """A track for each person who speaks for a second or more, with the frames in which they do; the one who speaks
        most comes first. Raises `KeySyncError` if there are no frames, and if no one speaks."""
        if self._size is None:
            raise KeySyncError("the video has no frames: expected at least one; choose another video")
        if clues.said is None:
            raise ValueError("what the sound says was not read")
        people = join([person for people in self.people() for person in people])
        speaker = turns(people, clues.said, clues.rate)
        frames = np.bincount(speaker[speaker >= 0], minlength=len(people))
        speakers = [number for number in np.argsort(-frames).tolist() if frames[number] >= clues.rate]
        if not speakers:
            raise KeySyncError(NO_SPEAKER, about="face")
        shot = np.array(self._shots, dtype=np.int64)
        tracks = []
        for number in speakers:
            faces = people[number].faces
            said = {frame: (number, face) for frame, face in faces.items() if speaker[frame] == number}
            tracks.append(self._made(said, shot, ()))
        return tracks

    def _made(
        self, chosen: dict[int, tuple[int, Face]], shot: NDArray[np.int64], people: Sequence[Mapping[int, Box]]
    ) -> FaceTrack:
        """The track of the chosen faces by frame, with their person's number."""
        assert self._size is not None
        track = replace(_track(chosen, shot, self._size, self._faces.counts), people=people)
        _bridge(track)
        _smooth(track)
        _leave_out_turned(track)
        return track


def _chosen(people: Sequence[Person], choice: FaceChoice, clues: Clues, frames: int) -> Person | None:
    """The chosen one of the people of a shot, or of all shots. Raises `KeySyncError` where no one fits the clues."""
    if choice.picture is not None:
        return _most_alike(people, choice.picture, clues.look, frames)
    if choice.speaking:
        return _speaker(people, clues, frames)
    return choice.of(people)


def _most_alike(people: Sequence[Person], picture: Path, look: Look | None, frames: int) -> Person | None:
    if look is None:
        raise ValueError(f"the look of the person in {picture} was not read")
    looks = [look_of(person) for person in people]
    alike = [-1.0 if one is None else likeness(one, look) for one in looks]
    if people and max(alike) < ALIKE:
        raise KeySyncError(
            f"no face in the video looks like the one in {picture} (likeness {max(max(alike), 0):.2f}, expected at "
            f"least {ALIKE}): choose another picture of the person, or choose the face by its number",
            about="face",
        )
    found: dict[int, Face] = {}
    # The most alike; and others never seen beside them who are as alike as one person's tracklets are.
    for number in sorted(range(len(people)), key=lambda number: -alike[number]):
        if not found or (alike[number] >= SAME and found.keys().isdisjoint(people[number].faces)):
            found |= people[number].faces
    return Person(frames, dict(sorted(found.items()))) if found else None


def _speaker(people: Sequence[Person], clues: Clues, frames: int) -> Person | None:
    if clues.said is None:
        raise ValueError("what the sound says was not read")
    if not people:
        return None
    speaker = turns(people, clues.said, clues.rate)
    if (speaker < 0).all():
        raise KeySyncError(NO_SPEAKER, about="face")
    return people[int(np.bincount(speaker[speaker >= 0], minlength=len(people)).argmax())]


def _meet(faces: Sequence[Face]) -> bool:
    """Whether two faces of a frame are close to each other."""
    return any(_distance(one, _centre(other))[0] < MEETING * _side(one) for one, other in combinations(faces, 2))


def _centre(face: Face) -> tuple[float, float]:
    x0, y0, x1, y1 = face.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _side(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return max(x1 - x0, y1 - y0)


def by_size(people: Sequence[Person]) -> list[Person]:
    """The people of a shot in the order of `FaceChoice.index`."""
    return sorted(people, key=lambda person: -person.prominence)


def no_face(track: FaceTrack) -> str:
    """The error of a track without the chosen face, as the beginning of a message."""
    turned = int(track.turned.sum())
    also = f" ({turned} show a head {TURNED})" if turned else ""
    return f"no face was found in the {len(track.found)} frames{also}"


def from_landmarks(
    landmarks: Sequence[NDArray[np.floating[Any]] | None],
    size: tuple[int, int],
    shots: Sequence[int] | None = None,
) -> FaceTrack:
    """A track with these points (68, 2) or None for each frame, unchanged; without `shots`, all in one shot."""
    shot = np.zeros(len(landmarks), dtype=np.int64) if shots is None else np.asarray(shots, dtype=np.int64)
    chosen = {frame: (0, Face.of(points, 1.0)) for frame, points in enumerate(landmarks) if points is not None}
    faces = np.array([points is not None for points in landmarks], dtype=np.int64)
    return _track(chosen, shot, size, faces)


def _track(
    chosen: dict[int, tuple[int, Face]], shot: NDArray[np.int64], size: tuple[int, int], faces: NDArray[np.int64]
) -> FaceTrack:
    n = len(shot)
    landmarks = np.full((n, POINTS, 2), np.nan, dtype=np.float32)
    confidence = np.zeros(n, dtype=np.float32)
    person = np.full(n, -1, dtype=np.int64)
    for frame, (number, face) in chosen.items():
        landmarks[frame], confidence[frame], person[frame] = face.landmarks, face.confidence, number
    filled, turned = np.zeros((2, n), dtype=np.bool_)
    return FaceTrack(landmarks, confidence, person, shot, size, filled, faces, turned)


def _nearest(people: Sequence[Person], point: tuple[float, float]) -> Person | None:
    """The person at the point, or nearest to it, in most frames."""
    votes = [0] * len(people)
    for frame in sorted({frame for person in people for frame in person.faces}):
        there = [number for number, person in enumerate(people) if frame in person.faces]
        votes[min(there, key=lambda number: _distance(people[number].faces[frame], point))] += 1
    return people[int(np.argmax(votes))] if people else None


def _distance(face: Face, point: tuple[float, float]) -> tuple[float, float]:
    """The distances of the point from the face's box and from its centre."""
    (x, y), (x0, y0, x1, y1) = point, face.box
    outside = float(np.hypot(max(x0 - x, 0.0, x - x1), max(y0 - y, 0.0, y - y1)))
    return outside, float(np.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y))


def _runs(found: NDArray[np.bool_], shot: NDArray[np.int64]) -> list[tuple[int, int]]:
    runs, start = [], 0
    for (seen, _), frames in groupby(zip(found.tolist(), shot.tolist(), strict=True)):
        stop = start + len(list(frames))
        if seen:
            runs.append((start, stop))
        start = stop
    return runs


def _bridge(track: FaceTrack) -> None:
    """Interpolates linearly, in place, across short misses of the same person in one shot."""
    landmarks, person = track.landmarks, track.person
    for (_, stop), (start, _) in pairwise(track.runs()):
        before = stop - 1
        same = person[before] == person[start] and track.shot[before] == track.shot[start]
        if not same or start - stop > LONGEST_MISS:
            continue
        share = (np.arange(1, start - stop + 1) / (start - before))[:, None, None]
        landmarks[stop:start] = (1 - share) * landmarks[before] + share * landmarks[start]
        person[stop:start], track.filled[stop:start] = person[before], True


def _smooth(track: FaceTrack) -> None:
    """Removes the jitter of all runs, in place."""
    for start, stop in track.runs():
        _remove_jitter(track.landmarks[start:stop])


def _leave_out_turned(track: FaceTrack) -> None:
    """Takes the frames in which the head is turned too far out of a track, in place."""
    tilted = np.abs(rolls(track.landmarks)) > FURTHEST_ROLL
    turned = track.found & (tilted | (yaws(track.landmarks) > FURTHEST_YAW))
    track.landmarks[turned] = np.nan
    track.confidence[turned] = 0
    track.person[turned] = -1
    track.filled[turned] = False
    track.turned[turned] = True


def _remove_jitter(points: Points) -> None:
    """Moves points (m, 68, 2) of one run, in place, to their neighbours' mean unless the deviation exceeds jitter."""
    most = len(KERNEL) // 2
    seen = deque(points[:most].copy(), 2 * most + 1)  # as they were, of the frames around this one
    for frame in range(len(points)):
        if frame + most < len(points):
            seen.append(points[frame + most].copy())
        reach = min(frame, len(points) - 1 - frame, most)
        kernel = KERNEL[most - reach : most + reach + 1]
        ahead = min(len(points) - 1 - frame, most)
        window = np.stack(list(seen)[len(seen) - 1 - ahead - reach : len(seen) - ahead + reach])
        average = np.tensordot(kernel / kernel.sum(), window, axes=1)
        own = window[reach]
        size = float(np.ptp(own, axis=0).max())
        deviation = float(np.linalg.norm(average - own, axis=1).mean()) / max(size, 1.0)
        trust = 1 / (1 + (deviation / JITTER) ** 2)
        points[frame] = own + trust * (average - own)
