"""A meter of heads that has learned nothing, in a file like any other."""

from __future__ import annotations

from pathlib import Path

import torch

from training.synthetic.measure.head_meter import HeadNet
from training.synthetic.measure.head_meter_training import write


def write_toy_head_meter(folder: Path) -> Path:
    """Writes it into `folder`; returns its path."""
    path = folder / "meter.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        write(HeadNet(), path)
    return path
