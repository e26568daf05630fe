"""The recipe of the small model: its settings make sense, and every step of it runs and makes what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keysync.network.stage import StageSpec
from keysync.systems.keysync.models import load_models
from keysync.systems.keysync.small import CROP_SCALE, RESOLUTION, SMALL
from training.config.config import read_toml, to_toml
from training.small import recipe as small
from training.small.ears import Settings as EarsSettings
from training.small.encoder.training import Settings as EncoderSettings
from training.small.recipe import RECIPE
from training.small.vae.training import Settings as VAESettings
from training.synthetic.data import Settings as DataSettings

SHORT: dict[str, dict[str, Any]] = {
    "vae": {"steps": 1, "every": 1, "size": 64, "people": 1, "unseen": 1},
    "encoder": {"steps": 1, "hours": 0.02},
    "ears": {"hours": 0.002, "talks": 8, "epochs": 1},
    "data": {"seconds": 7.4, "resolution": 64, "validation": 0.5},
    "keyframe_data": {"clips": 2},
    "interpolation_data": {"clips": 2},
    "stage": {
        "resolution": 64,
        "steps": 1,
        "channel_mult": [1, 1],
        "attention": [False, True],
        "batch_size": 1,
        "sample_every": 0,
        "checkpoint_every": 1,
    },
}


def tables(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The recipe with these settings in its tables; those of both stages go before a stage's own."""
    held = {name: {**table, **changes.get(name, {})} for name, table in read_toml(RECIPE).items()}
    for stage in small.STAGES:
        held[stage] |= {key: value for key, value in changes.get("stage", {}).items() if key in held[stage]}
    return held


def test_the_recipe_says_what_each_step_understands() -> None:
    recipe = tables()
    assert set(recipe) == {
        "vae",
        "encoder",
        "ears",
        "data",
        "keyframe_data",
        "interpolation_data",
        "stage",
        *small.STAGES,
    }
    VAESettings(**recipe["vae"])
    EncoderSettings(**recipe["encoder"])
    EarsSettings(**recipe["ears"])
    for stage in small.STAGES:
        data = {**recipe["data"], **recipe[f"{stage}_data"]}
        assert data.pop("clips") * data.pop("validation") >= 1
        assert DataSettings(Path("vae"), {small.ENCODER: Path("encoder")}, **data).resolution == RESOLUTION
        config = small.stage_config(recipe, stage)
        assert (config.stage, config.resolution, config.speech_encoder) == (stage, RESOLUTION, small.ENCODER)
        assert 'loss_region = "mask"' in to_toml(config)


def test_the_shipped_model_is_of_the_recipe() -> None:
    models = load_models()
    recipe = tables()
    for name in small.STAGES:
        spec, config = getattr(models, name).spec, small.stage_config(recipe, name)
        assert isinstance(spec, StageSpec)
        assert spec.unet.model_channels == config.model_channels
        assert (spec.unet.channel_mult, spec.unet.attention) == (config.channel_mult, config.attention)
        assert (spec.crop_scale, spec.image_size) == (CROP_SCALE, (RESOLUTION, RESOLUTION))
    files = [file for path in SMALL.values() for file in (path.rglob("*") if path.is_dir() else [path])]
    assert sum(file.stat().st_size for file in files) < 30e6


def test_every_step_runs_and_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "read_toml", lambda _: tables(**SHORT))
    for step in small.STEPS:
        assert small.main(["-o", str(tmp_path), "--only", step, "--workers", "1"]) == 0, step
    bundle: dict[str, Any] = {name: tmp_path / "bundle" / path.name for name, path in SMALL.items()}
    models = load_models(**bundle)
    assert models.keyframe.spec.crop_scale == CROP_SCALE
    assert models.vae.downscale == 8
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "keyframe").rglob("stage*")}
    assert before
    assert small.main(["-o", str(tmp_path), "--only", "keyframe"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_step_before_the_others_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small, "read_toml", lambda _: tables(**SHORT))
    assert small.main(["-o", str(tmp_path), "--only", "keyframe"]) == 1
    assert "has no prepared data" in capsys.readouterr().err
