"""The metadata of a checkpoint about its training; `keysync.weights.stage_format` adds that about its network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.run_config import RunConfig


def metadata_of(config: RunConfig, steps: int, data: Path | str) -> dict[str, str]:
    """The metadata of a checkpoint after `steps` steps on data in a folder or at a URL; paths become names."""
    return {
        "keysync.training.steps": str(steps),
        "keysync.training.data": Path(data).resolve().name,
        "keysync.training.config": json.dumps(
            {**asdict(config), **{key: Path(path).name for key, path in config.paths.items()}}
        ),
    }
