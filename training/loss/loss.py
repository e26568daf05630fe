"""The training loss: windows are noised, denoised by the stage, and compared (paper eq. 4-6).

Latents are (b, t, 4, h, w), scaled by 0.18215. Everything random about a sample is drawn first and passed to the loss,
which is deterministic. The constants are those of the KeySync reference implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.method import LATENT_CHANNELS, PIXELS_PER_LATENT
from keysync.network.stage import ENDS, SCALE_FACTOR, Condition, Stage, Windows

from ..config.config import SYNC_FRAMES
from ..data.draws import generator
from .lipsync import Distance
from .tiles import called_on, in_tiles

if TYPE_CHECKING:
    from ..config.config import TrainConfig
    from ..data.dataset import Batch

Result = TypeVar("Result")

# Sampling starts here, where the log-normal distribution hardly ever draws.
HIGH_NOISE = (50.0, 700.0)


@dataclass(frozen=True, eq=False)
class Draws:
    """The random draws of a batch: sigma (b,) and noise (b, t, 4, h, w) in float32; whether to keep the speech (b,) and
    the identity, (b,) per clip or (b, t) per frame (bool)."""

    sigma: Tensor
    noise: Tensor
    keep_audio: Tensor
    keep_identity: Tensor

    def to(self, device: torch.device | str) -> Draws:
        """The draws on another device."""
        return Draws(*(getattr(self, field.name).to(device) for field in fields(self)))


class Losses(NamedTuple):
    """The losses of a batch, scalars; `total` = latent + rgb_weight * pixel + sync_weight * sync is minimised."""

    total: Tensor
    latent: Tensor
    pixel: Tensor
    sync: Tensor


def draw(config: TrainConfig, batch: Batch) -> Draws:
    """The draws of a batch, on the CPU; those of a sample depend only on the run's seed and the sample's number."""
    window = batch.latents.shape[1:]
    places = window[:1] if config.identity_dropout_per_frame else ()
    samples = []
    for number in batch.number.tolist():
        source = partial(generator, config.seed, number)
        sample = (
            _noise_level(config, source("noise level")),
            torch.randn(window, generator=source("noise")),
            torch.rand((), generator=source("audio dropout")) >= config.audio_dropout,
            torch.rand(places, generator=source("identity dropout")) >= config.identity_dropout,
        )
        samples.append(sample)
    return Draws(*(torch.stack(part) for part in zip(*samples, strict=True)))


def noised(latents: Tensor, draws: Draws) -> Tensor:
    """Latents with noise of each clip's level over the whole frame; the stage restores the known region."""
    return latents + _per_clip(draws.sigma) * draws.noise


def windows_of(stage: Stage, batch: Batch) -> Windows:
    """What the stage generates a batch's windows from. The identity of a keyframe window is the batch's, or else the
    window's first frame; the ends of an interpolation window are its own."""
    identity = batch.latents[:, 0] if batch.identity is None else batch.identity
    reference = batch.latents[:, [0, -1]] if stage.spec.reference == ENDS else identity
    if not stage.spec.row.masked:
        return Windows.unmasked(batch.features, reference, batch.controls)
    return Windows(batch.features, reference, batch.latents, batch.mask)


def condition_of(stage: Stage, batch: Batch, draws: Draws) -> Condition:
    """The stage's condition for a batch. Dropped parts are zero, except the learned mask and the end flag."""
    ends = stage.learned_mask is not None
    whole = stage.condition(windows_of(stage, batch))
    kept = whole.reference.new_ones(*whole.reference.shape[:3], 1, 1)
    frames = [0, -1] if ends else slice(None)
    keep_identity = draws.keep_identity.reshape(len(kept), -1, 1).expand(-1, kept.shape[1], -1)
    kept[:, frames, :LATENT_CHANNELS, 0, 0] = keep_identity[:, frames].to(kept.dtype)
    return replace(
        whole,
        tokens=whole.tokens * draws.keep_audio.to(whole.tokens.dtype)[:, None, None],
        reference=whole.reference * kept,
    )


def weight_of(sigma: Tensor, min_snr: float = 0.0) -> Tensor:
    """(sigma^2 + 1) / sigma^2, which turns the squared error of the denoised latent into that of the velocity; computed
    in double precision, because it is large for small sigma.

    With `min_snr` it is the least of 1 / sigma^2 and that number (Hang et al., 2023, *Efficient Diffusion Training via
    Min-SNR Weighting Strategy*, eq. 8 for the prediction of the velocity).
    """
    variance = sigma.double() ** 2
    weight = (1.0 / variance).clamp_max(min_snr) if min_snr else (variance + 1.0) / variance
    return weight.to(sigma.dtype)


def weighted_error(ours: Tensor, target: Tensor, sigma: Tensor, min_snr: float = 0.0) -> Tensor:
    """The weighted squared error per element of tensors (b, ...) at noise level sigma (b,)."""
    return weight_of(sigma, min_snr).reshape(-1, *[1] * (ours.ndim - 1)) * (ours - target) ** 2


def mean_over(error: Tensor, region: Tensor | None = None) -> Tensor:
    """The mean (b,) of each clip's error (b, ..., c, h, w): over all elements, or weighted by the region
    (b, ..., 1, h, w). An empty region costs nothing."""
    if region is None:
        return error.flatten(1).mean(1)
    elements = region.expand_as(error).flatten(1)
    return (error.flatten(1) * elements).sum(1) / elements.sum(1).clamp_min(1.0)


def lower_half(rows: int, weight: float, like: Tensor) -> Tensor:
    """Weights (rows, 1) of a frame's rows: `weight` from the middle down, 1 above it."""
    weights = like.new_ones(rows, 1)
    weights[rows // 2 :] = weight
    return weights


class LossModule(nn.Module):
    """The loss of a stage as a module that holds all trained parameters, for wrapping in several processes.

    The VAE's `decoder` is needed if `rgb_weight` or `sync_weight` is not 0, the `perceptual` distance (b,) of pictures
    (b, 3, H, W) in -1..1 if `lpips_weight` is not 0, and the lip-sync loss `sync` if `sync_weight` is not 0, in float32
    and on the stage's device. They are frozen and not submodules: they
    are not saved, averaged, sharded, moved or cast. Raises `KeySyncError` if one is missing.
    """

    def __init__(
        self,
        stage: Stage,
        decoder: nn.Module | None,
        config: TrainConfig,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
        sync: Distance | None = None,
    ) -> None:
        super().__init__()
        for name, weight in (("rgb_weight", config.rgb_weight), ("sync_weight", config.sync_weight)):
            if weight and decoder is None:
                raise KeySyncError(
                    f"{name} is {weight:g} but there is no VAE decoder: name a VAE with --vae, or set {name} to 0"
                )
        if config.sync_weight and sync is None:
            raise KeySyncError(f"sync_weight is {config.sync_weight:g} but there is no lip-sync loss: load it")
        self._sync = (sync,)
        if config.lpips_weight and perceptual is None:
            raise KeySyncError(f"lpips_weight is {config.lpips_weight:g} but there is no LPIPS network: load it")
        self._perceptual = (perceptual,)  # in a tuple, as the decoder
        self.stage = stage
        stage.unet.gradient_checkpointing = config.gradient_checkpointing
        self.config = config
        # In a tuple, so that torch does not register it as a submodule.
        self._outside: tuple[nn.Module, ...] = () if decoder is None else (decoder.requires_grad_(False).eval(),)

    @property
    def decoder(self) -> nn.Module | None:
        """The VAE's decoder, which is not a submodule."""
        return self._outside[0] if self._outside else None

    def forward(self, batch: Batch, draws: Draws) -> Losses:
        """The losses of a batch. Raises `KeySyncError` for a batch without the pixels that `rgb_weight` needs."""
        batch, draws = batch.to(self.stage.device), draws.to(self.stage.device)
        denoised = self.denoise(batch, draws)
        latent = self.latent_loss(denoised, batch.latents, batch, draws.sigma)
        none = torch.zeros_like(latent)
        pixel = self._pixel_loss(denoised, batch, draws) if self.config.rgb_weight else none
        sync = self.sync_loss(denoised, batch) if self.config.sync_weight else none
        total = latent + self.config.rgb_weight * pixel + self.config.sync_weight * sync
        return Losses(total, latent.detach(), pixel.detach(), sync.detach())

    def sync_loss(self, denoised: Tensor, batch: Batch) -> Tensor:
        """The distance of the lips in decoded frames from their sound, a scalar; noise levels weigh the same."""
        if batch.sync_frame is None or batch.sound is None:
            raise KeySyncError(f"sync_weight is {self.config.sync_weight:g} but the batch has no sound: load it")
        clips = torch.arange(len(denoised), device=denoised.device)[:, None]
        frames = batch.sync_frame[:, None] + torch.arange(SYNC_FRAMES, device=denoised.device)
        shown = denoised[clips, frames]  # b t c h w -> b n c h w
        pictures = self.decode(shown.flatten(0, 1)).unflatten(0, shown.shape[:2])
        assert self._sync[0] is not None
        with torch.autocast(pictures.device.type, enabled=False):
            return self._sync[0](pictures, batch.sound).mean()

    def _pixel_loss(self, denoised: Tensor, batch: Batch, draws: Draws) -> Tensor:
        if batch.pixels is None:
            raise KeySyncError(f"rgb_weight is {self.config.rgb_weight:g} but the batch has no pixels: load them")
        clips = torch.arange(len(denoised), device=denoised.device)
        pictures = self.decode(denoised[clips, batch.pixel_frame])
        pixel_error = weighted_error(pictures, batch.pixels, draws.sigma, self.config.min_snr)
        pixel = mean_over(pixel_error, batch.pixel_mask if self._by_mask else None)
        if self.config.lpips_weight:
            pixel = pixel + self.config.lpips_weight * self._perceptual_error(pictures, batch.pixels, draws.sigma)
        return pixel.mean()

    def latent_loss(self, denoised: Tensor, target: Tensor, batch: Batch, sigma: Tensor) -> Tensor:
        """The weighted error of denoised latents (b, t, 4, h, w) at noise levels sigma (b,), a scalar."""
        error = weighted_error(denoised, target, sigma, self.config.min_snr)
        if self.config.lower_half_weight != 1:
            error = error * lower_half(error.shape[-2], self.config.lower_half_weight, error)
        region = batch.mask if self._by_mask else None
        if batch.weight is not None:
            region = batch.weight if region is None else region * batch.weight
        return mean_over(error, region).mean()

    def _perceptual_error(self, ours: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
        """The weighted perceptual distance (b,): of each picture with its own weight."""
        (perceptual,) = self._perceptual
        assert perceptual is not None
        with torch.autocast(ours.device.type, enabled=False):
            return weight_of(sigma, self.config.min_snr) * perceptual(ours, target).flatten()

    @property
    def _by_mask(self) -> bool:
        return self.config.loss_region == "mask"

    def with_stage(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Returns `work(stage, *arguments)`; a sharded stage has whole weights meanwhile."""
        return work(self.stage, *arguments)

    def denoise(self, batch: Batch, draws: Draws) -> Tensor:
        """The denoised latents (b, t, 4, h, w) of the noised batch, at least float32; only the network is autocast."""
        with torch.autocast(batch.latents.device.type, enabled=False):
            condition = condition_of(self.stage, batch, draws)
        denoised: Tensor = self.stage(noised(batch.latents, draws), draws.sigma, condition)
        return denoised

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (n, 3, 8h, 8w), clamped to -1..1, of scaled latents (n, 4, h, w), each decoded as a clip of one
        frame. Gradients reach the latents, except where a value was clamped."""
        with torch.autocast(latents.device.type, enabled=False):
            tile = self.config.decoder_tile // PIXELS_PER_LATENT
            again = tile or self.config.offload_decoder
            pictures = in_tiles(self._decode, latents, tile) if again else self._decode(latents)
        return pictures.clamp(-1.0, 1.0)

    def _decode(self, latents: Tensor) -> Tensor:
        decoder = self._outside[0]
        if not self.config.offload_decoder:
            return _raw(decoder, latents)
        z = latents.to(next(decoder.parameters()).dtype) / SCALE_FACTOR
        video = z.new_zeros(len(z), 1)  # 0: a clip, not an image
        return called_on(decoder, z.device, z, image_only_indicator=video, num_frames=1)


def decoded(decoder: nn.Module, latents: Tensor) -> Tensor:
    """Pictures (n, 3, 8h, 8w), clamped to -1..1, of scaled latents (n, 4, h, w), each decoded as a clip of one frame.
    Gradients reach the latents, except where a value was clamped."""
    return _raw(decoder, latents).clamp(-1.0, 1.0)


def _raw(decoder: nn.Module, latents: Tensor) -> Tensor:
    """What a decoder makes of scaled latents (n, 4, h, w)."""
    z = latents.to(next(decoder.parameters()).dtype) / SCALE_FACTOR
    video = z.new_zeros(len(z), 1)  # 0: a clip, not an image
    pictures: Tensor = decoder(z, image_only_indicator=video, num_frames=1)
    return pictures


def _noise_level(config: TrainConfig, source: torch.Generator) -> Tensor:
    """A log-normal noise level, or for a share of the samples a log-uniform one in `HIGH_NOISE`; any of the levels of a
    distilled schedule."""
    if config.schedule:
        return torch.tensor(config.schedule)[torch.randint(len(config.schedule), (), generator=source)]
    normal = torch.randn((), generator=source, dtype=torch.float64)
    share, place = torch.rand(2, generator=source, dtype=torch.float64)
    low, high = (math.log(sigma) for sigma in HIGH_NOISE)
    if share < config.high_noise_share:
        return torch.exp(low + (high - low) * place).float()
    return torch.exp(config.noise_mean + config.noise_std * normal).float()


def _per_clip(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1, 1)
