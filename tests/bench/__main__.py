"""Prints what one dub costs on this machine, with the tiny weights: `python -m tests.bench [--seconds 10 120]`.

Each length runs in a process of its own, so that its peak memory is its own. Compare ratios, not seconds: machines differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

import torch

from keysync.demo import SPEECH, write_demo_video
from keysync.dub import Settings
from keysync.job import FaceSource, dub_file
from keysync.media import read_speech
from keysync.models import load_models


class Silent:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int | None) -> None: ...

    def step(self, count: int = 1) -> None: ...

    def end(self) -> None: ...


def measure(seconds: float) -> dict[str, Any]:
    """Dubs the moving portrait for so many seconds; returns the report with the peak memory in MiB."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = write_demo_video(folder / "portrait.mp4", seconds)
        speech = write_speech(folder / "speech.wav", seconds)
        report = dub_file(video, speech, folder / "out.mp4", load_models(), Settings(), FaceSource(), Silent())
    unit = 1 if sys.platform == "darwin" else 1024
    return report.to_dict() | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 120.0])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    results = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for seconds in options.seconds:
            results[seconds] = result = pool.apply(measure, (seconds,))
            print(f"{seconds:g} s of video, {result['frames']} frames at {result['width']}x{result['height']}")
            for stage, spent in sorted(result["seconds_per_stage"].items(), key=lambda item: -item[1]):
                print(f"  {stage:<14} {spent:8.2f} s   {spent / seconds:7.3f} s per second of video")
            print(f"  network evaluations per second of video {result['network_evaluations'] / seconds:.1f}")
            print(f"  peak memory {result['peak_mib']:.0f} MiB")
    peaks = [results[seconds]["peak_mib"] for seconds in sorted(results)]
    if len(peaks) > 1:
        print(f"peak memory grows by {100 * (peaks[-1] / peaks[0] - 1):.1f} % from {min(results):g} s to {max(results):g} s")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
