"""The table of stages: an order that works, and for each setting exactly the stages that depend on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keysync.face import detectors
from training.data.preparation.chain import Chain
from training.data.preparation.models import Models
from training.data.preparation.settings import ModelFile
from training.data.preparation.stage import Stage
from training.data.preparation.stages import EMOTION_PART, PARTS, clip_files, table
from training.data.preparation.videos import Video

from .emotion_file import write_predictor
from .small_videos import FACE, BrightnessDetector, small_settings, write_talk

OTHER = ModelFile(Path("other"), "other")


def stages(**changes: Any) -> dict[str, Stage]:
    settings = small_settings(changes.pop("data", Path("data")), **changes)
    return {stage.name: stage for stage in table(settings, Models(settings))}


def test_what_a_stage_needs_comes_before_it() -> None:
    before: set[str] = set()
    for stage in stages().values():
        assert set(stage.needs) <= before
        before.add(stage.name)
    assert set(PARTS) <= before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resolution": 128}, {"crops", "latents"}),
        ({"crop_scale": 1.4}, {"crops", "latents"}),
        ({"vae": OTHER}, {"latents"}),
        ({"still": True}, {"crops", "latents"}),
        ({"hubert": OTHER}, {"hubert"}),
        ({"wavlm": OTHER}, {"wavlm"}),
        ({"detector": "face-alignment"}, {"faces"}),
        ({"detector_weights": Path("weights")}, {"faces"}),
        ({"quality": "hyperiqa"}, {"quality", "labels"}),
        ({"speaker": "my.module:scorer"}, {"speaker", "labels"}),
        ({"least_quality": 1.0}, {"selection"}),
        ({"least_agreement": 0.5}, {"selection"}),
        ({"device": "cuda"}, set()),
        ({"data": Path("other")}, set()),
    ],
)
def test_what_depends_on_a_setting(changes: dict[str, Any], expected: set[str]) -> None:
    first, second = stages(), stages(**changes)
    assert {name for name in first if first[name].settings != second[name].settings} == expected


def test_what_works_on_a_gpu() -> None:
    def on_gpu(**changes: Any) -> set[str]:
        return {name for name, stage in stages(**changes).items() if stage.gpu}

    assert on_gpu() == set()
    assert on_gpu(device="cuda") == {"hubert", "wavlm", "latents"}
    assert on_gpu(device="cuda", quality="hyperiqa", detector="face-alignment") == {
        *("faces", "quality", "hubert", "wavlm", "latents")
    }


def test_what_reads_emotions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)
    settings = small_settings(tmp_path, emotion=ModelFile.of(write_predictor(tmp_path / "emotion.pt")))
    chain = Chain(tmp_path, table(settings, Models(settings)))
    video = Video("talk-1", "talk.mp4", write_talk(tmp_path / "talk.mp4", [(FACE, 14)]), "1")
    assert chain.run(video).fresh[-1] == EMOTION_PART
    (clip,) = clip_files(chain, video)
    read = np.load(clip.parts["emotion.npy"])
    assert (read.shape, read.dtype) == ((14, 2), np.float32)


def test_no_wavlm() -> None:
    without = stages(wavlm=None)
    assert "wavlm" not in without
    assert without["speech"].needs == ("sound", "selection", "hubert")


def test_no_scorers() -> None:
    without = stages(quality="none", speaker="none")
    assert not {"quality", "speaker"} & set(without)
    assert without["selection"].needs == ("clips",)


def test_the_parts_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)
    settings = small_settings(tmp_path)
    chain = Chain(tmp_path, table(settings, Models(settings)))
    video = Video("talk-1", "talk.mp4", write_talk(tmp_path / "talk.mp4", [(FACE, 14)]), "1")
    assert chain.run(video).fresh == tuple(stage.name for stage in chain.stages)
    (clip,) = clip_files(chain, video)
    assert (clip.key, clip.video, clip.frames) == ("talk-1-000000", "talk-1", 14)
    assert set(clip.parts) == {
        *("json", "mp4", "landmarks.npy", "flac", "hubert.npy", "wavlm.npy", "latents.npy"),
    }
    assert all(path.stat().st_size for path in clip.parts.values())
