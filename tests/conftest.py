"""Settings and fixtures of all tests: one thread, and the optional folder of real clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from keysync.systems.keysync.models import Models, load_models

from .tiny_models import write_tiny_models

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real clips and speech that `KEYSYNC_MEDIA` names; without it the tests that need it skip."""
    if "KEYSYNC_MEDIA" not in os.environ:
        pytest.skip("no real clips: name a folder that holds them in KEYSYNC_MEDIA")
    folder = Path(os.environ["KEYSYNC_MEDIA"]).expanduser().resolve()
    if not folder.is_dir():
        pytest.fail(f"KEYSYNC_MEDIA names {folder}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The five tiny models as files: keyframe, interpolation, vae, hubert, wavlm."""
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def models(tiny_files: dict[str, Path]) -> Models:
    """The five tiny models, loaded."""
    files: dict[str, Any] = {**tiny_files}
    return load_models(**files)
