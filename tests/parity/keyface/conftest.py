"""Golden vectors of KeyFace: which set is read and how.

`KEYSYNC_GOLDEN_KEYFACE` names the folder of a set; by default the small one that ships in tests/data/golden_keyface.
"""

from __future__ import annotations

import os
from pathlib import Path
from shutil import copytree

import pytest
import torch

from keysync.network.stage import Stage
from keysync.weights.checkpoint import load_stage, load_weak

from ..conftest import Golden
from .seeded import write_checkpoints

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "golden_keyface"
VARIABLE = "KEYSYNC_GOLDEN_KEYFACE"
# The reference's names of the stages, and ours.
NAMES = {"keyframe": "keyface_keyframe", "interpolation": "keyface_interpolation"}


@pytest.fixture(scope="session")
def keyface(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """The set; the weights that the shipped one leaves out are written beside copies of its files."""
    golden = Golden(Path(os.environ.get(VARIABLE) or SHIPPED), VARIABLE)
    if golden.path("keyframe_checkpoint.safetensors").exists():
        return golden
    whole = tmp_path_factory.mktemp("golden_keyface")
    copytree(golden.folder, whole, dirs_exist_ok=True)
    write_checkpoints(golden, whole)
    return Golden(whole, VARIABLE)


@pytest.fixture(scope="session")
def stages(keyface: Golden) -> dict[str, Stage]:
    """Both stages by the reference's name, and "bad", the weaker copy of the interpolation, in float32."""
    size = tuple(keyface.tensors("interpolation_checkpoint")["model.learned_mask"].shape[1:])
    loaded = {
        name: load_stage(
            keyface.path(f"{name}_checkpoint.safetensors"),
            expect=ours,
            head_dim=keyface.head_dim(name),
            latent_size=(size[0], size[1]),
            dtype=torch.float32,
        )
        for name, ours in NAMES.items()
    }
    bad = load_weak(keyface.path("interpolation_bad_checkpoint.pt"), loaded["interpolation"], dtype=torch.float32)
    return {**loaded, "bad": bad}
