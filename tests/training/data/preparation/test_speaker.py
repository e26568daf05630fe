"""Lips that speak what is heard score high; other lips, other sound, silence and pauses do not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.detectors import make_detector
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from training.data.preparation.faces import Faces, Grid, follow
from training.data.preparation.speaker import FRAME, LEAST, SPEAKER, agreement, level, load_scorer, spectra

from ....synthetic_face import face_points

Array = NDArray[np.float32]


def talk(seconds: float = 10, seed: int = 0) -> tuple[Array, Array]:
    """Lips that open in words with pauses between, and the sound: louder when they move, brighter when open."""
    random = np.random.default_rng(seed)
    n = round(seconds * 25)
    opening = np.zeros(n)
    start = 0
    while start < n:
        word, pause = (int(random.integers(*span)) for span in ((8, 20), (4, 12)))
        frames = np.arange(min(word, n - start))
        opening[start : start + len(frames)] = 1 - np.cos(2 * np.pi * frames / random.uniform(6, 12))
        start += word + pause
    points = np.tile(face_points((100, 100), 80), (n, 1, 1))
    points[:, 61:64, 0] = points[:, 67:64:-1, 0] = (95, 100, 105)
    points[:, 61:64, 1], points[:, 65:68, 1] = 120 - opening[:, None], 120 + opening[:, None]
    points += random.normal(0, 0.05, points.shape)
    times = np.arange(n * FRAME) / 16_000
    open_now = np.interp(times * 25 - 0.5, np.arange(n), opening)
    speaking = np.interp(times * 25 - 0.5, np.arange(n), (np.convolve(opening, np.ones(5), "same") > 0).astype(float))
    dark, bright = (
        np.sin(2 * np.pi * np.outer(hertz, times)).sum(0) for hertz in ((150, 300, 450), (1200, 2000, 3000))
    )
    sound = speaking * (0.1 * dark + 0.05 * (0.1 + open_now) * bright) + random.normal(0, 1e-3, len(times))
    return points.astype(np.float32), sound.astype(np.float32)


def test_matching_sound_scores_high() -> None:
    for seed in range(4):
        assert agreement(*talk(seed=seed)) > 0.8


def test_other_and_shifted_sound_score_low() -> None:
    points, sound = talk()
    others = [talk(seed=seed)[1] for seed in range(1, 7)]
    shifted = [np.roll(sound, round(16_000 * seconds)) for seconds in (-1.5, -1, 1, 1.5, 2)]
    assert np.mean([agreement(points, other) for other in others + shifted]) < 0.25
    assert max(agreement(points, other) for other in others + shifted) < 0.5


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_sound_may_come_a_little_after_the_lips(frames: int) -> None:
    points, sound = talk()
    assert agreement(points, np.roll(sound, frames * FRAME)) == pytest.approx(agreement(points, sound), abs=0.1)
    assert agreement(points, np.roll(sound, (-3 if frames == 1 else frames + 5) * FRAME)) < 0.7


def test_nothing_to_compare_is_zero() -> None:
    points, sound = talk()
    assert agreement(points, np.zeros_like(sound)) == 0
    assert agreement(np.repeat(points[:1], len(points), 0), sound) == 0
    assert agreement(points, sound[:0]) == 0
    assert agreement(points[:24], sound[: 24 * FRAME]) == 0
    assert agreement(points[:25], sound[: 25 * FRAME]) != 0


def test_it_is_a_number_between_minus_one_and_one_however_large_the_face() -> None:
    points, sound = talk()
    score = agreement(points, sound)
    assert isinstance(score, float)
    assert -1 <= score <= 1
    assert agreement(points * 4 + 1000, sound) == pytest.approx(score, abs=1e-4)
    assert agreement(points, sound * 0.1) == pytest.approx(score, abs=0.05)


def test_a_smile_does_not_count() -> None:
    points, sound = talk()
    smiling = points.copy()
    wider = np.random.default_rng(0).uniform(0, 10, (len(points), 1))
    smiling[:, [61, 67], 0] -= wider
    smiling[:, [63, 65], 0] += wider
    assert agreement(smiling, sound) == pytest.approx(agreement(points, sound), abs=0.02)


def test_a_tail_of_the_sound_may_be_missing_or_too_long() -> None:
    points, sound = talk()
    assert agreement(points, np.append(sound, np.ones(5000, np.float32))) == agreement(points, sound)
    assert agreement(points, sound[:-300]) == pytest.approx(agreement(points, sound), abs=0.05)


def test_spectra_are_those_of_their_frames() -> None:
    sound = np.zeros(10 * FRAME)
    sound[4 * FRAME : 5 * FRAME] = np.sin(2 * np.pi * 1000 * np.arange(FRAME) / 16_000)
    power = spectra(sound, 10)
    assert power.shape == (10, 513)
    assert np.argmax(level(power, (100, 7000), 60)) == 4
    assert np.argmax(power[4]) == 64  # 1000 Hz
    assert (power[:3] == 0).all()
    bounded = level(power, (100, 7000), 20)
    assert bounded.min() >= np.percentile(10 * np.log10(power[:, 7:448].sum(1) + 1e-9), 95) - 20


@pytest.fixture(scope="module")
def talking(media: Path) -> dict[str, tuple[Faces, Array]]:
    """Five seconds of the clips in which a person speaks to us, with their own sound."""
    detector = make_detector("mediapipe")
    found = {}
    for name in ("aniportrait", "latentsync"):
        path = next(media.glob(f"{name}*.mp4"))
        reader = VideoReader(path, duration=5)
        grid = Grid.of(reader.timestamps(), reader.info.time_base, [(0.0, 5.0)])
        faces = follow(reader, grid, detector)
        found[name] = faces, read_speech(path)[0].numpy()[: 5 * 16_000]
    detector.close()
    return found


def test_real_speakers_pass(talking: dict[str, tuple[Faces, Array]]) -> None:
    for faces, sound in talking.values():
        assert agreement(faces.landmarks, sound) > 1.5 * LEAST["agreement"]


def test_most_other_sound_does_not_pass(talking: dict[str, tuple[Faces, Array]], media: Path) -> None:
    sounds = [read_speech(path)[0].numpy() for path in sorted(media.glob("*.wav"))]
    for faces, own in talking.values():
        shifted = [np.roll(own, round(16_000 * seconds)) for seconds in (-2, -1, 0.5, 1, 2)]
        scores = [agreement(faces.landmarks, other) for other in [*sounds, *shifted, own[::-1]]]
        assert max(scores) < agreement(faces.landmarks, own) - 0.1
        assert sum(score >= LEAST["agreement"] for score in scores) <= 2 < len(scores) / 5


def test_a_scorer_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scorer.py").write_text(
        "class Model:\n    @staticmethod\n    def score(landmarks, waveform):\n        return len(landmarks) / 100\n"
        "number = 3\n"
    )
    (tmp_path / "broken_scorer.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("own_scorer", "broken_scorer"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert load_scorer("own_scorer:Model.score")(np.zeros((50, 68, 2)), np.zeros(10)) == 0.5
    with pytest.raises(KeySyncError, match="own_scorer has no function missing"):
        load_scorer("own_scorer:missing")
    with pytest.raises(KeySyncError, match="own_scorer has no function number"):
        load_scorer("own_scorer:number")
    with pytest.raises(KeySyncError, match=r"cannot load the speaker scorer broken_scorer:score.*nothing_of_that_name"):
        load_scorer("broken_scorer:score")
    with pytest.raises(KeySyncError, match=r"cannot load the speaker scorer absent_scorer:score"):
        load_scorer("absent_scorer:score")


@pytest.mark.parametrize("name", ["agree", "module", ":function", "module:", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(KeySyncError, match=r"choose from agreement, .* package\.module:function"):
        load_scorer(name)


def test_every_scorer_has_a_name_and_a_default_limit() -> None:
    assert {name: load_scorer(name) for name in SPEAKER} == SPEAKER
    assert LEAST.keys() == SPEAKER.keys()
