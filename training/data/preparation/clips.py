"""Clips of a video: ranges [start, stop) of its 25 fps grid with one face in one shot; and what is discarded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keysync.method import NETWORK_RATE

from .faces import Faces
from .settings import WINDOW
from .stage import Discard, Losses
from .videos import Range

NO_FACE = "no face"
TOO_SHORT = "too short"
SOUND_ENDS = "the sound ends"
Limits = Mapping[str, tuple[float, str]]


@dataclass(frozen=True)
class Clips:
    """Clips of a video, and the losses."""

    ranges: tuple[Range, ...]
    lost: Losses

    def __post_init__(self) -> None:
        """Raises `Discard` if there is no clip."""
        if not self.ranges:
            raise Discard(self.lost)


def find_clips(faces: Faces, frames_of_sound: int) -> Clips:
    """The clips of at least a window with a face and sound throughout. Raises `Discard` if there is none."""
    frames, found = len(faces.source), int(faces.found.sum())
    runs = faces.runs(WINDOW)
    heard = [(start, min(stop, frames_of_sound)) for start, stop in runs]
    ranges = tuple((start, stop) for start, stop in heard if stop - start >= WINDOW)
    lost = {
        NO_FACE: (frames - found, f"{frames - found} of {frames} frames"),
        TOO_SHORT: (found - count(runs), f"visible for less than {WINDOW} frames ({WINDOW / NETWORK_RATE} s)"),
        SOUND_ENDS: (count(runs) - count(ranges), f"after {frames_of_sound / NETWORK_RATE:.2f} s"),
    }
    return Clips(ranges, {reason: (held / NETWORK_RATE, why) for reason, (held, why) in lost.items() if held})


def select(ranges: Sequence[Range], scores: Mapping[str, Sequence[float]], limits: Limits) -> Clips:
    """The clips whose scores all reach their limits: the least score, and the reason for discarding other clips.

    `scores` are in the order of the clips. Raises `Discard` if none is left.
    """
    kept, lost = list(ranges), {}
    for name, (least, reason) in limits.items():
        score = dict(zip(ranges, scores[name], strict=True))
        poor = [clip for clip in kept if not score[clip] >= least]  # NaN fails
        kept = [clip for clip in kept if clip not in poor]
        if poor:
            worst, best = (f"{end(score[clip] for clip in poor):.3g}" for end in (min, max))
            scored = worst if worst == best else f"{worst} to {best}"
            why = f"{len(poor)} of {len(ranges)} clips: {name} {scored}, expected at least {least:.3g}"
            lost[reason] = (count(poor) / NETWORK_RATE, why)
    return Clips(tuple(kept), lost)


def count(ranges: Sequence[Range]) -> int:
    """The frames in ranges."""
    return sum(stop - start for start, stop in ranges)
