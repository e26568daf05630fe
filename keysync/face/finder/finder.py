"""The detector mediapipe: MediaPipe's face networks, built in, on any torch device.

The full-range detector finds the faces in a frame, the short-range one refines each in an upright close-up, and the
mesh locates its points. For faces of the previous frame, the mesh is applied directly to their last position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from ...assets import ASSETS
from ..face import Face, Frame, overlap
from .detections import Detection, anchors, read_detections
from .networks import FaceMesh, FullRange, ShortRange
from .points import EYE_CORNERS, MESH_TO_68
from .squares import Square, batch, cut, cut_whole

WEIGHTS = ASSETS / "face_finder" / "face_finder.safetensors"

# Minimum scores, 0..1: of a face in a frame, of the same face in a close-up, of a mesh on a face.
FULL_RANGE, SHORT_RANGE, PRESENCE = 0.6, 0.1, 0.5
# The minimum score of a face on its side or upside down, after turning it upright; searched if no face is upright.
TURNED = 0.7
# The same of a small face, which is searched in parts of the frame if no face is found in the whole.
SMALL = 0.7
# Sizes of close-ups relative to the full-range detection, tried in order until one shows a face.
CLOSE_UPS = (1.6, 2.2, 1.2, 3.0)
# A close-up with a score below MAYBE_TURNED may show a face that is turned further: another quarter turn replaces it if
# it scores higher, at least UPRIGHT, and has the eyes elsewhere. Faces within 45 degrees of upright score 0.81 and
# more, those on their side or upside down 0.82 and less.
MAYBE_TURNED, UPRIGHT = 0.87, 0.8
# Size of the mesh's square relative to the short-range detection, or to the mesh of the previous frame.
MESH_SCALE = 1.5
# A face is followed from frame to frame while the confidence of its mesh is at least SURE. The whole frame is searched
# for new faces every SEARCH_EVERY frames.
SURE, SEARCH_EVERY = 0.9, 3
# A followed face that the search misses is followed on while its mesh is at least STILL_THERE sure.
STILL_THERE = 0.7
# Faces that overlap by more (intersection over union) are the same.
SAME = 0.5
QUARTER = math.pi / 2
# The mesh is applied twice to faces turned further than this: the detectors' eyes are less exact than the mesh's.
FAR = math.radians(70)


@dataclass(frozen=True)
class Candidate:
    """A possible face: the number of its frame, its square in the frame, its confidence 0..1."""

    frame: int
    place: Square
    confidence: float


@dataclass(frozen=True, eq=False)
class Mesh:
    """A face in a picture: the mesh's points (468, 2) in pixels, and its confidence 0..1."""

    points: NDArray[np.float64]
    confidence: float

    def outside(self, square: Square) -> Mesh:
        """The mesh in the coordinates of the picture that `square` was cut from, at the same scale."""
        return replace(self, points=square.to_picture(self.points / square.side))

    @property
    def place(self) -> Square:
        """The square around the face, with the face upright, where the next frame is searched."""
        low, high = self.points.min(0), self.points.max(0)
        (x, y), (right, down) = (low + high) / 2, self.points[EYE_CORNERS[1]] - self.points[EYE_CORNERS[0]]
        return Square(float(x), float(y), MESH_SCALE * float((high - low).max()), math.atan2(down, right))

    def face(self) -> Face:
        return replace(Face.of(self.points[list(MESH_TO_68)], self.confidence), place=self.place)


class FaceFinder:
    """Finds faces of any size and roll; the weights of its networks are built in.

    `weights` is ignored: it is for detectors that need their own files.
    """

    def __init__(self, *, device: str = "cpu", weights: str | Path | None = None) -> None:
        self._device = torch.device(device)
        stored = load_file(WEIGHTS)
        self._full_range, self._short_range, self._mesh = FullRange(), ShortRange(), FaceMesh()
        for name, network in (
            ("full_range.", self._full_range),
            ("short_range.", self._short_range),
            ("mesh.", self._mesh),
        ):
            network.load_state_dict({k.removeprefix(name): v for k, v in stored.items() if k.startswith(name)})
            network.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            network.eval().requires_grad_(False)
        self._followed = 0

    def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
        """The faces in a frame; those of the previous frame (`before`) are searched at their last position first."""
        picture = self._picture(frame)
        meshes = self._meshes([(picture, face.place) for face in before if face.place is not None])
        followed = [mesh.face() for mesh in meshes if mesh is not None and mesh.confidence >= SURE]
        self._followed += 1
        if followed and len(followed) == len(before) and self._followed < SEARCH_EVERY:
            return without_doubles(followed)
        self._followed = 0
        found = without_doubles([*followed, *self._search([picture], [followed], not before)[0]])
        unsure = [mesh.face() for mesh in meshes if mesh is not None and STILL_THERE <= mesh.confidence < SURE]
        return [*found, *(face for face in unsure if all(overlap(face.box, other.box) < SAME for other in found))]

    def detect_all(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """The faces in each of several independent frames, processed as one batch."""
        return self._search([self._picture(frame) for frame in frames], [[] for _ in frames])

    def close(self) -> None:
        del self._full_range, self._short_range, self._mesh

    def _picture(self, frame: Frame) -> Tensor:
        # Read-only arrays are copied: torch does not support them.
        return torch.from_numpy(np.require(frame, requirements=["C", "W"])).to(self._device)

    def _search(
        self, pictures: Sequence[Tensor], known: Sequence[Sequence[Face]], small: bool = True
    ) -> list[list[Face]]:
        """The unknown faces in each picture; turned ones only if no face is upright, `small` ones if there is none."""
        faces = self._find_unknown(pictures, known, _upright_whole, FULL_RANGE, CLOSE_UPS)
        others = [(_turned_wholes, TURNED), *[(_parts, SMALL)] * small]
        for squares, least in others:
            empty = [number for number, found in enumerate(faces) if not found and not known[number]]
            none: list[list[Face]] = [[] for _ in empty]
            more = self._find_unknown([pictures[number] for number in empty], none, squares, least, CLOSE_UPS[:1])
            for number, found in zip(empty, more, strict=True):
                faces[number] = found
        return faces

    def _find_unknown(
        self,
        pictures: Sequence[Tensor],
        known: Sequence[Sequence[Face]],
        squares: Callable[[Tensor], Sequence[Square]],
        least: float,
        factors: Sequence[float],
    ) -> list[list[Face]]:
        """The unknown faces in each picture, searched in each of its `squares`."""
        wholes = [(number, square) for number, picture in enumerate(pictures) for square in squares(picture)]
        seen = self._detections(self._full_range, [(pictures[number], whole) for number, whole in wholes], least)
        pending = [
            Candidate(number, place, detection.score)
            for (number, whole), detections in zip(wholes, seen, strict=True)
            for detection in detections
            if not _is_known(place := _place(detection, whole), known[number])
        ]
        faces: list[list[Face]] = [[] for _ in pictures]
        for factor in factors:
            refined = self._refine(pictures, pending, factor)
            for candidate, face in zip(pending, refined, strict=True):
                if face is not None:
                    faces[candidate.frame].append(face)
            pending = [candidate for candidate, face in zip(pending, refined, strict=True) if face is None]
        return [without_doubles(found) for found in faces]

    def _refine(self, pictures: Sequence[Tensor], candidates: Sequence[Candidate], factor: float) -> list[Face | None]:
        """The face of each candidate, or None if a square `factor` times as large shows none or another one."""
        close_ups = self._upright(pictures, candidates, factor)
        places = [(part, _place(detection, _whole(part))) for part, _, detection in close_ups.values()]
        meshes = self._meshes([(part, replace(place, side=MESH_SCALE * place.side)) for part, place in places])
        faces: list[Face | None] = [None] * len(candidates)
        for number, mesh in zip(close_ups, meshes, strict=True):
            candidate, (part, outer, _) = candidates[number], close_ups[number]
            if mesh is not None and math.cos(outer.angle + mesh.place.angle) < math.cos(FAR):
                (mesh,) = self._meshes([(part, mesh.place)])
            if mesh is not None:
                face = replace(mesh.outside(outer), confidence=candidate.confidence).face()
                faces[number] = face if _is_at(face, candidate.place) else None
        return faces

    def _upright(
        self, pictures: Sequence[Tensor], candidates: Sequence[Candidate], factor: float
    ) -> dict[int, tuple[Tensor, Square, Detection]]:
        """The close-up of each candidate that shows a face, turned upright: the picture, its square and the face."""
        close_ups = dict(
            self._close_ups(pictures, candidates, factor, [(number, 0) for number in range(len(candidates))])
        )
        unsure = [number for number, (*_, detection) in close_ups.items() if detection.score < MAYBE_TURNED]
        # Later factors are for hidden faces: faces that are only turned are found with the first one.
        others = [(number, turn) for number in unsure for turn in (1, 2, 3)] if factor == CLOSE_UPS[0] else []
        for number, close_up in self._close_ups(pictures, candidates, factor, others):
            if _overrules(close_up, close_ups[number]):
                close_ups[number] = close_up
        return close_ups

    def _close_ups(
        self,
        pictures: Sequence[Tensor],
        candidates: Sequence[Candidate],
        factor: float,
        turns: Sequence[tuple[int, int]],
    ) -> Iterator[tuple[int, tuple[Tensor, Square, Detection]]]:
        """Yields the close-ups that show a face, by candidate; `turns` adds quarter turns to each candidate's roll."""
        parts = []
        for number, turn in turns:
            place = candidates[number].place
            larger = replace(place, side=factor * place.side)
            quarters = round(place.angle / QUARTER) + turn
            parts.append(cut_whole(pictures[candidates[number].frame], larger, quarters))
        seen = self._detections(self._short_range, [(part, _whole(part)) for part, _ in parts], SHORT_RANGE)
        for (number, _), (part, outer), detections in zip(turns, parts, seen, strict=True):
            if detections:
                yield number, (part, outer, detections[0])

    @torch.inference_mode()
    def _detections(
        self, network: FullRange | ShortRange, places: Sequence[tuple[Tensor, Square]], least: float
    ) -> list[list[Detection]]:
        """A detector's faces in each square of a picture, best first."""
        if not places:
            return []
        size = network.size
        inputs = batch([cut(picture, square, size, black_outside=True) for picture, square in places])
        boxes, logits = (values.cpu().numpy() for values in network(inputs / 127.5 - 1))
        centres = anchors(network.anchors)
        return [read_detections(*values, centres, size, least) for values in zip(boxes, logits, strict=True)]

    @torch.inference_mode()
    def _meshes(self, places: Sequence[tuple[Tensor, Square]]) -> list[Mesh | None]:
        """The mesh in each square of a picture, or None if there is no face."""
        if not places:
            return []
        size = FaceMesh.size
        inputs = batch([cut(picture, square, size, black_outside=False) for picture, square in places])
        points, logits = self._mesh(inputs / 255)
        presences = logits.double().sigmoid().tolist()
        return [
            Mesh(square.to_picture(mesh), presence) if presence >= PRESENCE else None
            for mesh, presence, (_, square) in zip(points[..., :2].cpu().numpy() / size, presences, places, strict=True)
        ]


def _overrules(other: tuple[Tensor, Square, Detection], first: tuple[Tensor, Square, Detection]) -> bool:
    """Whether a close-up in another quarter turn shows that the first one mistook a turned face for an upright one."""
    (_, square, detection), (_, first_square, first_detection) = other, first
    turn = square.angle + detection.roll - first_square.angle - first_detection.roll
    return detection.score > max(first_detection.score, UPRIGHT) and math.cos(turn) < math.cos(QUARTER / 2)


def _whole(picture: Tensor, quarters: int = 0) -> Square:
    """The square around a whole picture, rotated by this many quarter turns."""
    return replace(Square.around(*picture.shape[:2]), angle=quarters * QUARTER)


def _upright_whole(picture: Tensor) -> list[Square]:
    return [_whole(picture)]


def _turned_wholes(picture: Tensor) -> list[Square]:
    return [_whole(picture, turn) for turn in (1, 2, 3)]


def _parts(picture: Tensor) -> list[Square]:
    """Squares of half the whole's side that cover a picture and overlap by half."""
    h, w = picture.shape[:2]
    side = max(h, w) / 2
    across, down = (
        np.linspace(side / 2, length - side / 2, math.ceil(2 * length / side) - 1).tolist()
        if length > side
        else [length / 2]
        for length in (w, h)
    )
    return [Square(x, y, side) for y in down for x in across]


def _place(detection: Detection, square: Square) -> Square:
    """The square of a detection, in the coordinates of the picture that `square` belongs to."""
    x, y = square.to_picture(detection.centre).tolist()
    return Square(x, y, detection.side * square.side, square.angle + detection.roll)


def _is_at(face: Face, place: Square) -> bool:
    """Whether a face is the one detected at `place`, and not another one nearby."""
    x0, y0, x1, y1 = face.box
    distance = math.hypot((x0 + x1) / 2 - place.x, (y0 + y1) / 2 - place.y)
    return distance < place.side / 2 and 0.5 < max(x1 - x0, y1 - y0) / place.side < 2


def _is_known(place: Square, faces: Sequence[Face]) -> bool:
    return any(_is_at(face, place) for face in faces)


def without_doubles(faces: Sequence[Face]) -> list[Face]:
    """The faces without those that overlap a more confident face by more than `SAME`."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if all(overlap(face.box, other.box) < SAME for other in kept):
            kept.append(face)
    return kept
