"""The denoiser around both networks: scaling, what the network is fed, what is made of its output; the conditioner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from keysync.method import LATENT_CHANNELS
from keysync.network.stage import Condition, Stage, Windows, preconditioning

from .conftest import Golden, relative_error
from .test_unet import condition_of

EXACT = 1e-6
NETWORK_TOLERANCE = 1e-4
END_TO_END_TOLERANCE = 2e-3

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


@dataclass(frozen=True)
class Case:
    """A call of the reference's denoiser in our shapes: latents (b, t, 4, h, w), sigma (b,)."""

    name: str
    x: Tensor
    sigma: Tensor
    condition: Condition
    network_input: Tensor
    c_noise: Tensor
    denoised: Tensor


def cases(golden: Golden, stage: Stage) -> Iterator[Case]:
    vectors, prefix = golden.tensors("denoiser"), f"{stage.spec.name}."
    names = [key.removesuffix("network_input") for key in vectors if key.endswith("network_input")]
    names = [name for name in names if name.startswith(prefix)]
    assert names
    for name in names:
        part = {key.removeprefix(name): tensor for key, tensor in vectors.items() if key.startswith(name)}
        tokens = part["crossattn"]
        known, mask = part["gt"].transpose(1, 2), part["masks"].transpose(1, 2)
        condition = replace(condition_of(stage, part["concat"], tokens), known=known, mask=mask)
        x, network_input, denoised = (
            part[key].unflatten(0, tokens.shape[:2]) for key in ("x", "network_input", "denoised")
        )
        sigma = part["sigma"].unflatten(0, tokens.shape[:2])
        assert torch.equal(sigma, sigma[:, :1].expand_as(sigma))
        yield Case(name, x, sigma[:, 0], condition, network_input, part["c_noise"], denoised)
        if "denoised_chunked" in part:
            chunked = part["denoised_chunked"].unflatten(0, tokens.shape[:2])
            yield Case(name, x, sigma[:, 0], condition, network_input, part["c_noise"], chunked)


def scaled(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """The formulas once more, in double precision: c_skip times the masked input, c_out, and the mask."""
    sigma = case.sigma.double().reshape(-1, 1, 1, 1, 1)
    mask, known = case.condition.mask.double(), case.condition.known.double()
    return (
        (case.x.double() * mask + known * (1 - mask)) / (sigma**2 + 1),
        -sigma / (sigma**2 + 1).sqrt(),
        mask,
    )


def test_scaling(golden: Golden) -> None:
    vectors = golden.tensors("denoiser")
    ours = preconditioning(vectors["scaling.sigma"])
    for name in ("c_skip", "c_out", "c_in", "c_noise"):
        assert relative_error(getattr(ours, name), vectors[f"scaling.{name}"]) < EXACT, name


@by_stage
def test_what_the_network_is_fed(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    stage = stages[name]
    for case in cases(golden, stage):
        seen: list[Tensor] = []
        with torch.no_grad(), stage.unet.register_forward_pre_hook(lambda _, given, seen=seen: seen.extend(given)):
            stage(case.x, case.sigma, case.condition)
        network_input, c_noise = seen[0][:, :LATENT_CHANNELS], seen[1]
        assert relative_error(network_input, case.network_input.flatten(0, 1)) < EXACT, case.name
        assert relative_error(c_noise, case.c_noise) < EXACT, case.name


@by_stage
def test_network_on_the_golden_input(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    stage = stages[name]
    for case in cases(golden, stage):
        with torch.no_grad():
            output = stage.network(case.network_input, case.c_noise, case.condition).double()
        skipped, c_out, mask = scaled(case)
        denoised = (c_out * output + skipped) * mask + case.condition.known.double() * (1 - mask)
        assert relative_error(denoised, case.denoised) < NETWORK_TOLERANCE, case.name


@by_stage
def test_recombination(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    """The network's output that explains the golden result is recombined to that result."""
    stage = stages[name]
    for case in cases(golden, stage):
        skipped, c_out, _ = scaled(case)
        output = ((case.denoised.double() - skipped) / c_out).float().flatten(0, 1)
        with torch.no_grad(), stage.unet.register_forward_hook(lambda _, __, ___, output=output: output):
            denoised = stage(case.x, case.sigma, case.condition)
        assert relative_error(denoised, case.denoised) < EXACT, case.name
        kept = (case.condition.mask == 0).expand_as(denoised)
        assert torch.equal(denoised[kept], case.condition.known[kept])


@by_stage
def test_end_to_end(name: str, golden: Golden, stages: dict[str, Stage]) -> None:
    stage = stages[name]
    for case in cases(golden, stage):
        with torch.no_grad():
            denoised = stage(case.x, case.sigma, case.condition)
        assert relative_error(denoised, case.denoised) < END_TO_END_TOLERANCE, case.name


@by_stage
@pytest.mark.parametrize("branch", ["c", "uc"])
def test_conditioner(name: str, branch: str, golden: Golden, stages: dict[str, Stage]) -> None:
    vectors, stage = golden.tensors("conditioner"), stages[name]
    features, frames = vectors[f"{name}.in.audio_emb"], vectors[f"{name}.in.cond_frames"]
    concat, tokens = vectors[f"{name}.{branch}.concat"], vectors[f"{name}.{branch}.crossattn"]
    if frames.ndim == 5:
        frames = frames.transpose(1, 2)  # b c 2 h w -> b 2 c h w
    (b, t), size = features.shape[:2], frames.shape[-2:]
    given = {
        "gt": vectors.get(f"{name}.{branch}.gt", torch.zeros(b, LATENT_CHANNELS, t, *size)).transpose(1, 2),
        "masks": vectors.get(f"{name}.{branch}.masks", torch.ones(b, 1, t, *size)).transpose(1, 2),
    }
    conditioned = branch == "c"
    with torch.no_grad():
        windows = Windows(features, frames, given["gt"], given["masks"])
        ours = stage.condition(windows, audio=conditioned, reference=conditioned)
    assert relative_error(ours.tokens, tokens) < EXACT
    assert torch.equal(ours.known, given["gt"])
    assert torch.equal(ours.mask, given["masks"])
    if stage.learned_mask is None:
        assert relative_error(ours.reference, concat[:, None].expand_as(ours.reference)) < EXACT
        return
    ends = ours.reference[:, [0, -1]]
    assert relative_error(ends[:, :, :LATENT_CHANNELS].flatten(1, 2), concat) < EXACT
    between = ours.reference[:, 1:-1, :LATENT_CHANNELS]
    assert torch.equal(between, stage.learned_mask.expand_as(between))
    flag = torch.zeros(t)
    flag[[0, -1]] = 1
    assert torch.equal(ours.reference[:, :, -1], flag[:, None, None].expand_as(ours.reference[:, :, -1]))
