"""Stages that are distilled: their files say so, and everything that samples them obeys."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from keysync.cli import main
from keysync.errors import KeySyncError
from keysync.network.schedule import AYS
from keysync.network.stage import STAGES, StageSpec
from keysync.systems.keysync.generate import sample
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.presets import LEVELS, make_sampling
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import Remarking
from keysync.weights.checkpoint import convert, load_stage, save_stage
from keysync.weights.describe import describe
from keysync.weights.stage_format import metadata_of
from tests.clips import picture, write_landmarks, write_speech, write_video
from tests.small_stages import inputs, small_stage
from tests.synthetic_face import face_points

BAKED = {"guidance_baked": True, "audio_guidance": 1.0, "identity_guidance": 1.0}
DISTILLED = {**BAKED, "levels": (700.0, 3.0)}


def distilled(spec: StageSpec, **changes: Any) -> StageSpec:
    return replace(spec, **{**DISTILLED, **changes})


@pytest.mark.parametrize("name", list(STAGES))
def test_a_distilled_stage_is_evaluated_once_a_step_at_its_own_levels(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    stage.spec = distilled(stage.spec)
    evaluated: list[float] = []
    stage.unet.register_forward_pre_hook(lambda module, arguments: evaluated.append(float(arguments[1][0])))
    counted: list[int] = []
    made = sample(stage, given.windows, given.noise, Sampling(group=2), counted.append)
    assert evaluated == pytest.approx([0.25 * np.log(level) for level in (700, 3)])
    assert counted == [2, 2]
    assert Sampling().network_evaluations(stage.spec) == 2
    plain = small_stage(name)
    by_hand = sample(plain, given.windows, given.noise, Sampling(11, 1.0, 1.0, group=2, levels=(700.0, 3.0)))
    assert torch.equal(made, by_hand)


def test_other_levels_are_sampled_where_they_are_chosen() -> None:
    spec = distilled(STAGES["keyframe"])
    assert make_sampling("balanced").sigmas_of(spec).tolist() == pytest.approx([*LEVELS["balanced"], 0])
    assert len(Sampling(20).sigmas_of(spec)) == 21
    assert Sampling().sigmas_of(replace(spec, levels=None)).tolist() == [*AYS, 0]
    assert Sampling().sigmas_of(STAGES["keyframe"]).tolist() == [*AYS, 0]


@pytest.mark.parametrize("name", ["audio_guidance", "identity_guidance"])
def test_a_scale_of_a_distilled_stage_is_refused(name: str) -> None:
    spec = distilled(STAGES["keyframe"])
    chosen: dict[str, Any] = {name: 4.0}
    with pytest.raises(KeySyncError, match=f"the {name.replace('_', ' ')} is 4 but the keyframe model is distilled"):
        Sampling(**chosen).network_evaluations(spec)
    with pytest.raises(KeySyncError, match="distilled with its guidance"):
        replace(spec, **chosen)
    chosen = {name: 1.0}
    assert Sampling(**chosen).scales(spec) == {"audio_guidance": 1.0, "identity_guidance": 1.0}


def test_levels_must_fall() -> None:
    with pytest.raises(KeySyncError, match="the noise levels of the keyframe model are"):
        replace(STAGES["keyframe"], levels=(1.0, 2.0))


def test_a_file_says_it_and_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage, path = small_stage("interpolation"), tmp_path / "stage.safetensors"
    plain = metadata_of(stage.spec)
    assert not {"keysync.guidance_baked", "keysync.levels"} & plain.keys()
    stage.spec = distilled(stage.spec, levels=(700.0, 0.1 + 0.2, 1e-05))
    save_stage(stage, path)
    assert load_stage(path).spec == stage.spec
    assert metadata_of(stage.spec)["keysync.levels"] == "700.0,0.30000000000000004,1e-05"
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "guidance baked: True" in text
    assert "levels: 700.0, 0.30000000000000004, 1e-05" in text
    assert json.loads(json.dumps(describe(path).to_dict()))["stage"]["guidance_baked"] is True
    convert(path, tmp_path / "half.safetensors", dtype=torch.float16)
    assert load_stage(tmp_path / "half.safetensors").spec == stage.spec
    with pytest.raises(KeySyncError, match="the audio guidance is 3 but the interpolation model is distilled"):
        convert(path, tmp_path / "guided.safetensors", audio_guidance=3.0)
    save_stage(small_stage("keyframe"), path)
    assert not {"guidance_baked", "levels"} & describe(path).stage.keys()


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("guidance_baked", "yes", "expected true or false"),
        ("levels", "", "falling noise levels"),
        ("levels", "3,700", "falling noise levels"),
        ("levels", "700,nan", "falling noise levels"),
        ("levels", ",".join(map(str, range(2000, 0, -1))), "at most 1000 falling noise levels"),
        ("levels", "\u0667,3", "falling noise levels"),
    ],
)
def test_metadata_that_say_nonsense(key: str, text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    save_stage(small_stage("keyframe"), path, extra_metadata={f"keysync.{key}": text})
    with pytest.raises(KeySyncError, match=f"keysync.{key} is .*{expected}"):
        load_stage(path)
    assert expected in (describe(path).problem or "")


def test_the_report_says_it(models: Models) -> None:
    assert isinstance(models, Remarking)
    assert not list(models.remarks(None))
    keyframe = load_stage(models.files["keyframe"])
    keyframe.spec = distilled(keyframe.spec)
    mixed = replace(models, keyframe=keyframe)
    assert list(mixed.remarks(None)) == [
        "the keyframe model is distilled: it was sampled without guidance at the noise levels 700, 3"
    ]
    assert next(mixed.remarks(make_sampling("balanced"))).endswith("at the noise levels 700, 6, 0.9")


def test_the_command_line(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dub with a distilled pair: the report has the notes, and guidance is refused with the option's name."""
    video = write_video(tmp_path / "in.mp4", [picture(number) for number in range(20)])
    speech = write_speech(tmp_path / "speech.wav", 0.8)
    points = write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * 20)
    words = ["dub", str(video), str(speech), "-o", str(tmp_path / "out.mp4"), "--landmarks", str(points)]
    for name in ("keyframe", "interpolation"):
        stage = load_stage(models.files[name])
        stage.spec = distilled(stage.spec)
        save_stage(stage, tmp_path / f"{name}.safetensors")
        words += [f"--{name}-model", str(tmp_path / f"{name}.safetensors")]
    for name in ("vae", "hubert", "wavlm"):
        words += [f"--{name}", str(models.files[name])]
    assert main([*words, "--report", str(tmp_path / "report.json")]) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "report.json").read_text())
    assert sum(bool(re.search("model is distilled: .*levels 700, 3$", note)) for note in report["notes"]) == 2
    assert main([*words, "--audio-guidance", "4"]) == 1
    error = capsys.readouterr().err
    assert "the audio guidance is 4 but the keyframe model is distilled with its guidance" in error
    assert "(--audio-guidance)" in error
