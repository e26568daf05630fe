"""Videos are measured as files and in memory, alone and beside their source."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.job import FaceSource
from keysync.measuring import measure_video, measure_videos
from keysync.media.source import Frame, FramesInMemory, SoundInMemory
from keysync.method import SAMPLE_RATE
from training.evaluation.film import Film, talk_film

from .clips import Quiet, write_video

FRAMES, SIDE = 60, 160


@pytest.fixture(scope="module")
def film() -> Film:
    return talk_film(0, 0, FRAMES, SIDE)


def in_memory(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], name: str = "the dub") -> FramesInMemory:
    return FramesInMemory(name, frames, Fraction(25))


def speech(film: Film) -> SoundInMemory:
    return SoundInMemory("the speech", film.said.waveform[None], SAMPLE_RATE)


def test_a_dub_is_measured_beside_its_source(film: Film, tmp_path: Path) -> None:
    """The ground truth follows the speech, the source follows other speech: their pictures differ in the mouth."""
    source = write_video(tmp_path / "source.mkv", film.source.frames, lossless=True)
    progress = Quiet()
    dubbed, same = measure_videos(
        [in_memory(film.real.frames), source], speech(film), FaceSource(), progress, source=source
    )
    assert dubbed.figures.frames_seen == same.figures.frames_seen == FRAMES
    assert abs(dubbed.figures.lag_frames or 0) <= 1
    assert (dubbed.figures.correlation or 0) > 0.5 > (same.figures.correlation_without_lag or 0)
    assert same.figures.outside_largest == 0
    assert same.figures.sharpness_over_source == pytest.approx(1)
    assert same.figures.identity == pytest.approx(1, abs=1e-5)
    assert dubbed.figures.seam is not None
    assert progress.parts["reading the mouth"] == [3 * FRAMES, 3 * FRAMES]
    assert progress.parts["following the face"] == [FRAMES, FRAMES]


def test_a_video_alone_has_figures_of_its_own(film: Film) -> None:
    measured = measure_video(in_memory(film.real.frames), speech(film), FaceSource())
    figures = measured.figures
    assert figures.correlation is not None
    assert (figures.seam, figures.identity, figures.outside_block) == (None, None, None)
    assert measured.source is None


def test_what_cannot_be_compared_is_an_error(film: Film) -> None:
    dub, sound = in_memory(film.real.frames), speech(film)
    with pytest.raises(KeySyncError, match="the dub has no sound: name the sound that its mouth should") as no_sound:
        measure_video(dub, None, FaceSource())
    assert no_sound.value.about == "sound"
    small = in_memory(film.source.frames[:, ::2, ::2], "the source")
    with pytest.raises(KeySyncError, match="the dub is 160x160 but the source, its source, is 80x80") as size:
        measure_video(dub, sound, FaceSource(), source=small)
    assert size.value.about == "source"
    short = in_memory(film.source.frames[:40], "the source")
    with pytest.raises(KeySyncError, match="the dub goes on after the 40 frames of the source, its source") as length:
        measure_video(dub, sound, FaceSource(), source=short)
    assert length.value.about == "source"
    with pytest.raises(KeySyncError, match="no face was found in the 3 frames of nothing: nothing to measure"):
        measure_video(in_memory(np.zeros((3, 64, 64, 3), np.uint8), "nothing"), sound, FaceSource())


class Counted(FramesInMemory):
    """Frames that count how many of them are held at once."""

    alive = most = 0

    def frames(self) -> Iterator[tuple[int, Frame]]:
        for stamp, frame in super().frames():
            held = frame.copy()
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)
            weakref.finalize(held, self.gone)
            yield stamp, held

    @staticmethod
    def gone() -> None:
        Counted.alive -= 1


def test_frames_are_not_held(film: Film) -> None:
    dub, source = (Counted("a video", shown.frames, Fraction(25)) for shown in (film.real, film.source))
    measure_video(dub, speech(film), FaceSource(), source=source)
    assert 2 <= Counted.most <= 16


def test_a_dub_may_end_before_its_source(film: Film) -> None:
    source = in_memory(film.source.frames, "the source")
    measured = measure_video(in_memory(film.real.frames[:40]), speech(film), FaceSource(), source=source)
    assert measured.figures.frames == 40
