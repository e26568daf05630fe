"""One dub with the built-in model, measured in the process that runs it: seconds per stage and peak memory."""

from __future__ import annotations

import resource
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

import torch

from keysync.demo import SPEECH
from keysync.dub import Settings
from keysync.job import FaceSource, dub_file
from keysync.media.audio import read_speech
from keysync.systems.keysync.models import load_models

from ..portrait import write_portrait_video


def measure(seconds: float) -> dict[str, Any]:
    """Dubs the moving portrait for so many seconds; returns the report with the peak memory in MiB."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = write_portrait_video(folder / "portrait.mp4", seconds)
        speech = write_speech(folder / "speech.wav", seconds)
        report = dub_file(video, speech, folder / "out.mp4", load_models(), Settings(), FaceSource())
    return report.to_dict() | {"peak_mib": peak_mib()}


def peak_mib() -> float:
    """The most memory that this process has held, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def write_speech(path: Path, seconds: float) -> Path:
    """The demo's sentence again and again, 16 kHz mono."""
    waveform, _ = read_speech(SPEECH)
    samples = round(16000 * seconds)
    repeated = waveform.repeat(samples // len(waveform) + 1)[:samples]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((repeated * 32767).to(torch.int16).numpy().tobytes())
    return path
