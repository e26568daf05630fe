"""Ways to damage a perfect dub of a rendered person, each at levels from none to severe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from keysync.face.crop import Crops
from keysync.measure.region import changeable
from keysync.method import PUBLISHED_CROP_SCALE

from ...synthetic.render.mouth_motion import MouthMotion
from ...synthetic.voice.sound import loudness
from ..dubbing import track_of
from ..film import Film

Frames = NDArray[np.uint8]

# The region of a perfect dub, and the size of the crops that it is drawn in.
MASK, CROP = "box", (512, 512)
# Frames of a part that freezes as one.
PART = 8
# Shares of a damage, pixels of a blur, and levels of a shade.
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
BLURS = (0.0, 0.6, 1.2, 1.8, 2.4)
SHADES = (0.0, 5.0, 10.0, 15.0, 20.0)
TREMBLES = (0.0, 0.04, 0.08, 0.12, 0.16)
# How a shade differs between red, green and blue.
TINT = np.array((1.0, 0.3, -0.5))


@dataclass(frozen=True, eq=False)
class Stage:
    """A film, to be dubbed perfectly or worse: `inside` (n, h, w) are the pixels that a dub may change."""

    film: Film
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, film: Film) -> Stage:
        """The stage of a film."""
        track = track_of(film.source)
        crops = Crops.of(track, CROP, PUBLISHED_CROP_SCALE)
        size = film.source.frames.shape[1:3]
        masks = [changeable(crops, number, track.landmarks[number], MASK, size) for number in range(len(track.found))]
        return cls(film, np.stack(masks))

    @property
    def said(self) -> MouthMotion:
        """The mouth that says the new speech."""
        return self.film.said.mouth(self.film.times)

    def dub(self, motion: MouthMotion) -> Frames:
        """The film with this mouth inside the mask."""
        return self.pasted(self.film.shot.draw([motion[number] for number in range(len(motion))]).frames)

    def pasted(self, frames: Frames) -> Frames:
        """The source with these frames (n, h, w, 3) inside the mask."""
        return np.where(self.inside[..., None], frames, self.film.source.frames)


def frozen(stage: Stage, share: float) -> Frames:
    """The mouth stands still in a share of the parts of the clip."""
    said, count = stage.said, len(stage.said)
    starts = np.arange(0, count, PART)
    order = np.random.default_rng(len(starts)).permutation(starts)
    frames = np.arange(count)
    for start in order[: round(share * len(starts))].tolist():
        frames[start : start + PART] = start
    return stage.dub(MouthMotion(*(getattr(said, field.name)[frames] for field in fields(said))))


def driven_by_loudness(stage: Stage, share: float) -> Frames:
    """The opening follows the loudness of the speech instead of its sounds, by this share."""
    said = stage.said
    loud = loudness(stage.film.said.waveform, stage.film.times).astype(np.float32)
    moved = np.stack([(1 - share) * said.open + share * loud, said.wide, said.round, said.teeth, said.tongue], 1)
    return stage.dub(MouthMotion.of(moved))


def leaked(stage: Stage, share: float) -> Frames:
    """The mouth is the source's by this share."""
    own = stage.film.spoken.mouth(stage.film.times)
    rows = [(1 - share) * getattr(stage.said, field.name) + share * getattr(own, field.name) for field in fields(own)]
    return stage.dub(MouthMotion.of(np.stack(rows, 1)))


def trembling(stage: Stage, size: float) -> Frames:
    """The opening trembles from frame to frame, with this standard deviation of the largest opening."""
    said = stage.said
    noise = size * np.random.default_rng(0).normal(size=len(said))
    moved = np.stack([said.open + noise, said.wide, said.round, said.teeth, said.tongue], 1)
    return stage.dub(MouthMotion.of(moved))


def blurred(stage: Stage, width: float) -> Frames:
    """All inside the mask is blurred by a Gaussian, `width` in pixels of the frame."""
    from scipy.ndimage import gaussian_filter

    return stage.pasted(gaussian_filter(stage.film.real.frames, (0, width, width, 0)))


def tinted(stage: Stage, levels: float) -> Frames:
    """The colour inside the mask is off by so many levels of red, and others of green and blue."""
    return stage.pasted(_shaded(stage.film.real.frames, levels))


def estranged(stage: Stage, share: float) -> Frames:
    """The lower face fades into that of another person who says the same, by this share."""
    motion = stage.said
    other = stage.film.shot.of_stranger(1).draw([motion[number] for number in range(len(motion))]).frames
    mixed = (1 - share) * stage.film.real.frames + share * other
    return stage.pasted(mixed.round().astype(np.uint8))


def spilled(stage: Stage, levels: float) -> Frames:
    """The colour of everything outside the mask is off by so many levels of red, and others of green and blue."""
    return np.where(stage.inside[..., None], stage.film.real.frames, _shaded(stage.film.source.frames, levels))


def _shaded(frames: Frames, levels: float) -> Frames:
    return np.clip(frames + levels * TINT, 0, 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Damage:
    """How a dub is damaged, and its levels; the first is none."""

    title: str
    make: Callable[[Stage, float], Frames]
    levels: tuple[float, ...]
    unit: str


DAMAGES = {
    "frozen": Damage("frozen mouth", frozen, SHARES, "share of the clip"),
    "loudness": Damage("driven by loudness", driven_by_loudness, SHARES, "share"),
    "leaked": Damage("leaked mouth of the source", leaked, SHARES, "share"),
    "trembling": Damage("trembling mouth", trembling, TREMBLES, "of the largest opening"),
    "blurred": Damage("blurred", blurred, BLURS, "pixels"),
    "tinted": Damage("colour shift", tinted, SHADES, "levels"),
    "estranged": Damage("another person's mouth", estranged, SHARES, "share"),
    "spilled": Damage("colour shift outside the mask", spilled, SHADES, "levels"),
}
