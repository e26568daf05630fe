from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation.real.dubs import Dub, Scene
from training.evaluation.real.figures import Figures, Filmed, Take, figures_of, lags_of, rows_of

FRAMES = 100
Curve = NDArray[np.float64]


def curve(seed: int) -> Curve:
    smooth = np.convolve(np.random.default_rng(seed).normal(size=FRAMES + 4), np.ones(5) / 5, "valid")
    return np.asarray(0.1 + 0.1 * smooth)


def scene_of(name: str, opening: Curve) -> Scene:
    clip = SimpleNamespace(name=name, times=np.arange(FRAMES) / 25)
    source = SimpleNamespace(opening=opening, ratio=3 * opening)
    return cast("Scene", SimpleNamespace(clip=clip, source=source))


def dub_of(opening: Curve, **other: Any) -> Dub:
    made: Any = SimpleNamespace(opening=opening, ratio=3 * opening)
    shown = np.ones(len(opening), bool)
    plain = Dub(made, shown, None, (1.8, 2.0), (3.0, 2.0), 0.004, 0, 2.0)
    return replace(plain, **other)


def late(opening: Curve, frames: int) -> Curve:
    return np.concatenate([np.full(frames, opening[0]), opening[: len(opening) - frames]])


def filmed(voices: dict[str, Curve], lag: int = 0, **other: Any) -> Filmed:
    scene = scene_of("clip", curve(0))
    takes = [Take(name, scene_of(name, own), dub_of(late(own, lag), **other)) for name, own in voices.items()]
    return Filmed(scene, takes, dub_of(np.full(FRAMES, 0.01), seconds=1.0))


def test_a_voices_lag_is_the_best_of_its_dubs_unless_it_is_known_to_be_none() -> None:
    films = [filmed({"a": curve(1), "b": curve(2)}, lag=3)] * 2
    assert lags_of(films, lambda name: name == "b") == {"a": pytest.approx(0.12), "b": 0.0}


def test_figures_of_a_clip() -> None:
    one = filmed({"a": curve(1), "b": curve(2)}, wanted=curve(1), nose=0.01)
    found = figures_of(one, {"a": 0.0, "b": 0.0})
    assert found.true_correlation == pytest.approx(1)
    assert found.wanted_correlation == pytest.approx((1 + np.corrcoef(curve(1), curve(2))[0, 1]) / 2)
    leaks = [abs(np.corrcoef(curve(0), curve(number))[0, 1]) for number in (1, 2)]
    assert found.leak == pytest.approx(np.mean(leaks))
    assert found.wanted_leak == pytest.approx(leaks[0])
    own = [np.corrcoef(curve(0), curve(number))[0, 1] for number in (1, 2)]
    assert found.source_true_correlation == pytest.approx(np.mean(own))
    assert found.lipleak == 0
    assert found.source_lipleak == pytest.approx(np.mean(3 * curve(0) > 0.25))
    assert (found.sharpness, found.flicker) == (0.9, 1.5)
    assert found.nose_shift == pytest.approx(0.008)
    assert (found.frames, found.frames_per_second) == (300, 60)


def test_frames_that_are_not_dubbed_do_not_count() -> None:
    shown = np.arange(FRAMES) < 60
    opening = np.where(shown, curve(1), 0)
    one = Filmed(
        scene_of("clip", curve(0)), [Take("a", scene_of("a", curve(1)), dub_of(opening, shown=shown))], dub_of(opening)
    )
    assert figures_of(one, {"a": 0.0}).true_correlation == pytest.approx(1)
    few = replace(one.takes[0].dub, shown=np.arange(FRAMES) < 10, sharpness=(0.0, 0.0))
    found = figures_of(replace(one, takes=[replace(one.takes[0], dub=few)]), {"a": 0.0})
    assert found.true_correlation is found.leak is found.sharpness is None


def figures(clip: str, **other: Any) -> Figures:
    plain = Figures(clip, 100, None, 0.6, 0.2, 0.1, 0.1, 0.0, 0.5, 1.0, 1.0, 0.002, 50.0, 0)
    return replace(plain, **other)


def test_rows_hold_the_figure_to_its_bound() -> None:
    clips = [figures("a", true_correlation=0.5), figures("b", true_correlation=0.7, outside=3, frames_per_second=25.0)]
    rows = {row.key: row for row in rows_of(clips, undubbed=1)}
    assert all(key.startswith("real_") for key in rows)
    assert rows["real_true_correlation"].value == pytest.approx(0.6)
    assert rows["real_true_correlation"].holds
    assert rows["real_wanted_correlation"].value is None
    assert rows["real_frames_per_second"].value == pytest.approx(200 / 6)
    assert {key for key, row in rows.items() if not row.holds} == {"real_outside", "real_undubbed"}
    assert rows["real_outside"].value == 3
