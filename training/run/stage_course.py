"""The course of a stage: windows that it denoises. Checkpoints hold it in published names.

`stage.safetensors`, or `lora.safetensors` alone if adapters are trained; averages of what is trained in
`ema.safetensors`. Only this course leaves out damaged clips, and makes films when it validates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.network.stage import Stage
from keysync.vae.vae import VAE
from keysync.weights.checkpoint import load_stage, save_stage
from keysync.weights.stage_format import on_meta

from ..config.config import NO, TrainConfig
from ..data.dataset import Batch, Lost, Window, Windows, collate
from ..data.shards import Shards
from ..loss.distillation import Distillation, load_teacher
from ..loss.lipsync import load_sync
from ..loss.loss import LossModule, draw
from ..loss.perceptual import load_lpips
from ..weights.frozen import hold
from ..weights.initial_weights import starting_stage
from ..weights.lora import MARK, load_lora, read_adapters, write_lora
from ..weights.trainable import freeze
from .course import ADAPTERS, AVERAGED, STAGE, Course
from .vae import load_vae_of
from .validation import StageValidation


class StageCourse(Course[TrainConfig]):
    """A stage of KeySync or KeyFace, taught by the data or by a teacher."""

    network: Stage
    _vae: VAE

    def __init__(self, config: TrainConfig, shards: Shards) -> None:
        super().__init__(config, shards)
        self.windows: Windows = Windows(shards, config)

    def collate(self, windows: Sequence[Window]) -> Batch:
        return collate(windows)

    def load(self, checkpoint: Path | None) -> None:
        self.network = self._loaded(checkpoint)
        freeze(self.network, self.config)

    def loss(self, device: torch.device) -> LossModule:
        config = self.config
        hold(self.network, config.frozen, device)
        self._vae = load_vae_of(config.vae, self.shards, torch.device("cpu") if config.offload_decoder else device)
        if config.distill != NO:
            return Distillation(self.network, load_teacher(config, device), config)
        perceptual = load_lpips(device) if config.lpips_weight else None
        sync = load_sync(config.sync_loss, device) if config.sync_weight else None
        return LossModule(self.network, self._vae.decoder, config, perceptual, sync)

    def inputs(self, batch: Batch) -> tuple[object, ...]:
        return batch, draw(self.config, batch)

    def validation(self) -> StageValidation:
        return StageValidation(self.shards, self.config, self._vae)

    def lost(self, met: Batch | StageValidation) -> Sequence[Lost]:
        return met.lost

    def held(self) -> dict[str, Tensor]:
        state = self.network.state_dict()
        if self.config.trainable == "lora":  # the rest is as it was
            return {name: tensor for name, tensor in state.items() if MARK in name}
        return dict(state)

    def write(
        self, folder: Path, weights: Mapping[str, Tensor], averages: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> None:
        stage = self.network
        if self.config.trainable == "lora":
            write_lora(folder / ADAPTERS, stage.spec, weights, self.config, metadata)
        else:
            _save_stage(folder / STAGE, stage, weights, metadata)
        if averages and self.config.trainable == "lora":
            write_lora(folder / AVERAGED, stage.spec, averages, self.config, metadata)
        elif averages:
            _save_stage(folder / AVERAGED, stage, {**weights, **averages}, metadata)

    def averages(self, folder: Path) -> Mapping[str, Tensor]:
        if self.config.trainable == "lora":
            return read_adapters(self.network, folder / AVERAGED)
        return load_stage(folder / AVERAGED, expect=self.network.spec.name, dtype=torch.float32).state_dict()

    def blocks(self) -> Iterable[nn.Module]:
        unet = self.network.unet
        return (*list(unet.input_blocks)[1:], unet.middle_block, *unet.output_blocks)

    @property
    def methods(self) -> tuple[str, ...]:
        return ("with_stage",)

    def _loaded(self, folder: Path | None) -> Stage:
        config = self.config
        if folder is not None and config.trainable != "lora":
            try:
                return load_stage(folder / STAGE, expect=config.stage, dtype=torch.float32)
            except KeySyncError as error:
                raise KeySyncError(f"{folder} is damaged ({error}): delete it to resume from an earlier one") from error
        channels = self.shards.channels(config.speech_encoder)
        stage = starting_stage(config, self.shards.latent_size, channels, self.shards.info.crop_scale)
        if folder is not None:
            load_lora(stage, folder / ADAPTERS)
        return stage


def _save_stage(path: Path, like: Stage, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    whole = on_meta(like.spec)
    whole.load_state_dict(dict(weights), assign=True)
    save_stage(whole, path, extra_metadata=metadata)
