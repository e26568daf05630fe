"""Preparation on a Ray cluster, or on a local Ray if RAY_ADDRESS is not set.

Videos and segments pass two pools of actors that hold the models: one for the stages on CPUs, such as face detection,
and one for the stages on GPUs. All machines must see videos, models and data under the same paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError, install_line

from .. import digest
from .chain import Chain, Done, attempt
from .rounds import rounds
from .videos import Segment, Unit, Video, video_of

# Blocks of units per worker: many, so that long videos do not leave other workers idle.
BLOCKS = 16
Row = dict[str, Any]
Hashed = str | OSError


def run_on_ray(make: Callable[[], Chain], videos: Sequence[Video], workers: int) -> Iterator[Done]:
    """With `workers` actors in each pool; `make` must be picklable. A Ray that it started is shut down at the end.

    Raises `KeySyncError` if Ray is not installed, and as the chain does.
    """
    with _ray(2 * workers) as ray:
        yield from rounds(partial(_results, ray, make, workers), videos)


def hash_on_ray(files: Sequence[Path], workers: int) -> Iterator[Hashed]:
    """The digests of the files in their order, or the errors. Raises `KeySyncError` if Ray is not installed."""
    if files:
        with _ray(2 * workers) as ray:
            task = ray.remote(hashed)
            for one in [task.remote(file) for file in files]:
                yield ray.get(one)


def hashed(file: Path) -> Hashed:
    """The digest of a file, or why it cannot be read."""
    try:
        return digest.of_file(file)
    except OSError as error:
        return error


@contextmanager
def _ray(cores: int) -> Iterator[Any]:
    """Ray, connected to the cluster or started here with so many cores; one that was started is shut down."""
    ray = _import_ray()
    address = os.environ.get("RAY_ADDRESS")
    ours = not ray.is_initialized()
    if ours and address:
        ray.init(address=address, log_to_driver=False)
    elif ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _results(ray: Any, make: Callable[[], Chain], workers: int, units: Sequence[Unit]) -> Iterator[Done]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    stages = make().stages
    before_gpu = [stage.name for stage in takewhile(lambda stage: not stage.gpu, stages)]
    empty: Row = {"fresh": "", "segments": "[]", "failure": "", "error": ""}
    rows: list[Row] = [{"number": number, **empty} for number in range(len(units))]
    data = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS * workers))
    # Stored in Ray once, not per row.
    known = ray.put(list(units))
    pools: list[tuple[list[str] | None, int]] = [(before_gpu, 0)]
    if len(before_gpu) < len(stages):
        pools.append((None, 1))
    for only, gpus in pools:
        data = data.map(
            _Worker, fn_constructor_args=(make, known, only), concurrency=(1, workers), num_cpus=1, num_gpus=gpus
        )
    for row in data.iter_rows():
        if row["error"]:
            raise KeySyncError(row["error"])
        unit = units[row["number"]]
        segments = tuple(Segment(video_of(unit), *segment) for segment in json.loads(row["segments"]))
        yield Done(unit, tuple(row["fresh"].split()), segments, row["failure"])


class _Worker:
    """An actor: makes the chain once and runs each row through the stages `only`, or all."""

    def __init__(self, make: Callable[[], Chain], units: Any, only: list[str] | None) -> None:
        import ray

        self._chain, self._only = make(), only
        self._units: list[Unit] = ray.get(units)

    def __call__(self, row: Row) -> Row:
        if row["error"] or row["failure"]:
            return row
        try:
            done = attempt(self._chain, self._units[row["number"]], self._only)
        except KeySyncError as error:
            return {**row, "error": str(error)}
        fresh = " ".join((*row["fresh"].split(), *done.fresh))
        segments = json.dumps([(segment.stage, segment.start, segment.stop) for segment in done.segments])
        return {**row, "fresh": fresh, "segments": segments, "failure": done.failure}


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise KeySyncError(f"the engine ray needs Ray ({error}): {install_line('ray[data]')}") from error
    return ray
