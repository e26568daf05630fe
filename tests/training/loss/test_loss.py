"""The training loss: what is drawn, what is dropped, what is averaged, and where gradients go."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor, nn

import training.loss.loss
from keysync.errors import KeySyncError
from keysync.method import LATENT_CHANNELS
from keysync.network.stage import SCALE_FACTOR, Stage
from keysync.vae.names import Widths
from keysync.vae.vae import VAE
from tests.small_stages import AUDIO_CHANNELS, FRAMES, SIZE, small_stage
from training.config.config import LOSS_REGIONS, TrainConfig, load_config
from training.data.dataset import Batch
from training.data.draws import generator
from training.loss.loss import (
    Draws,
    LossModule,
    condition_of,
    draw,
    lower_half,
    mean_over,
    noised,
    weight_of,
    weighted_error,
)

PIXELS = (8 * SIZE[0], 8 * SIZE[1])
PIXEL_FRAMES = (3, 1)

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def settings(name: str = "keyframe", **changes: Any) -> TrainConfig:
    plain = {"rgb_weight": 0.0, "gradient_checkpointing": False}
    return replace(load_config(name, None, {}), **{**plain, **changes})


def batch_of(numbers: tuple[int, ...] = (4, 7), seed: int = 3) -> Batch:
    """Random windows; the lower half of each frame is generated, the left half of that in the first window."""
    source = torch.Generator().manual_seed(seed)
    b = len(numbers)

    def halved(size: tuple[int, int]) -> Tensor:
        mask = torch.zeros(b, 1, *size)
        mask[..., size[0] // 2 :, :] = 1
        mask[0, ..., size[1] // 2 :] = 0
        return mask

    return Batch(
        number=torch.tensor(numbers),
        latents=torch.randn(b, FRAMES, LATENT_CHANNELS, *SIZE, generator=source),
        mask=halved(SIZE)[:, None].repeat(1, FRAMES, 1, 1, 1),
        features=torch.randn(b, FRAMES, 2, AUDIO_CHANNELS, generator=source),
        pixel_frame=torch.tensor((PIXEL_FRAMES * b)[:b]),
        pixels=torch.rand(b, 3, *PIXELS, generator=source) * 2 - 1,
        pixel_mask=halved(PIXELS),
    )


def draws_of(batch: Batch, **changes: Tensor) -> Draws:
    """Everything is kept; two noise levels."""
    b = len(batch.number)
    keep = torch.ones(b, dtype=torch.bool)
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(5))
    return replace(Draws(torch.linspace(0.5, 3.0, b), noise, keep, keep), **changes)


class Decoder(nn.Module):
    """Looks like the VAE's decoder: a linear layer over channels, then every latent eight pixels wide and high."""

    def __init__(self, gain: float = 0.01) -> None:
        super().__init__()
        self.mix = nn.Conv2d(LATENT_CHANNELS, 3, 1)
        nn.init.normal_(self.mix.weight, std=gain, generator=torch.Generator().manual_seed(6))
        assert self.mix.bias is not None
        nn.init.zeros_(self.mix.bias)
        self.seen: list[Tensor] = []

    def forward(self, z: Tensor, *, image_only_indicator: Tensor, num_frames: int) -> Tensor:
        assert num_frames == 1
        assert image_only_indicator.shape == (len(z), 1)
        self.seen.append(z)
        pictures: Tensor = self.mix(z).repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2)
        return pictures


def gradients_of(module: LossModule, batch: Batch, draws: Draws) -> dict[str, Tensor]:
    module.zero_grad()
    module(batch, draws).total.backward()
    return {name: part.grad.clone() for name, part in module.named_parameters() if part.grad is not None}


# What is drawn


@by_stage
def test_draws_do_not_depend_on_the_batch(name: str) -> None:
    config = settings(name, high_noise_share=0.3, audio_dropout=0.5, identity_dropout=0.5)
    together, alone = draw(config, batch_of((3, 900, 5))), draw(config, batch_of((900,)))
    other = draw(replace(config, seed=1), batch_of((900,)))
    for part in ("sigma", "noise", "keep_audio", "keep_identity"):
        assert torch.equal(getattr(together, part)[1], getattr(alone, part)[0]), part
    assert together.noise.shape == (3, FRAMES, LATENT_CHANNELS, *SIZE)
    assert not torch.equal(together.noise[0], together.noise[1])
    assert not torch.equal(alone.noise, other.noise)
    assert not torch.equal(alone.sigma, other.sigma)


def test_each_draw_has_a_purpose_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def recording(seed: int, number: int, purpose: str) -> torch.Generator:
        asked.append((seed, number, purpose))
        return generator(seed, number, purpose)

    monkeypatch.setattr(training.loss.loss, "generator", recording)
    draw(settings(seed=8), batch_of((4, 7)))
    assert len(set(asked)) == len(asked) == 8
    # What the windows draw by is another matter: these would give the same numbers again.
    assert not {purpose for _, _, purpose in asked} & {"posterior", "window start", "pixel frame", "order of clips"}


def small_draws(config: TrainConfig, count: int = 1200) -> Draws:
    whole = batch_of(tuple(range(count)))
    return draw(config, replace(whole, latents=whole.latents[..., :1, :1, :1]))


def test_noise_levels_are_log_normal() -> None:
    logarithms = small_draws(settings()).sigma.double().log()
    assert logarithms.mean() == pytest.approx(1.0, abs=0.1)
    assert logarithms.std() == pytest.approx(1.2, abs=0.1)
    other = small_draws(settings(noise_mean=-1.2, noise_std=0.0)).sigma
    assert torch.allclose(other, torch.tensor(math.exp(-1.2)))


def test_a_share_of_high_noise() -> None:
    none, some, every = (small_draws(settings(high_noise_share=share)).sigma for share in (0.0, 0.25, 1.0))
    changed = some != none
    assert changed.float().mean() == pytest.approx(0.25, abs=0.05)
    assert torch.equal(some[changed], every[changed])
    assert every.min() >= 50
    assert every.max() <= 700
    logarithms = every.double().log()
    low, high = math.log(50), math.log(700)
    for share in (0.25, 0.5, 0.75):  # evenly over the logarithm
        assert (logarithms < low + share * (high - low)).double().mean() == pytest.approx(share, abs=0.05)


def test_dropout_has_its_share_and_falls_independently() -> None:
    draws = small_draws(settings(audio_dropout=0.2, identity_dropout=0.1, identity_dropout_per_frame=False))
    assert draws.keep_identity.shape == (1200,)
    assert (~draws.keep_audio).double().mean() == pytest.approx(0.2, abs=0.03)
    assert (~draws.keep_identity).double().mean() == pytest.approx(0.1, abs=0.02)
    assert (~draws.keep_identity & ~draws.keep_audio).double().mean() == pytest.approx(0.02, abs=0.012)
    for share, kept in ((0.0, True), (1.0, False)):
        draws = small_draws(settings(audio_dropout=share, identity_dropout=share), 20)
        assert (draws.keep_audio == kept).all()
        assert (draws.keep_identity == kept).all()


def test_identity_is_dropped_frame_by_frame_where_the_setting_says_so() -> None:
    kept = small_draws(settings(identity_dropout=0.1, identity_dropout_per_frame=True), 400).keep_identity
    assert kept.shape == (400, FRAMES)
    assert (~kept).double().mean() == pytest.approx(0.1, abs=0.03)
    mixed = kept.any(1) & ~kept.all(1)
    assert mixed.double().mean() == pytest.approx(1 - 0.9**FRAMES - 0.1**FRAMES, abs=0.08)


# What the stage is given


@by_stage
def test_dropped_speech_leaves_no_token_and_all_else(name: str) -> None:
    stage, batch = small_stage(name), batch_of()
    whole = condition_of(stage, batch, draws_of(batch))
    dropped = condition_of(stage, batch, draws_of(batch, keep_audio=torch.tensor([True, False])))
    assert torch.equal(dropped.tokens[0], whole.tokens[0])
    assert not dropped.tokens[1].any()
    assert torch.equal(dropped.reference, whole.reference)
    assert torch.equal(dropped.known, batch.latents)
    assert torch.equal(dropped.mask, batch.mask)


@by_stage
def test_dropped_speech_is_neither_attended_to_nor_added_to_the_time(name: str) -> None:
    """The network is as without speech: nothing depends on it, neither by cross-attention nor by the embedding."""
    stage, batch = small_stage(name), batch_of()
    other = replace(batch, features=torch.randn_like(batch.features))
    module = LossModule(stage, None, settings(name))
    draws = draws_of(batch, keep_audio=torch.tensor([True, False]))
    with torch.no_grad():
        ours, theirs = module.denoise(batch, draws), module.denoise(other, draws)
    assert not torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_keyframes_take_their_own_first_frame_and_lose_it_per_clip_or_frame() -> None:
    stage, batch = small_stage("keyframe"), batch_of()
    identity = (batch.latents[:, :1] / SCALE_FACTOR).expand(-1, FRAMES, -1, -1, -1)
    assert torch.allclose(condition_of(stage, batch, draws_of(batch)).reference, identity)
    clip = condition_of(stage, batch, draws_of(batch, keep_identity=torch.tensor([False, True]))).reference
    assert not clip[0].any()
    assert torch.equal(clip[1], identity[1])
    kept = torch.ones(2, FRAMES, dtype=torch.bool)
    kept[0, 2] = False
    frame = condition_of(stage, batch, draws_of(batch, keep_identity=kept)).reference
    assert torch.equal(frame, identity * kept[..., None, None, None])


def test_keyframes_take_the_identity_that_the_batch_brings() -> None:
    batch = batch_of()
    other = torch.randn(2, LATENT_CHANNELS, *SIZE)
    condition = condition_of(small_stage("keyframe"), replace(batch, identity=other), draws_of(batch))
    for frame in range(FRAMES):
        torch.testing.assert_close(condition.reference[:, frame, :LATENT_CHANNELS], other / SCALE_FACTOR)


def test_interpolation_takes_its_ends_and_keeps_learned_mask_and_flag() -> None:
    stage, batch = small_stage("interpolation"), batch_of()
    whole = condition_of(stage, batch, draws_of(batch)).reference
    dropped = condition_of(stage, batch, draws_of(batch, keep_identity=torch.tensor([True, False]))).reference
    ends = [0, -1]
    assert torch.allclose(whole[:, ends, :LATENT_CHANNELS], batch.latents[:, ends] / SCALE_FACTOR)
    assert torch.equal(dropped[0], whole[0])
    assert not dropped[1, ends, :LATENT_CHANNELS].any()
    assert torch.equal(dropped[1, 1:-1], whole[1, 1:-1])
    assert stage.learned_mask is not None
    assert torch.equal(dropped[1, 1, :LATENT_CHANNELS], stage.learned_mask)
    assert (dropped[1, ends, LATENT_CHANNELS] == 1).all()


@by_stage
def test_the_known_region_costs_nothing_and_passes_no_noise(name: str) -> None:
    module, batch = LossModule(small_stage(name), None, settings(name)), batch_of()
    draws = draws_of(batch)
    with torch.no_grad():
        denoised = module.denoise(batch, draws)
        other = module.denoise(batch, replace(draws, noise=draws.noise * batch.mask))
    error = weighted_error(denoised, batch.latents, draws.sigma)
    assert not (error * (1 - batch.mask)).any()
    assert (error * batch.mask).any()
    assert torch.equal(denoised, other)
    assert not torch.equal(noised(batch.latents, draws), batch.latents)


# What is averaged


def test_weights_make_it_the_error_of_the_velocity() -> None:
    sigma = torch.tensor([0.002, 0.5, 2.7, 700.0])
    exact = [1 + 1 / float(value) ** 2 for value in sigma.tolist()]
    assert weight_of(sigma).tolist() == pytest.approx(exact, rel=1e-6)
    least = [min(1 / s**2, 5.0) for s in sigma.double().tolist()]
    assert weight_of(sigma, min_snr=5.0).tolist() == pytest.approx(least, rel=1e-6)
    x0, velocity, wrong = (torch.randn(4, 50, generator=torch.Generator().manual_seed(n)).double() for n in range(3))
    scale = (sigma.double() / (sigma.double() ** 2 + 1).sqrt())[:, None]  # |c_out|
    error = weighted_error(x0 + scale * wrong, x0 + scale * velocity, sigma.double())
    assert torch.allclose(error, (wrong - velocity) ** 2)


def test_frame_shrinks_with_the_mask_and_mask_does_not() -> None:
    error = torch.full((1, 3, LATENT_CHANNELS, *SIZE), 2.0)
    small, large = torch.zeros(1, 3, 1, *SIZE), torch.zeros(1, 3, 1, *SIZE)
    small[..., :1], large[..., :4] = 1, 1
    assert mean_over(error * small).item() < mean_over(error * large).item()
    assert mean_over(error * small, small).item() == mean_over(error * large, large).item() == 2.0
    assert mean_over(error, torch.zeros_like(small)).item() == 0


@pytest.mark.parametrize("region", LOSS_REGIONS)
def test_what_a_region_averages(region: str) -> None:
    batch, decoder = batch_of(), Decoder()
    module = LossModule(small_stage("keyframe"), decoder, settings(loss_region=region, rgb_weight=0.5))
    draws = draws_of(batch)
    with torch.no_grad():
        losses, denoised = module(batch, draws), module.denoise(batch, draws)
        shown = torch.stack([clip[frame] for clip, frame in zip(denoised, PIXEL_FRAMES, strict=True)])
        pictures = module.decode(shown)
    weight = weight_of(draws.sigma)
    latent, pixel = [], []
    assert batch.pixels is not None
    assert batch.pixel_mask is not None
    for clip in range(2):
        squares = ((denoised - batch.latents) ** 2)[clip]
        differences = ((pictures - batch.pixels) ** 2)[clip]
        if region == "mask":
            squares = squares[(batch.mask[clip] == 1).expand_as(squares)]
            differences = differences[(batch.pixel_mask[clip] == 1).expand_as(differences)]
        latent.append(weight[clip] * squares.mean())
        pixel.append(weight[clip] * differences.mean())
    assert losses.latent.item() == pytest.approx(torch.stack(latent).mean().item(), rel=1e-5)
    assert losses.pixel.item() == pytest.approx(torch.stack(pixel).mean().item(), rel=1e-5)
    assert losses.total.item() == pytest.approx((losses.latent + 0.5 * losses.pixel).item(), rel=1e-6)


@pytest.mark.parametrize("region", ["frame", "mask"])
def test_lips_may_weigh_more(region: str) -> None:
    batch = batch_of()
    weight = torch.ones_like(batch.mask)
    weight[..., -1, :] = 3
    draws = draws_of(batch)
    module = LossModule(small_stage("keyframe"), None, settings(loss_region=region, mouth_weight=3.0))
    error = weighted_error(module.denoise(batch, draws), batch.latents, draws.sigma)
    counted = (weight if region == "frame" else weight * batch.mask).expand_as(error)
    wanted = (error * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)
    loss = module(replace(batch, weight=weight), draws)
    torch.testing.assert_close(loss.total, wanted.mean())
    torch.testing.assert_close(module(replace(batch, weight=torch.ones_like(weight)), draws), module(batch, draws))


def test_the_masked_loss_does_not_see_what_lies_outside() -> None:
    batch = batch_of()
    module = LossModule(small_stage("keyframe"), Decoder(), settings(loss_region="mask", rgb_weight=1.0))
    assert batch.pixels is not None
    assert batch.pixel_mask is not None
    other = replace(batch, pixels=torch.where(batch.pixel_mask == 1, batch.pixels, torch.rand(batch.pixels.shape)))
    draws = draws_of(batch)
    noisier = replace(draws, noise=torch.where(batch.mask == 1, draws.noise, 9.0))
    with torch.no_grad():
        ours = module(batch, draws)
        assert torch.equal(module(other, noisier).total, ours.total)
        whole = LossModule(module.stage, Decoder(), settings(rgb_weight=1.0))
        assert not torch.equal(whole(other, draws).pixel, whole(batch, draws).pixel)


# Pixels and gradients


def test_pixels_are_the_decoder_s_clamped() -> None:
    torch.manual_seed(0)
    network = AutoencoderKLTemporalDecoder(block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",))
    vae = VAE(None, network.decoder, Widths((32,), 1), "random weights")
    module = LossModule(small_stage("keyframe"), vae.decoder, settings(rgb_weight=1.0))
    latents = torch.randn(2, LATENT_CHANNELS, *SIZE, generator=torch.Generator().manual_seed(2)) * 4
    expected = vae.decode(latents).movedim(-1, 1) * 2 - 1
    assert expected.std() > 0.01
    assert torch.allclose(module.decode(latents), expected, atol=1e-5)
    loud = LossModule(small_stage("keyframe"), Decoder(gain=100.0), settings(rgb_weight=1.0)).decode(latents)
    assert loud.abs().max() == 1


def test_pixel_gradients_reach_the_network_and_not_the_decoder() -> None:
    batch, decoder = batch_of(), Decoder()
    module = LossModule(small_stage("keyframe"), decoder, settings(rgb_weight=1.0))
    plain = LossModule(module.stage, None, settings())
    draws = draws_of(batch)
    without, given = gradients_of(plain, batch, draws), gradients_of(module, batch, draws)
    assert any(not torch.equal(given[name], without[name]) for name in given)
    assert all(part.grad is None and not part.requires_grad for part in decoder.parameters())
    # One frame of each clip is decoded.
    assert decoder.seen[0].shape == (2, LATENT_CHANNELS, *SIZE)
    # Where every value is clamped the pixels pull nowhere.
    module = LossModule(module.stage, Decoder(gain=0.0), settings(rgb_weight=1.0))
    assert module.decoder is not None
    nn.init.constant_(module.decoder.get_parameter("mix.bias"), 5.0)
    clamped = gradients_of(module, batch, draws)
    assert all(torch.allclose(clamped[name], without[name]) for name in without)


def test_the_decoder_is_no_part_of_the_module() -> None:
    stage = small_stage("keyframe")
    module = LossModule(stage, Decoder(), settings(rgb_weight=1.0)).to(torch.bfloat16)
    assert {name.partition(".")[0] for name in module.state_dict()} == {"stage"}
    assert len(list(module.parameters())) == len(list(stage.parameters()))
    assert module.decode(torch.zeros(1, LATENT_CHANNELS, *SIZE)).dtype == torch.float32
    assert module.with_stage(lambda given, word: (given is stage, word), "work") == (True, "work")


def test_every_weight_gets_a_gradient_even_if_all_is_dropped() -> None:
    """None is left out, so that processes that share the work wait for none in vain."""
    for name in ("keyframe", "interpolation"):
        batch = batch_of()
        module = LossModule(small_stage(name), None, settings(name))
        none = torch.zeros(2, dtype=torch.bool)
        gradients = gradients_of(module, batch, draws_of(batch, keep_audio=none, keep_identity=none))
        assert gradients.keys() == dict(module.named_parameters()).keys()


def test_autocast_halves_the_network_and_nothing_else() -> None:
    batch, decoder = batch_of(), Decoder()
    module = LossModule(small_stage("keyframe"), decoder, settings(rgb_weight=1.0))
    seen: list[torch.dtype] = []
    draws = draws_of(batch)
    exact, exact_tokens = module(batch, draws), condition_of(module.stage, batch, draws).tokens
    hooks = [
        module.stage.unet.out[2].register_forward_hook(lambda _, __, output: seen.append(output.dtype)),
        module.stage.unet.register_forward_pre_hook(lambda _, given: tokens.append(given[2])),
        decoder.mix.register_forward_hook(lambda _, __, output: seen.append(output.dtype)),
    ]
    tokens: list[Tensor] = []
    with torch.autocast("cpu", torch.bfloat16):
        losses = module(batch, draws)
    for hook in hooks:
        hook.remove()
    assert seen == [torch.bfloat16, torch.float32]
    assert torch.equal(tokens[0], exact_tokens)
    assert losses.total.dtype == torch.float32
    assert losses.total != exact.total
    assert losses.total.item() == pytest.approx(exact.total.item(), rel=0.05)
    losses.total.backward()
    assert all(torch.isfinite(part.grad).all() for part in module.parameters() if part.grad is not None)


@by_stage
def test_gradient_checkpointing_changes_no_gradient(name: str) -> None:
    batch, stage, runs = batch_of(), small_stage(name), []
    calls: list[int] = []
    hook = stage.unet.middle_block.register_forward_pre_hook(lambda *_: calls.append(1))
    for checkpointing in (False, True):
        module = LossModule(stage, Decoder(), settings(name, rgb_weight=1.0, gradient_checkpointing=checkpointing))
        runs.append(gradients_of(module, batch, draws_of(batch)))
    hook.remove()
    assert len(calls) == 3  # the second run goes through each block twice
    assert runs[0].keys() == runs[1].keys()
    assert all(torch.equal(runs[0][part], runs[1][part]) for part in runs[0])


def error_of(work: Callable[[], object]) -> str:
    with pytest.raises(KeySyncError) as caught:
        work()
    return str(caught.value)


def test_what_pixels_need_is_named() -> None:
    stage: Stage = small_stage("keyframe")
    config = settings(rgb_weight=0.5)
    assert "rgb_weight is 0.5 but there is no VAE decoder" in error_of(lambda: LossModule(stage, None, config))
    blind = replace(batch_of(), pixels=None, pixel_mask=None)
    module = LossModule(stage, Decoder(), config)
    assert "the batch has no pixels" in error_of(lambda: module(blind, draws_of(blind)))


def test_the_lower_half_counts_more() -> None:
    error = torch.zeros(1, 1, 4, 5, 2)
    error[..., 2:, :] = 1  # of an odd number of rows the middle one belongs to the lower half
    assert lower_half(5, 3.0, error)[:, 0].tolist() == [1, 1, 3, 3, 3]
    batch, stage = batch_of(), small_stage("keyframe")
    plain, weighted = (LossModule(stage, None, settings(lower_half_weight=weight)) for weight in (1.0, 3.0))
    sigma = torch.tensor([2.0, 5.0])
    denoised = batch.latents.clone()
    denoised[..., : SIZE[0] // 2, :] += 0.5
    upper = [float(module.latent_loss(denoised, batch.latents, batch, sigma)) for module in (plain, weighted)]
    assert upper[0] == pytest.approx(upper[1])
    denoised = batch.latents.clone()
    denoised[..., SIZE[0] // 2 :, :] += 0.5
    lower = [float(module.latent_loss(denoised, batch.latents, batch, sigma)) for module in (plain, weighted)]
    assert lower[1] == pytest.approx(3 * lower[0])


def test_a_perceptual_loss_needs_its_network() -> None:
    config = settings(rgb_weight=1.0, lpips_weight=1.0)
    with pytest.raises(KeySyncError, match="lpips_weight is 1 but there is no LPIPS network: load it"):
        LossModule(small_stage("keyframe"), nn.Identity(), config)
