"""A speech encoder and a system that the pack does not have, each in a few lines here, in the nodes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types, io
from safetensors.torch import save_file
from torch import Tensor

SIZE = 64


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture
def encoder(extension: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hears how loud the speech is; its file holds one number."""
    base = part("keysync.speech.encoder").SpeechEncoder

    class Loudness(base):  # type: ignore[misc, valid-type]
        name = "loudness"
        files = "one number"
        channels = 1

        @classmethod
        def recognises(cls, shapes: Any) -> bool:
            return set(shapes) == {"gain"}

        @classmethod
        def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Any:
            return cls(torch.nn.Linear(1, 1))

        def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
            return waveform.reshape(-1, 320).abs().mean(1, keepdim=True)

    monkeypatch.setitem(part("keysync.speech.encoders").ENCODERS, "loudness", Loudness)
    return Loudness


@pytest.fixture
def node(extension: ModuleType) -> type[io.ComfyNode]:
    """A node of a system that paints the mouth as bright as the speech is loud."""
    seam, dub, job = part("keysync.systems.renderer"), part("nodes.dub"), part("keysync.job")

    class Blinker:
        system = "Blinker"
        origins = {"blinker": "this test"}  # noqa: RUF012 - a constant of the test

        def __init__(self, encoder: Any) -> None:
            self.encoders = {encoder.name: encoder}
            self.needs = seam.Needs((32, 32), 1.5, None, (encoder.name,))

        def evaluations(self, frames: int, settings: Any) -> int:
            return frames

        def begin(self, settings: Any, seed: int, clock: Any, on_step: Any) -> Any:
            def render(span: Any) -> Iterator[Tensor]:
                for rows in span.speech["loudness"]:
                    on_step(1)
                    yield torch.full((32, 32, 3), float(rows.mean().clamp(0, 1)))

            return render

    class DubByBlinking(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            sockets = part("nodes.host.sockets")
            return io.Schema(
                node_id="DubByBlinking",
                inputs=[
                    io.Video.Input("video"),
                    io.Audio.Input("audio"),
                    sockets.SpeechEncoderSocket.Input("encoder"),
                    sockets.FaceTrackSocket.Input("track"),
                ],
                outputs=[io.Video.Output(), io.String.Output()],
            )

        @classmethod
        def execute(cls, video: Any, audio: Any, encoder: Any, track: Any) -> io.NodeOutput:
            settings, face = part("keysync.dub").Settings(), job.FaceSource(track=track.track)
            dubbed, report = dub.dub(video, audio, Blinker(encoder), settings, face, dub.NodeProgress())
            return io.NodeOutput(dubbed, json.dumps(report.to_dict()))

    return DubByBlinking


def test_an_encoder_and_a_system_of_one_file_each(
    encoder: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "audio_encoders", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    save_file({"gain": torch.ones(1)}, tmp_path / "loudness.safetensors")
    (loaded,) = part("nodes.speech").LoadSpeechEncoder.execute("loudness.safetensors").args
    assert (loaded.name, loaded.channels) == ("loudness", 1)

    frames, rate = 10, Fraction(25)
    images = torch.full((frames, SIZE, SIZE, 3), 0.25)
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=rate))
    audio = {"waveform": torch.full((1, 1, 6400), 0.8), "sample_rate": 16_000}
    angles = np.linspace(0, 2 * np.pi, 68)
    points = (32 + 12 * np.stack((np.cos(angles), np.sin(angles)), 1)).astype(np.float32)
    tracker = part("keysync.face.track").Tracker(exact=True)
    for _ in range(frames):
        tracker.add(np.zeros((SIZE, SIZE, 3), np.uint8), [part("keysync.face.face").Face.of(points, 1.0)])
    track = part("nodes.host.sockets").Faces(tracker.finish(part("keysync.face.track").FaceChoice()))
    result, report = node.execute(video, audio, loaded, track).args
    told = json.loads(report)
    assert told["models"] == {"blinker": "this test"}
    assert told["frames"] == frames
    made = result.get_components().images
    assert made.shape == images.shape
    assert (made - images).abs().max() > 0.2
    assert (made[:, 0, 0] - images[:, 0, 0]).abs().max() < 0.02
