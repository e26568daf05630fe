"""Runs a system over real clips: clips in, rows and figures out."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from keysync.errors import KeySyncError
from keysync.face.mesh import MeshReader
from keysync.systems.renderer import Renderer, Surveyor

from ..row import Row
from ..table import aligned, number
from .clips import read_clips
from .dubs import Scene, SurveyedOnce, dub, silence
from .figures import Figures, Filmed, Take, figures_of, lags_of, rows_of
from .sheet import write_sheet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RealScope:
    """What is dubbed: `clips` of the clips in `folders` (None: all), each with `voices` voices and up to `seconds`.

    `in_sync` are patterns of names of clips whose sound is known to be in sync with their picture; `sheets` is the
    folder for contact sheets. Raises `KeySyncError` for numbers that leave nothing to measure.
    """

    folders: tuple[Path, ...]
    clips: int | None = None
    voices: int = 6
    seconds: float = 4.0
    seed: int = 0
    in_sync: tuple[str, ...] = ()
    sheets: Path | None = None

    def __post_init__(self) -> None:
        if self.clips is not None and self.clips < 1:
            raise KeySyncError(f"{self.clips} clips: expected at least 1 (--clips)")
        if self.voices < 1:
            raise KeySyncError(f"{self.voices} voices: expected at least 1 (--voices)")
        if not 1 <= self.seconds <= 60:
            raise KeySyncError(f"{self.seconds:g} seconds of each clip: expected 1 to 60 (--longest)")


@dataclass(frozen=True)
class RealTable:
    """The rows over all clips, the figures of each, each voice's lag in seconds, and why files were left out."""

    rows: list[Row]
    clips: list[Figures]
    lags: dict[str, float]
    left_out: dict[str, str]
    undubbed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds beside the rows."""
        return {
            "clips": [figures.to_dict() for figures in self.clips],
            "lags": self.lags,
            "left_out": self.left_out,
            "undubbed": self.undubbed,
        }


def evaluate(renderer: Renderer, scope: RealScope) -> RealTable:
    """Dubs all clips with other people's voices and with silence, and measures the results.

    Raises `KeySyncError` where the folders hold no two talking clips, or no clip could be dubbed.
    """
    clips, left_out = read_clips(scope.folders, scope.seconds)
    reader = MeshReader()
    order = np.random.default_rng(scope.seed).permutation(len(clips)).tolist()
    dubbed = order[: scope.clips]
    scenes = {at: Scene.of(clips[at], reader) for at in order[: max(len(dubbed), scope.voices + 1)]}
    voices = list(scenes.values())
    filmed: list[Filmed] = []
    undubbed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="keysync-evaluate-") as folder:
        for at in sorted(dubbed):
            scene = scenes[at]
            try:
                filmed.append(_film(scene, voices, renderer, reader, scope, Path(folder)))
            except KeySyncError as error:
                undubbed[scene.clip.name] = str(error)
            else:
                if scope.sheets is not None:
                    write_sheet(scope.sheets / f"{scene.clip.name}.png", scene, filmed[-1].takes[0].dub)
            logger.info("%s: %s", scene.clip.name, undubbed.get(scene.clip.name, "dubbed"))
    if not filmed:
        raise KeySyncError(f"no clip could be dubbed: {'; '.join(f'{name}: {why}' for name, why in undubbed.items())}")
    lags = lags_of(filmed, lambda name: any(fnmatch(name, pattern) for pattern in scope.in_sync))
    figures = [figures_of(one, lags) for one in filmed]
    return RealTable(rows_of(figures, len(undubbed)), figures, lags, left_out, undubbed)


def _film(
    scene: Scene, voices: Iterable[Scene], renderer: Renderer, reader: MeshReader, scope: RealScope, folder: Path
) -> Filmed:
    if isinstance(renderer, Surveyor):
        renderer = SurveyedOnce.of(renderer)
    speakers = [voice for voice in voices if voice is not scene][: scope.voices]
    takes = [
        Take(speaker.clip.name, speaker, dub(scene, speaker.clip.sound, renderer, reader, folder))
        for speaker in speakers
    ]
    return Filmed(scene, takes, dub(scene, silence(scene), renderer, reader, folder))


HEADS = {
    "clip": "clip",
    "frames": "frames",
    "wanted_correlation": "wanted",
    "true_correlation": "true",
    "source_true_correlation": "source's",
    "leak": "leak",
    "wanted_leak": "by chance",
    "lipleak": "LipLeak",
    "source_lipleak": "source's",
    "sharpness": "sharpness",
    "flicker": "flicker",
    "nose_shift": "nose",
    "frames_per_second": "frames/s",
    "outside": "outside",
}


def clips_as_text(clips: Sequence[Figures]) -> str:
    """A line per clip."""
    lines = [[_cell(figures.to_dict()[key]) for key in HEADS] for figures in clips]
    return aligned([list(HEADS.values()), *lines])


def _cell(value: str | int | float | None) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else number(value)
