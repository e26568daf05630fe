"""Long videos are divided at cuts and between clips, and what is joined is what one piece would be."""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest

from training.data.preparation.division import at_cuts, between_clips, join_faces, link_files, within
from training.data.preparation.faces import OVERLAP, Faces, Grid
from training.data.preparation.videos import Range

from ....synthetic_face import face_points

NOWHERE = np.full((68, 2), np.nan, np.float32)


def grid(*shots: int) -> Grid:
    """The grid of a video whose shots have so many frames."""
    edges = (np.cumsum([0, *shots]) / 25).tolist()
    return Grid.of(np.arange(sum(shots)), Fraction(1, 25), list(pairwise(edges)))


def part(of: Grid, start: int, stop: int, x: float = 0.0, cut: int | None = None) -> Faces:
    """What a segment sees: a face that wanders, x pixels further right, and a cut of the tracker's before `cut`."""
    first, last = of.reach(start, stop)
    points = np.stack([face_points((100 + x + frame / 8, 60), 30) for frame in range(first, last)])
    frames = np.arange(first, last)
    shots = of.shots[of.source][first:last] + (frames >= (cut if cut is not None else last))
    return Faces(of.source[first:last], of.pts, points.astype(np.float32), shots.astype(np.int64), (200, 300))


@pytest.mark.parametrize(
    ("shots", "longest", "expected"),
    [
        ((10, 10, 10), inf, [(0, 30)]),
        ((10, 10, 10), 30, [(0, 30)]),
        ((10, 10, 10), 29, [(0, 20), (20, 30)]),
        ((10, 10, 10), 10, [(0, 10), (10, 20), (20, 30)]),
        ((10, 45, 5, 5), 20, [(0, 10), (10, 25), (25, 40), (40, 60), (60, 65)]),
        ((50,), 20, [(0, 16), (16, 33), (33, 50)]),
    ],
)
def test_segments_end_at_cuts_or_in_long_shots(shots: tuple[int, ...], longest: float, expected: list[Range]) -> None:
    assert at_cuts(grid(*shots), longest) == expected


def test_segments_of_clips() -> None:
    clips = [(0, 20), (20, 30), (45, 80), (90, 100)]
    assert between_clips(clips, 30) == [(0, 30), (45, 80), (90, 100)]
    assert between_clips(clips, inf) == [(0, 100)]
    assert between_clips([], 30) == []
    for longest in (1, 30, 50, inf):
        found = [within(clips, segment) for segment in between_clips(clips, longest)]
        assert [clip for held in found for clip in held] == clips
    assert within(clips, None) == clips


def test_a_segment_sees_a_second_of_the_shots_at_its_ends() -> None:
    of = grid(10, 200, 10)
    assert of.reach(0, 100) == (0, 100 + OVERLAP)
    assert of.reach(100, 220) == (100 - OVERLAP, 220)
    assert of.reach(10, 20) == (10, 20 + OVERLAP)
    assert of.reach(15, 205) == (10, 210)


def joined(of: Grid, *parts: tuple[int, int, Faces]) -> Faces:
    return join_faces(of, [(start, stop) for start, stop, _ in parts], [faces for *_, faces in parts])


def test_the_same_face_goes_on_through_a_joint() -> None:
    of = grid(30, 100)
    whole = part(of, 0, 130)
    found = joined(
        of, *((start, stop, part(of, start, stop)) for start, stop in ((0, 30), (30, 70), (70, 100), (100, 130)))
    )
    for name in ("source", "pts", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert (np.diff(found.shot) == np.diff(whole.shot)).all()
    assert found.size == whole.size
    assert found.runs(14) == whole.runs(14) == [(0, 30), (30, 130)]


def test_another_face_ends_a_clip_at_the_joint() -> None:
    of = grid(100)
    assert joined(of, (0, 50, part(of, 0, 50)), (50, 100, part(of, 50, 100, x=1))).runs(14) == [(0, 100)]
    assert joined(of, (0, 50, part(of, 0, 50)), (50, 100, part(of, 50, 100, x=80))).runs(14) == [(0, 50), (50, 100)]


def test_a_cut_of_the_tracker_s_at_the_joint_counts() -> None:
    of = grid(100)
    first = 0, 50, part(of, 0, 50)
    assert joined(of, first, (50, 100, part(of, 50, 100, cut=50))).runs(14) == [(0, 50), (50, 100)]
    # In the frames before, the segment whose they are decides.
    assert joined(of, first, (50, 100, part(of, 50, 100, cut=45))).runs(14) == [(0, 100)]
    assert joined(of, (0, 50, part(of, 0, 50, cut=45)), (50, 100, part(of, 50, 100))).runs(14) == [(0, 45), (45, 100)]


def test_a_face_that_one_segment_does_not_see_is_none_that_goes_on() -> None:
    of = grid(100)
    before, after = part(of, 0, 50), part(of, 50, 100)
    before.landmarks[45:] = NOWHERE
    after.landmarks[:20] = NOWHERE
    found = joined(of, (0, 50, before), (50, 100, after))
    assert found.runs(1) == [(0, 45), (50, 100)]


def test_files_are_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [tmp_path / "one", tmp_path / "two"]
    for folder in parts:
        folder.mkdir()
        (folder / f"{folder.name}.npy").write_text(folder.name)
        (folder / "done.json").write_text("{}")

    def refuse(*_: object) -> None:
        raise OSError

    for name in ("linked", "copied"):
        target = tmp_path / name
        target.mkdir()
        link_files(target, parts, leave_out="done.json")
        assert {path.name: path.read_text() for path in target.iterdir()} == {"one.npy": "one", "two.npy": "two"}
        monkeypatch.setattr(os, "link", refuse)
    assert (tmp_path / "linked" / "one.npy").stat().st_nlink == 2
