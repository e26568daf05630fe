"""From a few videos to two stages as files, by the package's own commands: prepare, train two steps each, export.

No model is given: data is prepared, and stages dub, with the built-in VAE and HuBERT.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.face import detectors
from training import export, prepare, train

from .data.preparation.small_videos import FACE, BrightnessDetector, write_talk


def make_stages(folder: Path) -> dict[str, Path]:
    """Writes keyframe.safetensors and interpolation.safetensors below `folder`; returns them by stage."""
    videos, data = folder / "videos", folder / "data"
    videos.mkdir()
    for name, frames in (("long", 180), ("longer", 190)):
        write_talk(videos / f"{name}.mp4", [(FACE, frames)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)
        words = [str(videos), "-o", str(data), "--least-quality", "0", "--least-agreement", "-1"]
        assert prepare.main(words) == 0
    made = {}
    for stage in ("keyframe", "interpolation"):
        run, made[stage] = folder / f"{stage}-run", folder / f"{stage}.safetensors"
        words = [stage, "--preset", f"tiny-{stage}", "--data", str(data), "--out", str(run)]
        assert train.main([*words, "--steps", "2", "--sample-every", "0", "--warmup-steps", "0"]) == 0
        assert export.main([str(run), "-o", str(made[stage])]) == 0
    return made
