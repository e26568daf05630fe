"""The cost of a step, counted on tensors without numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from keysync.systems.flashlips.bundle import on_meta
from keysync.systems.flashlips.presets import PRESETS
from training.config.config import load_as, load_config
from training.cost import main, measure, table
from training.flashlips.config import FlashLipsConfig
from training.flashlips.cost import measure as measure_flashlips
from training.run.counting import GIB, Cost, Memory

SMALL = {"resolution": "64", "model_channels": "64", "channel_mult": "1,1", "attention": "false,true", "head_dim": "32"}


def test_a_step_at_full_size() -> None:
    """Stable Video Diffusion's 1.5 billion numbers, of which the original trains all but the temporal layers."""
    cost = measure(load_config("keyframe", None, {}))
    assert cost.parameters == 1_524_950_762 + 787_456
    assert 0.5 * cost.parameters < cost.trained < 0.6 * cost.parameters
    assert cost.memory["gradients"] == 4 * cost.trained
    assert cost.memory["AdamW"] == 8 * cost.trained
    assert 20 * GIB < cost.peak < 30 * GIB
    assert 60e12 < cost.flops < 85e12


@pytest.mark.parametrize(
    ("preset", "parameters"), [("keyface-keyframe", 1_525_606_122), ("keyface-interpolation", 1_524_953_642)]
)
def test_keyface_at_full_size(preset: str, parameters: int) -> None:
    """About as large as KeySync's: the labels are wider by the emotion, the audio projection by a second encoder."""
    cost = measure(load_config(preset, None, {"rgb_weight": "0", "lpips_weight": "0"} if "keyframe" in preset else {}))
    projection, mask = 1024 * 1536 + 1024, 4 * 64 * 64
    assert cost.parameters == parameters + projection + (0 if "keyframe" in preset else mask)
    assert 55e12 < cost.flops < 85e12


def test_checkpointing_trades_operations_for_memory() -> None:
    kept, again = (
        measure(load_config("keyframe", None, {**SMALL, "rgb_weight": "0", "gradient_checkpointing": on}))
        for on in ("false", "true")
    )
    assert again.memory["activations"] < kept.memory["activations"]
    assert 1.1 * kept.flops < again.flops < 1.5 * kept.flops


def test_a_lora_with_frozen_weights() -> None:
    """At rank 16 and full size, as in ComfyUI: fewer bits take less, and the loss on pixels more."""
    lora = {"trainable": "lora", "rgb_weight": "0"}
    kept, fp8 = (measure(load_config("interpolation", None, {**lora, "frozen": frozen})) for frozen in ("bf16", "fp8"))
    assert kept.trained == fp8.trained < 0.02 * kept.parameters
    assert 2.7 * GIB < kept.memory["weights"] < 3.0 * GIB
    assert 1.4 * GIB < fp8.memory["weights"] < 1.6 * GIB
    assert 6 * GIB < fp8.peak < kept.peak < 9 * GIB


def test_a_teacher_adds_its_evaluations() -> None:
    """Those of a forward pass, which a step of training has once, and about twice more for the backward pass."""
    plain = {**SMALL, "rgb_weight": "0", "gradient_checkpointing": "false", "trainable": "all", "start": "a file"}
    alone, guided, steps, lora = (
        measure(load_config("keyframe", None, {**plain, **changes}))
        for changes in (
            {},
            {"distill": "guidance"},
            {"distill": "steps", "levels": "700,3", "teacher_steps": "4", "identity_guidance": "1"},
            {"distill": "guidance", "trainable": "lora"},
        )
    )
    assert (alone.teacher, guided.teacher, steps.teacher) == (0, 3, 8)
    forward = (guided.flops - alone.flops) / 3
    assert steps.flops == pytest.approx(alone.flops + 8 * forward)
    assert alone.flops == pytest.approx(3 * forward, rel=0.1)
    assert guided.memory["teacher"] == 4 * guided.parameters
    assert guided.peak == alone.peak + guided.memory["teacher"]
    assert "teacher" not in lora.memory | alone.memory


def test_a_linear_layer_is_counted_as_by_hand() -> None:
    layer = nn.Linear(8, 4, bias=False)
    with Memory(list(layer.parameters())) as memory:
        x = torch.zeros(16, 8)
        y = layer(x)
        assert memory.now == 4 * (8 * 4 + 16 * 8 + 16 * 4)
        del x, y
        assert memory.now == 4 * 8 * 4
    assert memory.peak >= 4 * (8 * 4 + 16 * 8 + 16 * 4)


def test_hours_and_table() -> None:
    cost = Cost(
        flops=312e12 * 0.4,
        precision="bf16",
        memory={"weights": 2 * GIB, "activations": GIB},
        parameters=2 * 10**9,
        trained=10**9,
    )
    assert cost.hours(3600, 1) == pytest.approx(32)
    assert cost.hours(3600, 8) == pytest.approx(4)
    row = table({"mine": (load_config("keyframe", None, {"steps": "3600"}), cost)}).splitlines()[-1]
    assert row == "| mine | 1.00 / 2.00 billion | 125 | 3 | 3,600 | 32 | 4 |"


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--{key}={value}" for key, value in SMALL.items()]
    assert main(["interpolation", *words]) == 0
    assert "| interpolation |" in capsys.readouterr().out
    assert main(["nothing"]) == 1
    assert "unknown preset nothing" in capsys.readouterr().err
    assert main(["interpolation", *words, "--frozen", "bf16"]) == 1
    assert 'frozen is "bf16": expected fp32 with trainable published' in capsys.readouterr().err
    assert main(["interpolation", *words, "--frozen", "bf16", "--trainable", "lora"]) == 0


def test_8_bits_of_state_and_a_decoder_in_tiles() -> None:
    plain = {**SMALL, "resolution": "256", "trainable": "all", "rgb_weight": "1"}
    whole, tiled = (
        measure(load_config("keyframe", None, {**plain, **changes}))
        for changes in ({}, {"optimizer": "adamw8bit", "decoder_tile": "128", "offload_decoder": "true"})
    )
    assert whole.memory["AdamW"] == 8 * whole.trained
    assert 2 * whole.trained < tiled.memory["AdamW"] < 2.5 * whole.trained
    decoder = whole.memory["weights"] - tiled.memory["weights"]
    assert 200e6 < decoder < 300e6
    # A tile with the latents around it is three quarters of the picture each way; the stage's own come on top.
    assert tiled.memory["activations"] < 0.8 * whole.memory["activations"]


def test_the_parts_of_flashlips() -> None:
    """At full size a speech transformer of about 150 million numbers; small ones else, which count in a moment."""

    def cost(preset: str, **changes: str) -> Cost:
        settings = {"start": "a file", "batch_size": "1", **changes}
        return measure_flashlips(load_as(FlashLipsConfig, preset, None, settings))

    audio = cost("lips-audio")
    assert audio.trained == audio.parameters
    assert 0.9 * 150e6 < audio.trained < 1.1 * 150e6
    assert audio.memory["AdamW"] == 8 * audio.trained
    quick = {"network": "small", "lower_weight": "0", "lips_weight": "0"}
    editor, refine, vector = (cost(f"lips-{part}", **quick) for part in ("editor", "refine", "vector"))
    networks = PRESETS["small"].networks
    numbers = {
        name: sum(value.numel() for value in on_meta(name, networks).parameters())
        for name in ("editor", "lips", "reader")
    }
    assert editor.trained == numbers["editor"] + numbers["lips"]
    assert refine.trained == numbers["editor"]
    assert vector.trained == numbers["reader"]
    assert refine.flops > editor.flops  # by the frozen copy


def test_decoding_fewer_pictures_costs_less() -> None:
    each = {"network": "small", "batch_size": "4"}
    all_of_them, one, none = (
        measure_flashlips(load_as(FlashLipsConfig, "lips-editor", None, {**each, **changes})).flops
        for changes in ({}, {"decoded": "1"}, {"lower_weight": "0", "lips_weight": "0"})
    )
    decoding = all_of_them - none
    assert one - none == pytest.approx(decoding / 4, rel=0.01)
    assert decoding > 0


def test_the_table_knows_flashlips(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lips-audio", "--batch-size", "1"]) == 0
    assert "| lips-audio | 0.15 / 0.15 billion |" in capsys.readouterr().out
