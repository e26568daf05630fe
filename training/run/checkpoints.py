"""Checkpoints of a run: its network, as its course writes it, and the state needed to resume. They hold unsharded
tensors, so a run can resume with another number of processes.
"""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError

from ..weights.metadata import metadata_of
from .run import save_pickle
from .sharding import gather, load_optimizer_state, optimizer_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accelerate import Accelerator

    from .course import Course
    from .ema import EMA
    from .run import Run

logger = logging.getLogger(__name__)

OPTIMIZER, STATE = "optimizer.pt", "state.json"


def save(
    run: Run,
    step: int,
    course: Course[Any],
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA | None,
) -> None:
    """Writes the checkpoint after `step` steps; every process must call it.

    Raises `KeySyncError` if it cannot be written; earlier checkpoints stay intact.
    """
    main, config, shards = accelerator.is_main_process, course.config, course.shards
    weights = gather(course.held(), keep=main)
    averages = gather(ema.averages, keep=main) if ema is not None else {}
    state = optimizer_state(module, optimizer, keep=main)
    if main:
        _check_finite(weights | averages, step)
        metadata = metadata_of(config, step, shards.folder)
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        with run.new_checkpoint(step, config.keep_checkpoints) as folder:
            course.write(folder, weights, averages, metadata)
            save_pickle(state, folder / OPTIMIZER, run.checkpoint(step) / OPTIMIZER)
            about = {"step": step, "scaler": scaler, "data": shards.digest}
            (folder / STATE).write_text(json.dumps(about), encoding="utf-8")
    accelerator.wait_for_everyone()


def load_state(
    folder: Path,
    course: Course[Any],
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA | None,
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
    shards = course.shards
    if about.get("data", shards.digest) != shards.digest:  # missing in checkpoints of the first version
        logger.warning("%s was trained on other data than %s: resuming with the latter", folder, shards.folder)
    if accelerator.scaler is not None and scaler is not None:
        accelerator.scaler.load_state_dict(scaler)
    if ema is not None:
        ema.load(course.averages(folder))


def _check_finite(weights: Mapping[str, Tensor], step: int) -> None:
    broken = next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None)
    if broken:
        raise KeySyncError(
            f"{broken} has values that are not finite after step {step}, so the checkpoint was not saved: lower "
            "learning_rate, set max_grad_norm, or choose precision fp32"
        )
