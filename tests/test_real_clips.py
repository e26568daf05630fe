"""Real clips and speech, where they are at hand: faces, cuts, rates and timestamps; the network is stood in for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import keysync.job
from keysync.dub import Settings
from keysync.face.track import FaceTrack
from keysync.job import FaceSource, dub_file
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.report import DUBBED, PASSED_THROUGH
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.sampling import Sampling

from .clips import CheapStages, CheapVAE, Quiet, read_frames


@dataclass(frozen=True)
class Case:
    """A window of a clip in seconds, a speech for it, how many of its frames are dubbed, where it cuts."""

    clip: str
    window: tuple[float, float]
    speech: str
    frames: int
    dubbed: range
    cuts: tuple[int, ...] = ()
    faces: int = 1


CASES = {
    "frontal": Case("aniportrait_pose_ref_512_25fps.mp4", (1.0, 1.6), "echomimic_en_24k.wav", 40, range(40, 41)),
    "large": Case(
        "latentsync_demo1_1080x1920_25fps_hevc.mp4", (4.0, 0.6), "latentsync_demo1_16k_mono.wav", 15, range(15, 16)
    ),
    "cuts, profile, faceless": Case(
        "facerec_hamilton_cuts_mic_profile_multi_640x360_2997.mp4",
        (0.0, 100.0),
        "multitalk_man_44k1.wav",
        275,
        range(240, 270),
        (20, 82, 211),
        4,
    ),
    "hands before the mouth": Case(
        "derived_hamilton_mic_hand_occlusion_512_2997.mp4", (1.2, 0.8), "sadtalker_radio31_16k.wav", 24, range(18, 25)
    ),
    "two people at 12.5 fps": Case(
        "derived_intel_headpose_female-and-male_480x270_12p5.mp4",
        (0.0, 2.0),
        "multitalk_man_44k1.wav",
        25,
        range(25, 26),
        faces=2,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_clip_from_end_to_end(
    case: Case, media: Path, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracks: list[FaceTrack] = []

    def watched(*given: Any) -> tuple[NDArray[np.int64], FaceTrack]:
        pts, track = survey(*given)
        tracks.append(track)
        return pts, track

    survey = keysync.job.survey
    CheapStages().install(monkeypatch)
    monkeypatch.setattr(keysync.job, "survey", watched)
    vae: Any = CheapVAE()
    output, speech, progress = tmp_path / "out.mp4", media / case.speech, Quiet()
    source = VideoReader(media / case.clip, *case.window)
    report = dub_file(
        source,
        speech,
        output,
        replace(models, vae=vae),
        Settings(sync_mode="silence", mask="jaw", sampling=Sampling(evaluations=10)),
        FaceSource(),
        progress,
    )
    result = VideoReader(output)
    assert (result.info.width, result.info.height) == (source.info.width, source.info.height)
    times = [[stamp * reader.info.time_base for stamp in reader.timestamps().tolist()] for reader in (source, result)]
    assert [time - times[0][0] for time in times[0]] == times[1]  # the result begins at 0
    assert report.frames == report.source_frames == len(times[0]) == case.frames
    assert report.count(DUBBED) in case.dubbed
    assert report.count(DUBBED) + report.count(PASSED_THROUGH) == case.frames
    assert progress.parts["network evaluations"] == [report.network_evaluations] * 2
    (track,) = tracks
    assert tuple(np.flatnonzero(np.diff(track.shot)) + 1) == case.cuts
    assert track.faces.max() == case.faces
    assert_the_same_speech(output, speech)
    for frame, (_, original) in enumerate(source.frames()):
        if frame == case.frames // 2:
            points = track.landmarks[frame] if track.found[frame] else None
            assert_changed_at_the_mouth(original, read_frames(output)[frame], points)


def assert_the_same_speech(result: Path, speech: Path) -> None:
    """In the same place to a sample, but for what AAC does to it, which needs a while to settle."""
    heard, spoken = read_speech(result)[0], read_speech(speech)[0]
    length = min(len(heard), len(spoken)) - 4
    alike = [np.corrcoef(heard[2 : 2 + length], spoken[lag : lag + length])[0, 1] for lag in range(5)]
    assert max(alike) > 0.8
    assert abs(np.argmax(alike) - 2) <= 1


def assert_changed_at_the_mouth(source: NDArray[Any], result: NDArray[Any], points: NDArray[Any] | None) -> None:
    """Much about the mouth; elsewhere no more than H.264 does."""
    change = np.abs(source.astype(int) - result).mean(-1)
    if points is None:
        assert change.mean() < 3
        return
    (left, _), (right, bottom) = points.min(0).astype(int), points.max(0).astype(int)
    (mouth_left, mouth_top), (mouth_right, mouth_bottom) = (
        points[48:].min(0).astype(int),
        points[48:].max(0).astype(int),
    )
    assert change[mouth_top : mouth_bottom + 1, mouth_left : mouth_right + 1].mean() > 8
    outside = np.ones(change.shape, bool)
    outside[int(points[27, 1]) : bottom + 8, max(0, left - 8) : right + 8] = False
    assert change[outside].mean() < 3
