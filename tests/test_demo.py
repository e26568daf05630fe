"""The demo's own clip: a face that the offline detector finds, and speech to go with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import keysync.cli
from keysync.cli import main
from keysync.demo import PORTRAIT, SPEECH, portrait_frames, write_demo_video
from keysync.landmarks import make_detector
from keysync.media import VideoReader, read_speech
from keysync.small import BUILT_IN

from .clips import CheapStages


def test_the_portrait_moves_a_little_from_frame_to_frame() -> None:
    frames = np.stack(list(portrait_frames(40))).astype(int)
    assert frames.shape == (40, 384, 384, 3)
    change = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert change.min() > 0.2
    assert change.max() < 8
    assert np.abs(frames[-1] - frames[0]).mean() > 4


def test_portrait_and_speech_ship_with_the_package() -> None:
    assert PORTRAIT.is_file()
    waveform, seconds = read_speech(SPEECH)
    assert 2 < seconds < 20
    assert waveform.abs().max() > 0.1


def test_the_video_is_as_long_as_asked(tmp_path: Path) -> None:
    reader = VideoReader(write_demo_video(tmp_path / "portrait.mp4", 0.8))
    assert (reader.info.width, reader.info.height, reader.info.rate) == (384, 384, 25)
    assert len(reader.timestamps()) == 20


def test_the_detector_finds_the_face_in_every_frame(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason='the detector mediapipe is not installed: pip install "keysync[mediapipe]"')
    reader = VideoReader(write_demo_video(tmp_path / "portrait.mp4", 5.0))
    detector = make_detector("mediapipe")
    found = [len(detector.detect(frame)) for number, (_, frame) in enumerate(reader.frames()) if number % 5 == 0]
    detector.close()
    assert found == [1] * 25


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A second of the demo, the network stood in for."""
    pytest.importorskip("mediapipe", reason='the detector mediapipe is not installed: pip install "keysync[mediapipe]"')
    CheapStages().install(monkeypatch)
    monkeypatch.setattr(keysync.cli, "write_demo_video", lambda path: write_demo_video(path, 1.0))
    output, report = tmp_path / "demo.mp4", tmp_path / "demo.json"
    assert main(["demo", "-o", str(output), "--report", str(report)]) == 0
    said = capsys.readouterr().out
    assert f"keysync: {BUILT_IN}: keyframe, interpolation, vae, hubert;" in said
    assert "25 frames dubbed, 0 passed through unchanged" in said
    assert json.loads(report.read_text())["ranges"][0]["reason"] == "face found"
    assert len(VideoReader(output).timestamps()) == 25
    assert read_speech(output)[0].abs().max() > 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "demo.mp4"]
