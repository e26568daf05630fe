"""Compare Videos shows two videos side by side: files, parts of files and frames in memory."""

from __future__ import annotations

import importlib
import io
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.latest import InputImpl, Types


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(autouse=True)
def temporary(extension: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temp"
    monkeypatch.setattr(folder_paths, "temp_directory", str(folder))
    return folder


def in_memory(level: float, audio: dict[str, Any] | None = None) -> Any:
    images = torch.full((10, 64, 64, 3), level)
    components = Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction(25))
    return InputImpl.VideoFromComponents(components)


def compare(before: Any, after: Any) -> Any:
    return part("nodes.compare").CompareVideos.execute(before, after).args[0].get_components()


def test_both_are_shown_with_the_sound_of_the_second() -> None:
    sound = {"waveform": torch.rand(1, 1, 6400) - 0.5, "sample_rate": 16_000}
    made = compare(in_memory(0.25), in_memory(0.75, sound))
    assert made.images.shape == (10, 64, 128, 3)
    assert float((made.images[:, 50:, :60] - 0.25).abs().max()) < 0.03
    assert float((made.images[:, 50:, 68:] - 0.75).abs().max()) < 0.03
    assert made.audio["waveform"].shape[-1] / made.audio["sample_rate"] == pytest.approx(0.4, abs=0.08)


def test_files_and_bytes_are_read_as_they_are(tmp_path: Path) -> None:
    clip = part("keysync.demo").TALK_OCCLUDED
    made = compare(InputImpl.VideoFromFile(str(clip)), InputImpl.VideoFromFile(io.BytesIO(clip.read_bytes())))
    assert made.images.shape == (75, 320, 640, 3)
    # The mean: of millions of pixels of H.264, one is off by a tenth.
    assert float((made.images[:, 100:, :320] - made.images[:, 100:, 320:]).abs().mean()) < 0.005
    assert made.audio is None


def test_a_report_does_not_name_temporary_files(temporary: Path) -> None:
    """A video that another node made there is "the video"; the user's own file has its name."""
    video = part("nodes.host.video")
    result = part("nodes.compare").CompareVideos.execute(in_memory(0.2), in_memory(0.6)).args[0]
    assert Path(result.get_stream_source()).parent == temporary
    assert video.open_video(result).name == "the video"
    clip = part("keysync.demo").TALK
    assert video.open_video(InputImpl.VideoFromFile(str(clip))).name == str(clip)
