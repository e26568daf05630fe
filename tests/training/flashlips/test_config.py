"""The settings of FlashLips' parts: the published ones, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.config.config import config_as, load_as, preset_of, read_toml, to_toml
from training.flashlips.config import LIPS_STAGES, FlashLipsConfig


def config(stage: str = "lips-editor", **changes: str) -> FlashLipsConfig:
    return load_as(FlashLipsConfig, stage, None, {"start": "file", **changes})


@pytest.mark.parametrize("stage", LIPS_STAGES)
def test_each_part_has_a_preset(stage: str, tmp_path: Path) -> None:
    made = config(preset_of(stage))
    assert made.stage == stage
    (tmp_path / "run.toml").write_text(to_toml(made))
    assert config_as(FlashLipsConfig, read_toml(tmp_path / "run.toml"), "run") == made


def test_the_editor_is_trained_as_published() -> None:
    made = config()
    weights = [made.latent_weight, made.masked_weight, made.lower_weight, made.lips_weight]
    assert [*weights, made.perceptual_weight, made.face_weight] == [0.1, 0.1, 10, 100, 50, 5]
    assert (made.learning_rate, made.final_learning_rate, made.rate_schedule) == (1e-4, 1e-8, "one_cycle")
    assert (made.steps, 8 * made.batch_size, made.references) == (1_000_000, 32, 4)
    assert config("lips-refine").steps == 200_000
    audio = config("lips-audio")
    assert (audio.learning_rate, audio.final_learning_rate, audio.warmup_steps) == (5e-5, 0, 0)


def test_pixels_are_compared_where_a_term_needs_them() -> None:
    none = {"lower_weight": "0", "lips_weight": "0"}
    assert config().compares_pixels
    assert not config(**none).compares_pixels  # weights of networks that are absent
    assert config(**none, perceptual="a.b:c").compares_pixels
    assert not config(**none, perceptual="a.b:c", perceptual_weight="0").compares_pixels


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("lips-vector", {"start": ""}, 'start is "": expected a FlashLips file for lips_vector'),
        ("lips-editor", {"network": "huge"}, 'network is "huge": expected one of full-unet, '),
        ("lips-editor", {"references": "5"}, "references is 5: expected 1 to 4"),
        ("lips-editor", {"perceptual": "vgg"}, 'perceptual is "vgg": expected a function'),
        ("lips-audio", {"speech_encoder": "hubert+wavlm"}, r'speech_encoder is "hubert\+wavlm": expected one of '),
        ("lips-editor", {"final_learning_rate": "1"}, "final_learning_rate is 1.0: expected at most learning_rate"),
        ("lips-editor", {"windows": "1"}, "--windows is not a setting"),
    ],
)
def test_what_does_not_go_together(stage: str, changes: dict[str, str], message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        config(stage, **changes)


def test_new_weights_need_no_file() -> None:
    assert load_as(FlashLipsConfig, "lips-editor", None, {}).start == ""


def test_settings_of_a_stage_are_not_flashlips_s() -> None:
    with pytest.raises(KeySyncError, match="run: model_channels is not a setting"):
        config_as(FlashLipsConfig, {"stage": "lips_editor", "model_channels": 32}, "run")
