"""The table of a system that makes talking heads: `python -m training.evaluate --system keyface`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.correlation import Curve, correlation
from keysync.errors import KeySyncError
from keysync.method import NETWORK_RATE
from keysync.systems.keysync.models import Models

from ...synthetic.measure.head_meter import HeadMeter, HeadReadings
from ...synthetic.measure.metrics import Estimate, bootstrap, mean_of
from ..row import Row
from ..scope import ModelFiles, open_models
from .film import SOUNDS, lasting, talking
from .reading import Animated, Lasting, read_lasting, read_talking
from .scope import HeadScope

METER = 0.95  # least correlation of the meter with the truth on renders


def evaluate(files: ModelFiles, meter: Path, scope: HeadScope, workers: int) -> list[Row]:
    """All rows, made by `workers` processes; their number changes only rounding. `meter`: the weights of `HeadMeter`.

    Raises `KeySyncError` for a system whose windows are unknown, as `HeadMeter` does, and if a process is killed.
    """
    HeadMeter(meter)  # an error ends here, before any process starts
    tasks = [None, *range(scope.clips)]  # the long film, which takes longest, comes first
    threads = max(1, (os.cpu_count() or 1) // workers)
    if workers <= 1:
        readings = [_read(files, meter, scope, number) for number in tasks]
    else:
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
        ) as pool:
            try:
                readings = list(pool.map(partial(_read, files, meter, scope), tasks))
            except BrokenProcessPool as error:
                raise KeySyncError(
                    f"one of {workers} processes was killed, probably for lack of memory: use --workers 1"
                ) from error
    (long,) = (reading for reading in readings if isinstance(reading, Lasting))
    return rows_of([reading for reading in readings if isinstance(reading, Animated)], long)


def _read(files: ModelFiles, meter: Path, scope: HeadScope, number: int | None) -> Animated | Lasting:
    """The reading of a film, or for None of the long one."""
    models = open_models(files)
    if not isinstance(models, Models):
        raise KeySyncError(f"the system {models.system} has no windows: expected keyface")
    frame = models.needs.crop_size[0], models.needs.crop_scale
    if number is None:
        film = lasting(scope.seed, scope.seconds * NETWORK_RATE, *frame)
        return read_lasting(models, film, models.keyframe.spec.window)
    return read_talking(models, HeadMeter(meter), talking(scope.seed, number, scope.frames, *frame))


def rows_of(made: Sequence[Animated], long: Lasting) -> list[Row]:
    """The rows of these readings."""
    opening = mean_of([correlation(film.read.opening, film.opening) for film in made])
    rows = [Row("opening", "opening of the mouth: correlation with the true one", opening, 0.75)]
    for sound in SOUNDS:
        some = [film for film in made if film.sound == sound]
        if some:
            found = mean_of([correlation(film.read.opening, film.opening) for film in some])
            rows.append(Row(f"opening_{sound}", f"in films with {_with(sound)}", found))
    for number, name in enumerate(("valence", "arousal")):
        found = pooled(made, _figure(name), _asked(number))
        rows.append(Row(name, f"{name}: correlation with what was asked", found, 0.7))
    rows += [_meter_row(made, "opening", lambda film: film.opening)]
    rows += [_meter_row(made, name, _asked(number)) for number, name in enumerate(("valence", "arousal"))]
    colour, shape = long.colour / max(long.true_colour, 1e-6), long.shape / max(long.true_shape, 1e-6)
    return [
        *rows,
        Row(
            "drift_colour",
            "drift of colour over the long film, over that of a second in the truth",
            _one(colour),
            high=1,
        ),
        Row("drift_shape", "drift of shape, likewise", _one(shape), high=1),
        Row("joints", "change at the joints of windows over that elsewhere", _one(long.joints), high=1.3),
    ]


def pooled(
    made: Sequence[Animated], read: Callable[[Animated], Curve], wanted: Callable[[Animated], Curve]
) -> Estimate:
    """The correlation over all frames of all films."""
    ours, theirs = [np.asarray(read(film)) for film in made], [np.asarray(wanted(film)) for film in made]

    def statistic(drawn: NDArray[np.int64]) -> float:
        numbers = drawn.tolist()
        return correlation(
            np.concatenate([ours[number] for number in numbers]), np.concatenate([theirs[number] for number in numbers])
        )

    return bootstrap(statistic, len(made))


def _meter_row(made: Sequence[Animated], name: str, wanted: Callable[[Animated], Curve]) -> Row:
    found = pooled(made, _figure(name, real=True), wanted)
    return Row(f"meter_{name}", f"the meter on true pictures, {name}: correlation", found, METER, whole_interval=False)


def _figure(name: str, *, real: bool = False) -> Callable[[Animated], Curve]:
    """What the meter reads in the generated film, or in the true one."""

    def read(film: Animated) -> Curve:
        readings: HeadReadings = film.real if real else film.read
        found: Curve = getattr(readings, name)
        return found

    return read


def _asked(number: int) -> Callable[[Animated], Curve]:
    return lambda film: film.asked[:, number]


def _one(value: float) -> Estimate:
    """The figure of a single film, without an interval."""
    return Estimate(value, value, value)


def _with(sound: str) -> str:
    return "speech alone" if sound == "speech" else f"a {sound}"
