"""The demo's own clip and speech, and the command that dubs them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.cli import main
from keysync.demo import SPEECH, TALK, TALK_TWO
from keysync.face.detectors import make_detector
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.systems.keysync.small import BUILT_IN

from .clips import CheapStages


def test_clip_and_speech_ship_with_the_package_and_last_as_long() -> None:
    reader = VideoReader(TALK)
    assert (reader.info.width, reader.info.height, reader.info.rate) == (320, 320, Fraction(25))
    waveform, seconds = read_speech(SPEECH)
    assert 5 < seconds < 12
    assert len(reader.timestamps()) == round(25 * seconds)
    assert waveform.abs().max() > 0.1
    assert TALK.stat().st_size + SPEECH.stat().st_size < 1e6


def test_the_speech_has_a_pause_in_which_the_mouth_can_close() -> None:
    waveform, _ = read_speech(SPEECH)
    frames = waveform[: len(waveform) // 640 * 640].reshape(-1, 640)
    quiet = "".join("q" if loud < 1e-3 else "l" for loud in frames.abs().amax(1).tolist())
    assert "q" * 20 in quiet.strip("q")


def test_the_detector_finds_the_face_and_nothing_else() -> None:
    detector = make_detector("mediapipe")
    frames = [frame for number, (_, frame) in enumerate(VideoReader(TALK).frames()) if number % 8 == 0]
    found = [len(detector.detect(np.asarray(frame))) for frame in frames]
    detector.close()
    assert max(found) == 1
    assert sum(found) >= len(frames) - 1, "one that is missed is bridged"


def test_the_left_one_of_two_people_is_the_larger_in_every_frame() -> None:
    """So face_index means the same person in a second dub, after the first."""
    detector = make_detector("mediapipe")
    frames = [frame for number, (_, frame) in enumerate(VideoReader(TALK_TWO).frames()) if number % 10 == 0]
    found = [detector.detect(np.asarray(frame)) for frame in frames]
    detector.close()
    assert len(frames) == 10
    for faces in found:
        left, right = sorted((face.landmarks for face in faces), key=lambda points: points[:, 0].mean())
        assert np.ptp(left[:, 1]) > 1.15 * np.ptp(right[:, 1])


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The network stood in for."""
    CheapStages().install(monkeypatch)
    output, report = tmp_path / "demo.mp4", tmp_path / "demo.json"
    assert main(["demo", "-o", str(output), "--report", str(report)]) == 0
    said = capsys.readouterr().out
    assert f"keysync: {BUILT_IN}: keyframe, interpolation, vae, hubert;" in said
    frames = len(VideoReader(TALK).timestamps())
    assert f"{frames} frames dubbed, 0 passed through unchanged" in said
    assert json.loads(report.read_text())["ranges"][0]["reason"] == "face found"
    assert len(VideoReader(output).timestamps()) == frames
    assert read_speech(output)[0].abs().max() > 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "demo.mp4"]
