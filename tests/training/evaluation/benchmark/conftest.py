"""Two rendered people who talk, as clips to benchmark systems on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.evaluation.real.players import FRAMES, SIDE, write_clips
from training.evaluation.benchmark.pairs import Pair, draw_clips, pairs_of
from training.evaluation.film import talk_film


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips, and a file that is none."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_clips(folder, talk_film(0, 0, FRAMES, SIDE))
    (folder / "notes.txt").write_text("about the clips")
    return folder


@pytest.fixture(scope="session")
def pairs(clips: Path) -> list[Pair]:
    return pairs_of(draw_clips(clips, None, 4.0, 0)[0])
