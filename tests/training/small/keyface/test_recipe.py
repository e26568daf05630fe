"""The recipe of a small KeyFace: its settings are valid, and its steps make all files, at the smallest size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from keysync.network.stage import KEYFACE
from keysync.systems.keyface.models import load_keyface
from training.config.config import read_toml
from training.small.keyface import recipe

TABLES = read_toml(recipe.RECIPE)


@pytest.fixture(autouse=True)
def _new_state() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("stage", KEYFACE)
def test_settings(stage: str) -> None:
    config = recipe.stage_config(TABLES, stage)
    assert config.stage == stage
    assert Path(config.start).is_file()


def test_the_weaker_copy_is_a_checkpoint() -> None:
    config, step = recipe.stage_config(TABLES, KEYFACE[1]), TABLES["weak"]["step"]
    assert step % config.checkpoint_every == 0
    assert step < config.steps


def test_from_nothing_to_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {
        **TABLES,
        "vae": {**TABLES["vae"], "steps": 1, "people": 1, "unseen": 1, "size": 64, "bf16": False},
        "keyface_keyframe_data": {"clips": 2, "seconds": 7.8, "spacing": 13, "excerpt": 15, "seed": 1},
        "keyface_interpolation_data": {"clips": 2, "seconds": 0.6, "excerpt": 14, "seed": 2},
        "stage": {**TABLES["stage"], "checkpoint_every": 1, "batch_size": 1, "precision": "fp32"},
        "keyface_keyframe": {**TABLES["keyface_keyframe"], "steps": 1},
        "keyface_interpolation": {**TABLES["keyface_interpolation"], "steps": 2, "checkpoint_every": 1},
        "weak": {"step": 1},
    }
    monkeypatch.setattr(recipe, "read_toml", lambda path: short)
    assert recipe.main(["-o", str(tmp_path)]) == 0
    bundle = tmp_path / "bundle"
    keyframe, interpolation, weak = (bundle / f"{name}.safetensors" for name in ("keyframe", "interpolation", "weak"))
    models = load_keyface(keyframe, interpolation, None, weak)
    assert models.files["vae"] == bundle / "vae"
    assert models.keyframe.spec.crop_scale == 1.6
    assert models.weak is not None
    assert all(path.stat().st_size < 4e6 for path in bundle.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in bundle.rglob("*.*")) < 30e6
