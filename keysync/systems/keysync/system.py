"""KeySync's row in the table of systems: its files, its options, how it is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...speech.encoders import ENCODERS
from .. import stage_options
from ..renderer import Option, System
from .presets import EXACT, PRESETS, make_sampling
from .sampling import Sampling

if TYPE_CHECKING:
    from .models import Models


FILES = (
    *stage_options.FILES,
    Option.file("--lora", "LoRA for one of the two checkpoints, of one person or style (.safetensors)", "FILE"),
    *(Option.file(f"--{name}", encoder.files) for name, encoder in ENCODERS.items()),
)
OPTIONS = (
    Option(
        "--preset",
        {
            "choices": list(PRESETS),
            "default": EXACT,
            "help": f"{'; '.join(f'{name}: {what}' for name, what in PRESETS.items())} (default: %(default)s)",
        },
    ),
    *stage_options.SAMPLING,
    Option(
        "--compile",
        {
            "action": "store_true",
            "help": "compile the networks with torch.compile, which takes minutes: for many or long films on a GPU",
        },
    ),
)


def sampling(options: argparse.Namespace) -> Sampling:
    """How the command line asks to sample."""
    return make_sampling(
        options.preset, options.steps, options.audio_guidance, options.identity_guidance, compiled=options.compile
    )


def load(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> Models:
    """The models of these files, by their options' names; the built-in ones for those that are None."""
    from .models import load_models  # here: what draws is imported when it is drawn with

    return load_models(
        files["keyframe_model"],
        files["interpolation_model"],
        files["vae"],
        lora=files["lora"],
        device=device,
        dtype=dtype,
        **{name: files[name] for name in ENCODERS},
    )


KEYSYNC = System(
    name="keysync",
    files=FILES,
    options=OPTIONS,
    settings=sampling,
    load=load,
)
