"""A speech encoder is a row of `ENCODERS`: with one more row, every verb of training knows it without a change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keysync.face import detectors
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import ENCODERS
from keysync.systems.keysync.small import BUILT_IN
from training import evaluate, prepare
from training.config.config import load_config
from training.data.dataset import Windows, collate
from training.data.index import EncoderInfo
from training.data.shards import Shards
from training.synthetic import data as synthetic

from .data.preparation.small_videos import FACE, BrightnessDetector, write_talk


class Loudness(SpeechEncoder):
    """One number a row: the mean of the samples' absolute values."""

    name = "loudness"
    files = "any file"
    channels = 1

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Loudness:
        return cls(None)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        return waveform.reshape(-1, 320).abs().mean(1, keepdim=True)


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The encoder's file."""
    monkeypatch.setitem(ENCODERS, "loudness", Loudness)
    monkeypatch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)
    file = tmp_path / "loudness.bin"
    file.write_bytes(b"weights")
    return file


def test_it_prepares_data_that_training_reads(row: Path, tmp_path: Path) -> None:
    write_talk(tmp_path / "talk.mp4", [(FACE, 20)])
    folder = tmp_path / "data"
    words = [tmp_path, "-o", folder, "--loudness", row, "--least-quality", "0", "--least-agreement", "-1"]
    assert prepare.main([*map(str, words)]) == 0
    shards = Shards(folder)
    assert shards.info.encoders == {"hubert": EncoderInfo(128, BUILT_IN), "loudness": EncoderInfo(1, str(row))}
    config = load_config("tiny-interpolation", None, {"speech_encoder": "loudness"})
    batch = collate([Windows(shards, config)[0]])
    assert batch.features.shape == (1, 14, 2, 1)
    assert batch.features.std() > 0


def test_every_command_that_prepares_data_has_its_option(
    row: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["data", "--help"])
    commands: list[Callable[[], object]] = [
        lambda: prepare.main(["--help"]),
        synthetic.main,
    ]
    for command in commands:
        with pytest.raises(SystemExit, match="0"):
            command()
        assert "--loudness PATH" in capsys.readouterr().out


def test_an_evaluation_has_the_options_of_the_table_of_systems(capsys: pytest.CaptureFixture[str]) -> None:
    """Its rows are those of `ENCODERS` when the program starts."""
    with pytest.raises(SystemExit, match="0"):
        evaluate.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"--{name} PATH" in said for name in ENCODERS)
