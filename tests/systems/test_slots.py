"""A system and a speech encoder that nobody has heard of, each in a few lines here, run through library and command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keysync import FaceSource, Settings, dub_file
from keysync.cli import main, remedies
from keysync.errors import KeySyncError
from keysync.report import DUBBED
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import ENCODERS
from keysync.systems.keysync.system import KEYSYNC
from keysync.systems.renderer import Clock, Later, Needs, OnStep, Option, Rendering, Span, System, Unchanged
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
    system: str = "Blinker"
    spans: list[Span] = field(default_factory=list)

    @property
    def needs(self) -> Needs:
        return Needs(SIZE, 1.5, None, (self.encoder.name,), ("mood",), self.source)

    @property
    def encoders(self) -> Mapping[str, SpeechEncoder]:
        return {self.encoder.name: self.encoder}

    def evaluations(self, frames: int, settings: Any) -> int:
        return frames

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        self.settings.append(settings)

        def render(span: Span) -> Iterator[Tensor | Unchanged]:
            self.spans.append(span)
            for number, heard in enumerate(span.speech[self.encoder.name][:]):
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


def test_systems_share_an_option_only_if_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = next(option for option in KEYSYNC.options if option.flag == "--steps")
    monkeypatch.setitem(SYSTEMS, "blinker", replace(BLINKER, options=(steps,)))
    assert remedies()["steps"] == "--steps"
    more = Option("--steps", {"type": int, "default": 50})
    monkeypatch.setitem(SYSTEMS, "blinker", replace(BLINKER, options=(more,)))
    with pytest.raises(ValueError, match="blinker defines --steps unlike a system above it"):
        remedies()


def test_a_head_from_one_picture_fits_the_same_seam(files: dict[str, Path], tmp_path: Path) -> None:
    """Its crops are the identity, its paste is nothing; curves arrive at the network's times."""
    head = Blinker(Loudness(None), source=False)
    landmarks = write_landmarks(tmp_path / "one.json", [face_points((WIDTH / 2, HEIGHT / 2), 30)])
    source = FaceSource(landmarks=landmarks)
    settings = Settings(controls={"mood": lambda times: times / 2})
    report = dub_file(files["video"], files["speech"], files["output"], head, settings, source, lossless=True)
    frames = read_frames(files["output"])
    assert len(frames) == report.frames == report.count(DUBBED) == 15
    assert {frame.shape for frame in frames} == {(*SIZE, 3)}
    assert all((frame == frame[0, 0]).all() for frame in frames)
    assert (report.width, report.height, report.frame_rate) == (SIZE[1], SIZE[0], "25")
    assert not any("lasts" in note for note in report.notes)
    (span,) = head.spans
    torch.testing.assert_close(span.controls["mood"], torch.arange(15) / 50)
    with pytest.raises(KeySyncError, match=r"^unknown control 'anger': the system has mood$"):
        dub_file(files["video"], files["speech"], files["output"], head, Settings(controls={"anger": abs}), source)
    with pytest.raises(KeySyncError, match="an occluder has no effect"):
        dub_file(files["video"], files["speech"], files["output"], head, Settings(), source, occluder=files["video"])


def test_controls_without_a_curve_are_zero(files: dict[str, Path]) -> None:
    blinker = Blinker(Loudness(None))
    source = FaceSource(landmarks=files["landmarks"])
    dub_file(files["video"], files["speech"], files["output"], blinker, Settings(), source, lossless=True)
    assert all(span.controls["mood"].shape == (span.frames,) for span in blinker.spans)
    assert not any(span.controls["mood"].any() for span in blinker.spans)


@dataclass
class Aiming(Blinker):
    """Says in two parts that frame n of each span is to open by n tenths."""

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        render = super().begin(settings, seed, clock, on_step)

        def aim(span: Span) -> Iterator[Tensor | Unchanged | Later]:
            values = [number / 10 for number in range(span.frames)]
            span.account.curve("opening", 0, values[:3])
            span.account.curve("opening", 3, values[3:])
            return render(span)

        return aim


def test_the_report_holds_the_curve_that_a_system_aims_at(files: dict[str, Path]) -> None:
    source, settings = FaceSource(landmarks=files["landmarks"]), Settings(sync_mode="silence")
    aiming = Aiming(Loudness(None))
    report = dub_file(files["video"], files["speech"], files["output"], aiming, settings, source, lossless=True)
    spans = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [None, None], [0.0, 0.1, 0.2, 0.3]
    assert report.to_dict()["curves"] == {"opening": [value for span in spans for value in span]}
    silent = Blinker(Loudness(None))
    report = dub_file(files["video"], files["speech"], files["output"], silent, settings, source, lossless=True)
    assert "curves" not in report.to_dict()


def test_a_curve_at_the_networks_rate_is_that_of_the_frames_shown(files: dict[str, Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "fast.mp4", [picture(number) for number in range(12)], rate=Fraction(50))
    points = [face_points((WIDTH / 2, HEIGHT / 2), 30)] * 12
    source = FaceSource(landmarks=write_landmarks(tmp_path / "fast.json", points))
    report = dub_file(
        video, files["speech"], files["output"], Aiming(Loudness(None)), Settings(), source, lossless=True
    )
    assert report.curves["opening"] == [number / 10 for number in (0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6)]


def test_a_curve_beyond_its_span_is_a_defect(files: dict[str, Path]) -> None:
    class Beyond(Blinker):
        def begin(self, *given: Any) -> Rendering:
            render = super().begin(*given)

            def aim(span: Span) -> Iterator[Tensor | Unchanged | Later]:
                span.account.curve("opening", 1, [0.0] * span.frames)
                return render(span)

            return aim

    source = FaceSource(landmarks=files["landmarks"])
    with pytest.raises(ValueError, match="the curve opening covers frames 1-6 of a span of 6"):
        dub_file(
            files["video"], files["speech"], files["output"], Beyond(Loudness(None)), Settings(), source, lossless=True
        )
