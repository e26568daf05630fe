"""What a LoRA of one person gains: the beginning of a clip, and the region that is compared."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.face.track import from_landmarks
from keysync.media.audio import read_speech
from keysync.media.info import PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.source import Frame, FramesInMemory
from keysync.media.writer import VideoWriter
from keysync.systems.keysync.small import SMALL
from training.person import config_of, first_seconds, main, psnr, settings_of

from ..clips import picture, write_speech
from ..synthetic_face import face_points

SIZE = (96, 96)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Three seconds with sound."""
    speech = write_speech(tmp_path / "speech.wav", 3.0)
    frames = [picture(number, 0) for number in range(75)]
    like = PictureFormat(frames[0].shape[1], frames[0].shape[0], Fraction(1, 25), Fraction(25))
    with VideoWriter(tmp_path / "talk.mp4", like, audio=speech) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number)
    return tmp_path / "talk.mp4"


def test_the_beginning_of_a_clip_is_copied(talk: Path, tmp_path: Path) -> None:
    begin = first_seconds(talk, 1.6, tmp_path / "begin.mp4")
    whole, held = VideoReader(talk), VideoReader(begin)
    frames = [frame for _, frame in held.frames()]
    assert len(frames) == 40
    # The last ones may refer to frames after them.
    assert all(np.array_equal(ours, true) for ours, (_, true) in zip(frames[:30], whole.frames(), strict=False))
    assert read_speech(begin)[1] == pytest.approx(1.6, abs=0.1)
    with pytest.raises(KeySyncError, match=r"talk.mp4 has 3.0 s: expected more than 3.5, or choose fewer --seconds"):
        first_seconds(talk, 2.5, tmp_path / "begin.mp4")


def test_only_the_mouth_is_compared() -> None:
    points = face_points((48.0, 48.0), 60.0).astype(np.float32)
    track = from_landmarks([points, None], SIZE, [0, 0])
    true = [np.full((*SIZE, 3), 100, np.uint8) for _ in range(2)]
    elsewhere = [frame.copy() for frame in true]
    elsewhere[0][:20] = 0  # the forehead
    elsewhere[1][:] = 0  # no face there
    mouth = [frame + np.uint8(10) for frame in elsewhere]

    def clip(frames: list[Frame]) -> FramesInMemory:
        return FramesInMemory("clip", np.stack(frames), Fraction(25))

    assert psnr(clip(true), clip(mouth), track) == pytest.approx(20 * np.log10(255 / 10))
    with np.errstate(divide="ignore"):
        assert psnr(clip(true), clip(elsewhere), track) == np.inf


def test_settings_are_those_of_the_model(tmp_path: Path) -> None:
    config = config_of({"steps": "5", "lora-rank": "4"})
    assert (config.start, config.trainable, config.steps, config.lora_rank) == (str(SMALL["keyframe"]), "lora", 5, 4)
    settings = settings_of(config, tmp_path)
    assert (settings.resolution, settings.crop_scale) == (config.resolution, 1.4)


def test_errors_in_one_line(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(talk), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"person: error: {talk} has 3.0 s: expected more than 8")
