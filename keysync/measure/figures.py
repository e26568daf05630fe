"""The figures of one video, and how they are named in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..correlation import correlation
from ..face.mouth import MEASURED
from ..speech.lips_curve import LIPS
from .lag import Lag, find_lag
from .leak import lipleak, threshold_curve
from .sharpness import alike
from .steadiness import trembling

if TYPE_CHECKING:
    from .change import Change
    from .mouths import Mouths
    from .sound import Sound

# What of a mouth is compared with what the sound asks for.
COMPARED = ("opening", "width")

Row = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """A video of n frames, measured: the curves behind the figures, and the figures.

    times (n,) in seconds; `loudness_lag` is the lag behind the level of the sound; `source` and `change` are of the
    source that it is compared with, None without one.
    """

    video: str
    times: Row
    rate: float
    mouths: Mouths
    sound: Sound
    lag: Lag | None
    loudness_lag: Lag | None
    source: Mouths | None = None
    change: Change | None = None

    @classmethod
    def of(
        cls,
        video: str,
        times: Row,
        mouths: Mouths,
        sound: Sound,
        source: Mouths | None = None,
        change: Change | None = None,
    ) -> Measured:
        """Compares mouths at `times` (n,) in seconds with the sound."""
        rate = frame_rate(times)
        asked = sound.lips_at(times)
        shape = [mouths.shape[:, MEASURED.index(name)] for name in COMPARED]
        lag = find_lag(shape, [asked[:, LIPS.index(name)] for name in COMPARED], rate)
        loudness_lag = find_lag([mouths.opening], [sound.loudness_at(times)], rate)
        if sound.silent:
            lag = loudness_lag = None
        return cls(video, times, rate, mouths, sound, lag, loudness_lag, source, change)

    @property
    def figures(self) -> Figures:
        """The figures."""
        silent = self.sound.silent_at(self.times) & self.mouths.seen
        ratios = self.mouths.ratio[silent]
        late = self.lag.frames if self.lag else 0
        asked = self.sound.lips_at(self.times)[:, LIPS.index("opening")]
        loud = self.sound.loudness_at(self.times)
        opening, change, source = self.mouths.opening, self.change, self.source
        jitter = trembling(opening)
        followed, louder = (_shifted(opening, said, late) if self.lag else None for said in (asked, loud))
        return Figures(
            frames=len(self.times),
            frames_seen=int(self.mouths.seen.sum()),
            rate=round(self.rate, 3),
            lag_frames=self.lag.frames if self.lag else None,
            lag_seconds=round(self.lag.frames / self.rate, 3) if self.lag else None,
            lag_confidence=self.lag.confidence if self.lag else None,
            correlation=followed,
            correlation_without_lag=_shifted(opening, asked, 0) if self.lag else None,
            loudness_correlation=louder,
            correlation_over_loudness=_less(followed, louder),
            loudness_lag_frames=self.loudness_lag.frames if self.loudness_lag else None,
            lipleak=lipleak(ratios),
            silent_aspect_ratio=_mean(ratios),
            silent_frames=int(silent.sum()),
            silent_throughout=self.sound.silent,
            aspect_ratio=_mean(self.mouths.ratio),
            jitter=_known(jitter),
            jitter_over_source=_over(jitter, trembling(source.opening[: len(opening)])) if source else None,
            source_correlation=_shifted(opening, source.opening[: len(opening)], 0) if source else None,
            sharpness=_mean(self.mouths.sharpness),
            sharpness_over_source=_over(*alike((opening, self.mouths.sharpness), (source.opening, source.sharpness)))
            if source
            else None,
            seam=change.seam if change else None,
            colour_shift=change.colour_shift if change else None,
            identity=change.identity if change else None,
            outside_largest=change.outside_largest if change else None,
            outside_block=change.outside_block if change else None,
            unchanged_outside=change.unchanged if change else None,
        )

    @property
    def lipleak_curve(self) -> list[float]:
        """LipLeak at each of `leak.THRESHOLDS`; empty without silence."""
        return threshold_curve(self.mouths.ratio[self.sound.silent_at(self.times)])


@dataclass(frozen=True)
class Figures:
    """The figures of a video, None where there is nothing to measure.

    lag_frames: how late the mouth is, negative if early; lag_confidence: how sure that is within a frame, 0..1;
    correlation: that of the opening with the one that the speech asks for, at that lag; loudness_correlation: with
    the loudness instead; lipleak: the share of the `silent_frames` in which the mouth is open; silent_aspect_ratio: the
    mean in them; aspect_ratio: the mean; source_correlation: that of the opening with the source's own;
    jitter: the mean second difference of the opening, in eye distances; sharpness: the mean variance of the Laplacian.
    The others are those of `Change`, or ratios over the source.
    """

    frames: int
    frames_seen: int
    rate: float
    lag_frames: int | None
    lag_seconds: float | None
    lag_confidence: float | None
    correlation: float | None
    correlation_without_lag: float | None
    loudness_correlation: float | None
    correlation_over_loudness: float | None
    loudness_lag_frames: int | None
    lipleak: float | None
    silent_aspect_ratio: float | None
    silent_frames: int
    silent_throughout: bool
    aspect_ratio: float | None
    jitter: float | None
    jitter_over_source: float | None
    source_correlation: float | None
    sharpness: float | None
    sharpness_over_source: float | None
    seam: float | None
    colour_shift: float | None
    identity: float | None
    outside_largest: int | None
    outside_block: float | None
    unchanged_outside: bool | None

    def to_dict(self) -> dict[str, Any]:
        """By name; shares and levels with four digits after the point."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def frame_rate(times: Row) -> float:
    """Frames a second of frames shown at `times` (n,) in seconds; 25 for a single one."""
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 and times[-1] > times[0] else 25.0


def _shifted(mouth: Row, said: Row, lag: int) -> float | None:
    """The correlation of a mouth (n,) that is `lag` frames late with what is said (n,); None where neither is known."""
    late, early = mouth[max(lag, 0) : len(mouth) + min(lag, 0)], said[max(-lag, 0) : len(said) + min(-lag, 0)]
    known = np.isfinite(late) & np.isfinite(early)
    return correlation(late[known], early[known]) if known.sum() > 1 else None


def _mean(values: Row | Sequence[float]) -> float | None:
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _over(value: float, other: float) -> float | None:
    return value / other if np.isfinite(value) and np.isfinite(other) and other > 0 else None
