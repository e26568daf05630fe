"""The U-Net of both stages, and what is concatenated for it, give the reference's numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from keysync.method import LATENT_CHANNELS
from keysync.network.stage import SCALE_FACTOR, Condition, Stage, Windows

from .conftest import Golden, relative_error

TOLERANCE = 1e-4
SUMMARY_TOLERANCE = 5e-4
INPUT_TOLERANCE = 1e-6
ACTIVATION = "b1.act."

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def cases(vectors: dict[str, Tensor], wrapped: bool) -> list[str]:
    """What the file holds: U-Net cases, or those of the reference's wrapper that concatenates."""
    found = [key.removesuffix(".out") for key in vectors if key.endswith(".out")]
    return [case for case in found if case.startswith("wrap") == wrapped]


def condition_of(stage: Stage, concat: Tensor, tokens: Tensor) -> Condition:
    """From what the reference's conditioner gives: unscaled latents (b, 4 or 8, h, w) and tokens (b, t, c)."""
    latents = concat * SCALE_FACTOR
    if stage.learned_mask is not None:
        latents = latents.unflatten(1, (2, LATENT_CHANNELS))
    (b, t), size = tokens.shape[:2], concat.shape[-2:]
    features = torch.zeros(b, t, 2, stage.spec.audio_channels)
    known, mask = torch.zeros(b, t, LATENT_CHANNELS, *size), torch.ones(b, t, 1, *size)
    return replace(stage.condition(Windows(features, latents, known, mask)), tokens=tokens)


@by_stage
def test_outputs(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    vectors = golden.tensors(f"unet_{name}")
    found = cases(vectors, wrapped=False)
    assert found
    for case in found:
        x, timesteps, context, still, expected = (
            vectors[f"{case}.{part}"] for part in ("x", "timesteps", "context", "image_only_indicator", "out")
        )
        with torch.no_grad():
            assert relative_error(stages[name].unet(x, timesteps, context, still), expected) < TOLERANCE, case
            if not still.any():
                assert relative_error(stages[name].unet(x, timesteps, context), expected) < TOLERANCE, case


@by_stage
def test_activations(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    vectors = golden.tensors(f"unet_{name}")
    layers = {key.removeprefix(ACTIVATION).rsplit(".", 1)[0] for key in vectors if key.startswith(ACTIVATION)}
    if not layers:
        pytest.skip(golden.lacks("activations"))
    unet, seen = stages[name].unet, {}

    def keep(layer: str, output: Tensor) -> None:
        seen[layer] = output.flatten(1)

    hooks = []
    for layer in layers:
        module: nn.Module = unet.get_submodule(layer)
        # The first block is a bare list, called layer by layer.
        module = next(module.children()) if type(module) is nn.ModuleList else module
        hooks.append(module.register_forward_hook(lambda _, __, output, layer=layer: keep(layer, output)))
    with torch.no_grad():
        unet(*(vectors[f"b1.{part}"] for part in ("x", "timesteps", "context", "image_only_indicator")))
    for hook in hooks:
        hook.remove()
    for layer in layers:
        mean, std = (vectors[f"{ACTIVATION}{layer}.{part}"] for part in ("mean", "std"))
        # A mean may be nearly zero: the spread is its measure too.
        assert ((seen[layer].mean(1) - mean).abs().max() / std.max()) < SUMMARY_TOLERANCE, layer
        assert relative_error(seen[layer].std(1), std) < SUMMARY_TOLERANCE, layer


@by_stage
def test_concatenated(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    vectors, stage = golden.tensors(f"unet_{name}"), stages[name]
    found = cases(vectors, wrapped=True)
    assert found
    for case in found:
        x, timesteps, concat, tokens, unet_input, expected = (
            vectors[f"{case}.{part}"] for part in ("x", "t", "concat", "crossattn", "unet_input", "out")
        )
        condition = condition_of(stage, concat, tokens)
        clips = x.unflatten(0, tokens.shape[:2])
        seen: list[Tensor] = []
        with torch.no_grad(), stage.unet.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0])):
            output = stage.network(clips, timesteps, condition)
        assert relative_error(seen[0], unet_input) < INPUT_TOLERANCE, case
        assert relative_error(output.flatten(0, 1), expected) < TOLERANCE, case
