"""Times the original's dub and ours in turn: `python -m tests.bench original --tree TREE [--python PYTHON]`.

Both dub the same film with the same weights, noise and points, in float32 on the CPU, each in a process of its own that
stays. The original is no part of this project: TREE is a checkout of it, PYTHON an interpreter that has what it needs
(torch, torchvision, torchaudio, diffusers, transformers, einops, omegaconf, pytorch-lightning, fire, av).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch

from keysync.face.landmarks_file import write_landmarks_file
from keysync.method import PUBLISHED_CROP_SCALE
from keysync.network.noise import Noise, draw
from keysync.systems.keysync.plan import Plan

from ...portrait import portrait_frames
from ...synthetic_face import face_points
from ..dub import write_speech

# A length that the original dubs to its end: it drops what does not fill a window.
FRAMES = 13 * 20 + 1
HERE = Path(__file__).parent
STAGES = ("speech", "encode", "keyframes", "interpolation", "decode")


def job(size: int, threads: int) -> dict[str, Any]:
    """The settings of both."""
    return {
        "size": size,
        "threads": threads,
        "seed": 0,
        "audio_channels": 64,
        "unet": {"model_channels": 32, "channel_mult": [1, 2, 2], "num_head_channels": 16, "context_dim": 64},
        "vae": {"ch": 32, "ch_mult": [1, 1, 2, 2], "resolution": size},
        "vae_channels": [32, 32, 64, 64],
        "hubert": {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "intermediate_size": 64,
            "conv_dim": [16] * 7,
        },
        "wavlm": {
            "extractor_mode": "default",
            "encoder_layers": 2,
            "encoder_embed_dim": 64,
            "encoder_ffn_embed_dim": 64,
            "encoder_attention_heads": 1,
            "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
            "relative_position_embedding": True,
            "num_buckets": 320,
            "max_distance": 800,
            "gru_rel_pos": True,
            "normalize": False,
            "conv_pos": 128,
            "conv_pos_groups": 16,
        },
    }


def write_inputs(folder: Path, what: dict[str, Any]) -> None:
    """A lossless film of the moving portrait whose face fills it as the method's crop would, speech, points, noise."""
    size = what["size"]
    write_film(folder / "video.mkv", size)
    write_speech(folder / "speech.wav", FRAMES / 25)
    # The points' box, made as much wider as the method's crops are, is the whole frame: both see the same pixels.
    points = face_points((0.0, 0.0), 10.0)
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - (low + high) / 2) * (size / PUBLISHED_CROP_SCALE / (high - low).max()) + size / 2
    points = np.round(points, 3)
    np.save(folder / "landmarks.npy", np.repeat(points[None], FRAMES, axis=0))
    write_landmarks_file(folder / "landmarks.json", [points] * FRAMES, size=(size, size), fps=25)
    plan, noise = Plan(FRAMES, 14), Noise.from_seed(what["seed"])
    shape = 14, 4, size // 8, size // 8
    windows = (FRAMES - 1) // 13
    torch.save(
        {
            "keyframes": torch.stack([draw(noise.keyframes, shape) for _ in plan.batches]),
            "windows": torch.stack([draw(noise.windows, shape) for _ in range(windows)]),
        },
        folder / "noise.pt",
    )
    (folder / "job.json").write_text(json.dumps(what))


def write_film(path: Path, size: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "bgr0"
        for picture in portrait_frames(FRAMES, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


class Side:
    """A process that dubs when asked."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.log = name, log
        self._log = log.open("w")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def __enter__(self) -> Side:
        return self

    def ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended: {self.log.read_text()[-2000:]}")
        return json.loads(answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def distance(folder: Path) -> float:
    """The largest difference of the latents of the first keyframes' windows, over the largest latent.

    The second batch of keyframes is not full: the original fills it with the first frame, ours with the last keyframe.
    """
    theirs = torch.load(folder / "theirs.pt", weights_only=True).unflatten(0, (-1, 14))
    ours = torch.load(folder / "ours.pt", weights_only=True)
    frames = torch.cat([theirs[0], theirs[1:, 1:].flatten(0, 1)])
    (shown,) = {len(one) for one in (ours, frames)}
    whole = min(shown, 13 * 12 + 1)
    return float((ours - frames)[:whole].abs().max() / frames.abs().max())


def run(
    tree: Path,
    python: str = sys.executable,
    pairs: int = 5,
    size: int = 64,
    threads: int = 1,
    folder: Path | None = None,
    json_file: Path | None = None,
) -> None:
    """Prints how long both take, stage by stage, for so many pairs of dubs; `folder` keeps inputs, results and logs."""
    with tempfile.TemporaryDirectory() as name:
        folder = folder or Path(name)
        folder.mkdir(exist_ok=True)
        write_inputs(folder, job(size, threads))
        theirs = [python, str(HERE / "theirs.py"), str(tree), str(folder)]
        with Side("the original", theirs, folder / "theirs.log") as original:
            original.ask("make")
            ours = [sys.executable, "-m", f"{__package__}.ours", str(folder)]
            with Side("ours", ours, folder / "ours.log") as other:
                rows = [(original.ask("dub"), other.ask("dub")) for _ in range(pairs)]
        apart = distance(folder)
    show(rows, apart)
    if json_file:
        json_file.write_text(json.dumps({"pairs": rows, "latents": apart}, indent=1))


def show(rows: list[tuple[dict[str, float], dict[str, float]]], apart: float) -> None:
    print("| stage | original, s | ours, s | ratio, median | ratios |")
    print("|---|---|---|---|---|")
    for stage in ("total", *STAGES, "write"):
        theirs, ours = ([row[side].get(stage, 0.0) for row in rows] for side in (0, 1))
        ratios = [a / b for a, b in zip(theirs, ours, strict=True) if b]
        if not ratios:
            continue
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"| {stage} | {statistics.median(theirs):.2f} | {statistics.median(ours):.2f} | "
            f"{statistics.median(ratios):.2f} | {listed} |"
        )
    print(f"\nThe latents of the first batch of keyframes and its windows differ by {apart:.1e} of the largest")
    print("(bound: 2e-3).")
