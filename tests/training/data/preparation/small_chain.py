"""A chain of two stages that only write who ran them, for the tests of engines; other processes can import it."""

from __future__ import annotations

import os
from pathlib import Path

from keysync.errors import KeySyncError
from training.data.preparation.chain import Chain
from training.data.preparation.stage import Facts, Place, Stage
from training.data.preparation.videos import Video


def small_videos(count: int) -> list[Video]:
    return [Video(f"v-{number}", f"v{number}.mp4", Path(f"v{number}.mp4"), str(number)) for number in range(count)]


def make_chain(folder: Path) -> Chain:
    return Chain(folder, [Stage("first", _first), Stage("second", _second, ("first",))])


def _first(place: Place) -> Facts:
    (place.folder / "worker").write_text(str(os.getpid()))
    return {}


def _second(place: Place) -> Facts:
    if place.video.name == "bad.mp4":
        raise KeySyncError("the VAE is no VAE: give another")
    if place.video.name == "deadly.mp4":
        os._exit(9)
    if place.video.name == "broken.mp4":
        raise ZeroDivisionError("a library fell over")
    return {}
