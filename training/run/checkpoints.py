"""Checkpoints of a run: its network, as its course writes it, and the state needed to resume. They hold unsharded
tensors, so a run can resume with another number of processes.

`state.json` holds the run's clock, the digest of the data, and the CRC-32 of the checkpoint's other files: one that a
crash or a bad disk has damaged is noticed before it is resumed from.
"""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from keysync.errors import KeySyncError, one_line

from ..data.shards import checksum
from ..weights.metadata import metadata_of
from .clock import Clock
from .course import AVERAGED
from .run import Run, save_pickle
from .sharding import gather, load_optimizer_state, optimizer_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accelerate import Accelerator

    from .course import Course
    from .ema import EMA

logger = logging.getLogger(__name__)

OPTIMIZER, STATE = "optimizer.pt", "state.json"
UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)


def save(
    run: Run,
    clock: Clock,
    course: Course[Any],
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA | None,
) -> None:
    """Writes the checkpoint of this moment; every process must call it.

    Raises `KeySyncError` if it cannot be written; earlier checkpoints stay intact.
    """
    main, config, shards = accelerator.is_main_process, course.config, course.shards
    weights = gather(course.held(), keep=main)
    averages = gather(ema.averages, keep=main) if ema is not None else {}
    state = optimizer_state(module, optimizer, keep=main)
    if main:
        step = clock.done
        _check_finite(weights | averages, step)
        metadata = metadata_of(config, clock, shards.folder)
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        with run.new_checkpoint(step, config.keep_checkpoints) as folder:
            course.write(folder, weights, averages, metadata)
            save_pickle(state, folder / OPTIMIZER, run.checkpoint(step) / OPTIMIZER)
            checksums = {path.name: checksum(path, 0, path.stat().st_size) for path in sorted(folder.iterdir())}
            about = {**asdict(clock), "scaler": scaler, "data": shards.digest, "crc32": checksums}
            (folder / STATE).write_text(json.dumps(about), encoding="utf-8")
    accelerator.wait_for_everyone()


def newest(run: Run) -> Path | None:
    """The newest checkpoint that is intact, or None if there is none at all; damaged ones after it are renamed, with a
    warning.

    It reads whole files, so one process does it. Raises `KeySyncError` if all checkpoints are damaged.
    """
    steps, damaged = run.steps(), {}
    for step in reversed(steps):
        if not (problem := damage(run.checkpoint(step))):
            break
        damaged[step] = problem
    else:
        if not damaged:
            return None
        found = "; ".join(f"{run.checkpoint(step)} is damaged ({problem})" for step, problem in damaged.items())
        raise KeySyncError(f"{found}: copy an intact one, or delete {run.folder} to begin again")
    for later, problem in damaged.items():
        aside = run.set_aside(later)
        logger.warning(
            "%s is damaged (%s): resuming from step %d instead; it is now %s, which you can delete",
            *(run.checkpoint(later), problem, step, aside.name),
        )
    return run.checkpoint(step)


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint, or ""; of old ones, which have no checksums, only whether they can be read."""
    try:
        about = _read_state(folder)
        for name, crc in about.get("crc32", {}).items():
            path = folder / name
            if checksum(path, 0, path.stat().st_size) != crc:
                return f"the checksum of {name} differs"
        if "crc32" not in about:
            torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
            for path in folder.glob("*.safetensors"):
                with safe_open(path, "pt") as file:
                    file.keys()
    except (*UNREADABLE, SafetensorError) as error:
        return one_line(error)
    return ""


def clock_of(folder: Path | None, unit: int) -> Clock:
    """The clock of a checkpoint, or for None that of a run which begins with steps of `unit` clips; checkpoints of
    the first version do not know theirs, and their steps are taken to have had as many."""
    if folder is None:
        return Clock(0, 0, unit)
    about = _read_state(folder)
    if "clips" in about:
        return Clock(about["done"], about["clips"], about["unit"])
    return Clock(about["step"], about["step"] * unit, unit)


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
        about = _read_state(folder)
        scaler = about["scaler"]
    except UNREADABLE as error:
        raise KeySyncError(f"{folder} is damaged ({error}): delete it to resume from an earlier one") from error
    shards = course.shards
    if about.get("data", shards.digest) != shards.digest:  # missing in checkpoints of the first version
        logger.warning("%s was trained on other data than %s: resuming with the latter", folder, shards.folder)
    if accelerator.scaler is not None and scaler is not None:
        accelerator.scaler.load_state_dict(scaler)
    if ema is not None and (folder / AVERAGED).exists():  # averages that begin now are the weights
        ema.load(course.averages(folder))


def _read_state(folder: Path) -> dict[str, Any]:
    about = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if not isinstance(about, dict):
        raise ValueError(f"{STATE} holds no object")
    return about


def _check_finite(weights: Mapping[str, Tensor], step: int) -> None:
    broken = next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None)
    if broken:
        raise KeySyncError(
            f"{broken} has values that are not finite after step {step}, so the checkpoint was not saved: lower "
            "learning_rate, set max_grad_norm, or choose precision fp32"
        )
