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
from training.data.digest import of_file
from training.data.preparation.engine import hash_here, run_here
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


def test_a_worker_that_dies_costs_one_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, bad, *others = small_videos(4)
    videos = [first, replace(bad, name="deadly.mp4"), *others]
    done = {each.video.name: each for each in run_here(partial(make_chain, tmp_path), videos, 2)}
    assert done.keys() == {video.name for video in videos}
    assert "the process was killed" in done.pop("deadly.mp4").failure
    assert not [each for each in done.values() if each.failure]
    assert "a process was killed, probably for lack of memory; one by one are tried: " in caplog.text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_library_that_fails_costs_one_video(workers: int, tmp_path: Path) -> None:
    good, bad = small_videos(2)
    videos = [replace(bad, name="broken.mp4"), good]
    done = {each.video.name: each for each in run_here(partial(make_chain, tmp_path), videos, workers)}
    failure = "broken.mp4: the stage second failed (ZeroDivisionError: a library fell over)"
    assert done["broken.mp4"].failure == failure
    assert done[good.name].fresh == ("first", "second")


def test_a_consumer_that_stops_ends_the_workers(tmp_path: Path) -> None:
    results = run_here(partial(make_chain, tmp_path), small_videos(4), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]


def test_files_are_hashed_in_order_and_one_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.mp4" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(bytes((number,)) * 1000 * (5 - number))
    files[2].unlink()
    found = list(hash_here(files, 3))
    assert isinstance(found.pop(2), FileNotFoundError)
    assert found == [of_file(file) for file in files if file.exists()]
