"""Settings and fixtures of all tests: one thread, and the optional folder of real clips."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real clips and speech; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("KEYSYNC_MEDIA", ROOT.parent / "shared" / "media"))
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder}: set KEYSYNC_MEDIA to a folder that holds them")
    return folder
