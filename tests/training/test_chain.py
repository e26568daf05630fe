"""The whole way: videos to shards, shards to weights, weights to a dubbed clip, no file edited in between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keysync import cli
from keysync.systems.keysync.small import BUILT_IN
from keysync.weights.describe import describe

from ..clips import picture, read_frames, write_landmarks, write_speech, write_video
from ..synthetic_face import face_points
from .small_chain import make_stages


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_stages(tmp_path_factory.mktemp("chain"))


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_the_file_says_what_it_is(stage: str, stages: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(stages[stage])]) == 0
    said = capsys.readouterr().out
    assert f"a KeySync {stage} stage" in said
    assert "keysync.training.steps: 2" in said
    found = describe(stages[stage])
    assert found.problem is None
    assert not found.untrained
    told = {name: found.stage[name] for name in ("latent_size", "crop_scale", "speech_encoder", "mask")}
    assert told == {"latent_size": (16, 16), "crop_scale": 1.4, "speech_encoder": "hubert", "mask": "box"}


def test_a_clip_is_dubbed_with_the_exports(stages: dict[str, Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", [picture(number) for number in range(20)])
    speech = write_speech(tmp_path / "speech.wav", 1)
    points = write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * 20)
    words = ["dub", str(video), str(speech), "--landmarks", str(points), "--lossless"]
    models = [word for stage, path in stages.items() for word in (f"--{stage}-model", str(path))]
    for name, given in (("trained", models), ("built-in", [])):
        files = ["-o", str(tmp_path / f"{name}.mkv"), "--report", str(tmp_path / f"{name}.json")]
        assert cli.main([*words, *files, *given]) == 0
    told = json.loads((tmp_path / "trained.json").read_text())
    own = {stage: str(path) for stage, path in stages.items()}
    assert told["models"] == {**own, "vae": BUILT_IN, "hubert": BUILT_IN}
    trained, built_in = (np.stack(read_frames(tmp_path / f"{name}.mkv")) for name in ("trained", "built-in"))
    assert trained.shape == (20, 80, 96, 3)
    assert not np.array_equal(trained, built_in)
