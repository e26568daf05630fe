"""Several speakers: who says what, when each is heard, one soundtrack, and frames without speech as in the source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.cli import main
from keysync.demo import SPEECH
from keysync.errors import KeySyncError
from keysync.face.track import FaceChoice
from keysync.media.mix import Gated, Mix
from keysync.media.reader import VideoReader
from keysync.media.source import SoundInMemory
from keysync.speakers import heard_parts, read_speaker
from keysync.who import read_choice

from .conftest import ROOT

TWO = ROOT / "keysync" / "assets" / "talk_two.mp4"


def test_a_speaker_is_a_sound_with_parts_and_a_face(tmp_path: Path) -> None:
    speaker = read_speaker("a.wav@0-4.5, 7-9:face=1")
    assert (speaker.sound, speaker.parts) == (Path("a.wav"), ((0.0, 4.5), (7.0, 9.0)))
    assert speaker.choice == FaceChoice(1, kept=True)
    assert read_speaker("C:\\a.wav:face=320,180").choice == FaceChoice(point=(320.0, 180.0), kept=True)
    picture = tmp_path / "anna.png"
    picture.touch()
    assert read_choice(str(picture)).picture == picture
    assert read_choice("speaking").speaking


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.wav", "'a.wav' is not a speaker: expected SOUND:face=WHO"),
        ("a.wav@5-2:face=1", "'5-2' in 'a.wav@5-2:face=1' is not a part: expected START-STOP"),
        ("a.wav:face=anna.png", "'anna.png' is not a face and no such file exists"),
    ],
)
def test_a_speaker_that_cannot_be_read_is_an_error(text: str, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        read_speaker(text)


def test_a_voice_is_heard_with_its_short_pauses() -> None:
    seconds = torch.arange(16_000 * 6) / 16_000
    spoken = sum(
        ((start <= seconds) & (seconds < stop)).float() for start, stop in ((1.0, 2.0), (2.5, 3.0), (5.0, 5.5))
    )
    voice = 0.3 * torch.sin(2 * torch.pi * 440 * seconds) * spoken
    assert [tuple(round(at, 1) for at in part) for part in heard_parts(voice)] == [(0.8, 3.2), (4.8, 5.7)]
    assert heard_parts(torch.zeros(16_000)) == ()


def sound(value: float, seconds: float, rate: int, channels: int = 1) -> SoundInMemory:
    return SoundInMemory(f"sound {value}", np.full((channels, round(seconds * rate)), value, np.float32), rate)


def test_a_mix_is_the_sum_of_its_sounds_as_long_as_the_longest() -> None:
    mix = Mix([Gated(sound(0.25, 2, 16_000), ((0.5, 1.0),)), sound(0.5, 1, 48_000, 2)])
    samples = np.concatenate([*mix.blocks()], 1)
    assert (mix.rate, samples.shape) == (48_000, (2, 96_000))
    np.testing.assert_allclose(samples[:, 10_000], 0.5, atol=1e-3)
    np.testing.assert_allclose(samples[:, 36_000], 0.75, atol=1e-3)
    np.testing.assert_allclose(samples[:, 60_000], 0, atol=1e-3)
    assert mix.notes == []


def test_voices_that_are_too_loud_together_are_noted() -> None:
    mix = Mix([sound(0.7, 1, 16_000), sound(0.7, 1, 16_000)])
    assert np.concatenate([*mix.blocks()], 1).max() == 1
    assert mix.notes == ["the voices together are too loud: 16000 samples are cut off; lower one of them"]


def test_a_gated_sound_lasts_as_long_as_it_should() -> None:
    for seconds in (0.5, 3.0):
        blocks = Gated(sound(0.2, 1, 16_000), None, seconds).blocks()
        assert sum(block.shape[1] for block in blocks) == round(seconds * 16_000)


def test_two_speakers_on_the_command_line(tmp_path: Path) -> None:
    """Each is dubbed only while their voice is heard; every other pixel of every frame stays as it was."""
    output, report = tmp_path / "out.mkv", tmp_path / "report.json"
    speakers = [f"{SPEECH}@0-1.2:face=0", f"{SPEECH}@2-3:face=1"]
    options = ["--system", "rewrite", "--lossless", "-o", str(output), "--report", str(report)]
    assert main(["dub", str(TWO), "--speaker", speakers[0], "--speaker", speakers[1], *options]) == 0
    before, after = ([frame for _, frame in VideoReader(path).frames()] for path in (TWO, output))
    changed = np.array([(one != other).any(-1).any(0) for one, other in zip(before, after, strict=True)])
    middle = changed.shape[1] // 2
    assert changed[:30, :middle].any(1).mean() > 0.8
    assert not changed[:30, middle:].any()
    assert changed[50:75, middle:].any(1).mean() > 0.8
    assert not changed[50:75, :middle].any()
    assert not changed[31:49].any()
    assert not changed[76:].any()
    told = json.loads(report.read_text())
    assert [one["face"] for one in told["speakers"]] == ["0", "1"]
    assert "no one speaks" in {part["reason"] for part in told["ranges"]}


def test_speech_is_given_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dub", str(TWO), "-o", str(tmp_path / "out.mp4")]) == 1
    assert "the speech is missing or given twice" in capsys.readouterr().err
    assert main(["dub", str(TWO), str(SPEECH), "--speaker", f"{SPEECH}:face=0", "-o", str(tmp_path / "out.mp4")]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speaker", f"{SPEECH}:face=0", "--face", "1"], "--face has no effect with --speaker"),
        (["--speaker", f"{SPEECH}:face=0", "--cache", "kept"], "a cache has no effect on several speakers"),
        ([str(SPEECH), "--face", "everyone", "--cache", "kept"], "a cache has no effect on several speakers"),
    ],
)
def test_options_without_an_effect_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dub", str(TWO), *options, "-o", str(tmp_path / "out.mp4")]) == 1
    assert message in capsys.readouterr().err


def test_one_person_is_not_two_speakers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--speaker", f"{SPEECH}:face=0", "--speaker", f"{SPEECH}:face=0"]
    assert main(["dub", str(TWO), *both, "--system", "rewrite", "-o", str(tmp_path / "out.mp4")]) == 1
    assert "the speakers 1 (0) and 2 (0) are the same person in the video" in capsys.readouterr().err
