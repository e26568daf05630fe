"""The films of an evaluation and their readings, in one process or several."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import torch

from keysync.errors import KeySyncError
from keysync.systems.renderer import Renderer, UnsuitableError
from keysync.systems.table import HEADS, SYSTEMS

from ..synthetic.render.occluder import OCCLUDERS
from .film import quiet_film, talk_film
from .reader import Reader
from .reading import Covered, Quiet, Talk, Undubbed
from .row import Row
from .rows import ablation_rows, covered_rows, outside_row, quiet_rows, talk_rows, undubbed_row

logger = logging.getLogger(__name__)

SIDES = (128, 512)  # limits of a picture's width in pixels; it is twice that of the models' crops

Reading = Talk | Quiet | Covered | Undubbed


@dataclass(frozen=True)
class Task:
    """One film: `kind` is "talk", "quiet" or "covered"."""

    kind: str
    number: int
    ablations: bool = False


@dataclass(frozen=True)
class Scope:
    """How much is rendered and dubbed: `clips` clips with other speech and as many with a silence, a third of them
    again for each ablation, and a sixth with an occluder; at least two each.

    A clip of 53 frames takes four windows and a batch of keyframes. The default scope samples 104 windows.
    """

    seed: int = 0
    clips: int = 6
    talk_frames: int = 53
    quiet_frames: int = 53
    covered_frames: int = 27

    def __post_init__(self) -> None:
        if self.clips < 2:
            raise KeySyncError(f"{self.clips} clips give no interval: expected at least 2 (--clips)")

    @property
    def tasks(self) -> list[Task]:
        """All films; the slowest, those with ablations, come first."""
        ablations = max(2, self.clips // 3)
        return [
            *(Task(kind, number, number < ablations) for number in range(self.clips) for kind in ("talk", "quiet")),
            *(Task("covered", number) for number in range(max(2, self.clips // 6))),
        ]


@dataclass(frozen=True)
class ModelFiles:
    """A system to evaluate and its files and folders by their options' names; built-in models by default."""

    paths: Mapping[str, Path | None] = field(default_factory=dict, hash=False)
    device: str = "cpu"
    system: str = "keysync"


@lru_cache(maxsize=1)
def open_models(files: ModelFiles) -> Renderer:
    """This system, cached per process. Raises `KeySyncError` as its `load` does."""
    system = {**SYSTEMS, **HEADS}[files.system]
    paths = {option.name: files.paths.get(option.name) for option in system.files}
    return system.load(paths, device=torch.device(files.device), dtype=None)


def side_of(models: Renderer) -> int:
    """Width of the films for this system in pixels."""
    least, most = SIDES
    return min(max(least, 2 * models.needs.crop_size[0]), most)


def read(reader: Reader, side: int, scope: Scope, task: Task) -> Reading:
    """Dubs one film, `side` pixels wide, in all ways that its task needs."""
    seed, number = scope.seed, task.number
    if task.kind == "talk":
        return reader.talk(talk_film(seed, number, scope.talk_frames, side), task.ablations)
    if task.kind == "quiet":
        return reader.quiet(quiet_film(seed, number, scope.quiet_frames, side), task.ablations)
    thing = list(OCCLUDERS)[number % len(OCCLUDERS)]
    return reader.covered(talk_film(seed, number, scope.covered_frames, side, thing))


def read_all(files: ModelFiles, scope: Scope, workers: int) -> Iterator[Reading]:
    """All readings, made by `workers` processes that share the cores; their number changes only rounding.

    Raises `KeySyncError` if a process is killed.
    """
    tasks = scope.tasks
    if workers <= 1:
        yield from (_read(files, scope, task) for task in tasks)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
    ) as pool:
        try:
            yield from pool.map(_read, [files] * len(tasks), [scope] * len(tasks), tasks)
        except BrokenProcessPool as error:
            raise KeySyncError(
                f"one of {workers} processes was killed, probably for lack of memory: use --workers 1"
            ) from error


def _read(files: ModelFiles, scope: Scope, task: Task) -> Reading:
    models = open_models(files)
    try:
        return read(Reader(lambda _: models), side_of(models), scope, task)
    except UnsuitableError as error:
        return Undubbed(str(error))


def rows_of(readings: Iterable[Reading]) -> list[Row]:
    """All rows of the table."""
    talks: list[Talk] = []
    quiets: list[Quiet] = []
    covered: list[Covered] = []
    undubbed = 0
    for reading in readings:
        if isinstance(reading, Talk):
            talks.append(reading)
        elif isinstance(reading, Quiet):
            quiets.append(reading)
        elif isinstance(reading, Undubbed):
            undubbed += 1
            logger.warning("a film is not dubbed: %s", reading.reason)
        else:
            covered.append(reading)
        logger.info("%d films", len(talks) + len(quiets) + len(covered))
    outside = [reading.outside for kind in (talks, quiets, covered) for reading in kind]
    rows = [*talk_rows(talks), *quiet_rows(quiets), *ablation_rows(talks, quiets), *covered_rows(covered)]
    return [*rows, outside_row(outside), undubbed_row(undubbed)]
