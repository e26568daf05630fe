"""Which weights each choice trains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from keysync.network.stage import STAGES
from keysync.weights.stage_format import on_meta
from tests.small_stages import small_stage
from training.config.config import TRAINABLE, TrainConfig, load_config
from training.weights.trainable import CHOICES, freeze

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def settings(name: str, trainable: str) -> TrainConfig:
    return replace(load_config(name, None, {}), trainable=trainable)


def test_every_setting_has_its_choice() -> None:
    assert CHOICES.keys() == set(TRAINABLE)


@by_stage
def test_published_freezes_what_mixes_frames(name: str) -> None:
    stage = small_stage(name)
    counts = freeze(stage, settings(name, "published"))
    marks = {part: weight.requires_grad for part, weight in stage.named_parameters()}
    for part in (
        "input_blocks.1.0.time_stack.in_layers.0.weight",
        "input_blocks.1.0.time_mixer.mix_factor",
        "input_blocks.1.1.time_stack.0.attn1.to_q.weight",
        "input_blocks.1.1.time_pos_embed.0.weight",
        "input_blocks.1.1.time_mixer.mix_factor",
    ):
        assert not marks[f"unet.{part}"], part
    for part in (
        "input_blocks.0.0.weight",
        "time_embed.0.weight",
        "label_emb.0.0.weight",
        "input_blocks.1.0.in_layers.2.weight",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "out.2.weight",
    ):
        assert marks[f"unet.{part}"], part
    assert marks["audio_projection.weight"]
    assert marks.get("learned_mask", True)
    inside = [mark for part, mark in marks.items() if part.startswith("unet.")]
    assert (counts.trained, counts.frozen) == (inside.count(True), inside.count(False))
    assert counts.numbers == sum(weight.numel() for weight in stage.parameters() if weight.requires_grad)


@by_stage
def test_all_and_lora(name: str) -> None:
    stage = small_stage(name)
    tensors = len(list(stage.unet.parameters()))
    assert freeze(stage, settings(name, "lora")) == (0, tensors, 0)
    assert not any(weight.requires_grad for weight in stage.parameters())
    counts = freeze(stage, settings(name, "all"))
    assert counts == (tensors, 0, sum(weight.numel() for weight in stage.parameters()))
    assert all(weight.requires_grad for weight in stage.parameters())


@by_stage
def test_frozen_weights_stay_and_the_others_learn(name: str) -> None:
    stage = small_stage(name)
    freeze(stage, settings(name, "published"))
    trained = [weight for weight in stage.parameters() if weight.requires_grad]
    before = {part: weight.detach().clone() for part, weight in stage.named_parameters()}
    torch.stack([(weight**2).sum() for weight in stage.parameters()]).sum().backward()
    with torch.no_grad():
        for weight in trained:
            assert weight.grad is not None
            weight.sub_(0.1 + weight.grad)
    changed = {part for part, weight in stage.named_parameters() if not torch.equal(weight, before[part])}
    assert changed == {part for part, weight in stage.named_parameters() if weight.requires_grad}


@by_stage
def test_the_full_size_network(name: str) -> None:
    counts = freeze(on_meta(STAGES[name]), settings(name, "published"))
    # 1428 tensors of a published U-Net, of which the reference implementation's command freezes 738.
    assert (counts.trained, counts.frozen) == (690, 738)
