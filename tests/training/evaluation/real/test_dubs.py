"""Mouths that are known, dubbed through the library and read from the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

import training.evaluation.real.dubs as dubs_module
from keysync.correlation import correlation
from keysync.face.mesh import MeshReader
from keysync.media.reader import VideoReader
from keysync.media.source import Frame
from keysync.systems.renderer import Look as FaceLook
from keysync.systems.renderer import Surveyor
from training.evaluation.film import Film
from training.evaluation.real.dubs import Dub, Scene, SurveyedOnce, dub, silence

from .players import Player, Redraw, showing


def dubbed(
    scene: Scene, reader: MeshReader, folder: Path, redraw: Redraw | None = None, speech: Scene | None = None
) -> Dub:
    player = Player() if redraw is None else Player(redraw)
    return dub(scene, silence(scene) if speech is None else speech.clip.sound, player, reader, folder)


def ratio(sums: tuple[float, float]) -> float:
    return sums[0] / sums[1]


@pytest.fixture(scope="module")
def same(scene: Scene, reader: MeshReader, tmp_path_factory: pytest.TempPathFactory) -> Dub:
    return dubbed(scene, reader, tmp_path_factory.mktemp("same"))


def test_a_mouth_that_stays_the_sources_leaks(same: Dub, scene: Scene) -> None:
    assert same.shown.all()
    assert same.frames == scene.clip.frames
    assert correlation(same.look.opening, scene.source.opening) > 0.99
    assert same.nose < 0.005
    assert same.outside == 0
    assert same.wanted is None
    assert 0 < same.seconds < 60
    assert ratio(same.flicker) < 1.1


def test_the_true_mouth_follows_its_speaker(
    scene: Scene, speaker: Scene, film: Film, reader: MeshReader, tmp_path: Path
) -> None:
    played = dubbed(scene, reader, tmp_path, showing(scene.clip, film.real.frames), speaker)
    assert correlation(played.look.opening, speaker.source.opening) > 0.95
    assert abs(correlation(played.look.opening, scene.source.opening)) < 0.6
    assert not list(tmp_path.iterdir())


def test_a_blurred_mouth_is_not_sharp_and_a_trembling_one_flickers(
    scene: Scene, same: Dub, reader: MeshReader, tmp_path: Path
) -> None:
    def worse(crop: Tensor, number: int) -> Tensor:
        blurred = torch.from_numpy(gaussian_filter(crop.numpy(), (2, 2, 0)))
        return torch.roll(blurred, 3 * (number % 2), 1)

    found = dubbed(scene, reader, tmp_path, worse)
    assert ratio(found.sharpness) < 0.5 * ratio(same.sharpness)
    assert ratio(found.flicker) > 1.5 * ratio(same.flicker)
    assert found.nose > same.nose + 0.005


def test_the_wanted_opening_is_that_of_the_report(scene: Scene, reader: MeshReader, tmp_path: Path) -> None:
    aims = np.linspace(0, 0.3, scene.clip.frames)
    found = dub(scene, silence(scene), Player(wanted=aims), reader, tmp_path)
    assert found.wanted is not None
    np.testing.assert_array_equal(found.wanted, aims)


def test_a_change_outside_the_mask_is_seen(
    scene: Scene, reader: MeshReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stained(VideoReader):
        def frames(self) -> Iterator[tuple[int, Frame]]:
            for pts, frame in super().frames():
                frame[0, 0, 1] ^= 8
                yield pts, frame

    monkeypatch.setattr(dubs_module, "VideoReader", Stained)
    assert dubbed(scene, reader, tmp_path).outside == 8


def test_a_clip_is_surveyed_once() -> None:
    class Counting(Player):
        surveys = 0

        def survey(self, looks: Iterator[FaceLook], note: Callable[[str], None]) -> Player:
            self.surveys += 1
            return self

    player = Counting()
    once = SurveyedOnce.of(player)
    assert isinstance(once, Surveyor)
    assert once.needs is player.needs
    assert once.survey(iter(()), print) is once.survey(iter(()), print) is player
    assert player.surveys == 1
