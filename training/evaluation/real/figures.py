"""The figures of each clip and the rows of the table over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from keysync.correlation import correlation
from keysync.measure.leak import OPEN

from ...synthetic.measure.metrics import Estimate, bootstrap
from ..row import Row
from .dubs import Dub, Scene
from .looks import Floats

# Lags in seconds at which a dub is compared with its speaker's mouth: clips have offsets of their own.
LAGS = np.arange(-8, 9) / 25
# Fewer frames give no correlation worth the name.
FEWEST = 15


@dataclass(frozen=True, eq=False)
class Take:
    """A scene dubbed with the voice of another, by the voice's name."""

    voice: str
    speaker: Scene
    dub: Dub


@dataclass(frozen=True, eq=False)
class Filmed:
    """All dubs of one clip: with voices, and with silence."""

    scene: Scene
    takes: Sequence[Take]
    silent: Dub


@dataclass(frozen=True)
class Figures:
    """One clip's figures, None where there is nothing to compare; `frames` counts those of all its dubs."""

    clip: str
    frames: int
    wanted_correlation: float | None
    true_correlation: float | None
    source_true_correlation: float | None
    leak: float | None
    wanted_leak: float | None
    lipleak: float | None
    source_lipleak: float | None
    sharpness: float | None
    flicker: float | None
    nose_shift: float | None
    frames_per_second: float
    outside: int

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def lags_of(filmed: Sequence[Filmed], in_sync: Callable[[str], bool]) -> dict[str, float]:
    """Each voice's lag in seconds, positive where its sound is late: the best over all its dubs, 0 if `in_sync`."""
    found: dict[str, float] = {}
    for voice in sorted({take.voice for one in filmed for take in one.takes}):
        table = [[_true(one, take, lag) for lag in LAGS] for one in filmed for take in one.takes if take.voice == voice]
        scores = [_mean(column) for column in zip(*table, strict=True)]
        best = int(np.argmax([-np.inf if score is None else score for score in scores]))
        found[voice] = 0.0 if in_sync(voice) else float(LAGS[best])
    return found


def figures_of(one: Filmed, lags: Mapping[str, float]) -> Figures:
    """The figures of a clip whose voices have these lags."""
    takes, source = one.takes, one.scene.source
    dubs = [*(take.dub for take in takes), one.silent]
    leaks = [_correlation(take.dub.look.opening, source.opening[: take.dub.frames], take.dub) for take in takes]
    chance = [
        _correlation(dub.wanted, source.opening[: dub.frames], dub)
        for dub in (take.dub for take in takes)
        if dub.wanted is not None
    ]
    wanted = [
        _correlation(dub.look.opening, dub.wanted, dub) for dub in (t.dub for t in takes) if dub.wanted is not None
    ]
    return Figures(
        clip=one.scene.clip.name,
        frames=sum(dub.frames for dub in dubs),
        wanted_correlation=_mean(wanted),
        true_correlation=_mean([_true(one, take, lags[take.voice]) for take in takes]),
        source_true_correlation=_mean([_true(one, take, lags[take.voice], source.opening) for take in takes]),
        leak=_mean([None if leak is None else abs(leak) for leak in leaks]),
        wanted_leak=_mean([None if leak is None else abs(leak) for leak in chance]),
        lipleak=_open(one.silent.look.ratio[one.silent.shown]),
        source_lipleak=_open(source.ratio[: one.silent.frames][one.silent.shown]),
        sharpness=_ratio([take.dub.sharpness for take in takes]),
        flicker=_ratio([take.dub.flicker for take in takes]),
        nose_shift=_mean([dub.nose for dub in dubs]),
        frames_per_second=sum(dub.frames for dub in dubs) / sum(dub.seconds for dub in dubs),
        outside=max(dub.outside for dub in dubs),
    )


def rows_of(clips: Sequence[Figures], undubbed: int) -> list[Row]:
    """The table over the clips; the figure itself is held to its bound, since few clips make wide intervals."""

    def row(key: str, title: str, low: float = -np.inf, high: float = np.inf) -> Row:
        values = [getattr(clip, key) for clip in clips]
        return Row(f"real_{key}", title, _estimate(values), low, high, whole_interval=False)

    worst = max((float(clip.outside) for clip in clips), default=0.0)
    return [
        row("wanted_correlation", "opening: correlation with what the system wanted", low=0.93),
        row("true_correlation", "opening: correlation with the speaker's own mouth", low=0.55),
        row("source_true_correlation", "the source's own mouth instead: correlation"),
        row("leak", "opening: absolute correlation with the source's mouth", high=0.2),
        row("wanted_leak", "the same of what the system wanted: by chance"),
        row("lipleak", "LipLeak in silence", high=0.02),
        row("source_lipleak", "LipLeak of the source there"),
        row("sharpness", "sharpness of the mouth over the source's", 0.85, 1.2),
        row("flicker", "flicker of skin around the mouth over the source's", high=1.2),
        row("nose_shift", "shift of the nose, eye distances", high=0.01),
        Row("real_frames_per_second", "frames dubbed per second", _speed(clips), 25.0, whole_interval=False),
        Row("real_outside", "largest change outside the mask", Estimate(worst, worst, worst), 0, 0),
        Row("real_undubbed", "clips that could not be dubbed", Estimate(undubbed, undubbed, undubbed), 0, 0),
    ]


def _true(one: Filmed, take: Take, lag: float, made: Floats | None = None) -> float | None:
    """The correlation of a dub, or of another curve in its place, with the speaker's mouth `lag` seconds before."""
    times, clip = one.scene.clip.times[: take.dub.frames], take.speaker.clip
    own = take.speaker.source.opening
    truth = np.interp(times - lag, clip.times[: len(own)], own, left=np.nan, right=np.nan)
    made = take.dub.look.opening if made is None else made[: take.dub.frames]
    return _correlation(made, truth, take.dub)


def _correlation(made: Floats, other: Floats, dub: Dub) -> float | None:
    usable = dub.shown & np.isfinite(made) & np.isfinite(other)
    return correlation(made[usable], other[usable]) if usable.sum() >= FEWEST else None


def _open(ratios: Floats) -> float | None:
    ratios = ratios[np.isfinite(ratios)]
    return float(np.mean(ratios > OPEN)) if len(ratios) else None


def _ratio(sums: Sequence[tuple[float, float]]) -> float | None:
    made, own = np.sum(sums, axis=0).tolist()
    return made / own if own > 0 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _estimate(values: Sequence[float | None]) -> Estimate | None:
    known = np.array([value for value in values if value is not None])
    return bootstrap(lambda drawn: float(known[drawn].mean()), len(known)) if len(known) else None


def _speed(clips: Sequence[Figures]) -> Estimate | None:
    frames = np.array([float(clip.frames) for clip in clips])
    seconds = frames / np.array([clip.frames_per_second for clip in clips])
    return bootstrap(lambda drawn: float(frames[drawn].sum() / seconds[drawn].sum()), len(clips)) if clips else None
