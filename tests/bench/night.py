"""A long night: dubs that are killed at random moments and go on, and many dubs in one process.

It fails where a result differs from that of an undisturbed dub, or where memory grows by 2 % or more.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keysync.cli import main
from keysync.costs import held_memory

from ..clips import picture, write_landmarks, write_speech, write_video
from ..synthetic_face import face_points
from ..tiny_models import write_tiny_models

# Frames of the clip that is killed, and of the one that is dubbed again and again.
LONG, SHORT = 100, 20
# Runs before memory is measured first: what is loaded and cached is there then.
SETTLED = 10
MOST_GROWTH = 0.02


def kills(count: int, seed: int = 0) -> dict[str, Any]:
    """Kills dubs by KeySync small with SIGKILL at `count` moments, each drawn from all of an undisturbed run."""
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        words = _clip(Path(folder), LONG)
        plain, output = Path(folder, "plain.mp4"), Path(folder, "out.mp4")
        began = time.perf_counter()
        subprocess.run([*_command(words, plain)], check=True, capture_output=True)
        alone = time.perf_counter() - began
        killed, finished, same, took = 0, 0, 0, 0.0
        reused: list[int] = []
        while killed < count or output.exists() or not finished:
            began = time.perf_counter()
            with subprocess.Popen(_command(words, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dub:
                try:
                    dub.wait(chance.uniform(0, alone) if killed < count else None)
                except subprocess.TimeoutExpired:
                    dub.kill()
                    killed += 1
            spent = time.perf_counter() - began
            took += spent
            if output.exists():
                finished += 1
                alone = min(alone, spent)  # other programs may have slowed the first run down
                same += output.read_bytes() == plain.read_bytes()
                print(f"{killed} killed, {finished} finished, {same} the same", flush=True)
                reused.append(json.loads(output.with_suffix(".json").read_text())["work"]["results_taken"])
                output.unlink()
        left = [path.name for path in Path(folder).iterdir() if path.name.startswith(".")]
    if same != finished or left:
        raise SystemExit(f"{finished - same} of {finished} results differ; left: {left}")
    return {"killed": killed, "finished": finished, "same": same, "reused": reused, "alone_s": alone, "all_s": took}


def runs(count: int) -> dict[str, Any]:
    """Memory of one process over `count` dubs with tiny models, bytes."""
    held: list[int] = []
    with TemporaryDirectory() as folder:
        words = _clip(Path(folder), SHORT)
        models = write_tiny_models(Path(folder))
        for name in ("keyframe", "interpolation"):
            words += [f"--{name}-model", str(models[name])]
        for name in ("vae", "hubert", "wavlm"):
            words += [f"--{name}", str(models[name])]
        for _ in range(count):
            if main([*words, "-o", str(Path(folder, "out.mp4"))]):
                raise SystemExit("a dub failed")
            now = held_memory()
            assert now is not None
            held.append(now[0])
    # The later half against the settled beginning: single figures swing with what the allocator gives back.
    first, last = held[SETTLED : SETTLED + count // 10], held[-(count // 10) :]
    growth = sum(last) / len(last) / (sum(first) / len(first)) - 1
    if growth >= MOST_GROWTH:
        raise SystemExit(f"memory grew by {growth:.1%} over {count} dubs: {held}")
    return {"runs": count, "first_mb": first[0] / 1e6, "last_mb": last[-1] / 1e6, "growth": growth}


def _clip(folder: Path, frames: int) -> list[str]:
    video = write_video(folder / "in.mp4", [picture(number) for number in range(frames)])
    audio = write_speech(folder / "speech.wav", frames / 25)
    landmarks = write_landmarks(folder / "face.json", [face_points((46, 36), 30)] * frames)
    words = ["dub", video, audio, "--landmarks", landmarks, "--system", "keysync", "--preset", "fast"]
    return [str(word) for word in words]


def _command(words: list[str], output: Path) -> list[str]:
    line = [sys.executable, "-m", "keysync", *words, "-o", str(output)]
    return [*line, "--report", str(output.with_suffix(".json"))]
