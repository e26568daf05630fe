"""The summary says in sentences which face was dubbed where, what passed through and why, and with which models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keysync.face.track import FaceChoice
from keysync.job import FaceSource
from keysync.report import DUBBED, PASSED_THROUGH, Report
from keysync.summary import LISTED, name_face, summarize
from keysync.systems.keysync.small import BUILT_IN


def report_of(states: list[str | None], **changes: Any) -> Report:
    """A report of frames that were dubbed (None) or passed through for a reason."""
    facts: dict[str, Any] = {
        "video": "/home/someone/talk.mp4",
        "speech": "speech.wav",
        "width": 64,
        "height": 64,
        "frames": len(states),
        "source_frames": len(states),
        "frame_rate": "30000/1001",
        "seconds": 0.2,
        "sync_mode": "cut_off",
        "seed": 0,
    }
    report = Report(**facts | changes)
    for frame, reason in enumerate(states):
        report.add(frame, frame, PASSED_THROUGH if reason else DUBBED, reason or "face found")
    return report


def test_a_dub_with_the_built_in_model() -> None:
    models = {"keyframe": BUILT_IN, "interpolation": BUILT_IN, "vae": "/models/vae/svd.safetensors"}
    report = report_of([None, None, "no face found", "no face found", None, "no face found", "the head is turned"])
    report.system, report.models, report.provenance = "keysync", models, {"synthetic": "lips"}
    report.notes.append("the video has 10 bits a colour: the result has 8")
    assert summarize(report, FaceSource()).splitlines() == [
        "Dubbed the largest face in each shot in 3 of 7 frames of talk.mp4 (0.20 s at 29.97 fps).",
        "3 frames are unchanged (frames 2-3, 5): no face found.",
        "1 frame is unchanged (frame 6): the head is turned.",
        f"Drawn by keysync with {BUILT_IN} (keyframe, interpolation); svd.safetensors (vae).",
        "The built-in model knows rendered heads only: for a real face, use rewrite or the published models.",
        "The result says in its metadata that its lips are synthetic.",
        "Note: the video has 10 bits a colour: the result has 8.",
    ]


def test_own_stages_with_a_built_in_vae_are_not_the_built_in_model() -> None:
    report = report_of([None], system="keysync")
    report.models = {"keyframe": "my_keyframe.safetensors", "interpolation": "my_interpolation.safetensors"}
    report.models |= {"vae": BUILT_IN}
    assert "rendered heads" not in summarize(report, FaceSource())


def test_a_dub_with_the_clips_own_mouths() -> None:
    report = report_of([None], video="the video", system="rewrite")
    assert summarize(report, FaceSource()).splitlines() == [
        "Dubbed the largest face in each shot in 1 of 1 frames of the video (0.20 s at 29.97 fps).",
        "Drawn by rewrite, with mouths from other frames of the same clip.",
        "The result does not say that its lips are synthetic.",
    ]


def test_a_long_list_is_cut() -> None:
    report = report_of([None, "no face found"] * (LISTED + 2), system="keysync")
    line = summarize(report, FaceSource()).splitlines()[1]
    assert line == "8 frames are unchanged (frames 1, 3, 5, 7, 9, 11 and 2 more ranges): no face found."


@pytest.mark.parametrize(
    ("face", "name"),
    [
        (FaceSource(FaceChoice(1)), "the second largest face in each shot"),
        (FaceSource(FaceChoice(9)), "the 10th largest face in each shot"),
        (FaceSource(FaceChoice(11)), "the 12th largest face in each shot"),
        (FaceSource(FaceChoice(20)), "the 21st largest face in each shot"),
        (FaceSource(FaceChoice(point=(20, 30.5))), "the face at 20, 30.5"),
        (FaceSource(landmarks=Path("points.json")), "the tracked face"),
    ],
)
def test_the_face_in_words(face: FaceSource, name: str) -> None:
    assert name_face(face) == name
