"""Videos side by side show the same moment of all, with the times, the sound and the tags of the last."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.demo import SPEECH, TALK_OCCLUDED
from keysync.media.audio import open_sound
from keysync.media.comparison import SHADE, TALLEST, WIDEST, panel, tag, write_comparison
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory
from keysync.media.writer import VideoWriter
from keysync.provenance import Provenance

WHITE = 255


def ramp(frames: int, size: tuple[int, int], rate: int = 25) -> FramesInMemory:
    """Grey frames that grow lighter by 20 levels a second."""
    h, w = size
    levels = (40 + 20 * np.arange(frames) // rate).astype(np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (frames, h, w, 3))
    return FramesInMemory("a ramp", pictures, Fraction(rate))


def frames_of(path: Path) -> NDArray[np.uint8]:
    return np.stack([frame for _, frame in VideoReader(path).frames()])


def test_each_half_shows_the_moment_of_the_second_videos_frames(tmp_path: Path) -> None:
    """The first video has 10 frames a second and ends after 2 of 3 seconds: its last frame stays."""
    steps: list[None] = []
    output = tmp_path / "out.mp4"
    write_comparison([ramp(20, (100, 60), 10), ramp(75, (200, 160))], output, step=lambda: steps.append(None))
    made = frames_of(output)
    assert made.shape == (75, 200, 120 + 160, 3)
    assert len(steps) == 75
    frames = np.arange(75)
    left, right = made[:, 150, 60, 0].astype(int), made[:, 150, 200, 0].astype(int)
    assert np.abs(right - (40 + 20 * frames // 25)).max() <= 3
    assert np.abs(left - (40 + 20 * np.minimum(frames * 10 // 25, 19) // 10)).max() <= 3


def test_labels_lie_in_the_corners_and_nothing_else_changes() -> None:
    label = tag("before", 20)
    drawn = panel(np.full((100, 200, 3), WHITE, np.uint8), (100, 200), label)
    assert drawn[0, 0].tolist() == list(SHADE)
    assert drawn[: label.shape[0], : label.shape[1]].min() == SHADE[0]
    assert (drawn[: label.shape[0], : label.shape[1]] == WHITE).any()
    assert (drawn[label.shape[0] :] == WHITE).all()
    assert (drawn[:, label.shape[1] :] == WHITE).all()
    assert panel(np.zeros((8, 8, 3), np.uint8), (8, 8), label).shape == (8, 8, 3)  # a label larger than the picture


def test_large_videos_are_scaled_down(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    write_comparison([ramp(1, (90, 160)), ramp(1, (2 * TALLEST, 1001))], output)
    info = VideoReader(output).info
    assert (info.height, info.width) == (TALLEST, 1920 + 500)


def test_several_videos_share_the_width(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    videos = [ramp(50, (100, 160)), ramp(25, (100, 160), 50), ramp(25, (1080, 1920))]
    write_comparison(videos, output, labels=("source", "first", "second"))
    made = frames_of(output)
    assert len(made) == 25
    height, width = made.shape[1:3]
    assert WIDEST - 6 * 5 < width <= WIDEST + 6
    assert height == pytest.approx(WIDEST / (1.6 + 1.6 + 16 / 9), abs=2)
    middle = height * 2 // 3
    levels = [int(made[-1, middle, round(share * width), 0]) for share in (0.15, 0.5, 0.85)]
    assert levels == pytest.approx([59, 49, 59], abs=3)  # the second one ended after half a second


def test_sound_and_the_mark_of_synthetic_lips_are_kept(tmp_path: Path) -> None:
    dubbed, output = tmp_path / "dubbed.mp4", tmp_path / "out.mp4"
    source = VideoReader(TALK_OCCLUDED)
    with VideoWriter(dubbed, source.info, provenance=Provenance.of("keysync", {"keyframe": "a model"}, {})) as writer:
        for stamp, frame in source.frames():
            writer.write(frame, stamp)
    write_comparison([source, VideoReader(dubbed)], output, sound=open_sound(SPEECH))
    with av.open(str(output)) as made, av.open(str(dubbed)) as marked:
        assert made.metadata["comment"] == marked.metadata["comment"]
        assert "synthetic" in made.metadata["comment"]
        (sound,) = made.streams.audio
        assert float((sound.duration or 0) * (sound.time_base or 0)) == pytest.approx(3.0, abs=0.05)
