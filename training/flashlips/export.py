"""Writes what a run of FlashLips trained, with the parts before it, as one file.

It is what the next part starts from, and after the last one what `keysync dub --flashlips` takes.
"""

from __future__ import annotations

from pathlib import Path

import torch

from keysync.systems.flashlips.bundle import PARTS, open_bundle, save_bundle

from ..run.course import AVERAGED
from ..run.run import Run
from .config import FlashLipsConfig
from .course import FILE


def export(
    folder: Path,
    target: Path,
    *,
    step: int | None = None,
    averaged: bool = True,
    dtype: torch.dtype | None = None,
    eight_bits: bool = False,
) -> str:
    """Writes a checkpoint of the run in `folder`, by default the newest, to `target`; returns a description of it.

    `averaged` weights take precedence over the last ones if the run keeps them. `dtype` is that of the file, by default
    as trained; `eight_bits`: its matrices as integers (`keysync.weights.eight_bits`), the rest as float16. Raises
    `KeySyncError` if there is no such checkpoint, and if the file cannot be written.
    """
    run = Run(folder)
    config = run.config_as(FlashLipsConfig)
    step, place = run.chosen(step, config.checkpoint_every)
    file = place / (AVERAGED if averaged and (place / AVERAGED).is_file() else FILE)
    bundle = open_bundle(file)
    parts = {name: part for name, part in bundle.parts.items() if name in PARTS}
    training = {key: value for key, value in bundle.metadata.items() if key.startswith("keysync.training.")}
    stored = torch.float16 if eight_bits else dtype
    vae = bundle.parts.get("vae")
    save_bundle(target, bundle.spec, parts, vae=vae, dtype=stored, eight_bits=eight_bits, extra_metadata=training)
    return f"FlashLips, {config.stage}, step {step}{', averaged weights' if file.name == AVERAGED else ''}"
