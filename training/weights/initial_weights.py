"""The initial weights of a run: new, a KeySync checkpoint, or Stable Video Diffusion; float32, on the CPU."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from keysync.errors import KeySyncError
from keysync.method import PIXELS_PER_LATENT, PUBLISHED_CROP_SCALE
from keysync.network.layers import Residual, VideoTransformer
from keysync.network.stage import ALL_STAGES, KEYFACE, KEYSYNC, Stage, StageSpec
from keysync.network.unet import UNetConfig
from keysync.weights.checkpoint import load_stage
from keysync.weights.files import read_tensors, shapes_of
from keysync.weights.identify import KINDS, identify

from ..config.config import NO
from .keysync_stage import as_keyface
from .lora import adapted, is_lora
from .svd import svd_stage, weight_files

if TYPE_CHECKING:
    from ..config.config import TrainConfig

logger = logging.getLogger(__name__)

ADAPTED_BY_LORA = "trainable lora needs a trained stage: name a KeySync checkpoint with --start"


def starting_stage(
    config: TrainConfig, latent_size: tuple[int, int], audio_channels: int, crop_scale: float = PUBLISHED_CROP_SCALE
) -> Stage:
    """The stage that a run with these settings starts from, with adapters if those are trained; the same in every
    process. `latent_size` (height, width), `audio_channels` and `crop_scale` are those of the data.

    Raises `KeySyncError` for a file that is neither a checkpoint of this stage nor Stable Video Diffusion, for missing,
    unknown or misshapen tensors, and if settings, data and file do not agree.
    """
    height, width = latent_size
    if (height, width) != (config.resolution // PIXELS_PER_LATENT,) * 2:
        raise KeySyncError(
            f"the data has crops of {PIXELS_PER_LATENT * width}x{PIXELS_PER_LATENT * height} pixels but resolution "
            f"is {config.resolution}: set resolution to {PIXELS_PER_LATENT * height}, or prepare the data again"
        )
    stage = _weights(config, latent_size, audio_channels, crop_scale)
    stage.spec = trained_spec(replace(stage.spec, crop_scale=crop_scale), config)
    return adapted(stage, config) if config.trainable == "lora" else stage


def trained_spec(spec: StageSpec, config: TrainConfig) -> StageSpec:
    """What a run with these settings makes of a stage: how it is best sampled."""
    if config.distill != NO:
        levels = config.levels or None
        return replace(spec, audio_guidance=1.0, identity_guidance=1.0, guidance_baked=True, levels=levels)
    if spec.guidance_baked:
        logger.warning("%s is distilled: learning from the data undoes what it has learned", config.start)
    return replace(
        spec,
        audio_guidance=config.audio_guidance or spec.audio_guidance,
        identity_guidance=config.identity_guidance or spec.identity_guidance,
        autoguidance=config.autoguidance or spec.autoguidance,
    )


def _weights(config: TrainConfig, latent_size: tuple[int, int], audio_channels: int, crop_scale: float) -> Stage:
    if not config.start:
        if config.trainable == "lora":
            raise KeySyncError(f"start is empty: {ADAPTED_BY_LORA}")
        return _new(config, latent_size, audio_channels)
    path, *others = weight_files(Path(config.start))
    tensors = {name: tensor for file in (path, *others) for name, tensor in read_tensors(file)[0].items()}
    kind, sign = identify(shapes_of(tensors))
    if is_lora(tensors):
        raise KeySyncError(f"{path} is a LoRA: start from the checkpoint it was trained on, or export it with --merge")
    if kind == "svd":
        if config.trainable == "lora":
            raise KeySyncError(f"{path} is {KINDS[kind]}: {ADAPTED_BY_LORA}")
        return svd_stage(path, tensors, config, latent_size, audio_channels)
    if kind not in ALL_STAGES:
        raise KeySyncError(
            f"{path} is {KINDS[kind]} ({sign}): expected {KINDS[config.stage]} or Stable Video Diffusion"
        )
    if config.stage in KEYFACE and kind in KEYSYNC:
        stage = as_keyface(path, config.stage)
        stage.spec = replace(stage.spec, crop_scale=crop_scale)  # a head is cut out wider than a face to dub
    else:
        stage = load_stage(path, expect=config.stage, dtype=torch.float32)
    return _continued(path, stage, config, latent_size, audio_channels, crop_scale)


def new_spec(config: TrainConfig, latent_size: tuple[int, int], audio_channels: int) -> StageSpec:
    """The stage of new weights."""
    unet = UNetConfig(
        in_channels=ALL_STAGES[config.stage].unet.in_channels,
        vector_dim=ALL_STAGES[config.stage].unet.vector_dim,
        model_channels=config.model_channels,
        channel_mult=config.channel_mult,
        attention=config.attention,
        num_res_blocks=config.num_res_blocks,
        head_dim=config.head_dim,
        context_dim=config.context_dim,
    )
    return StageSpec(config.stage, unet, audio_channels, latent_size, config.window, config.speech_encoder, config.mask)


def _new(config: TrainConfig, latent_size: tuple[int, int], audio_channels: int) -> Stage:
    """New weights, initialised as usual for diffusion U-Nets: the last layer of each residual branch is zero."""
    spec = new_spec(config, latent_size, audio_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        stage = Stage(spec)
    for module in stage.unet.modules():
        last = module.out_layers[-1] if isinstance(module, Residual) else None
        _zero(module.proj_out if isinstance(module, VideoTransformer) else last)
    _zero(stage.unet.out[-1])
    numbers = sum(parameter.numel() for parameter in stage.parameters())
    logger.info("start: %s new weights", f"{numbers:,}")
    if config.trainable == "published":
        logger.warning("trainable published does not train the temporal layers: set trainable all for new weights")
    return stage


def _zero(layer: nn.Module | None) -> None:
    for parameter in () if layer is None else layer.parameters():
        nn.init.zeros_(parameter)


def _continued(
    path: Path,
    stage: Stage,
    config: TrainConfig,
    latent_size: tuple[int, int],
    audio_channels: int,
    crop_scale: float,
) -> Stage:
    """The stage of a checkpoint, which must match the data."""
    spec = stage.spec
    for what, theirs, ours, remedy in (
        ("latents", spec.latent_size, latent_size, "prepare the data at the checkpoint's resolution"),
        ("window", spec.window, config.window, f"set window to {spec.window}"),
        ("speech_encoder", spec.speech_encoder, config.speech_encoder, f"set speech_encoder to {spec.speech_encoder}"),
        ("crop_scale", spec.crop_scale, crop_scale, f"prepare the data with --crop-scale {spec.crop_scale:g}"),
        ("speech channels", spec.audio_channels, audio_channels, f"prepare the data with its {spec.speech_encoder}"),
    ):
        if theirs != ours:
            raise KeySyncError(f"{path} has {what} {_words(theirs)} but this run has {_words(ours)}: {remedy}")
    if not spec.row.masked:
        logger.info("start: %s, a trained stage", path)
        return stage
    if spec.mask != config.mask and config.trainable == "lora":
        raise KeySyncError(
            f"{path} was trained with mask {spec.mask} and a LoRA must use the same: set mask to {spec.mask}"
        )
    if spec.mask != config.mask:
        logger.warning("%s was trained with mask %s: continuing with mask %s", path, spec.mask, config.mask)
        stage.spec = replace(spec, mask=config.mask)
    logger.info("start: %s, a trained stage, without new weights", path)
    return stage


def _words(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
