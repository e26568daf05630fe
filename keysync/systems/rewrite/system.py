"""Rewrite's row in the table of systems: it needs no files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..renderer import Option, System

if TYPE_CHECKING:
    from .rewriter import Rewriter, Rewriting

OPTIONS = (
    Option(
        "--strength",
        {
            "type": float,
            "default": 1.0,
            "metavar": "X",
            "help": "rewrite: how far the mouth moves (default: %(default)s)",
        },
    ),
)


def rewriting(options: argparse.Namespace) -> Rewriting:
    """How the command line asks to draw."""
    from .rewriter import Rewriting  # here: what draws is imported when it is drawn with

    return Rewriting(options.strength)


def load(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> Rewriter:
    """The renderer with the built-in encoder and lips reader; it works in float32 whatever `dtype`."""
    from ...face.mesh import MeshReader
    from ...speech.encoders import load_encoder
    from ...speech.lips import LipsReader, load_lips
    from ...speech.projected import Projected
    from ...speech.whisper import WEIGHTS
    from .rewriter import HeardLips, Rewriter

    whisper, lips = load_encoder(LipsReader.encoder, WEIGHTS, device=device), load_lips(device)
    return Rewriter(
        {lips.encoder: HeardLips(Projected(whisper, lips.project), lips.read_projected)},
        device,
        MeshReader(device),
        {lips.encoder: "Whisper tiny.en, built in", "lips": "built in"},
    )


REWRITE = System(name="rewrite", files=(), options=OPTIONS, settings=rewriting, load=load)
