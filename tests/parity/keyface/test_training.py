"""The training loss equals the reference's, but for the perceptual distance of several clips: see the last test."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from keysync.network.stage import Stage
from keysync.vae.vae import load_vae
from keysync.weights.stage_format import published_names
from training.config.config import TrainConfig, load_config
from training.data.dataset import Batch
from training.loss.loss import Draws, LossModule, weight_of
from training.weights.trainable import freeze

from ..conftest import Golden, relative_error

# The bounds of the set's README.
DENOISED = {"keyframe": 5e-4, "interpolation": 1e-3}
LOSS, GRADIENT = 1e-4, 1e-3

Given = TypeVar("Given", Batch, Draws)

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def case_of(golden: Golden, name: str, case: str) -> dict[str, Tensor]:
    """The tensors of a loss in the set."""
    if not golden.path(f"train_loss_{name}.safetensors").exists():
        pytest.skip(golden.lacks("training losses"))
    tensors = golden.tensors(f"train_loss_{name}")
    return {key.removeprefix(f"{case}."): tensor for key, tensor in tensors.items() if key.startswith(f"{case}.")}


def config_of(name: str) -> TrainConfig:
    return replace(load_config(f"keyface-{name}", None, {}), gradient_checkpointing=False)


def batch_of(part: dict[str, Tensor]) -> Batch:
    latents = part["latents"].transpose(1, 2)  # b c t h w -> b t c h w
    pixels = part.get("original_frame")
    return Batch(
        number=torch.arange(len(latents)),
        latents=latents,
        mask=torch.ones(*latents.shape[:2], 1, *latents.shape[-2:]),
        features=part["audio_emb"],
        pixel_frame=torch.zeros(len(latents), dtype=torch.int64),
        pixels=pixels,
        pixel_mask=None if pixels is None else torch.ones_like(pixels[:, :1]),
        identity=part["cond_frames"] if part["cond_frames"].ndim == 4 else None,
        controls=torch.stack((part["valence"], part["arousal"]), -1) if "valence" in part else None,
    )


def draws_of(part: dict[str, Tensor]) -> Draws:
    kept = torch.ones(len(part["sigmas"]), dtype=torch.bool)
    return Draws(part["sigmas"], part["noise"].transpose(1, 2), kept, kept)


def perceptual(x: Tensor, y: Tensor) -> Tensor:
    """What takes LPIPS's place in the set (b, 1, 1, 1)."""
    means = x.mean((2, 3)) - y.mean((2, 3))
    return ((x - y).abs().mean((1, 2, 3)) + means.square().mean(1))[:, None, None, None]


def module_of(golden: Golden, stage: Stage, name: str) -> LossModule:
    config = config_of(name)
    decoder = load_vae(golden.path("keyframe_checkpoint.safetensors")).decoder if config.rgb_weight else None
    return LossModule(stage, decoder, config, perceptual)


def facts_of(golden: Golden, name: str, case: str) -> dict[str, float]:
    parts: dict[str, float] = golden.facts(f"train_loss_{name}")["summary"][case]["parts"]
    return parts


def at_frame(golden: Golden, name: str, case: str, batch: Batch) -> Batch:
    frame = golden.facts(f"train_loss_{name}")["summary"][case]["pixel_frame"]
    return replace(batch, pixel_frame=torch.full((len(batch.latents),), frame or 0))


@by_stage
@pytest.mark.parametrize("case", ["b1", "b2"])
def test_what_it_costs(name: str, case: str, keyface: Golden, stages: dict[str, Stage]) -> None:
    part = case_of(keyface, name, case)
    batch, draws = at_frame(keyface, name, case, batch_of(part)), draws_of(part)
    module, wanted = module_of(keyface, stages[name], name), facts_of(keyface, name, case)
    with torch.no_grad():
        denoised, losses = module.denoise(batch, draws), module(batch, draws)
    assert relative_error(denoised.flatten(0, 1), part["denoised"]) < DENOISED[name]
    assert float(losses.latent) == pytest.approx(wanted["l2"], rel=LOSS)
    if case == "b1":
        pixel = wanted.get("pixel_l2", 0.0) + wanted.get("pixel_lpips", 0.0)
        assert float(losses.pixel) == pytest.approx(pixel, rel=LOSS)
        assert float(losses.total) == pytest.approx(wanted["loss"], rel=LOSS)


@by_stage
def test_gradients(name: str, keyface: Golden, stages: dict[str, Stage]) -> None:
    part = case_of(keyface, name, "b1")
    stage = deepcopy(stages[name]).double()
    names, parameters = published_names(stage), dict(stage.named_parameters())
    expected = {key.removeprefix("grad."): tensor for key, tensor in part.items() if key.startswith("grad.")}
    assert expected
    module = module_of(keyface, stage, name)
    if module.decoder is not None:
        module.decoder.double()
    batch = in_float64(at_frame(keyface, name, "b1", batch_of(part)))
    total = module(batch, in_float64(draws_of(part))).total
    gradients = torch.autograd.grad(total, [parameters[names[theirs]] for theirs in expected])
    for (theirs, wanted), ours in zip(expected.items(), gradients, strict=True):
        assert relative_error(ours, wanted) < GRADIENT, theirs


def in_float64(given: Given) -> Given:
    """A batch or its draws, every tensor of real numbers in float64."""
    held = {field.name: getattr(given, field.name) for field in fields(given)}
    real: dict[str, Any] = {
        name: part.double() for name, part in held.items() if isinstance(part, Tensor) and part.is_floating_point()
    }
    return replace(given, **real)


@by_stage
def test_what_is_frozen(name: str, keyface: Golden, stages: dict[str, Stage]) -> None:
    case_of(keyface, name, "b1")
    expected = keyface.facts(f"train_loss_{name}")["summary"]["frozen"]
    stage = deepcopy(stages[name])
    counts = freeze(stage, config_of(name))
    assert (counts.frozen, counts.trained + counts.frozen) == (expected["count"], expected["of"])


def test_each_clip_has_its_own_weight(keyface: Golden, stages: dict[str, Stage]) -> None:
    """The reference multiplies the distance of every clip with the weight of every other one."""
    part = case_of(keyface, "keyframe", "b2")
    batch, draws = at_frame(keyface, "keyframe", "b2", batch_of(part)), draws_of(part)
    module = module_of(keyface, stages["keyframe"], "keyframe")
    wanted = facts_of(keyface, "keyframe", "b2")
    with torch.no_grad():
        pixel = float(module(batch, draws).pixel)
        pictures = module.decode(module.denoise(batch, draws)[:, int(batch.pixel_frame[0])])
        assert batch.pixels is not None
        distances = perceptual(pictures, batch.pixels).flatten()
    weights = weight_of(draws.sigma)
    assert float(distances.mean() * weights.mean()) == pytest.approx(wanted["pixel_lpips"], rel=LOSS)
    assert pixel - wanted["pixel_l2"] == pytest.approx(float((distances * weights).mean()), rel=LOSS)
