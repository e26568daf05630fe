"""FlashLips' row in the table of systems: its files, its options, how it is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import KeySyncError
from ...speech.encoders import ENCODERS
from .. import stage_options
from ..renderer import Option, System
from .settings import Drawing
from .spec import SYSTEM

if TYPE_CHECKING:
    from .models import FlashLips

FILES = (
    Option.file("--flashlips", "flashlips: its file (.safetensors)", "FILE"),
    stage_options.VAE,
    *(Option.file(f"--{name}", encoder.files) for name, encoder in ENCODERS.items()),
)
OPTIONS = (
    stage_options.STEPS,
    Option(
        "--references",
        {"type": int, "metavar": "N", "help": "flashlips: frames of the clip to look at, 1 to 4 (default: the file's)"},
    ),
    Option(
        "--mask-free",
        {"action": "store_true", "help": "flashlips: draw over the source's own mouth (default: what the file is for)"},
    ),
    Option(
        "--masked", {"action": "store_true", "help": "flashlips: hide the source's own mouth from the editor instead"}
    ),
)


def drawing(options: argparse.Namespace) -> Drawing:
    """How the command line asks to draw. Raises `KeySyncError` for both ways at once."""
    if options.mask_free and options.masked:
        raise KeySyncError("the mouth is either hidden or not: choose one of masked and mask-free")
    chosen = options.mask_free or options.masked
    return Drawing(options.steps, options.references, options.mask_free if chosen else None)


def load(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> FlashLips:
    """The renderer of these files, by their options' names."""
    from .models import load_flashlips  # here: what draws is imported when it is drawn with

    return load_flashlips(
        files["flashlips"], files["vae"], device=device, dtype=dtype, **{name: files[name] for name in ENCODERS}
    )


FLASHLIPS = System(name=SYSTEM, files=FILES, options=OPTIONS, settings=drawing, load=load)
