"""The two stages as the core's own models: Stable Video Diffusion's network, conditioned on speech (paper §3.3).

Frames travel as the core has them, (windows x frames, c, h, w); what is KeySync's is in `Condition`s of whole windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_sampling
import comfy.supported_models
import torch
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.network.stage import Condition, Stage, StageSpec
from ...keysync.network.unet import UNetConfig
from ...keysync.systems.keysync.models import SMALL_CROPS
from ...keysync.systems.keysync.small import LATENT_RGB, LATENT_RGB_BIAS
from ...keysync.weights.stage_format import EMBEDDED, embed, in_words, on_meta, published_names


class KeySyncSampling(comfy.model_sampling.ModelSamplingContinuousEDM, comfy.model_sampling.V_PREDICTION):
    """The core's v-prediction with EDM noise levels, but sampling begins with noise alone."""

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        return noise * torch.sqrt(1.0 + sigma**2)


class KeySyncConfig(comfy.supported_models.SVD_img2vid):
    """The core's description of the network, from a checkpoint's own widths instead of the published ones."""

    unet_extra_config = {"num_heads": -1, "attn_precision": torch.float32}  # noqa: RUF012 - the core's own idiom

    def __init__(self, unet: UNetConfig) -> None:
        super().__init__(_unet_arguments(unet))


class KeySyncModel(comfy.model_base.SVD_img2vid):
    """A stage of the method inside the core: `spec` says which, `conditioner` makes its conditions,
    `origin` says which file it is from, and `file` is its path."""

    conditioner: Stage
    origin = "not from a file"
    file: Path | None = None
    _together: bool | None = None

    def __init__(self, spec: StageSpec, config: KeySyncConfig, tensors: Mapping[str, Tensor]) -> None:
        """`tensors` of the checkpoint by their published names; the core loads the U-Net's afterwards."""
        super().__init__(config)
        self.spec = spec
        self.model_sampling = KeySyncSampling(config)
        if (spec.image_size, spec.crop_scale) == SMALL_CROPS:
            self.latent_format = _small_latents(self.latent_format)
        # Past nn.Module's registration: a few megabytes that stay on the CPU in float32, whatever the core offloads.
        object.__setattr__(self, "conditioner", _conditioner(spec, tensors))

    @contextmanager
    def evaluated(self, together: bool | None) -> Iterator[None]:
        """Inside, the core evaluates conditions together, one by one, or, if None, as many at once as memory allows."""
        before, self._together = self._together, together
        try:
            yield
        finally:
            self._together = before

    def memory_required(self, input_shape: Sequence[int], **kwargs: Any) -> float:
        """The core's estimate in bytes; none, or more than there is, where it is not to decide by memory."""
        required: float = super().memory_required(input_shape, **kwargs)
        return {None: required, True: 0.0, False: math.inf}[self._together]

    @property
    def audio_projection(self) -> torch.nn.Linear:
        return self.conditioner.audio_projection

    @property
    def learned_mask(self) -> torch.nn.Parameter | None:
        return self.conditioner.learned_mask

    def extra_conds(self, **kwargs: Any) -> dict[str, comfy.conds.CONDRegular]:
        """What the network is given beside the noisy latents, on `device`, for the windows of `keysync_condition`."""
        condition: Condition | None = kwargs.get("keysync_condition")
        if condition is None:
            nodes = "Sample Keyframes, Interpolate Keyframes, or SamplerCustomAdvanced with KeySync Guider"
            raise KeySyncError(
                f"the {in_words(self.spec.name)} model is connected to a sampler without speech: "
                f"use {nodes if self.spec.row.masked else 'Animate Portrait'}"
            )
        tokens, reference = (part.to(kwargs["device"]) for part in (condition.tokens, condition.reference))
        frames = tokens.shape[1]
        labels = tokens if condition.vector is None else torch.cat((condition.vector.to(tokens), tokens), dim=-1)
        return {
            "c_concat": comfy.conds.CONDRegular(reference.flatten(0, 1)),
            # Every frame attends to all tokens of its window and has its own added to the time embedding.
            "c_crossattn": comfy.conds.CONDRegular(tokens.repeat_interleave(frames, dim=0)),
            "y": comfy.conds.CONDRegular(labels.flatten(0, 1)),
            "num_video_frames": comfy.conds.CONDConstant(frames),
        }

    def scale_latent_inpaint(self, *, latent_image: Tensor, **kwargs: Any) -> Tensor:
        """What the network sees outside the mask: the clean latents, at every noise level (paper eq. 2)."""
        return latent_image

    def state_dict_for_saving(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The core's, whose arguments differ between versions, with what makes it a KeySync checkpoint again."""
        state = self.conditioner.state_dict()
        return {
            **super().state_dict_for_saving(*args, **kwargs),
            **{theirs: state[ours] for theirs, ours in published_names(self.conditioner).items()},
            EMBEDDED: embed(self.spec),
        }


def _small_latents(latents: comfy.latent_formats.LatentFormat) -> comfy.latent_formats.LatentFormat:
    """The latents of the built-in VAE for the core's previews: with colours of their own, and no decoder of another
    VAE."""
    own = copy(latents)
    own.latent_rgb_factors = [list(row) for row in LATENT_RGB]
    own.latent_rgb_factors_bias = list(LATENT_RGB_BIAS)
    own.taesd_decoder_name = None
    return own


def _conditioner(spec: StageSpec, tensors: Mapping[str, Tensor]) -> Stage:
    """The library's stage without its U-Net."""
    stage = on_meta(spec)
    del stage.unet
    weights = {ours: tensors[theirs].float().clone() for theirs, ours in published_names(stage).items()}
    stage.load_state_dict(weights, assign=True)
    return stage.requires_grad_(False)


def _unet_arguments(unet: UNetConfig) -> dict[str, Any]:
    """The arguments of the core's `UNetModel`; transformer depths are listed by residual block."""
    depths = [unet.transformer_depth if attends else 0 for attends in unet.attention]
    return {
        "image_size": 32,
        "legacy": False,
        "in_channels": unet.in_channels,
        "out_channels": unet.out_channels,
        "model_channels": unet.model_channels,
        "channel_mult": list(unet.channel_mult),
        "num_res_blocks": [unet.num_res_blocks] * len(depths),
        "transformer_depth": [depth for depth in depths for _ in range(unet.num_res_blocks)],
        "transformer_depth_output": [depth for depth in depths for _ in range(unet.num_res_blocks + 1)],
        "transformer_depth_middle": unet.transformer_depth,
        "num_head_channels": unet.head_dim,
        "context_dim": unet.context_dim,
        "adm_in_channels": unet.vector_dim + unet.context_dim,
        "num_classes": "sequential",
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "use_temporal_resblock": True,
        "use_temporal_attention": True,
        "extra_ff_mix_layer": True,
        "use_spatial_context": True,
        "disable_temporal_crossattention": False,
        "merge_strategy": "learned_with_images",
        "merge_factor": 0.0,
        "video_kernel_size": [3, 1, 1],
    }
