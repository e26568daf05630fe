"""The figures of the lips reader, on curves and a film whose truth is known."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.assets import ASSETS
from keysync.demo import SPEECH, TALK
from keysync.errors import KeySyncError
from keysync.media.audio import read_speech
from keysync.speech.encoders import load_encoder
from keysync.speech.lips import load_lips
from keysync.speech.whisper import WEIGHTS
from training.small.lips import figures
from training.small.lips.clips import Clip, find_clips, read_clip
from training.small.lips.figures import Lips, best_lag, correlation, of_clip, of_shots, of_silence, report

from ....clips import picture, write_speech, write_video


@pytest.fixture(scope="module")
def lips() -> Lips:
    return Lips(load_encoder("whisper", WEIGHTS), load_lips())


def test_correlation_where_both_are_known() -> None:
    curve = np.sin(np.arange(20.0))
    broken = np.where(np.arange(20) == 7, np.nan, 2 * curve)
    assert correlation(curve, broken) == pytest.approx(1)
    assert math.isnan(correlation(curve[:9], curve[:9]))
    assert math.isnan(correlation(curve, np.ones(20)))


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_a_truth_that_is_late_has_that_lag(late: int) -> None:
    curve = np.random.default_rng(0).standard_normal(100)
    best, lag = best_lag(np.roll(curve, late), curve, 8)
    assert best == pytest.approx(1)
    assert lag == late


def test_what_is_read_agrees_with_itself(lips: Lips) -> None:
    speech, _ = read_speech(ASSETS / "speech.flac")
    times = np.arange(140) / 25
    mouth = lips.read(speech.numpy(), times)[:, :4]
    found = of_clip(lips, Clip("itself", times, 0.1 + 0.2 * mouth, np.zeros(140, int), speech.numpy()))
    for channel in ("opening", "width", "roundness", "jaw"):
        assert found[channel] == found[f"{channel}_best"] == pytest.approx(1)
        assert found[f"{channel}_lag_ms"] == 0
    assert 0.2 < found["loudness"] < 0.9


def test_shots_in_which_others_are_seen(lips: Lips) -> None:
    speech, _ = read_speech(ASSETS / "speech.flac")
    times = np.arange(140) / 25
    mouth = lips.read(speech.numpy(), times)[:, :4]
    mouth[60:110] = np.random.default_rng(0).random((50, 4))  # a listener
    mouth[110:120] = np.nan
    shots = np.repeat([0, 1, 2], [60, 50, 30])
    found = of_shots(lips, Clip("three", times, mouth, shots, speech.numpy()))
    assert list(found) == ["0.0 to 2.4 s", "2.4 to 4.4 s"]  # 20 frames of the last have a mouth
    speaker, listener = found.values()
    assert (speaker["opening_best"], speaker["opening_lag_ms"], speaker["seen"]) == pytest.approx((1, 0, 1))
    assert listener["opening_best"] < 0.5


def test_silence_is_closed(lips: Lips) -> None:
    assert max(of_silence(lips).values()) <= 0.05


def test_voices_never_heard(lips: Lips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "CONDITIONS", {"clean": figures.CONDITIONS["clean"]})
    found = figures.of_voices(lips, 2)["clean"]
    assert found["opening"] > 0.85
    assert found["width"] > 0.75


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's person, with the demo's speech as its sound."""
    path = tmp_path_factory.mktemp("film") / "talk.mkv"
    with av.open(str(path), "w") as output, av.open(str(TALK)) as video, av.open(str(SPEECH)) as sound:
        streams = {source: output.add_stream_from_template(source.streams[0]) for source in (video, sound)}
        for source, stream in streams.items():
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
    return path


def test_a_clip_is_measured(film: Path) -> None:
    clip = read_clip(film)
    assert clip.mouth.shape == (len(clip.times), 4)
    assert clip.times[:2].tolist() == pytest.approx([0, 0.04])
    assert np.isfinite(clip.mouth).all()
    assert clip.mouth[:, 0].std() > 0.01


def test_the_command(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_video(folder / "mute.mp4", [picture(number) for number in range(3)])
    (folder / "talk.mkv").symlink_to(film)
    write_speech(folder / "no video.wav", 0.1)
    assert [file.name for file in find_clips(folder)] == ["mute.mp4", "talk.mkv"]
    monkeypatch.setattr(figures, "CONDITIONS", {})
    target = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["figures", "--real", str(folder), "--talks", "0", "--json", str(target)])
    assert figures.main() == 0
    printed, found = capsys.readouterr().out, json.loads(target.read_text())
    assert "mute.mp4" in found["left out"]
    assert "no audio track" in printed
    assert found["mean of real clips"] == found["real clips"]["talk.mkv"]
    assert found["shots"] == {}


def test_a_folder_without_clips(lips: Lips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "CONDITIONS", {})
    with pytest.raises(KeySyncError, match="has no clips of people talking"):
        report(lips, tmp_path, 0)
