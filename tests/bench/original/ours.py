"""Our dub of the same inputs, in a process of its own: `python -m tests.bench.original.ours FOLDER`.

It answers the command `dub` as `theirs.py` does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keysync.allocator import hold_memory
from keysync.dub import Settings
from keysync.job import FaceSource, dub_file
from keysync.speech.encoders import load_encoder
from keysync.systems.keysync.models import Models
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import load_stage


def load(folder: Path, job: dict[str, Any]) -> Models:
    """The models that the original wrote, as published files; what no file says comes from the job."""
    side = job["size"] // 8
    stages = {
        name: load_stage(
            folder / f"{name}.safetensors",
            head_dim=job["unet"]["num_head_channels"],
            latent_size=(side, side),
            dtype=torch.float32,
        )
        for name in ("keyframe", "interpolation")
    }
    files = {"hubert": folder / "hubert", "wavlm": folder / "WavLM.pt"}
    encoders = {name: load_encoder(name, path) for name, path in files.items()}
    return Models(stages["keyframe"], stages["interpolation"], load_vae(folder / "vae"), encoders)


class Dub:
    """The job with its models; keeps the latents that are decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job = json.loads((folder / "job.json").read_text())
        self.models = load(folder, self.job)
        self.latents: list[Tensor] = []
        decode: Callable[[Tensor], Tensor] = self.models.vae.decode

        def kept(latents: Tensor) -> Tensor:
            self.latents.append(latents.clone())
            return decode(latents)

        self.models.vae.decode = kept  # type: ignore[method-assign]

    def run(self) -> dict[str, Any]:
        self.latents.clear()
        output = self.folder / "ours.mp4"
        output.unlink(missing_ok=True)
        began = time.perf_counter()
        report = dub_file(
            self.folder / "video.mkv",
            self.folder / "speech.wav",
            output,
            self.models,
            Settings(seed=self.job["seed"]),
            FaceSource(landmarks=self.folder / "landmarks.json"),
        )
        total = time.perf_counter() - began
        torch.save(torch.cat(self.latents), self.folder / "ours.pt")
        return {"total": total, **report.seconds_per_stage}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    hold_memory()  # as the command line does
    folder = Path(sys.argv[1])
    dub = Dub(folder)
    torch.set_num_threads(dub.job["threads"])
    for _ in sys.stdin:
        answers.write(json.dumps(dub.run()) + "\n")


if __name__ == "__main__":
    main()
