"""Trackers: what each is told, and what is said where a package is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate import PartialState
from accelerate.state import AcceleratorState

from keysync.errors import KeySyncError, install_line
from training.run.clock import Clock
from training.run.run import Run
from training.run.trackers import open_trackers

from ..small_config import small_config

PICTURE = np.zeros((8, 8, 3), np.uint8)
SOUND = np.zeros(1600, np.float32)


@pytest.fixture(autouse=True)
def _processes() -> Iterator[None]:
    PartialState(cpu=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Wandb(SimpleNamespace):
    """A fake of the package: notes what it is told."""

    def __init__(self) -> None:
        super().__init__(told=[])
        self.config = SimpleNamespace(update=lambda values, **_: self.told.append(("settings", values)))

    def init(self, project: str, name: str) -> Any:
        self.told.append((project, name))
        return self

    def log(self, values: dict[str, Any], step: int, **_: Any) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append(("end", None))

    def Image(self, picture: Any, **_: Any) -> str:  # noqa: N802 # the package's name
        return f"picture of {picture.shape}"


def test_figures_and_pictures_reach_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (tracker,) = open_trackers(Run(tmp_path / "my_run"), small_config("keyframe", trackers=("wandb",)), Clock(0, 0, 2))
    tracker.figures(4, {"train/loss": 0.5})
    tracker.picture(4, "validation/clips", PICTURE)
    tracker.sound(4, "validation/sound", SOUND, 16_000)
    tracker.close()
    names, (_, settings), *rest, end = wandb.told
    assert names == ("keysync", "my_run")
    assert (settings["stage"], settings["channel_mult"]) == ("keyframe", "(1, 1)")
    assert rest == [(4, {"train/loss": 0.5}), (4, {"validation/clips": ["picture of (8, 8, 3)"]})]
    assert end == ("end", None)


def test_tensorboard_takes_sound_too(tmp_path: Path) -> None:
    run = Run(tmp_path)
    config = small_config("keyframe", trackers=("tensorboard", "tensorboard"))
    (tracker,) = open_trackers(run, config, Clock(0, 0, 2))
    tracker.figures(1, {"train/loss": 0.5})
    tracker.picture(1, "validation/clips", PICTURE)
    tracker.sound(1, "validation/sound", SOUND, 16_000)
    tracker.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    assert all(name in content for name in (b"train/loss", b"validation/clips", b"validation/sound", b"RIFF"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(KeySyncError, match=re.escape(install_line(name))):
        open_trackers(Run(tmp_path), small_config("keyframe", trackers=(name,)), Clock(0, 0, 2))


def test_no_tracker(tmp_path: Path) -> None:
    assert open_trackers(Run(tmp_path), small_config("keyframe", trackers=()), Clock(0, 0, 2)) == []
