"""What the tests of FlashLips' parts share: small data, and runs that do not know of each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from ..small_data import write_small_data


@pytest.fixture(autouse=True)
def _new_state() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_files: dict[str, Path]) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small", frames=14, vae=str(tiny_files["vae"]))
