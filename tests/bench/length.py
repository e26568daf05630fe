"""What a dub costs by the length of its video: peak memory and processor time of the command line and of ComfyUI.

Each dub runs in a process of its own: the demo's clip, played to and fro, and its new speech, again and again; KeySync
draws with the preset `fast`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keysync.demo import TALK
from keysync.errors import KeySyncError
from keysync.media.reader import VideoReader
from keysync.media.writer import VideoWriter

from ..host.conftest import furnish
from ..host.find_comfyui import find_comfyuis
from ..host.graph import Graph, to_api
from ..host.server import Server
from ..host.workflows import dub_video, load_published, with_tiny
from ..tiny_models import write_tiny_models
from .dub import write_speech

MOST_GROWTH = 0.08


def measure(way: str, seconds: float) -> dict[str, Any]:
    """Dubs so many seconds by one of `WAYS`; call it in a fresh process. Returns peak_mib and processor_seconds.

    Raises `KeySyncError` where the dub fails, or where no ComfyUI is found.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = write_speech(folder / "speech.wav", seconds)
        WAYS[way](folder, _write_clip(folder / "clip.mp4", round(25 * seconds)), speech)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_mib": used.ru_maxrss * unit / 2**20, "processor_seconds": used.ru_utime + used.ru_stime}


def _rewrite(folder: Path, clip: Path, speech: Path) -> None:
    _command(folder, clip, speech, "--system", "rewrite")


def _keysync(folder: Path, clip: Path, speech: Path) -> None:
    models = write_tiny_models(folder)
    stages = [word for name in ("keyframe", "interpolation") for word in (f"--{name}-model", models[name])]
    others = [word for name in ("vae", "hubert", "wavlm") for word in (f"--{name}", models[name])]
    _command(folder, clip, speech, "--system", "keysync", "--preset", "fast", *stages, *others)


def _comfyui(folder: Path, clip: Path, speech: Path) -> None:
    comfyui = next((found for found in find_comfyuis() if found.python), None)
    if comfyui is None:
        raise KeySyncError("no ComfyUI was found: name one in COMFYUI_PATH")
    tiny, base = folder / "tiny", folder / "base"
    tiny.mkdir()
    base.mkdir()
    write_tiny_models(tiny)
    furnish(base, tiny)
    for file in (clip, speech):
        file.rename(base / "input" / file.name)
    graph = Graph()
    video = graph.add("LoadVideo", (0, 0), file=clip.name)
    sound = graph.add("LoadAudio", (0, 0), audio=speech.name)
    dubbed = dub_video(graph, load_published(graph), (0, 0), video=video["VIDEO"], audio=sound["AUDIO"], preset="fast")
    graph.add("SaveVideo", (0, 0), video=dubbed["video"])
    server = Server(comfyui, base)
    try:
        run = server.run(with_tiny(to_api(graph, server.info)))
    finally:
        server.stop()
    if run.error is not None:
        raise KeySyncError(run.error)


# Command line with mouths of the clip itself, with tiny KeySync models, and Dub Video with those.
WAYS: dict[str, Callable[[Path, Path, Path], None]] = {"rewrite": _rewrite, "keysync": _keysync, "comfyui": _comfyui}


def _command(folder: Path, clip: Path, speech: Path, *words: str | Path) -> None:
    line = [sys.executable, "-m", "keysync", "dub", clip, speech, "-o", folder / "out.mp4", *words]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    if done.returncode:
        raise KeySyncError(done.stderr)


def _write_clip(path: Path, count: int) -> Path:
    reader = VideoReader(TALK)
    frames = [frame for _, frame in reader.frames()]
    with VideoWriter(path, reader.info) as writer:
        for place in range(count):
            step = place % (2 * len(frames))
            writer.write(frames[min(step, 2 * len(frames) - 1 - step)], place * reader.info.frame_duration)
    return path
