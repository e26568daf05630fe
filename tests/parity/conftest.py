"""Golden vectors of the reference implementation: which set is read and how.

`KEYSYNC_GOLDEN` names the folder of a set; by default the small one that ships in tests/data/golden.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from keysync.network.stage import Stage
from keysync.weights.checkpoint import load_stage

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "golden"


@dataclass(frozen=True)
class Golden:
    """One set of golden vectors."""

    folder: Path
    variable: str = "KEYSYNC_GOLDEN"

    def path(self, file: str) -> Path:
        """A file of the set, by its name with extension."""
        return self.folder / file

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of `<name>.safetensors`; weights stored as float16 come as float32."""
        tensors = load_file(self.folder / f"{name}.safetensors")
        return {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}

    def facts(self, name: str) -> dict[str, Any]:
        """What `<name>.json` says of the call and the settings."""
        facts: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return facts

    def lacks(self, what: str) -> str:
        """The reason to skip what this set does not hold."""
        return f"the golden set {self.folder} does not hold {what}: name one that does in {self.variable}"

    def head_dim(self, stage: str) -> int:
        """Channels of one attention head of a stage's checkpoint: the one width that no shape tells."""
        params = self.facts(f"{stage}_checkpoint")["config"]["network_config"]["params"]
        return int(params["num_head_channels"])


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden(Path(os.environ.get("KEYSYNC_GOLDEN") or SHIPPED))


@pytest.fixture(scope="session")
def stages(golden: Golden) -> dict[str, Stage]:
    """Both stages by name, in float32. They are shared: a test that changes one changes it back."""
    return {
        name: load_stage(
            golden.path(f"{name}_checkpoint.safetensors"), head_dim=golden.head_dim(name), dtype=torch.float32
        )
        for name in ("keyframe", "interpolation")
    }


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """max |a - b| / max |b|, the measure of every tolerance here."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} is not {tuple(theirs.shape)}"
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max().clamp_min(1e-30))
