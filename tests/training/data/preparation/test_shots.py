"""Cuts are found where they are, to the frame, and nowhere else."""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError, install_line
from keysync.media.reader import VideoReader
from training.data.preparation.shots import find_shots

from ....clips import picture, write_video


def test_a_video_without_cuts_is_one_shot(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", [picture(number) for number in range(12)])
    (shot,) = find_shots(path).seconds
    assert shot == pytest.approx((0.0, 12 / 25))


def test_a_single_frame_is_one_shot(tmp_path: Path) -> None:
    path = write_video(tmp_path / "frame.mp4", [picture(0)])
    (shot,) = find_shots(path).seconds
    assert shot == pytest.approx((0.0, 1 / 25))


def test_shots_follow_one_another_without_gaps(tmp_path: Path) -> None:
    frames = [picture(number, shot) for shot, length in enumerate((10, 7, 9)) for number in range(length)]
    shots = find_shots(write_video(tmp_path / "three.mp4", frames, rate=Fraction(50))).seconds
    assert [start for start, _ in shots] == pytest.approx([0, 10 / 50, 17 / 50])
    assert [stop for _, stop in shots] == [*(start for start, _ in shots[1:]), pytest.approx(26 / 50)]


def test_seconds_are_those_of_the_timestamps(tmp_path: Path) -> None:
    frames = [picture(number, number // 8) for number in range(16)]
    pts = [40, 41, 42, 47, 48, 49, 50, 60, *range(70, 78)]  # the first is no zero, and the rate changes
    path = write_video(tmp_path / "uneven.mkv", frames, pts=pts, time_base=Fraction(1, 20))
    assert [start for start, _ in find_shots(path).seconds] == pytest.approx([0, 30 / 20], abs=2e-3)


def test_real_cuts(media: Path) -> None:
    path = media / "facerec_hamilton_cuts_mic_profile_multi_640x360_2997.mp4"
    reader = VideoReader(path)
    pts = reader.timestamps()
    times = (pts - pts[0]) * float(reader.info.time_base)
    starts = np.array([start for start, _ in find_shots(path).seconds])
    assert np.searchsorted(times, starts - 1e-6).tolist() == [0, 20, 82, 211]


@pytest.mark.parametrize("clip", ["aniportrait*", "derived_hamilton*", "derived_intel*"])
def test_motion_in_real_clips_is_no_cut(media: Path, clip: str) -> None:
    assert len(find_shots(next(media.glob(clip))).seconds) == 1


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(KeySyncError, match=r"text\.mp4"):
        find_shots(path)


def test_without_scenedetect_the_error_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("scenedetect-headless"))):
        find_shots(tmp_path / "any.mp4")
