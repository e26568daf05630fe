"""Films of a validation clip: frames in a row beside the clip's own, with sound, and how well their mouths follow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.correlation import correlation
from keysync.demo import SPEECH, TALK
from keysync.face.detectors import make_detector
from keysync.face.track import Tracker
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from training.data.preparation.encode import write_sound
from training.run.film import FilmMaker

WINDOW, COUNT = 9, 4
FRAMES = (WINDOW - 1) * COUNT + 1


class Cinema:
    """A VAE of latents (n, 4, 1, 1) that are the numbers of the demo's frames."""

    def __init__(self, frames: np.ndarray[Any, Any]) -> None:
        self._frames = frames

    def decode(self, latents: Tensor) -> Tensor:
        return torch.from_numpy(self._frames[latents[:, 0, 0, 0].int().numpy()]).float() / 255


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> FilmMaker:
    folder = tmp_path_factory.mktemp("film")
    frames = np.stack([frame for (_, frame), _ in zip(VideoReader(TALK).frames(), range(FRAMES), strict=False)])
    tracker, detector = Tracker(), make_detector("mediapipe")
    for frame in frames:
        tracker.follow(frame, detector)
    detector.close()
    landmarks = tracker.finish().landmarks.astype(np.float32)
    write_sound(read_speech(SPEECH)[0], 0, FRAMES, folder, "clip")
    batches = [
        SimpleNamespace(latents=windows(range(number * (WINDOW - 1), number * (WINDOW - 1) + WINDOW)), lost=())
        for number in range(COUNT)
    ]
    given: Any = SimpleNamespace(in_a_row=lambda most: ("clip", batches, 1), landmarks=lambda clip: landmarks)
    shards: Any = SimpleNamespace(
        stored=lambda clip, part: (folder / "clip.flac").read_bytes(), info=SimpleNamespace(spacing=1)
    )
    vae: Any = Cinema(frames)
    return FilmMaker(shards, given, vae)


def windows(frames: Any) -> Tensor:
    return torch.tensor([*frames]).float().reshape(1, -1, 1, 1, 1).expand(-1, -1, 4, -1, -1)


def made(maker: FilmMaker, frames: list[int]) -> tuple[Any, dict[str, float]]:
    starts = range(0, FRAMES - 1, WINDOW - 1)
    return maker.make([windows(frames[start : start + WINDOW]) for start in starts])


def test_a_perfect_film(maker: FilmMaker, tmp_path: Path) -> None:
    film, figures = made(maker, list(range(FRAMES)))
    height, width = maker._own.shape[1:3]
    assert film.frames.shape == (FRAMES, height, 2 * width, 3)
    assert np.array_equal(film.frames[:, :, :width], film.frames[:, :, width:])
    assert figures["mouth_correlation"] == pytest.approx(1)
    assert figures["speech_correlation"] == pytest.approx(correlation(maker._mouth, maker._asked))
    film.write(tmp_path, "step-000002")
    info = VideoReader(tmp_path / "step-000002.mp4").info
    assert (info.width, info.has_audio) == (2 * width, True)
    assert info.duration_seconds == pytest.approx(FRAMES / 25, abs=0.05)
    assert len(film.samples) == pytest.approx(FRAMES * 640, abs=1)


def test_a_mouth_that_does_not_follow(maker: FilmMaker) -> None:
    _, perfect = made(maker, list(range(FRAMES)))
    _, late = made(maker, [max(0, frame - 5) for frame in range(FRAMES)])
    _, still = made(maker, [0] * FRAMES)
    assert late["mouth_correlation"] < perfect["mouth_correlation"] - 0.2
    assert abs(still["mouth_correlation"]) < 0.5
    assert still["speech_correlation"] != perfect["speech_correlation"]


def test_no_mouth_no_figure(maker: FilmMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "_opening", lambda frames: np.full(len(frames), np.nan))
    film, figures = made(maker, list(range(FRAMES)))
    assert (len(film.frames), figures) == (FRAMES, {})
