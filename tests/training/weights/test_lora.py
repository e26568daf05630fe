"""LoRA adapters: what they change, their files, and the merged stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.stage import Stage, Windows
from keysync.weights.checkpoint import load_stage
from keysync.weights.identify import UNET
from training.config.config import TrainConfig
from training.weights.initial_weights import starting_stage
from training.weights.lora import PREFIX, load_lora, lora_tensors, merged, without_adapters, write_lora

from ...tiny_models import AUDIO_CHANNELS, LATENT_SIZE
from ..small_config import small_config

STAGES = ("keyframe", "interpolation")
RANK, ALPHA = 3, 6.0


def settings(tiny_files: dict[str, Path], stage: str = "keyframe") -> TrainConfig:
    start = str(tiny_files[stage])
    return small_config(stage, trainable="lora", start=start, lora_rank=RANK, lora_alpha=ALPHA)


def start(config: TrainConfig) -> Stage:
    return starting_stage(config, LATENT_SIZE, AUDIO_CHANNELS)


def trained(stage: Stage) -> Stage:
    """Adapters as after some training: no factor is zero any more."""
    torch.manual_seed(5)
    for name, parameter in stage.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return stage


@torch.no_grad()
def output(stage: Stage) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    frames = (1, 14, 4, *LATENT_SIZE)
    features = torch.randn(1, 14, 2, AUDIO_CHANNELS, generator=generator)
    shape = (1, 4, *LATENT_SIZE) if stage.learned_mask is None else (1, 2, 4, *LATENT_SIZE)
    reference, x = torch.randn(shape, generator=generator), torch.randn(frames, generator=generator)
    condition = stage.condition(Windows(features, reference, torch.zeros(frames), torch.ones(1, 14, 1, *LATENT_SIZE)))
    out: Tensor = stage(x, torch.tensor([2.0]), condition)
    return out


def far(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", STAGES)
def test_new_adapters_change_nothing_and_are_trained_alone(name: str, tiny_files: dict[str, Path]) -> None:
    config = settings(tiny_files, name)
    stage, again = start(config), start(config)
    torch.testing.assert_close(
        output(stage), output(load_stage(tiny_files[name], dtype=torch.float32)), rtol=1e-4, atol=1e-4
    )
    trained_names = {key for key, parameter in stage.named_parameters() if parameter.requires_grad}
    assert trained_names == {key for key in stage.state_dict() if ".lora_" in key}
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in stage.state_dict().items())


def test_adapters_sit_on_every_attention_and_feed_forward_layer(tiny_files: dict[str, Path]) -> None:
    """In each of the transformers, two blocks: 2 x 4 attention layers and 2 of each feed-forward."""
    stage = start(settings(tiny_files))
    layers = {key.partition(".lora_")[0] for key in stage.state_dict() if ".lora_" in key}
    transformers = sum(key.endswith("proj_in.weight") for key in stage.state_dict())
    assert len(layers) == transformers * (10 + 12)
    weights = {key.removesuffix(".weight") for key in load_stage(tiny_files["keyframe"]).state_dict()}
    inside = {
        key for key in weights if "transformer_blocks." in key or ("time_stack." in key and ".norm_in" not in key)
    }
    linear = {key for key in inside if any(part in key for part in (".to_", ".net.")) and not key.endswith(".bias")}
    assert layers == linear


@pytest.mark.parametrize("name", STAGES)
def test_the_file_by_its_formula_is_the_adapted_stage(name: str, tiny_files: dict[str, Path], tmp_path: Path) -> None:
    """W + alpha / r B A, with nothing of ours but the file's names."""
    config = settings(tiny_files, name)
    stage = trained(start(config))
    write_lora(tmp_path / "lora.safetensors", stage.spec, stage.state_dict(), config, {"keysync.training.steps": "7"})
    lora = load_file(tmp_path / "lora.safetensors")
    plain = load_stage(tiny_files[name], dtype=torch.float32)
    before = output(plain)
    state = plain.unet.state_dict()
    layers = {key.removesuffix(".alpha") for key in lora if key.endswith(".alpha")}
    assert len(lora) == 3 * len(layers)
    for layer in layers:
        down, up, alpha = (lora[f"{layer}.{part}"] for part in ("lora_A.weight", "lora_B.weight", "alpha"))
        assert len(down) == RANK
        state[f"{layer.removeprefix('diffusion_model.')}.weight"] += float(alpha) / RANK * up @ down
    assert far(output(plain), output(stage)) < 1e-5
    assert far(before, output(stage)) > 0.01
    with safe_open(tmp_path / "lora.safetensors", "pt") as file:
        told = file.metadata()
    assert told["keysync.stage"] == name
    assert (told["keysync.lora.rank"], told["keysync.lora.alpha"]) == ("3", "6.0")
    assert told["modelspec.architecture"] == f"keysync-{name}/lora"
    assert told["keysync.training.steps"] == "7"


@pytest.mark.parametrize("name", STAGES)
def test_merged_is_a_plain_stage(name: str, tiny_files: dict[str, Path]) -> None:
    stage = trained(start(settings(tiny_files, name)))
    expected = output(stage)
    plain = merged(stage)
    assert plain.spec == stage.spec
    assert set(plain.state_dict()) == set(load_stage(tiny_files[name]).state_dict())
    assert far(output(plain), expected) < 1e-5
    assert torch.equal(output(stage), expected)
    untouched = next(iter(plain.parameters()))
    with torch.no_grad():
        untouched.zero_()
    assert torch.equal(output(stage), expected)


def test_a_file_goes_back_into_adapters(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    config = settings(tiny_files)
    stage = trained(start(config))
    write_lora(tmp_path / "lora.safetensors", stage.spec, stage.state_dict(), config, {})
    again = start(config)
    load_lora(again, tmp_path / "lora.safetensors")
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in stage.state_dict().items())


def test_adapters_learn(tiny_files: dict[str, Path]) -> None:
    stage = start(settings(tiny_files))
    stage.unet.gradient_checkpointing = True
    context = torch.randn(1, 14, stage.spec.unet.context_dim)
    stage.unet(torch.randn(14, 8, *LATENT_SIZE), torch.zeros(14), context).square().mean().backward()
    graded = {key for key, parameter in stage.named_parameters() if parameter.grad is not None}
    assert graded == {key for key in stage.state_dict() if ".lora_" in key}
    # B starts at zero, so the first step moves B alone.
    for key, parameter in stage.named_parameters():
        if ".lora_B." in key:
            assert parameter.grad is not None
            assert parameter.grad.any(), key


def refused(path: Path, config: TrainConfig, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        load_lora(start(config), path)


def test_files_that_do_not_fit(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    config = settings(tiny_files)
    stage, path = trained(start(config)), tmp_path / "lora.safetensors"
    write_lora(path, stage.spec, stage.state_dict(), config, {})
    refused(
        path,
        settings(tiny_files, "interpolation"),
        r"lora.safetensors is a LoRA for the keyframe stage: expected one for the i",
    )
    refused(
        path, replace(config, lora_rank=4), r"does not fit this network and rank: \d+ misshapen, first diffusion_mod"
    )
    refused(path, replace(config, lora_alpha=5.0), r"\.alpha 6 but lora_alpha is 5: set lora_alpha to 6")
    tensors = lora_tensors(stage.state_dict(), ALPHA)
    name = f"{PREFIX}middle_block.1.transformer_blocks.0.attn2.to_k.lora_A.weight"
    assert name in tensors
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    refused(path, config, f"1 missing, first {name}")
    save_file({**tensors, f"{UNET}out.2.weight": torch.ones(1)}, path)
    refused(path, config, f"1 unknown, first {UNET}out.2.weight")
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, path)
    refused(path, config, f"{name} contains numbers that are not finite")


def test_without_its_adapters_a_stage_is_as_before(tiny_files: dict[str, Path]) -> None:
    stage = trained(start(settings(tiny_files)))
    expected = output(load_stage(tiny_files["keyframe"], dtype=torch.float32))
    changed = output(stage)
    with without_adapters(stage):
        torch.testing.assert_close(output(stage), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(output(stage), changed)
