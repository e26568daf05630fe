"""A long night: dubs and animations that are killed at random moments and go on, ComfyUIs that are, and many dubs in
one process.

Each part runs by itself, at the smallest size, and ends after some minutes where they are given. It fails where a
result differs from that of an undisturbed dub, where unfinished work is left, or where memory grows by 2 % or more.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keysync.allocator import return_memory
from keysync.cli import main
from keysync.costs import held_memory
from keysync.errors import KeySyncError

from ..clips import picture, write_landmarks, write_speech, write_video
from ..host.conftest import furnish
from ..host.find_comfyui import find_comfyuis
from ..host.server import Server
from ..host.test_server import dub as dub_prompt
from ..host.websocket import WebSocket
from ..portrait import PORTRAIT
from ..synthetic_face import face_points
from ..tiny_keyface import write_tiny_keyface
from ..tiny_models import write_tiny_models

# Frames of the clip that is killed, and of the one that is dubbed again and again.
LONG, SHORT = 100, 20
# Runs before memory is measured first: what is loaded and cached is there then.
SETTLED = 10
MOST_GROWTH = 0.02
# Files of KeyFace whose options end in -model.
KEYFACE_STAGES = ("keyframe", "interpolation", "weak")
# What a ComfyUI dubs, and what a portrait says: seconds of speech, and so many steps that there is a middle in which to
# kill it.
SPEECH_SECONDS, STEPS = 4.0, 20


def kills(count: int, minutes: float | None = None, seed: int = 0) -> dict[str, Any]:
    """Kills dubs by KeySync small with SIGKILL at `count` moments, or for some minutes, then lets the last one end.

    Each moment is drawn from all of an undisturbed run.
    """
    return _kills(lambda folder: _clip(folder, LONG), count, minutes, seed)


def animations(count: int, minutes: float | None = None, seed: int = 0) -> dict[str, Any]:
    """The same for a portrait that KeyFace animates, with tiny models."""
    return _kills(_portrait, count, minutes, seed)


def _kills(clip: Callable[[Path], list[str]], count: int, minutes: float | None, seed: int) -> dict[str, Any]:
    """Kills the command of a clip in a folder, see `kills`."""
    chance, until = random.Random(seed), _end(minutes)
    with TemporaryDirectory() as folder:
        words = clip(Path(folder))
        plain, output = Path(folder, "plain.mp4"), Path(folder, "out.mp4")
        began = time.perf_counter()
        subprocess.run([*_command(words, plain)], check=True, capture_output=True)
        alone = time.perf_counter() - began
        killed, kept, finished, same, took = 0, 0, 0, 0, 0.0
        reused: list[int] = []
        afresh = True
        while not afresh or not finished or (killed < count and time.monotonic() < until):
            spare = killed >= count or time.monotonic() >= until
            began = time.perf_counter()
            with subprocess.Popen(_command(words, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dub:
                try:
                    dub.wait(None if spare else chance.uniform(0, alone))
                except subprocess.TimeoutExpired:
                    dub.kill()
                    killed += 1
            spent = time.perf_counter() - began
            took += spent
            if not output.exists():
                if spare:
                    raise SystemExit(f"a run failed with {dub.returncode}")
                kept += any(name.endswith("-work") for name in _work(Path(folder)))
                afresh = False
                continue
            finished += 1
            if afresh:
                alone = min(alone, spent)  # other programs may have slowed the first run down
            afresh = True
            same += output.read_bytes() == plain.read_bytes()
            print(f"{killed} killed, {kept} of them with work done, {finished} finished, {same} the same", flush=True)
            reused.append(json.loads(output.with_suffix(".json").read_text())["work"]["results_taken"])
            output.unlink()
        left = _work(Path(folder))
    if same != finished or left:
        raise SystemExit(f"{finished - same} of {finished} results differ; left: {left}")
    figures = {"killed": killed, "with_work": kept, "finished": finished, "same": same, "reused": reused}
    return figures | {"alone_s": alone, "all_s": took}


def runs(count: int | None, minutes: float | None = None) -> dict[str, Any]:
    """Memory of one process over `count` dubs with tiny models, or over those of some minutes, bytes: what it holds
    after each, when what is free has been returned, as a batch does between its jobs."""
    held: list[int] = []
    until = _end(minutes)
    with TemporaryDirectory() as folder:
        words = _clip(Path(folder), SHORT)
        models = write_tiny_models(Path(folder))
        for name in ("keyframe", "interpolation"):
            words += [f"--{name}-model", str(models[name])]
        for name in ("vae", "hubert", "wavlm"):
            words += [f"--{name}", str(models[name])]
        while (count is None or len(held) < count) and time.monotonic() < until:
            if main([*words, "-o", str(Path(folder, "out.mp4"))]):
                raise SystemExit("a dub failed")
            return_memory()
            now = held_memory()
            assert now is not None
            held.append(now[0])
    part = len(held) // 10
    if SETTLED + 2 * part > len(held) or not part:
        raise SystemExit(f"{len(held)} dubs say nothing about memory: allow more runs or minutes")
    # The later half against the settled beginning: single figures swing with what the allocator gives back.
    first, last = held[SETTLED : SETTLED + part], held[-part:]
    growth = sum(last) / len(last) / (sum(first) / len(first)) - 1
    if growth >= MOST_GROWTH:
        raise SystemExit(f"memory grew by {growth:.1%} over {len(held)} dubs: {held}")
    return {"runs": len(held), "first_mb": first[0] / 1e6, "last_mb": last[-1] / 1e6, "growth": growth}


def servers(count: int, minutes: float | None = None, seed: int = 0) -> dict[str, Any]:
    """Kills a ComfyUI with SIGKILL in the middle of Dub Video, `count` times, or for some minutes; starts it again and
    queues the same prompt, the last time to its end."""
    comfyui = next((found for found in find_comfyuis() if found.python), None)
    if comfyui is None:
        raise KeySyncError("no ComfyUI was found: name one in COMFYUI_PATH")
    chance, until = random.Random(seed), _end(minutes)
    with TemporaryDirectory() as folder:
        tiny = Path(folder, "tiny")
        tiny.mkdir()
        write_tiny_models(tiny)
        # One folder for all: ComfyUI writes the times of the models' files into what it saves.
        base = Path(folder, "base")
        base.mkdir()
        furnish(base, tiny)
        plain, alone = _run(Server(comfyui, base))
        work = base / "user" / "keysync-work"
        killed = kept = 0
        while killed < count and time.monotonic() < until:
            server = Server(comfyui, base)
            listener = WebSocket(server.port, f"/ws?clientId={server.client}")
            server.queue(_prompt(server))
            while listener.receive()["type"] != "progress":
                pass
            # Of what is left to do, so little that each run is killed in the middle.
            time.sleep(chance.uniform(0, alone / (count + 1)))
            server.process.kill()
            listener.close()
            server.stop()
            killed += 1
            kept += any(work.iterdir())
            print(f"{killed} killed, {kept} of them with work done", flush=True)
        ours, rest = _run(Server(comfyui, base))
        left = [path.name for path in work.iterdir()]
    differing = [name for name in plain if ours.get(name) != plain[name]]
    if differing or left:
        raise SystemExit(
            f"after {killed} kills, {kept} of them with work done, these differ: {differing}; left: {left}"
        )
    return {"killed": killed, "with_work": kept, "same": True, "alone_s": alone, "rest_s": rest}


def _run(server: Server) -> tuple[dict[str, bytes], float]:
    """The files that a dub in a ComfyUI saves, by their names, and its seconds from the first progress."""
    try:
        run = server.run(_prompt(server))
        if run.error is not None:
            raise SystemExit(run.error)
        began = next(message["at"] for message in run.messages if message["type"] == "progress")
        saved = {path.name.split("_0")[0]: path.read_bytes() for path in server.saved(run)}  # without ComfyUI's number
        return saved, run.messages[-1]["at"] - began
    finally:
        server.stop()


def _prompt(server: Server) -> dict[str, Any]:
    """A dub by Dub Video with tiny models."""
    prompt = dub_prompt(server, 0, SPEECH_SECONDS)
    for node in prompt.values():
        if node["class_type"] == "KeySyncDubVideo":
            node["inputs"]["steps"] = STEPS
    return prompt


def _end(minutes: float | None) -> float:
    """When a part ends that began now, on the monotonic clock."""
    return float("inf") if minutes is None else time.monotonic() + 60 * minutes


def _work(folder: Path) -> list[str]:
    """The files that a dub has not put in order there."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def _clip(folder: Path, frames: int) -> list[str]:
    video = write_video(folder / "in.mp4", [picture(number) for number in range(frames)])
    audio = write_speech(folder / "speech.wav", frames / 25)
    landmarks = write_landmarks(folder / "face.json", [face_points((46, 36), 30)] * frames)
    words = ["dub", video, audio, "--landmarks", landmarks, "--system", "keysync", "--preset", "fast"]
    return [str(word) for word in words]


def _portrait(folder: Path) -> list[str]:
    audio = write_speech(folder / "speech.wav", SPEECH_SECONDS)
    words: list[object] = ["animate", PORTRAIT, audio, "--emotion", "sad,happy", "--steps", STEPS]
    for name, path in write_tiny_keyface(folder).items():
        words += [f"--{name}-model" if name in KEYFACE_STAGES else f"--{name}", path]
    return [str(word) for word in words]


def _command(words: list[str], output: Path) -> list[str]:
    line = [sys.executable, "-m", "keysync", *words, "-o", str(output)]
    return [*line, "--report", str(output.with_suffix(".json"))]
