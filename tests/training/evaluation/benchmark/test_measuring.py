from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import training.evaluation.benchmark.measuring as measuring_module
from keysync.job import FaceSource
from keysync.measure.figures import Figures
from keysync.media.info import PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.source import SoundInMemory
from keysync.media.writer import VideoWriter
from tests.training.evaluation.real.players import FRAMES, SIDE, Player
from training.evaluation.benchmark.columns import open_meters
from training.evaluation.benchmark.distances import frechet
from training.evaluation.benchmark.measuring import CLIPS, Measurements, measure_all, rows_of
from training.evaluation.benchmark.meters import Distances, Likenesses, Meter
from training.evaluation.benchmark.pairs import CROSS, RECONSTRUCTION, SILENCE, Pair
from training.evaluation.benchmark.results import make, result_of
from training.evaluation.benchmark.table import Row
from training.evaluation.benchmark.take import Floats, Take
from training.evaluation.benchmark.votes import add_vote


def brightness(take: Take) -> Floats:
    """A feature of each frame."""
    found: Floats = take.crops.mean((1, 2), dtype=np.float64)
    return found


@pytest.fixture(scope="module")
def meters() -> dict[str, Meter]:
    """The columns that need no other network, and stand-ins for two that do."""
    found, _ = open_meters({}, torch.device("cpu"))
    return found | {"fid": Distances(brightness, frechet), "lipscore": Likenesses(brightness)}


@pytest.fixture(scope="module")
def results(pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`own` shows the clips again, `other` has one result of another size, and one that is no video."""
    folder = tmp_path_factory.mktemp("results")
    for clip in {pair.clip for pair in pairs}:
        list(make(folder, "own", Player(), [pair for pair in pairs if pair.clip is clip], 0))
    place = folder / "results" / "other" / RECONSTRUCTION
    place.mkdir(parents=True)
    mine = [pair for pair in pairs if pair.protocol == RECONSTRUCTION]
    made = result_of(folder, "own", RECONSTRUCTION, mine[0].name)
    assert made is not None
    smaller(made, place / f"{mine[0].name}.mkv")
    (place / f"{mine[1].name}.mp4").write_bytes(b"no video")
    return folder


def smaller(path: Path, output: Path) -> None:
    """The same frames without a margin."""
    source = VideoReader(path)
    like = PictureFormat(SIDE - 16, SIDE - 16, time_base=source.info.time_base, rate=source.info.rate)
    with VideoWriter(output, like, lossless=True) as writer:
        for pts, frame in source.frames():
            writer.write(np.ascontiguousarray(frame[8:-8, 8:-8]), pts)


def as_measured(video: Any, speech: SoundInMemory, face: FaceSource, *, source: Any = None) -> Any:
    """Figures of `keysync measure` without measuring, which takes long: they tell what it was asked."""
    given = {field.name: None for field in fields(Figures)} | {
        "lipleak": None if any(block.any() for block in speech.blocks()) else 0.5,
        "correlation": len(video.timestamps()) / 100,
        "identity": None if source is None else 1.0,
    }
    return SimpleNamespace(figures=SimpleNamespace(**given))


@pytest.fixture(scope="module")
def found(results: Path, pairs: list[Pair], meters: dict[str, Meter]) -> Measurements:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring_module, "measure_video", as_measured)
        return measure_all(results, ["other", "own"], pairs, meters, 4.0)


@pytest.fixture(scope="module")
def rows(results: Path, pairs: list[Pair], meters: dict[str, Meter], found: Measurements) -> dict[tuple[str, str], Row]:
    made = rows_of(results, ["other", "own"], pairs, meters, found)
    return {(row.protocol, row.system): row for row in made}


def value(row: Row, key: str) -> float:
    estimate = row.cells[key].estimate
    assert estimate is not None
    return estimate.value


def test_a_row_for_each_system_that_has_results(rows: dict[tuple[str, str], Row]) -> None:
    assert list(rows) == [(RECONSTRUCTION, CLIPS), (RECONSTRUCTION, "other"), (RECONSTRUCTION, "own"), (CROSS, "own")]
    assert [(row.results, row.pairs) for row in rows.values()] == [(2, 2), (1, 2), (2, 2), (2, 2)]


def test_a_system_that_shows_the_clips_again_is_as_good_as_they_are(rows: dict[tuple[str, str], Row]) -> None:
    clips, own, cross = rows[RECONSTRUCTION, CLIPS], rows[RECONSTRUCTION, "own"], rows[CROSS, "own"]
    assert value(own, "vl") == pytest.approx(value(clips, "vl"), rel=0.3)  # H.264 takes some
    assert value(own, "identity") == 1
    assert value(own, "fid") < 1
    assert value(own, "lipscore") > 0.999
    assert value(cross, "fid") == pytest.approx(value(own, "fid"), abs=1)
    assert value(own, "correlation") == value(cross, "correlation") == FRAMES / 100
    assert "fid" not in clips.cells  # they have no distance from themselves


def test_lipleak_is_read_where_nothing_is_said(rows: dict[tuple[str, str], Row], found: Measurements) -> None:
    """In the paper's place: among the figures of cross-sync, from videos dubbed with silence."""
    assert value(rows[CROSS, "own"], "lipleak") == 0.5
    assert "lipleak" not in rows[RECONSTRUCTION, "own"].cells
    assert all(readings.keys() == {"lipleak"} for (_, at, _), readings in found.results.items() if at == SILENCE)


def test_a_result_of_another_size_is_measured_by_itself(rows: dict[tuple[str, str], Row]) -> None:
    """What compares frame by frame has no figure, and a distance takes two clips."""
    other = rows[RECONSTRUCTION, "other"]
    assert value(other, "correlation") == FRAMES / 100
    assert other.cells["identity"].estimate is None
    assert other.cells["fid"].why == "measured in 1 clips: a distribution takes 2"


def test_what_cannot_be_read_is_named(found: Measurements, pairs: list[Pair]) -> None:
    (name,) = found.unread
    assert name.startswith(f"other/{RECONSTRUCTION}/")


def test_votes_make_a_rating(
    results: Path, pairs: list[Pair], meters: dict[str, Meter], found: Measurements, tmp_path: Path
) -> None:
    for choice in ("left", "left", "right"):
        add_vote(tmp_path / "votes.csv", (RECONSTRUCTION, "a", "own", "other"), choice)
    rows = {(row.protocol, row.system): row for row in rows_of(tmp_path, ["other", "own"], pairs, meters, found)}
    assert value(rows[RECONSTRUCTION, "own"], "elo") > 1000 > value(rows[RECONSTRUCTION, "other"], "elo")
    assert rows[RECONSTRUCTION, "own"].cells["elo"].count == 3
    assert rows[CROSS, "own"].cells["elo"].estimate is None
    assert "elo" not in rows[RECONSTRUCTION, CLIPS].cells


def test_results_are_read_as_far_as_the_clips(
    results: Path, pairs: list[Pair], meters: dict[str, Meter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another system may dub more of a clip than is measured."""
    monkeypatch.setattr(measuring_module, "measure_video", as_measured)
    short = measure_all(results, ["own"], pairs[:1], {"lipscore": meters["lipscore"]}, 1.0)
    (readings,) = short.results.values()
    reading = readings["lipscore"]
    assert isinstance(reading, tuple)
    assert len(reading[0]) == 25 < FRAMES
