from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from tests.clips import picture, write_video
from training.evaluation.film import Film
from training.evaluation.real.clips import RealClip, read_clips

from .players import FRAMES, write_clip


def test_a_clip_has_a_face_and_the_sound_of_its_first_seconds(folder: Path) -> None:
    clip = RealClip.read(folder / "first.mkv", 1.2)
    assert (clip.name, clip.frames, len(clip.sound)) == ("first.mkv", 30, 19_200)
    assert len(list(clip.pictures())) == 30
    assert len(clip.times) == len(clip.track.found) == FRAMES
    np.testing.assert_allclose(clip.times[:3], [0, 0.04, 0.08])


def test_files_that_are_no_talking_clips_are_named(folder: Path) -> None:
    clips, left_out = read_clips([folder], 4.0)
    assert [clip.name for clip in clips] == ["first.mkv", "second.mkv"]
    assert left_out.keys() == {"notes.txt"}


def test_no_sound_no_face_and_a_moment_are_no_clip(film: Film, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"silent.mp4 has no audio track"):
        RealClip.read(write_video(tmp_path / "silent.mp4", film.source.frames[:3]), 4.0)
    pictures = np.stack([picture(number) for number in range(30)])
    with pytest.raises(KeySyncError, match=r"no face was found in the 30 frames of scenery.mkv"):
        RealClip.read(write_clip(tmp_path / "scenery.mkv", pictures, film.said), 4.0)
    with pytest.raises(KeySyncError, match=r"short.mkv shows a face in 20 of its first 20 frames: expected 25"):
        RealClip.read(write_clip(tmp_path / "short.mkv", film.source.frames[:20], film.said), 4.0)


def test_one_clip_cannot_speak_for_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "first.mkv").write_bytes((folder / "first.mkv").read_bytes())
    with pytest.raises(KeySyncError, match=r"^1 talking clips in .*: expected at least 2"):
        read_clips([tmp_path], 4.0)
    with pytest.raises(KeySyncError, match="is not a folder"):
        read_clips([tmp_path / "first.mkv"], 4.0)
