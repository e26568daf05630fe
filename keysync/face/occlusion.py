"""Finds what covers a mouth, such as a hand or a microphone, in the video itself: nothing is marked by hand.

Each frame's lower face is unfolded (`unfolded`) and compared with how the same shot usually shows it (`usual`); a small
network decides which of the differences are a thing before the face (`occlusion_network`). Where it is surely there,
its own colours tell its edges (`palette`). What is sure spreads to what is likely, and only what is there in two frames
in a row counts. docs/occluders.md says how well it works.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from ..media.extras import Extras
from ..media.info import VideoInfo
from ..media.source import Facts, FrameSource
from .face import Frame, Points
from .guided import guided
from .occlusion_network import network_inputs, occlusion_network
from .palette import Palette
from .track import FaceTrack
from .unfolded import Similarity, Unfolding
from .usual import Region, Texture, Usual

# What users write instead of a mask video.
AUTO = "auto"
# Frames of a shot that its usual look is taken from, and how often it is taken again without what covers it.
SAMPLED, ROUNDS = 40, 2
# The chance from which a texel is surely, likely, or possibly covered.
SURE, LIKELY, POSSIBLE = 0.8, 0.5, 0.2
# Masks take the edges of the picture by the colours within so many mm: far enough that the skin beside a fork tells the
# gaps between its tines. Below this chance nothing is added.
EDGE, UNLIKELY = 24.0, 0.1
# Texels of a thing, and those of them that are sure; how far it moves from frame to frame.
LEAST, LEAST_SURE, REACH = 24, 8, 4
# Texels around what covers a face that are no part of its usual look: the edge and the shadow.
MARGIN = 2
# The share of frames from which a thing is there nearly always; texels of the face from which that is said.
NEARLY_ALL, MUCH = 0.8, 200
# Ranges of frames that a note names one by one.
NAMED = 6

Chances = NDArray[np.float32]
Things = NDArray[np.int64]
# The number of a frame, the frame, and the chances of its texels.
Searched = tuple[int, Frame, Chances]


@dataclass(frozen=True)
class Patch:
    """The part of a frame's mask in which something is white: its upper left corner, its size, and its bits."""

    corner: tuple[int, int]
    size: tuple[int, int]
    bits: bytes

    @classmethod
    def of(cls, mask: Region, top: int, left: int) -> Patch:
        """That of a part (h, w) of a frame's mask that begins at this pixel."""
        return cls((top, left), (mask.shape[0], mask.shape[1]), zlib.compress(np.packbits(mask).tobytes(), 1))

    def draw(self, mask: Region) -> None:
        """Draws it into the mask (h, w) of a frame."""
        (top, left), (h, w) = self.corner, self.size
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        mask[top : top + h, left : left + w] = np.unpackbits(bits, count=h * w).reshape(h, w) > 0


class FoundOccluder:
    """What covers the mouth as masks (h, w, 3) for each frame of a source: a `FrameSource`, drawn when picked.

    It keeps about a kilobyte for each frame in which something is found.
    """

    path = None
    extras = Extras()

    def __init__(self, source: FrameSource, pts: NDArray[np.int64], shown: int) -> None:
        """`shown` of the frames show the face."""
        self._source, self._pts, self._shown = source, pts, shown
        self.name = f"what covers the face in {source.name}"
        self._found: dict[int, Patch] = {}
        self._throughout: list[tuple[int, int]] = []

    def add(self, number: int, patch: Patch) -> None:
        """Adds what is found in a frame."""
        self._found[number] = patch

    def doubt(self, first: int, last: int) -> None:
        """Says that something may cover the face in nearly all of these frames, so that it is not found."""
        self._throughout.append((first, last))

    @property
    def info(self) -> VideoInfo:
        """See `FrameSource`."""
        return self._source.info

    @property
    def numbers(self) -> list[int]:
        """The frames in which something covers the mouth."""
        return sorted(self._found)

    def mask(self, number: int) -> Region:
        """Where something covers the mouth in a frame: (h, w)."""
        mask = np.zeros((self.info.height, self.info.width), np.bool_)
        if number in self._found:
            self._found[number].draw(mask)
        return mask

    def masks(self) -> Iterator[tuple[int, Region]]:
        """Number and mask (h, w) of each frame in which something covers the mouth."""
        for number in self.numbers:
            yield number, self.mask(number)

    def notes(self) -> Iterator[str]:
        """Notes for the report, a line each."""
        count, shown = len(self._found), self._shown
        if count:
            yield f"occluders: something covers the mouth in {count} of {shown} frames: {_named(_ranges(self.numbers))}"
        else:
            yield f"occluders: nothing covers the mouth in the {shown} frames that show the face"
        if count > NEARLY_ALL * shown:
            yield (
                "occluders: few frames show the whole mouth, so the masks are less exact: check the result, or use a "
                "mask video"
            )
        if self._throughout:
            yield (
                f"occluders: part of the face looks covered throughout frames {_named(self._throughout)}, and nothing "
                "tells it from the face there: check the result, or use a mask video"
            )

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """See `FrameSource`."""
        yield from zip(self._pts.tolist(), self.pick(self._pts, range(len(self._pts))), strict=True)

    def timestamps(self) -> NDArray[np.int64]:
        """See `FrameSource`."""
        return self._pts

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`."""
        for number in indices:
            yield np.repeat(self.mask(number)[..., None].astype(np.uint8) * 255, 3, -1)

    def facts(self) -> Facts:
        """See `FrameSource`."""
        return self._source.facts()

    def fingerprint(self) -> str:
        """By what was found in which frame."""
        return sha256(repr(sorted(self._found.items())).encode()).hexdigest()

    def recall(self, facts: Facts) -> None:
        """Nothing: its facts are those of its source."""


def find_occluder(
    source: FrameSource, pts: NDArray[np.int64], track: FaceTrack, on_frame: Callable[[], None] = lambda: None
) -> FoundOccluder:
    """What covers the mouth of the tracked face in each frame; `on_frame` is called for each: it may raise to stop."""
    found = FoundOccluder(source, pts, int(track.found.sum()))
    for shot in np.unique(track.shot[track.found]).tolist():
        numbers = np.flatnonzero(track.found & (track.shot == shot))
        some = numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), SAMPLED)).round().astype(np.int64)]
        unfolding = Unfolding.of(track.landmarks[some])
        picked = zip(some.tolist(), source.pick(pts, some.tolist()), strict=True)
        look = usual_look([unfolding.texture(frame, track.landmarks[number]) for number, frame in picked])
        if (look.standing & unfolding.face).sum() > MUCH:
            found.doubt(int(numbers[0]), int(numbers[-1]))
        for number, frame, chances in lasting(
            _searched(source, pts, track, numbers, unfolding, look, on_frame), unfolding.face
        ):
            patch = _patch(frame, chances, unfolding, track.landmarks[number])
            if patch is not None:
                found.add(number, patch)
    return found


def _searched(
    source: FrameSource,
    pts: NDArray[np.int64],
    track: FaceTrack,
    numbers: NDArray[np.int64],
    unfolding: Unfolding,
    look: Look,
    on_frame: Callable[[], None],
) -> Iterator[Searched]:
    """The frames of a shot with the chances of their texels."""
    for number, frame in zip(numbers.tolist(), source.pick(pts, numbers.tolist()), strict=True):
        on_frame()
        texture, shown = unfolding.texture(frame, track.landmarks[number])
        visible = shown & ~(look.standing | unfolding.turned_away(track.landmarks[number]))
        yield number, frame, look.judged(chance(texture, visible, look.usual), texture, visible)


def _patch(frame: Frame, chances: Chances, unfolding: Unfolding, landmarks: Points) -> Patch | None:
    """The mask of a frame, with the edges of its picture; None where nothing is left."""
    folded = unfolding.fold(torch.from_numpy(chances), landmarks, frame.shape[:2])
    rows, columns = np.flatnonzero(folded.any(1)), np.flatnonzero(folded.any(0))
    if not len(rows):
        return None
    reach = EDGE * Similarity.of(landmarks).scale
    margin = 2 * int(np.ceil(reach))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    part = slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)
    mask = (guided(folded[part], frame[part], reach) > LIKELY) & (folded[part] > UNLIKELY)
    return Patch.of(mask, int(top), int(left)) if mask.any() else None


@dataclass(frozen=True, eq=False)
class Look:
    """How a shot looks: the usual face, where it looks covered nearly always, and the colours of what covers it.

    No frame tells what is there nearly always, so nothing is found there.
    """

    usual: Usual
    standing: Region
    palette: Palette | None

    def judged(self, chances: Chances, texture: Texture, shown: Region) -> Chances:
        """The chances of a frame, by the colours of what covers the shot; only the network's own make a thing sure."""
        sure = chances > SURE
        if self.palette is None or sure.sum() < LEAST_SURE:
            return chances
        judged = self.palette.judged(chances, texture, shown, self.usual)
        return np.where(sure, judged, np.minimum(judged, np.float32(SURE)))


def usual_look(seen: Sequence[tuple[Texture, Region]]) -> Look:
    """How unfolded frames usually look, where nothing covers them; each is a texture and which texels it shows."""
    textures, shown = np.stack([texture for texture, _ in seen]), np.stack([there for _, there in seen])
    usual = Usual.of(textures, shown)
    chances, covered = np.zeros(shown.shape, np.float32), np.zeros(shown.shape, np.bool_)
    for _ in range(ROUNDS):
        chances = np.stack([chance(texture, there, usual) for texture, there in seen])
        covered = np.stack([_grown(one > POSSIBLE, MARGIN) for one in chances])
        usual = Usual.of(textures, shown & ~covered)
    return Look(usual, np.mean(covered, axis=0) > NEARLY_ALL, Palette.of(seen, chances, usual))


@torch.inference_mode()
def chance(texture: Texture, shown: Region, usual: Usual) -> Chances:
    """The chance, 0..1, that each texel of an unfolded frame is covered: (ROWS, COLUMNS)."""
    inputs = torch.from_numpy(network_inputs(texture, shown, usual))[None]
    chances: Chances = occlusion_network()(inputs)[0].sigmoid().numpy()
    return np.where(shown, chances, 0)


def lasting(frames: Iterable[Searched], face: Region) -> Iterator[Searched]:
    """The frames in which things are found before the face (ROWS, COLUMNS), with the chances of those things alone.

    A thing is there in two frames in a row. Frames are neighbours where their numbers are; one without neighbours keeps
    all of its things.
    """
    window: list[tuple[Searched, Things]] = []  # the last frames with the numbers of their things by texel

    def judged(at: int) -> Iterator[Searched]:
        (number, frame, chances), things = window[at]
        beside = [other > 0 for (n, *_), other in window if abs(n - number) == 1]
        if beside:
            near = _grown(np.any(beside, axis=0), REACH)
            things = np.where(np.isin(things, things[near]), things, 0)
        if things.any():
            # A margin, so that the half-covered edge is where it was found.
            yield number, frame, np.where(_grown(things > 0, 1), chances, 0)

    for searched in frames:
        window.append((searched, _things(searched[2], face)))
        if len(window) > 1:
            yield from judged(len(window) - 2)
        window = window[-2:]
    if window:
        yield from judged(len(window) - 1)


def _things(chances: Chances, face: Region) -> Things:
    """The number of the thing that covers each texel (ROWS, COLUMNS), 0 for none.

    A thing is connected, likely, somewhere sure, and at least partly before the face.
    """
    from scipy.ndimage import label

    sure = chances > SURE
    if sure.sum() < LEAST_SURE:
        return np.zeros(chances.shape, np.int64)
    things, count = label(chances > LIKELY, np.ones((3, 3)))
    size, certain = (np.bincount(things[area], minlength=count + 1) for area in ((things > 0) & face, sure))
    kept = (size >= LEAST) & (certain >= LEAST_SURE)
    return np.where(kept[things], things, 0).astype(np.int64)


def _grown(area: Region, reach: int) -> Region:
    """An area (ROWS, COLUMNS) and all that is so near."""
    from scipy.ndimage import maximum_filter

    grown: Region = maximum_filter(area, 2 * reach + 1)
    return grown


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as ranges (first, last)."""
    parts = np.split(np.asarray(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts if len(part)]


def _named(spans: Sequence[tuple[int, int]]) -> str:
    """Ranges of frames (first, last), of which `NAMED` are named."""
    named = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans[:NAMED])
    return named + (f" and {len(spans) - NAMED} more ranges" if len(spans) > NAMED else "")
