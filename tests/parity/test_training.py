"""The training loss equals the reference's: what is noised, what the stage makes of it, what that costs, gradients."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from keysync.network.stage import SCALE_FACTOR, Stage
from keysync.vae.vae import load_vae
from keysync.weights.stage_format import published_names
from training.config.config import TrainConfig, load_config
from training.data.dataset import Batch
from training.loss.loss import Draws, LossModule, condition_of, mean_over, noised, weighted_error
from training.weights.trainable import freeze

from .conftest import Golden, relative_error

EXACT = 1e-6
LOSS_TOLERANCE = 1e-5
NETWORK_TOLERANCE = 1e-4

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def cases(golden: Golden, name: str) -> dict[str, dict[str, Tensor]]:
    """The tensors of each loss that the set holds for a stage, with those that all of them share."""
    vectors = golden.tensors(f"train_loss_{name}")
    found = [key.removesuffix(".loss_total") for key in vectors if key.endswith(".loss_total")]
    assert found
    shared = {key: tensor for key, tensor in vectors.items() if not key.startswith(tuple(f"{case}." for case in found))}
    parts = {}
    for case in found:
        own = {key.removeprefix(f"{case}."): tensor for key, tensor in vectors.items() if key.startswith(f"{case}.")}
        # A thinned set keeps once the noise that all its cases have.
        parts[case] = {"noise": vectors[f"{found[0]}.noise"], **shared, **own}
    return parts


def config_of(golden: Golden, name: str, case: str) -> TrainConfig:
    """The published settings, which frozen weights and dropped conditions do not come into."""
    pixel_frame = golden.facts(f"train_loss_{name}")["summary"][case]["pixel_frame"]
    return replace(
        load_config(name, None, {}),
        rgb_weight=0.0 if pixel_frame is None else 1.0,
        gradient_checkpointing=False,
        precision="fp32",
    )


def batch_of(golden: Golden, name: str, case: str, part: dict[str, Tensor]) -> Batch:
    latents, mask = part["latents"].transpose(1, 2), part["masks"].transpose(1, 2)  # b c t h w -> b t c h w
    frame = golden.facts(f"train_loss_{name}")["summary"][case]["pixel_frame"]
    pixels = None
    if frame is not None:
        frames = part["original_frames"]
        # A thinned set keeps only the frame that is looked at.
        pixels = frames[:, :, frame if frames.shape[2] == latents.shape[1] else 0]
    b = len(latents)
    return Batch(
        number=torch.arange(b),
        latents=latents,
        mask=mask,
        features=part["audio_emb"],
        pixel_frame=torch.full((b,), frame or 0),
        pixels=pixels,
        pixel_mask=None if pixels is None else torch.ones_like(pixels[:, :1]),
    )


def draws_of(part: dict[str, Tensor]) -> Draws:
    sigma, noise = part["sigmas"], part["noise"].transpose(1, 2)
    return Draws(sigma, noise, torch.ones(len(sigma), dtype=torch.bool), torch.ones(len(sigma), dtype=torch.bool))


def decoder_of(golden: Golden) -> nn.Module:
    return load_vae(golden.path("keyframe_checkpoint.safetensors")).decoder


def module_of(golden: Golden, stage: Stage, case: str) -> LossModule:
    config = config_of(golden, stage.spec.name, case)
    return LossModule(stage, decoder_of(golden) if config.rgb_weight else None, config)


@by_stage
def test_what_is_noised_and_conditioned(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    for case, part in cases(golden, name).items():
        batch, draws = batch_of(golden, name, case, part), draws_of(part)
        if "noised_input" in part:
            assert relative_error(noised(batch.latents, draws).transpose(1, 2), part["noised_input"]) < EXACT, case
        with torch.no_grad():
            condition = condition_of(stages[name], batch, draws)
        if "cond.crossattn" in part:
            assert relative_error(condition.tokens, part["cond.crossattn"]) < EXACT, case
        frames = part["cond_frames"] / SCALE_FACTOR
        if frames.ndim == 5:  # the ends of the window: b c 2 h w -> b 2 c h w
            assert relative_error(condition.reference[:, [0, -1], :4], frames.transpose(1, 2)) < EXACT, case
        else:
            assert relative_error(condition.reference, frames[:, None].expand_as(condition.reference)) < EXACT, case


@by_stage
def test_what_it_costs(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    for case, part in cases(golden, name).items():
        batch, draws = batch_of(golden, name, case, part), draws_of(part)
        module = module_of(golden, stages[name], case)
        with torch.no_grad():
            denoised, losses = module.denoise(batch, draws), module(batch, draws)
        if "model_output" in part:
            assert relative_error(denoised.flatten(0, 1), part["model_output"]) < NETWORK_TOLERANCE, case
        error = weighted_error(denoised, batch.latents, draws.sigma)
        assert relative_error(error.mean((2, 3, 4)).flatten(), part["l2"]) < LOSS_TOLERANCE, case
        assert relative_error(mean_over(error).mean(), part["l2"].mean()) < LOSS_TOLERANCE, case
        assert relative_error(losses.latent, part["l2"].mean()) < LOSS_TOLERANCE, case
        assert relative_error(losses.total[None], part["loss_total"]) < LOSS_TOLERANCE, case
        if "pixel_l2" in part:
            assert relative_error(losses.pixel[None], part["pixel_l2"]) < LOSS_TOLERANCE, case


@by_stage
def test_gradients(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    """In float64, as they were recorded: in float32 rounding alone moves them by up to a percent on these widths."""
    stage = deepcopy(stages[name]).double()
    names, parameters = published_names(stage), dict(stage.named_parameters())
    for case, part in cases(golden, name).items():
        expected = {key.removeprefix("grad."): tensor for key, tensor in part.items() if key.startswith("grad.")}
        assert expected, case
        module = module_of(golden, stage, case)
        if module.decoder is not None:
            module.decoder.double()
        batch, draws = in_float64(batch_of(golden, name, case, part)), in_float64(draws_of(part))
        total = module(batch, draws).total
        assert relative_error(total.detach()[None], part["loss_total"]) < LOSS_TOLERANCE, case
        gradients = torch.autograd.grad(total, [parameters[names[theirs]] for theirs in expected])
        for (theirs, wanted), ours in zip(expected.items(), gradients, strict=True):
            assert ours.dtype == torch.float64, (case, theirs)
            assert relative_error(ours, wanted) < EXACT, (case, theirs)


Given = TypeVar("Given", Batch, Draws)


def in_float64(given: Given) -> Given:
    """A batch or its draws, every tensor of real numbers in float64."""
    held = {field.name: getattr(given, field.name) for field in fields(given)}
    real: dict[str, Any] = {
        name: part.double() for name, part in held.items() if isinstance(part, Tensor) and part.is_floating_point()
    }
    return replace(given, **real)


@by_stage
def test_what_is_frozen(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    expected: dict[str, Any] = golden.facts(f"train_loss_{name}")["summary"]["frozen_by_train_sh"]
    stage = stages[name]
    try:
        counts = freeze(stage, load_config(name, None, {}))
        assert counts.frozen == expected["count"]
        assert counts.trained + counts.frozen == expected["of"]
        parameters = dict(stage.unet.named_parameters())
        assert not any(parameters[example].requires_grad for example in expected["examples"])
    finally:
        stage.requires_grad_(True)
