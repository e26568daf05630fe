"""The built-in face finder beside MediaPipe's own package: what each finds, how far their points are apart, how long.

`python -m tests.bench faces --media FOLDER` takes the real clips and stills of a folder and rendered heads; it needs
the package (`pip install mediapipe==0.10.21`, Python 3.9 to 3.12, in an environment of its own).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from keysync.face.face import Face, Frame
from keysync.face.finder.finder import FaceFinder
from keysync.face.shots import ShotCounter

VIDEOS, STILLS = {".mp4", ".mpg", ".mov", ".mkv"}, {".jpg", ".png"}
# A face crop of 256 pixels, of the published scale, shows the face 128 pixels wide.
FACE_IN_CROP = 128
TIMED_FRAMES = 100


def measure(media: Path | None) -> dict[str, Any]:
    """What both find in each clip, and the milliseconds a frame of each in the same run, on one thread."""
    from ..oracle import MediaPipe

    torch.set_num_threads(1)
    finder, oracle = FaceFinder(), MediaPipe()
    results = {name: compare(frames(), finder, oracle) for name, frames in clips(media).items()}
    total = {key: sum(result[key] for result in results.values()) for key in ("frames", "both", "missed", "more")}
    total["worst"] = max(result["worst"] for result in results.values())
    return {"clips": results, "total": total, "speed": speed(clips(media), finder, oracle)}


def clips(media: Path | None) -> dict[str, Callable[[], Iterator[Frame]]]:
    """Frames by the name of their clip; all stills of a folder are one clip."""
    found: dict[str, Callable[[], Iterator[Frame]]] = {}
    for path in sorted(media.rglob("*")) if media else []:
        if path.suffix in VIDEOS:
            found[path.name] = partial(read, path)
        elif path.suffix in STILLS:
            found[f"stills of {path.parent.name}"] = partial(stills, path.parent)
    return found | {"rendered heads": heads}


def read(path: Path) -> Iterator[Frame]:
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def stills(folder: Path) -> Iterator[Frame]:
    for path in sorted(folder.iterdir()):
        if path.suffix in STILLS:
            yield np.asarray(Image.open(path).convert("RGB"))


def heads() -> Iterator[Frame]:
    """Rendered people who move, half of them with something before the mouth for a while."""
    from training.synthetic.render.world import Clip, clip
    from training.synthetic.voice.speech import talk

    for person in range(8):
        motion = talk(person, 2.0).mouth((np.arange(25, dtype=np.float64) + 0.5) / 12.5)
        options = Clip(size=(360, 480), people=1 + person % 2, occluder=("none", "hand")[person // 4])
        for truth in clip((1 << 30) + 100 + person, [motion[frame] for frame in range(25)], options):
            yield truth.picture


def compare(frames: Iterator[Frame], finder: FaceFinder, oracle: Any) -> dict[str, Any]:
    count, missed, more = 0, 0, 0
    off: list[float] = []
    for frame in frames:
        found, expected = finder.detect(frame), oracle.detect(frame)
        count += 1
        near = [min((deviation(face, other) for face in found), default=np.inf) for other in expected]
        off += [distance for distance in near if distance < FACE_IN_CROP / 4]
        missed += sum(distance >= FACE_IN_CROP / 4 for distance in near)
        more += max(0, len(found) - len(expected))
    worst = max(off, default=0.0)
    return {
        "frames": count, "both": len(off), "missed": missed, "more": more,
        "median": float(np.median(off)) if off else 0.0, "worst": worst,
    }  # fmt: skip


def deviation(face: Face, other: Face) -> float:
    """The largest distance of a point, in pixels of a face crop of 256 pixels."""
    distances: NDArray[Any] = np.linalg.norm(face.landmarks - other.landmarks, axis=1)
    return float(distances.max()) * FACE_IN_CROP / float(np.ptp(other.landmarks, axis=0).max())


def speed(found: dict[str, Callable[[], Iterator[Frame]]], finder: FaceFinder, oracle: Any) -> dict[str, Any]:
    """Milliseconds a frame of each clip's first frames, decoded before: each by itself, and followed through."""
    results = {}
    for name, frames in found.items():
        if name.startswith("stills"):
            continue
        some = [frame for _, frame in zip(range(TIMED_FRAMES), frames(), strict=False)]
        h, w = some[0].shape[:2]
        follow(finder, some[:5])
        results[f"{name}, {w}x{h}"] = {
            "mediapipe": timed(partial(find, oracle, some)) / len(some),
            "each by itself": timed(partial(find, finder, some)) / len(some),
            "followed": timed(partial(follow, finder, some)) / len(some),
        }
    return results


def find(finder: Any, frames: list[Frame]) -> None:
    for frame in frames:
        finder.detect(frame)


def follow(finder: FaceFinder, frames: list[Frame]) -> None:
    counter, shot = ShotCounter(), 0
    before: list[Face] = []
    for frame in frames:
        last, shot = shot, counter.add(frame)
        before = finder.detect(frame, before if shot == last else ())


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)
