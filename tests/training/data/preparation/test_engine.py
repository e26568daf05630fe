"""The local engine: one process or several, the same results, and errors that come through."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from tests.training.data.preparation.small_chain import make_chain, small_videos
from training.data.preparation.engine import run_here
from training.data.preparation.videos import Video


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    for child in multiprocessing.active_children():
        child.join(10)
    assert not multiprocessing.active_children()


def workers_of(folder: Path, videos: list[Video]) -> set[str]:
    return {(folder / video.id / "first" / "worker").read_text() for video in videos}


def test_this_process(tmp_path: Path) -> None:
    videos = small_videos(3)
    done = list(run_here(partial(make_chain, tmp_path), videos, 1))
    assert [each.video for each in done] == videos
    assert {each.fresh for each in done} == {("first", "second")}
    assert workers_of(tmp_path, videos) == {str(os.getpid())}
    assert [each.fresh for each in run_here(partial(make_chain, tmp_path), videos, 1)] == [()] * 3


def test_two_processes(tmp_path: Path) -> None:
    videos = small_videos(6)
    done = list(run_here(partial(make_chain, tmp_path), videos, 2))
    assert sorted(each.video.id for each in done) == [video.id for video in videos]
    assert {each.fresh for each in done} == {("first", "second")}
    assert str(os.getpid()) not in workers_of(tmp_path, videos)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(workers: int, tmp_path: Path) -> None:
    good, bad = small_videos(2)
    with pytest.raises(KeySyncError, match="the VAE is no VAE: give another"):
        list(run_here(partial(make_chain, tmp_path), [good, replace(bad, name="bad.mp4")], workers))


def test_a_worker_that_dies(tmp_path: Path) -> None:
    good, bad = small_videos(2)
    with pytest.raises(KeySyncError, match="a worker was killed"):
        list(run_here(partial(make_chain, tmp_path), [good, replace(bad, name="deadly.mp4")], 2))


def test_a_consumer_that_stops_ends_the_workers(tmp_path: Path) -> None:
    results = run_here(partial(make_chain, tmp_path), small_videos(4), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
