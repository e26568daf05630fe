"""Who is dubbed, from the command line to the pixels: two rendered people in two shots, who speak in turn.

Who is not dubbed stays as in the source, bit for bit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from keysync.cli import main
from keysync.demo import SPEECH
from keysync.media.info import PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.source import SoundInMemory
from keysync.media.writer import VideoWriter
from training.data.preparation.encode import write_sound
from training.synthetic.render.identity import Identity
from training.synthetic.render.motion import Take
from training.synthetic.render.portrait import Portrait
from training.synthetic.render.scene import Actor, Scene, framed
from training.synthetic.voice.speech import Utterance, Voice, joined, say, silence

SIZE = (176, 312)
HALF = SIZE[1] // 2
# Who is on the left in the first shot; after the cut they have changed sides.
HER, HIM = (1 << 30) + 16, (1 << 30) + 17
SIDES = ((0.26, 0.48, 0.85), (0.74, 0.48, 0.85))
# Frames of each shot. In both, she speaks in the first half and he in the second one.
SHOT = 100
TURN = SHOT // 2
VOICES = {HER: Voice("en-gb-x-rp", "f3", pitch=55, rate=150), HIM: Voice("en-us", "m3", pitch=35, rate=140)}
SAID = {
    HER: ("We open all the windows now and look around.", "No one was ever there before us."),
    HIM: ("Maybe my father has gone home already.", "You told me all about it yesterday."),
}
FRAMES = 2 * SHOT


@dataclass(frozen=True)
class Clip:
    """A video with its own sound; where a frame shows her and him, as slices of its columns; and a picture of each."""

    video: Path
    pictures: dict[int, Path]

    @staticmethod
    def columns(person: int, frame: int) -> slice:
        left = (person == HER) == (frame < SHOT)
        return slice(0, HALF) if left else slice(HALF, SIZE[1])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("two")
    said = {person: spoken(person) for person in VOICES}
    sound = SoundInMemory("both", np.sum([voice.waveform for voice in said.values()], 0, keepdims=True), 16_000)
    video = folder / "two.mp4"
    like = PictureFormat(SIZE[1], SIZE[0], Fraction(1, 25), Fraction(25))
    portraits = {person: Portrait(Identity.sample(np.random.default_rng((person, 0)))) for person in VOICES}
    mouths = {person: voice.mouth((np.arange(FRAMES) + 0.5) / 25) for person, voice in said.items()}
    with VideoWriter(video, like, audio=sound, seconds=FRAMES / 25) as writer:
        for number, people in enumerate(((HER, HIM), (HIM, HER))):
            rng = np.random.default_rng((7, number))
            actors = [
                Actor(portraits[person], framed(SIZE, *place), Take.sample(rng, SHOT, 0.5))
                for person, place in zip(people, SIDES, strict=True)
            ]
            shot = Scene(rng, SIZE, tuple(actors))
            for frame in range(SHOT):
                at = number * SHOT + frame
                writer.write(shot.render(frame, tuple(mouths[person][at] for person in people)).picture, at)
    pictures = {}
    for person in VOICES:
        rng = np.random.default_rng((person, 9))
        scene = Scene(rng, (256, 256), (Actor(portraits[person], framed((256, 256)), Take.sample(rng, 1)),))
        pictures[person] = folder / f"{person}.png"
        Image.fromarray(scene.render(0, ()).picture).save(pictures[person])
    return Clip(video, pictures)


def spoken(person: int) -> Utterance:
    """What a person says in the video itself: in their half of each shot."""
    speech = silence(0.0)
    for number, text in enumerate(SAID[person]):
        start = (number * SHOT + (TURN if person == HIM else 0)) / 25
        speech = joined([speech, silence(start - speech.seconds), say(text, VOICES[person]).cut(0.0, TURN / 25)])
    return joined([speech, silence(FRAMES / 25)]).cut(0.0, FRAMES / 25)


def dub(clip: Clip, folder: Path, *words: str | Path) -> tuple[dict[int, NDArray[np.bool_]], dict[str, Any]]:
    """Whether a pixel of each person's half of each frame (n,) is changed by a dub, and its report."""
    output, report = folder / "out.mkv", folder / "report.json"
    options = ["--system", "rewrite", "--sync-mode", "silence", "--lossless"]
    line = ["dub", clip.video, *words, *options, "-o", output, "--report", report]
    assert main([str(word) for word in line]) == 0
    before, after = ([frame for _, frame in VideoReader(path).frames()] for path in (clip.video, output))
    assert len(before) == len(after) == FRAMES
    differs = [(one != other).any(-1).any(0) for one, other in zip(before, after, strict=True)]
    changed = {
        person: np.array([columns[clip.columns(person, frame)].any() for frame, columns in enumerate(differs)])
        for person in VOICES
    }
    return changed, json.loads(report.read_text())


def parts(*turns: int) -> NDArray[np.bool_]:
    """The frames (n,) of these turns: 0 and 2 are hers, 1 and 3 his."""
    return np.isin(np.arange(FRAMES) // TURN, turns)


def test_the_person_in_a_picture_is_dubbed_through_the_cut(clip: Clip, tmp_path: Path) -> None:
    changed, report = dub(clip, tmp_path, long_speech(tmp_path), "--face", clip.pictures[HIM])
    assert not changed[HER].any()
    for shot in (slice(0, SHOT), slice(SHOT, FRAMES)):
        assert changed[HIM][shot].mean() > 0.9
    assert report["frames"] == FRAMES


def test_everyone_is_dubbed_while_they_speak_in_the_video_itself(clip: Clip, tmp_path: Path) -> None:
    changed, report = dub(clip, tmp_path, long_speech(tmp_path), "--face", "everyone")
    assert not (changed[HER] & changed[HIM]).any(), "no one is dubbed while another one speaks"
    for person, own, others in ((HER, parts(0, 2), parts(1, 3)), (HIM, parts(1, 3), parts(0, 2))):
        # Who speaks is told in steps of half a second: a turn may begin or end so much too early or late.
        assert changed[person][own].mean() > 0.7
        assert changed[person][others].mean() < 0.3
        assert not changed[person][inner(others)].any()
    assert [one["face"] for one in report["speakers"]] == ["speaker 1", "speaker 2"]


def test_two_speakers_by_their_pictures_each_with_a_voice(clip: Clip, tmp_path: Path) -> None:
    """She has the speech before the cut and he the one after it."""
    hers, his = f"{SPEECH}@0-2.4:face={clip.pictures[HER]}", f"{long_speech(tmp_path)}@4.4-7:face={clip.pictures[HIM]}"
    changed, report = dub(clip, tmp_path, "--speaker", hers, "--speaker", his)
    frames = np.arange(FRAMES)
    for person, start, stop in ((HER, 0, 60), (HIM, 110, 175)):
        assert changed[person][(frames >= start) & (frames < stop)].mean() > 0.8
        assert not changed[person][(frames < start) | (frames >= stop)].any()
    assert [one["dubbed"] for one in report["speakers"]] == [60, 65]


def inner(frames: NDArray[np.bool_], margin: int = 14) -> NDArray[np.bool_]:
    """These frames without those so close to any other."""
    distance = np.abs(np.arange(len(frames))[:, None] - np.flatnonzero(~frames)).min(1)
    close: NDArray[np.bool_] = distance <= margin
    return frames & ~close


def long_speech(folder: Path) -> Path:
    """A speech as long as the clip."""
    text = "You never said how long we should wait. They may as well go home, for all I know, before the morning comes."
    voice = joined([say(text, Voice("en", "m7")), silence(FRAMES / 25)]).cut(0.0, FRAMES / 25)
    write_sound(torch.from_numpy(voice.waveform), 0, FRAMES, folder, "speech")
    return folder / "speech.flac"
