"""Crops of rendered people for training a VAE: squares around the face, as in a dub, with their 68 landmarks.

The number of a person determines the crops. A separate process renders them once, into one file per person.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.crop import crop, crop_boxes, to_crop
from keysync.face.face import Points
from keysync.face.track import from_landmarks
from keysync.systems.keysync.small import CROP_SCALE

from ...data.disk import written
from ...synthetic.render.identity import Identity
from ...synthetic.render.motion import Take
from ...synthetic.render.mouth import MouthShape
from ...synthetic.render.occluder import OCCLUDERS
from ...synthetic.render.portrait import Portrait
from ...synthetic.render.scene import Actor, Scene, framed

PICTURE = (256, 256)
SCENES, FRAMES = 2, 8  # of each person
APART = 40  # frames of a take between two drawn ones, so that poses differ
OCCLUDED = 0.15  # share of scenes with an occluder
UNSEEN = 1 << 20  # number of the first held-out person
POLL = 0.5  # seconds


@dataclass(frozen=True, eq=False)
class PersonCrops:
    """The crops of one person: pictures (n, size, size, 3) uint8 and landmarks (n, 68, 2) in their pixels."""

    pictures: NDArray[np.uint8]
    landmarks: Points

    def save(self, path: Path) -> None:
        with written(path) as temporary, temporary.open("wb") as file:
            np.savez(file, pictures=self.pictures, landmarks=self.landmarks)

    @classmethod
    def load(cls, path: Path) -> PersonCrops:
        """Reads a file of `save`. Raises `KeySyncError` for any other file."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(stored["pictures"], stored["landmarks"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise KeySyncError(
                f"cannot read the crops {path} ({error}): delete it and run the command again"
            ) from error


def render_person(number: int, size: int, scenes: int = SCENES, occluded: float = OCCLUDED) -> PersonCrops:
    """A person in several scenes, which differ in light, backdrop and place, with a random mouth in each frame.

    `occluded`: the share of scenes with an occluder.
    """
    rng = np.random.default_rng((number, 0x63726F70))
    portrait = Portrait(Identity.sample(rng))
    pictures, landmarks = [], []
    for _ in range(scenes):
        camera = framed(PICTURE, rng.uniform(0.46, 0.54), rng.uniform(0.43, 0.48), rng.uniform(0.93, 1.08))
        take = Take(Take.sample(rng, FRAMES * APART, 1.3).poses[::APART])
        crossing = str(rng.choice(list(OCCLUDERS))) if rng.random() < occluded else "none"
        scene = Scene(rng, PICTURE, (Actor(portrait, camera, take),), crossing)
        truths = [scene.render(frame, (MouthShape.sample(rng),)) for frame in range(FRAMES)]
        # Shots of one frame, so that boxes are not smoothed over time.
        track = from_landmarks([truth.landmarks for truth in truths], PICTURE, range(FRAMES))
        for frame, truth in enumerate(truths):
            box = crop_boxes(track, frame, frame + 1, CROP_SCALE)[0]
            pictures.append((crop(truth.picture, box, (size, size)) * 255).round().byte().numpy())
            landmarks.append(to_crop(truth.landmarks, box, (size, size)).numpy())
    return PersonCrops(np.stack(pictures), np.stack(landmarks))


# Draws a person, by number, in crops of so many pixels.
Render = Callable[[int, int], PersonCrops]


class CropStore:
    """The crops of people 0, 1, ... in a folder, which a separate process fills by `render` while they are used.

    As a context manager it ends the process on exit. Raises `KeySyncError` if the process dies.
    """

    def __init__(self, folder: Path, size: int, people: int, render: Render = render_person) -> None:
        self.folder, self.size, self.people, self.render = folder, size, people, render
        self._held: list[PersonCrops] = []
        self._process: BaseProcess | None = None

    def __enter__(self) -> CropStore:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not all(self._path(number).is_file() for number in range(self.people)):
            self._process = get_context("spawn").Process(
                target=_render, args=(self.folder, self.size, self.people, self.render), daemon=True
            )
            self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join()

    def first(self, count: int) -> list[PersonCrops]:
        """The first `count` people, or all; waits until they are rendered."""
        for number in range(len(self._held), min(count, self.people)):
            while not self._path(number).is_file():
                if self._process is None or not self._process.is_alive():
                    raise KeySyncError(f"person {number} is missing in {self.folder}: run the command again")
                time.sleep(POLL)
            self._held.append(PersonCrops.load(self._path(number)))
        return self._held[: min(count, self.people)]

    def _path(self, number: int) -> Path:
        return person_file(self.folder, number, self.size)


def person_file(folder: Path, number: int, size: int) -> Path:
    """The file of a person's crops."""
    return folder / f"person-{number:06}-{size}.npz"


def _render(folder: Path, size: int, people: int, render: Render) -> None:
    import torch

    torch.set_num_threads(1)
    for number in range(people):
        path = person_file(folder, number, size)
        if not path.is_file():
            render(number, size).save(path)
