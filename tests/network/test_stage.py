"""A stage: its condition, the denoiser's formulas, half and double precision, and clear errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from keysync.errors import KeySyncError
from keysync.network.stage import SCALE_FACTOR, STAGES, Stage, StageSpec, Windows, preconditioning

from ..small_stages import AUDIO_CHANNELS, FRAMES, SIZE, Inputs, inputs, small_stage

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def error_of(stage: Stage, windows: Windows) -> str:
    with pytest.raises(KeySyncError) as caught:
        stage.condition(windows)
    return str(caught.value)


def converted(windows: Windows, dtype: torch.dtype) -> Windows:
    return Windows(*(part.to(dtype) for part in vars(windows).values() if part is not None))


def test_published_stages() -> None:
    encoders = {name: spec.speech_encoder for name, spec in STAGES.items()}
    assert encoders == {"keyframe": "hubert", "interpolation": "wavlm"}
    for name, spec in STAGES.items():
        assert (spec.name, spec.window, spec.latent_size, spec.image_size) == (name, 14, (64, 64), (512, 512))
        assert spec.audio_channels == 768
    assert StageSpec("keyframe", STAGES["keyframe"].unet, latent_size=(8, 16)).image_size == (64, 128)


# The formulas


def test_preconditioning_at_one() -> None:
    scaling = preconditioning(torch.tensor(1.0))
    assert [float(part) for part in scaling] == pytest.approx([0.5, -math.sqrt(0.5), math.sqrt(0.5), 0.0])


def test_a_perfect_network_gives_the_clean_latents() -> None:
    """The network predicts v = (noise - sigma * clean) / sqrt(1 + sigma^2); its input has variance 1."""
    stage, given = small_stage("keyframe"), inputs("keyframe")
    clean, sigma = torch.randn_like(given.noise), torch.tensor([0.5, 3.0])
    level = sigma.reshape(-1, 1, 1, 1, 1)
    perfect = ((given.noise - level * clean) / (1 + level**2).sqrt()).flatten(0, 1)
    condition = stage.condition(replace(given.windows, mask=torch.ones_like(given.windows.mask)))
    seen: list[Tensor] = []
    with torch.no_grad(), stage.unet.register_forward_pre_hook(lambda _, args: seen.extend(args)):
        stage.unet.register_forward_hook(lambda _, __, ___: perfect)
        denoised = stage(clean + level * given.noise, sigma, condition)
    torch.testing.assert_close(denoised, clean, rtol=1e-5, atol=1e-5)
    assert float(seen[0][:, :4].var()) == pytest.approx(1, rel=0.15)
    assert torch.equal(seen[1], (0.25 * sigma.log()).repeat_interleave(FRAMES))


@by_stage
def test_known_latents_are_kept_and_what_lies_there_does_not_matter(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    condition, sigma = stage.condition(given.windows), torch.tensor(2.0)
    with torch.no_grad():
        denoised = stage(given.noise, sigma, condition)
        other = stage(torch.where(given.windows.mask == 0, given.noise + 9, given.noise), sigma, condition)
    kept = (given.windows.mask == 0).expand_as(denoised)
    assert torch.equal(denoised[kept], given.windows.known[kept])
    assert ((denoised - given.windows.known)[~kept].abs() > 1e-3).float().mean() > 0.9
    assert torch.equal(other, denoised)


@by_stage
def test_one_noise_level_for_all_or_one_each(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    condition = stage.condition(given.windows)
    with torch.no_grad():
        for_all = stage(given.noise, torch.tensor(2.0), condition)
        each = stage(given.noise, torch.tensor([2.0, 7.0]), condition)
    torch.testing.assert_close(each[0], for_all[0])
    assert (each[1] - for_all[1]).abs().max() > 1e-3


# The condition


@by_stage
def test_tokens_are_the_projected_mean_of_both_rows(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    condition = stage.condition(given.windows)
    expected = stage.audio_projection((given.windows.features[:, :, 0] + given.windows.features[:, :, 1]) / 2)
    torch.testing.assert_close(condition.tokens, expected)


def test_the_identity_is_at_every_frame() -> None:
    given = inputs("keyframe")
    reference = small_stage("keyframe").condition(given.windows).reference
    torch.testing.assert_close(reference, (given.windows.reference / SCALE_FACTOR)[:, None].expand_as(reference))


def test_keyframes_at_the_ends_and_the_learned_mask_between() -> None:
    stage, given = small_stage("interpolation"), inputs("interpolation")
    reference = stage.condition(given.windows).reference
    assert reference.shape == (2, FRAMES, 5, *SIZE)
    torch.testing.assert_close(reference[:, [0, -1], :4], given.windows.reference / SCALE_FACTOR)
    assert stage.learned_mask is not None
    assert torch.equal(reference[:, 1:-1, :4], stage.learned_mask.expand(2, FRAMES - 2, -1, -1, -1))
    assert reference[:, [0, -1], 4].eq(1).all()
    assert reference[:, 1:-1, 4].eq(0).all()


@by_stage
def test_unconditional_branches(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    whole = stage.condition(given.windows)
    deaf = stage.condition(given.windows, audio=False)
    assert not deaf.tokens.any(), "the projection's bias leaks"
    assert torch.equal(deaf.reference, whole.reference)
    blind = stage.condition(given.windows, reference=False)
    assert torch.equal(blind.tokens, whole.tokens)
    ends = [0, -1] if name == "interpolation" else slice(None)
    assert not blind.reference[:, ends, :4].any()
    if name == "interpolation":
        assert torch.equal(blind.reference[:, 1:-1], whole.reference[:, 1:-1])
        assert torch.equal(blind.reference[:, :, 4], whole.reference[:, :, 4])
    for other in (deaf, blind):
        assert torch.equal(other.known, whole.known)
        assert torch.equal(other.mask, whole.mask)


@by_stage
def test_every_weight_learns(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    stage(given.noise, torch.tensor(2.0), stage.condition(given.windows)).square().mean().backward()
    for parameter_name, parameter in stage.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


# Precision


@by_stage
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_weights(name: str, dtype: torch.dtype, error: float) -> None:
    stage, given, sigma = small_stage(name), inputs(name), torch.tensor(2.0)
    with torch.no_grad():
        expected = stage(given.noise, sigma, stage.condition(given.windows))
        stage.to(dtype)
        seen: list[Tensor] = []
        stage.unet.register_forward_pre_hook(lambda _, args: seen.extend(args))
        condition = stage.condition(converted(given.windows, dtype))
        denoised = stage(given.noise, sigma, condition)
    assert (seen[0].dtype, seen[1].dtype, seen[2].dtype) == (dtype, torch.float32, dtype)
    for part in (condition.tokens, condition.reference, condition.known, condition.mask, denoised):
        assert part.dtype == torch.float32
    assert (denoised - expected).abs().max() < error * expected.abs().max()


class Precisions(TorchDispatchMode):
    """Gathers the precision of every real number that torch computes meanwhile."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's has no annotations
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [part for part in tree_leaves(made) if isinstance(part, Tensor)]
        self.seen |= {part.dtype for part in tensors if part.is_floating_point()}
        return made


@by_stage
def test_a_stage_in_float64_computes_nothing_in_less(name: str) -> None:
    stage, given, sigma = small_stage(name), inputs(name), torch.tensor(2.0)
    with torch.no_grad():
        expected = stage(given.noise, sigma, stage.condition(given.windows))
    stage.double()
    given, sigma = Inputs(converted(given.windows, torch.float64), given.noise.double()), sigma.double()
    with Precisions() as precisions:
        denoised = stage(given.noise, sigma, stage.condition(given.windows))
        denoised.square().mean().backward()
    assert precisions.seen == {torch.float64}
    assert {parameter.grad.dtype for parameter in stage.parameters() if parameter.grad is not None} == {torch.float64}
    torch.testing.assert_close(denoised, expected.double(), rtol=1e-4, atol=1e-4)


@by_stage
def test_numbers_in_float64_leave_a_stage_in_float32(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    with torch.no_grad():
        expected = stage(given.noise, torch.tensor(2.0), stage.condition(given.windows))
        condition = stage.condition(converted(given.windows, torch.float64))
        denoised = stage(given.noise, torch.tensor(2.0, dtype=torch.float64), condition)
    assert torch.equal(denoised, expected)


# Errors


@by_stage
def test_features_of_another_encoder(name: str) -> None:
    given = inputs(name)
    features = torch.zeros(2, FRAMES, 2, AUDIO_CHANNELS + 1)
    message = error_of(small_stage(name), replace(given.windows, features=features))
    assert message == (
        f"speech features have {AUDIO_CHANNELS + 1} channels but the {name} model needs {AUDIO_CHANNELS}: "
        "encode the speech with wavlm"
    )


def test_latents_of_another_size_than_the_learned_mask() -> None:
    given = inputs("interpolation")
    wide = replace(given.windows, known=torch.zeros(2, FRAMES, 4, 4, 4))
    message = error_of(small_stage("interpolation"), wide)
    assert message == ("latents are 4x4 but the interpolation model's learned mask is 4x8: give crops of 64x32 pixels")


def test_keyframes_have_any_size() -> None:
    stage = small_stage("keyframe")
    latents = torch.zeros(1, FRAMES, 4, 2, 6)
    features, mask = torch.zeros(1, FRAMES, 2, AUDIO_CHANNELS), torch.ones(1, FRAMES, 1, 2, 6)
    condition = stage.condition(Windows(features, latents[:, 0], latents, mask))
    with torch.no_grad():
        assert stage(latents, torch.tensor(1.0), condition).shape == latents.shape


@pytest.mark.parametrize("size", [(12, 6), (10, 16)])
def test_a_latent_size_the_network_cannot_halve(size: tuple[int, int]) -> None:
    unet = replace(STAGES["keyframe"].unet, channel_mult=(1, 1, 1), attention=(False, False, False))
    assert StageSpec("keyframe", unet, latent_size=(12, 16)).image_size == (96, 128)
    with pytest.raises(KeySyncError) as caught:
        StageSpec("keyframe", unet, latent_size=size)
    assert str(caught.value) == (
        f"the latent size of the keyframe model is {size[0]}x{size[1]}: height and width must be multiples of 4 "
        "for a network of 3 levels"
    )


@by_stage
def test_speech_of_zeros_is_not_attended_to_and_changes_no_number(name: str) -> None:
    stage, given = small_stage(name), inputs(name)
    condition = stage.condition(given.windows, audio=False)
    assert condition.silent
    x, sigma = torch.randn_like(condition.known), torch.tensor(2.0)
    with torch.no_grad():
        assert torch.equal(stage(x, sigma, condition), stage(x, sigma, replace(condition, silent=False)))
    assert not stage.condition(given.windows).silent
