"""A system and a speech encoder that nobody has heard of, each in a few lines here, run through library and command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keysync import FaceSource, Settings, dub_file
from keysync.cli import main
from keysync.report import DUBBED
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import ENCODERS
from keysync.systems.renderer import Clock, Needs, OnStep, Option, Rendering, Span, System
from keysync.systems.table import SYSTEMS

from ..clips import HEIGHT, WIDTH, picture, read_frames, write_landmarks, write_speech, write_video
from ..synthetic_face import face_points

SIZE = (32, 32)


class Loudness(SpeechEncoder):
    """Hears nothing but how loud it is."""

    name = "loudness"
    files = "any file"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Loudness:
        return cls(None)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        return waveform.reshape(-1, 320).abs().mean(1, keepdim=True)


@dataclass
class Blinker:
    """Paints the crop as bright as the speech is loud; asks for no mask."""

    encoder: SpeechEncoder
    settings: list[Any] = field(default_factory=list)
    origins: Mapping[str, str] = field(default_factory=lambda: {"blinker": "this test"})
    source: bool = True

    @property
    def needs(self) -> Needs:
        return Needs(SIZE, 1.5, None, (self.encoder.name,), source=self.source)

    @property
    def encoders(self) -> Mapping[str, SpeechEncoder]:
        return {self.encoder.name: self.encoder}

    def evaluations(self, frames: int, settings: Any) -> int:
        return frames

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        self.settings.append(settings)

        def render(span: Span) -> Iterator[Tensor]:
            for number, heard in enumerate(span.speech[self.encoder.name]):
                if number % 2 == 0:  # looks at every second crop only
                    next(span.crops)
                if on_step is not None:
                    on_step(1)
                yield torch.full((*SIZE, 3), float(heard.mean().clamp(0, 1)))

        return render


def load(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> Blinker:
    return Blinker(ENCODERS["loudness"].load(Path(str(files["loudness"])), device, torch.float32))


BLINKER = System(
    name="blinker",
    title="Blinker",
    kinds=(),
    files=(Option("--loudness", {"type": Path}),),
    options=(Option("--speed", {"type": int, "default": 3}),),
    settings=lambda options: ("speed", options.speed),
    load=load,
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    frames = [picture(number) for number in range(12)]
    points = (
        [face_points((WIDTH / 2, HEIGHT / 2), 30)] * 6 + [None] * 2 + [face_points((WIDTH / 2, HEIGHT / 2), 30)] * 4
    )
    return {
        "video": write_video(tmp_path / "in.mp4", frames, lossless=False),
        "speech": write_speech(tmp_path / "speech.wav", 0.6),
        "landmarks": write_landmarks(tmp_path / "face.json", points),
        "output": tmp_path / "out.mkv",
    }


def test_another_system_draws_the_mouth(files: dict[str, Path]) -> None:
    blinker = Blinker(Loudness(None))
    source = FaceSource(landmarks=files["landmarks"])
    settings = Settings(sync_mode="silence", sampling="its own")
    report = dub_file(files["video"], files["speech"], files["output"], blinker, settings, source, lossless=True)
    assert report.count(DUBBED) == 10
    assert report.network_evaluations == 10
    assert report.mask == "mouth"
    assert report.models == {"blinker": "this test"}
    assert blinker.settings == ["its own"]
    before, after = read_frames(files["video"]), read_frames(files["output"])
    assert (before[0] != after[0]).any()
    assert (before[6] == after[6]).all()


def test_the_command_line_knows_every_row(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ENCODERS, "loudness", Loudness)
    monkeypatch.setitem(SYSTEMS, "blinker", BLINKER)
    words = ["dub", files["video"], files["speech"], "-o", files["output"], "--landmarks", files["landmarks"]]
    assert main([*map(str, words), "--system", "blinker", "--loudness", "x", "--speed", "7", "--lossless"]) == 0
    assert "frames dubbed" in capsys.readouterr().out


def test_a_head_from_one_picture_fits_the_same_seam() -> None:
    """Its crops are the identity, its paste is nothing: no track, no video."""
    head = Blinker(Loudness(None), source=False)
    assert not head.needs.source
    heard = head.encoder.encode(torch.linspace(-1, 1, 16_000)).at(torch.arange(5) / 25)
    identity = torch.rand(*SIZE, 3), torch.ones(SIZE)
    render = head.begin(None, 0, lambda _: argparse.Namespace(), None)
    frames = list(render(Span(5, iter([identity] * 5), {"loudness": heard})))
    assert len(frames) == 5
    assert frames[0].shape == (*SIZE, 3)
