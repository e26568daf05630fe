"""A KeySync stage as initial weights of the KeyFace stage of the same role: their networks differ in one layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from keysync.network.stage import ROWS, Stage
from keysync.weights.checkpoint import load_stage
from keysync.weights.stage_format import on_meta

LABEL = "unet.label_emb.0.0.weight"


def as_keyface(path: Path, name: str) -> Stage:
    """The KeyFace stage `name` with the weights of the KeySync stage in a file, in float32.

    The emotion is new to it and has no effect at first. Raises `KeySyncError` for a file without a stage of this role.
    """
    stage = load_stage(path, expect=name.rpartition("_")[2], dtype=torch.float32)
    added = ROWS[name].unet.vector_dim
    made = on_meta(replace(stage.spec, name=name, unet=replace(stage.spec.unet, vector_dim=added)))
    state = stage.state_dict()
    # The embedded emotion comes before the audio token.
    state[LABEL] = F.pad(state[LABEL], (added, 0))
    made.load_state_dict(state, assign=True)
    return made.eval()
