"""KeyFace's row in the table of systems: its files, its options, how it is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...speech.encoders import ENCODERS
from .. import stage_options
from ..renderer import Option, System
from .sampling import KeyFaceSampling

if TYPE_CHECKING:
    from .models import KeyFaceModels

# The encoders that the published stages hear, and that of stages which `training.small.keyface` trains.
HEARD = ("wavlm", "wav2vec2", "beats", "hubert")
FILES = (
    *stage_options.FILES,
    *(Option.file(f"--{name}", ENCODERS[name].files) for name in HEARD),
    Option.file(
        "--weak-model", "keyface: the weaker copy that guides the interpolation (interpolation_bad.pt)", "FILE"
    ),
)
OPTIONS = (
    *stage_options.SAMPLING,
    Option(
        "--autoguidance",
        {"type": float, "metavar": "X", "help": "keyface: how strongly the weaker copy guides (default: the model's)"},
    ),
)


def sampling(options: argparse.Namespace) -> KeyFaceSampling:
    """How the command line asks to sample."""
    return KeyFaceSampling(
        evaluations=KeyFaceSampling.evaluations if options.steps is None else options.steps,
        audio_guidance=options.audio_guidance,
        identity_guidance=options.identity_guidance,
        autoguidance=options.autoguidance,
    )


def load(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> KeyFaceModels:
    """The models of these files, by their options' names."""
    from .models import load_keyface  # here: what draws is imported when it is drawn with

    return load_keyface(
        files["keyframe_model"],
        files["interpolation_model"],
        files["vae"],
        files["weak_model"],
        device=device,
        dtype=dtype,
        **{name: files[name] for name in HEARD},
    )


KEYFACE = System(name="keyface", files=FILES, options=OPTIONS, settings=sampling, load=load)
