"""Which clip is dubbed with which voice: the protocols of the paper (§4.1 and §4.2), drawn by a seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from keysync.errors import KeySyncError

from ..real.clips import RealClip, files_of

logger = logging.getLogger(__name__)

RECONSTRUCTION, CROSS, SILENCE = "reconstruction", "cross-sync", "silence"
PROTOCOLS = {
    RECONSTRUCTION: "each clip with its own sound",
    CROSS: "each clip with the sound of another",
    SILENCE: "each clip with silence, for LipLeak",
}


@dataclass(frozen=True, eq=False)
class Pair:
    """A clip to dub under one of `PROTOCOLS`; `voice` is the clip that speaks, None for silence."""

    protocol: str
    clip: RealClip
    voice: RealClip | None

    @property
    def name(self) -> str:
        """The name of its result, the same for every system."""
        own = stem(self.clip)
        return own if self.voice is None or self.voice is self.clip else f"{own}+{stem(self.voice)}"

    @property
    def speech(self) -> Tensor:
        """The sound (m,) at 16 kHz that it is dubbed with."""
        return torch.zeros(len(self.clip.sound)) if self.voice is None else self.voice.sound


def stem(clip: RealClip) -> str:
    """The name of a clip without its file's extension."""
    return Path(clip.name).stem


def path_of(clip: RealClip) -> Path:
    """The file of a clip."""
    path = clip.source.path
    assert path is not None
    return path


def draw_clips(folder: Path, count: int | None, seconds: float, seed: int) -> tuple[list[RealClip], dict[str, str]]:
    """`count` talking clips of a folder (None: all), in an order drawn by the seed; and why other files are left out.

    Raises `KeySyncError` for a folder that does not exist, for fewer than two clips, and for two of the same name.
    """
    files = list(files_of([folder]))
    clips: list[RealClip] = []
    left_out: dict[str, str] = {}
    for at in np.random.default_rng(seed).permutation(len(files)).tolist():
        if len(clips) == count:
            break
        path = files[at]
        try:
            clips.append(RealClip.read(path, seconds))
        except KeySyncError as error:
            left_out[path.name] = str(error)
        logger.info("%s: %s", path.name, left_out.get(path.name, "followed"))
    if len(clips) < 2:
        reasons = "".join(f"; {reason}" for reason in left_out.values())
        raise KeySyncError(f"{len(clips)} talking clips in {folder}: expected at least 2, which swap voices{reasons}")
    names = [stem(clip) for clip in clips]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise KeySyncError(f"two clips in {folder} are called {twice[0]}: results go by that name, rename one")
    return clips, left_out


def pairs_of(clips: Sequence[RealClip]) -> list[Pair]:
    """All pairs: in cross-sync each clip speaks for the one before it, so each voice is heard once."""
    return [
        pair
        for clip, voice in zip(clips, [*clips[1:], clips[0]], strict=True)
        for pair in (Pair(RECONSTRUCTION, clip, clip), Pair(CROSS, clip, voice), Pair(SILENCE, clip, None))
    ]
