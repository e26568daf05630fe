"""The settings of a run: presets, files, single keys; and what is said of a bad one."""

from __future__ import annotations

import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from keysync.errors import KeySyncError, install_line
from keysync.network.stage import ALL_STAGES, IDENTITY, KEYFACE, STAGES
from keysync.systems.keysync.small import SMALL
from keysync.weights.checkpoint import load_stage
from training.config.config import PRESETS, TrainConfig, from_toml, load_config, overrides_of, preset_of, to_toml


def test_presets_are_the_stages_and_small_ones_of_keysync() -> None:
    assert sorted(PRESETS) == sorted([*map(preset_of, ALL_STAGES), "tiny-interpolation", "tiny-keyframe"])
    for name in PRESETS:
        assert preset_of(load_config(name, None, {}).stage) == name.removeprefix("tiny-")


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_the_large_presets_are_the_original_s_numbers(stage: str) -> None:
    config = load_config(stage, None, {})
    published = STAGES[stage]
    unet = published.unet
    assert (config.model_channels, config.channel_mult, config.attention, config.num_res_blocks) == (
        unet.model_channels,
        unet.channel_mult,
        unet.attention,
        unet.num_res_blocks,
    )
    assert (config.head_dim, config.context_dim) == (unet.head_dim, unet.context_dim)
    assert (config.window, config.resolution) == (published.window, published.image_size[0])
    assert config.speech_encoder == published.speech_encoder
    first = stage == "keyframe"
    assert config.learning_rate == (1e-5 if first else 3e-5)
    assert config.steps == (60_000 if first else 120_000)
    assert config.rgb_weight == (1.0 if first else 0.0)
    assert config.identity_dropout_per_frame == first
    assert (config.warmup_steps, config.weight_decay, config.ema_decay, config.batch_size) == (1000, 0.01, 0.0, 1)
    assert (config.noise_mean, config.noise_std, config.audio_dropout, config.identity_dropout) == (1.0, 1.2, 0.2, 0.1)
    assert (config.trainable, config.loss_region, config.mask) == ("published", "frame", "box")


@pytest.mark.parametrize("stage", KEYFACE)
def test_keyface_s_presets_are_the_original_s_numbers(stage: str) -> None:
    config, published = load_config(preset_of(stage), None, {}), ALL_STAGES[stage]
    unet = published.unet
    assert (config.model_channels, config.channel_mult, config.attention, config.num_res_blocks) == (
        *(unet.model_channels, unet.channel_mult, unet.attention, unet.num_res_blocks),
    )
    assert (config.window, config.resolution) == (published.window, published.image_size[0])
    assert config.speech_encoder == published.speech_encoder
    first = published.reference == IDENTITY
    assert (config.rgb_weight, config.lpips_weight) == ((1.0, 1.0) if first else (0.0, 0.0))
    assert config.lower_half_weight == (3.0 if first else 2.0)
    assert (config.learning_rate, config.identity_dropout_per_frame, config.trainable) == (1e-5, False, "published")
    assert (config.noise_mean, config.noise_std, config.audio_dropout, config.identity_dropout) == (1.0, 1.2, 0.2, 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_region": "mask"}, "loss_region is .mask.: expected frame for keyface_keyframe, which has no mask"),
        ({"rgb_weight": "0"}, "lpips_weight is 1.0: expected 0 with rgb_weight 0"),
        ({"distill": "guidance", "start": "f"}, "distill is .guidance.: expected no for keyface_keyframe"),
        ({"speech_encoder": "wavlm+whale"}, "speech_encoder is .wavlm.whale.: expected one of hubert, .* joined by"),
    ],
)
def test_what_does_not_fit_keyface(changes: dict[str, str], message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        load_config("keyface-keyframe", None, changes)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_says_every_departure_from_the_paper(name: str) -> None:
    lines = [line for line in PRESETS[name].read_text().splitlines() if "# departs:" in line]
    departures = [re.findall(r"\w+", line)[0] for line in lines]
    both = ["trainable", "loss_region", "rgb_weight", "batch_size"]
    expected = {
        "keyframe": [*both, "identity_dropout_per_frame"],
        "interpolation": [*both, "speech_encoder", "learning_rate"],
        "keyface-keyframe": ["trainable"],
        "keyface-interpolation": ["trainable", "lower_half_weight"],
    }
    assert sorted(departures) == sorted(expected.get(name, []))


@pytest.mark.parametrize("stage", list(STAGES))
def test_the_small_presets_fit_data_prepared_with_the_built_in_models(stage: str) -> None:
    config, spec = load_config(f"tiny-{stage}", None, {}), load_stage(SMALL[stage]).spec
    assert (config.resolution, config.resolution) == spec.image_size
    assert (config.window, config.speech_encoder, config.mask) == (spec.window, spec.speech_encoder, spec.mask)


def test_a_file_goes_over_the_preset_and_single_keys_over_both(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("learning_rate = 1\nsteps = 7\nchannel_mult = [1, 2]\n")
    config = load_config("tiny-keyframe", file, {"steps": "9", "head-dim": "16", "attention": "true, false"})
    assert (config.learning_rate, config.steps, config.head_dim) == (1.0, 9, 16)
    assert isinstance(config.learning_rate, float)
    assert (config.channel_mult, config.attention) == ((1, 2), (True, False))
    assert config.mask == load_config("tiny-keyframe", None, {}).mask


def test_text_becomes_what_the_key_holds() -> None:
    overrides = {"gradient-checkpointing": "True", "learning_rate": "3e-5", "channel_mult": "[1,1]", "start": "a b"}
    config = load_config("tiny-keyframe", None, overrides)
    assert config.gradient_checkpointing is True
    assert (config.learning_rate, config.channel_mult, config.start) == (3e-5, (1, 1), "a b")


def test_the_command_line() -> None:
    words = ["--learning-rate", "1e-4", "--steps=5", "--start", "--odd", "--vae="]
    assert overrides_of(words) == {"learning-rate": "1e-4", "steps": "5", "start": "--odd", "vae": ""}
    with pytest.raises(KeySyncError, match=r"unexpected argument 'steps': write settings as --key value"):
        overrides_of(["steps", "5"])
    with pytest.raises(KeySyncError, match="--steps has no value"):
        overrides_of(["--steps"])


@pytest.mark.parametrize("name", list(PRESETS))
def test_toml_there_and_back(name: str) -> None:
    odd = 'a "quoted" \\ back\tslash\x7f\n é'
    config = replace(
        load_config(name, None, {}), start=odd, learning_rate=1.25e-7, channel_mult=(1, 1), attention=(True,) * 2
    )
    assert from_toml(to_toml(config), "run") == config
    assert to_toml(config).count("\n# ") == len(fields(TrainConfig)) - 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lerning-rate": "1"}, "--lerning-rate is not a setting: did you mean learning_rate?"),
        ({"steps": "many"}, '--steps is "many": expected a whole number'),
        ({"steps": "0"}, "steps is 0: expected 1 or more"),
        ({"gradient_checkpointing": "no"}, '--gradient_checkpointing is "no": expected true or false'),
        ({"attention": "1,0"}, '--attention is "1,0": expected values such as true,false'),
        ({"channel_mult": "1,0"}, "channel_mult is [1, 0]: expected one or more whole numbers above 0"),
        ({"attention": "true"}, "attention is [true]: expected 2 values, one per level of channel_mult"),
        ({"head_dim": "48"}, "head_dim is 48: expected a divisor of the width 64"),
        ({"resolution": "72"}, "resolution is 72: expected a multiple of 16 for a network of 2 levels"),
        ({"resolution": "70"}, "resolution is 70: expected a multiple of 8 above 0"),
        ({"model_channels": "40"}, "model_channels is 40: expected a multiple of 32 above 0"),
        ({"learning_rate": "nan"}, "learning_rate is nan: expected a number above 0"),
        ({"noise_mean": "inf"}, "noise_mean is inf: expected a finite number"),
        ({"audio_dropout": "20"}, "audio_dropout is 20.0: expected a share from 0 to 1"),
        ({"ema_decay": "1"}, "ema_decay is 1.0: expected 0 or more and below 1"),
        ({"mask": "nose"}, 'mask is "nose": expected one of box, '),
        ({"stage": "interpolation"}, "identity_dropout_per_frame is true: expected false for interpolation"),
        ({"final_learning_rate": "1"}, "final_learning_rate is 1.0: expected at most learning_rate"),
        (
            {"trackers": "tensorboard,paper"},
            'trackers is ["tensorboard", "paper"]: expected some of tensorboard, wandb',
        ),
        ({"sync_loss": "syncnet"}, 'sync_loss is "syncnet": expected package.module:function'),
        ({"sync_weight": "1"}, 'sync_loss is "": expected package.module:function with sync_weight'),
        ({"sync_weight": "1", "sync_loss": "a:b"}, "sync_weight is 1.0: expected 0 for keyframe, whose frames"),
        ({"min_snr": "-1"}, "min_snr is -1.0: expected 0 or more"),
    ],
)
def test_a_bad_value_is_named_with_what_is_expected(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(KeySyncError) as error:
        load_config("tiny-keyframe", None, overrides)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "run.toml is not TOML: "),
        ("stepps = 1", "run.toml: stepps is not a setting: did you mean steps?"),
        (
            'stage = "keyframe"\n',
            "run.toml: missing settings: learning_rate, steps, identity_dropout_per_frame, rgb_weight",
        ),
    ],
)
def test_a_bad_file_is_named(text: str, message: str) -> None:
    with pytest.raises(KeySyncError) as error:
        from_toml(text, "run.toml")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "value"), [("steps", 1.5), ("steps", True), ("mask", 1), ("attention", [True]), ("seed", {"a": 1})]
)
def test_a_value_of_another_kind_is_refused(key: str, value: Any) -> None:
    with pytest.raises(KeySyncError, match=f"^{key} is "):
        replace(load_config("tiny-keyframe", None, {}), **{key: value})


def test_an_unknown_preset_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="unknown preset keyframes: choose from interpolation, keyface-"):
        load_config("keyframes", None, {})
    with pytest.raises(KeySyncError, match=r"cannot read .*none\.toml: No such file"):
        load_config(None, tmp_path / "none.toml", {})
    (tmp_path / "image.toml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(KeySyncError, match=r"cannot read .*image\.toml: it is not a text file"):
        load_config(None, tmp_path / "image.toml", {})
    with pytest.raises(KeySyncError, match=r"^missing settings: stage, learning_rate, "):
        load_config(None, None, {})


def test_python_3_10_without_tomli_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10))
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("tomli"))):
        load_config("keyframe", None, {})
