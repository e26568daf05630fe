"""Checkpoints of a run: the stage in published names, and the state needed to resume. They hold unsharded tensors, so a
run can resume with another number of processes.
"""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.weights.checkpoint import load_stage, save_stage
from keysync.weights.stage_format import on_meta

from ..weights.initial_weights import starting_stage
from ..weights.lora import MARK, load_lora, write_lora
from ..weights.metadata import metadata_of
from .run import save_pickle
from .sharding import gather, load_optimizer_state, optimizer_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accelerate import Accelerator

    from keysync.network.stage import Stage

    from ..config.config import TrainConfig
    from ..data.shards import Shards
    from .ema import EMA
    from .run import Run

logger = logging.getLogger(__name__)

STAGE, AVERAGED, ADAPTERS = "stage.safetensors", "ema.safetensors", "lora.safetensors"
OPTIMIZER, STATE = "optimizer.pt", "state.json"


def save(
    run: Run,
    step: int,
    config: TrainConfig,
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA | None,
    shards: Shards,
) -> None:
    """Writes the checkpoint after `step` steps; every process must call it.

    Raises `KeySyncError` if it cannot be written; earlier checkpoints stay intact.
    """
    stage: Stage = accelerator.unwrap_model(module).stage
    main = accelerator.is_main_process
    held = stage.state_dict()
    if config.trainable == "lora":  # the rest is as it was
        held = {name: tensor for name, tensor in held.items() if MARK in name}
    weights = gather(held, keep=main)
    averages = gather(ema.averages, keep=main) if ema is not None else {}
    state = optimizer_state(module, optimizer, keep=main)
    if main:
        _check_finite(weights | averages, step)
        metadata = metadata_of(config, step, shards.folder)
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        with run.new_checkpoint(step, config.keep_checkpoints) as folder:
            if config.trainable == "lora":
                write_lora(folder / ADAPTERS, stage.spec, weights, config, metadata)
            else:
                _save_stage(folder / STAGE, stage, weights, metadata)
            if averages:
                _save_stage(folder / AVERAGED, stage, weights | averages, metadata)
            save_pickle(state, folder / OPTIMIZER, run.checkpoint(step) / OPTIMIZER)
            about = {"step": step, "scaler": scaler, "data": shards.digest}
            (folder / STATE).write_text(json.dumps(about), encoding="utf-8")
    accelerator.wait_for_everyone()


def load_weights(folder: Path | None, config: TrainConfig, shards: Shards) -> Stage:
    """The stage to train: that of a checkpoint folder, or for None the one that the settings start from."""
    if folder is not None and config.trainable != "lora":
        try:
            return load_stage(folder / STAGE, expect=config.stage, dtype=torch.float32)
        except KeySyncError as error:
            raise KeySyncError(f"{folder} is damaged ({error}): delete it to resume from an earlier one") from error
    channels = shards.channels(config.speech_encoder)
    stage = starting_stage(config, shards.latent_size, channels, shards.info.crop_scale)
    if folder is not None:
        load_lora(stage, folder / ADAPTERS)
    return stage


def load_state(
    folder: Path,
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA | None,
    shards: Shards,
) -> None:
    """Loads everything but the weights from a checkpoint, once the module is distributed; warns if the data differs."""
    try:
        load_optimizer_state(
            module, optimizer, torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
        )
        about = json.loads((folder / STATE).read_text(encoding="utf-8"))
        scaler = about["scaler"]
    except (OSError, ValueError, LookupError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise KeySyncError(f"{folder} is damaged ({error}): delete it to resume from an earlier one") from error
    if about.get("data", shards.digest) != shards.digest:  # missing in checkpoints of the first version
        logger.warning("%s was trained on other data than %s: resuming with the latter", folder, shards.folder)
    if accelerator.scaler is not None and scaler is not None:
        accelerator.scaler.load_state_dict(scaler)
    if ema is not None:
        stage: Stage = accelerator.unwrap_model(module).stage
        ema.load(load_stage(folder / AVERAGED, expect=stage.spec.name, dtype=torch.float32).state_dict())


def _check_finite(weights: Mapping[str, Tensor], step: int) -> None:
    broken = next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None)
    if broken:
        raise KeySyncError(
            f"{broken} has values that are not finite after step {step}, so the checkpoint was not saved: lower "
            "learning_rate, set max_grad_norm, or choose precision fp32"
        )


def _save_stage(path: Path, like: Stage, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    whole = on_meta(like.spec)
    whole.load_state_dict(dict(weights), assign=True)
    save_stage(whole, path, extra_metadata=metadata)
