"""The recipe of a small FlashLips: its settings are valid, and its steps make a file, at the smallest size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from keysync.systems.flashlips.models import load_flashlips
from keysync.systems.keysync.small import SMALL
from training.config.config import read_toml
from training.flashlips.config import LIPS_STAGES
from training.small.flashlips import recipe

TABLES = read_toml(recipe.RECIPE)


@pytest.fixture(autouse=True)
def _new_state() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("stage", LIPS_STAGES)
def test_settings(stage: str, tmp_path: Path) -> None:
    config = recipe.stage_config(TABLES, stage, tmp_path)
    assert config.stage == stage
    before = LIPS_STAGES.index(stage) - 1
    assert config.start == ("" if before < 0 else str(tmp_path / f"{LIPS_STAGES[before]}.safetensors"))
    faces = TABLES["faces"]
    assert config.reference_gap < faces["seconds"] * 25 / 2


def test_from_nothing_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"steps": 1, "batch_size": 1}
    short = {
        **TABLES,
        "faces": {"clips": 2, "seconds": 0.56, "seed": 1},
        "talks": {"clips": 2, "seconds": 0.56, "latents": False, "seed": 2},
        "stage": {**TABLES["stage"], "checkpoint_every": 1, "reference_gap": 2, "precision": "fp32"},
        "lips_editor": {**TABLES["lips_editor"], **one, "network": "tiny"},
        **{stage: {**TABLES[stage], **one} for stage in LIPS_STAGES[1:]},
    }
    monkeypatch.setattr(recipe, "read_toml", lambda path: short)
    assert recipe.main(["-o", str(tmp_path)]) == 0
    models = load_flashlips(tmp_path / "flashlips.safetensors", SMALL["vae"])
    assert models.spec.image_size == (128, 128)
    assert models.spec.crop_scale == 1.4
    assert models.spec.mask_free
    assert models.spec.speech_encoder == "hubert"
