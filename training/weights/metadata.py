"""The metadata of a checkpoint about its training; `keysync.weights.stage_format` adds that about its network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..config.run_config import RunConfig


class Progress(Protocol):
    """How far a run is: optimiser steps, and clips seen in them."""

    @property
    def done(self) -> int: ...

    @property
    def clips(self) -> int: ...


def metadata_of(config: RunConfig, progress: Progress, data: Path | str) -> dict[str, str]:
    """The metadata of a checkpoint of a run on data in a folder or at a URL; paths become names."""
    return {
        "keysync.training.steps": str(progress.done),
        "keysync.training.clips": str(progress.clips),
        "keysync.training.data": Path(data).resolve().name,
        "keysync.training.config": json.dumps(
            {**asdict(config), **{key: Path(path).name for key, path in config.paths.items()}}
        ),
    }
