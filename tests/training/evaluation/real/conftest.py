"""Two rendered people who talk, as clips, and the scene of the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.face.mesh import MeshReader
from training.evaluation.film import Film, talk_film
from training.evaluation.real.clips import RealClip
from training.evaluation.real.dubs import Scene

from .players import FRAMES, SIDE, write_clip, write_clips


@pytest.fixture(scope="session")
def reader() -> MeshReader:
    return MeshReader()


@pytest.fixture(scope="session")
def film() -> Film:
    return talk_film(0, 0, FRAMES, SIDE)


@pytest.fixture(scope="session")
def folder(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, and two files that are none."""
    folder = tmp_path_factory.mktemp("real")
    write_clips(folder, film)
    (folder / "notes.txt").write_text("about the clips")
    (folder / ".hidden").write_text("")
    return folder


@pytest.fixture(scope="session")
def scene(folder: Path, reader: MeshReader) -> Scene:
    return Scene.of(RealClip.read(folder / "first.mkv", 4.0), reader)


@pytest.fixture(scope="session")
def speaker(film: Film, reader: MeshReader, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The same person saying the film's new speech: its true mouth."""
    path = write_clip(tmp_path_factory.mktemp("speaker") / "speaker.mkv", film.real.frames, film.said)
    return Scene.of(RealClip.read(path, 4.0), reader)
