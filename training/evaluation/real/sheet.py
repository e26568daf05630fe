"""A contact sheet of a clip: frames of the source above the same frames of a dub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...data.disk import disk, written
from .dubs import Dub, Scene

COLUMNS = 8


def write_sheet(path: Path, scene: Scene, dub: Dub) -> None:
    """Writes crops of `COLUMNS` evenly spaced dubbed frames as PNG; nothing for a dub without any.

    Raises `KeySyncError` if the file cannot be written.
    """
    shown = np.flatnonzero(dub.shown)
    if not len(shown):
        return
    chosen = shown[np.linspace(0, len(shown) - 1, COLUMNS).round().astype(int)]
    rows = [np.concatenate(list(look.crops[chosen]), axis=1) for look in (scene.source, dub.look)]
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as file:
        Image.fromarray(np.concatenate(rows)).save(file, format="PNG")
