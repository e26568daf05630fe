from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.evaluation.benchmark.ballots import Ballots
from training.evaluation.benchmark.pairs import CROSS, RECONSTRUCTION, SILENCE
from training.evaluation.benchmark.votes import read_ballots


def result(folder: Path, system: str, protocol: str, name: str) -> Path:
    """A file that stands for a result; it tells whose it is."""
    path = folder / "results" / system / protocol / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{system} {protocol} {name}")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for system in ("one", "two"):
        for name in ("a+b", "b.c+a"):
            result(tmp_path, system, CROSS, name)
        result(tmp_path, system, SILENCE, "a")
    result(tmp_path, "one", RECONSTRUCTION, "a")
    result(tmp_path, "two", RECONSTRUCTION, "b")
    return tmp_path


def test_two_systems_are_shown_with_one_pair(folder: Path) -> None:
    ballots = Ballots(folder, seed=0)
    shown: Counter[tuple[str, str, str]] = Counter()
    for _ in range(40):
        word = ballots.draw()
        assert word is not None
        told = []
        for side in (0, 1):
            video = ballots.video(word, side)
            assert video is not None
            told.append(video.read_text().split())
        (left, protocol, name), (right, again, same) = told
        assert (protocol, name) == (again, same)
        assert {left, right} == {"one", "two"}
        shown[protocol, name, left] += 1
    assert {key[:2] for key in shown} == {(CROSS, "a+b"), (CROSS, "b.c+a")}
    assert len(shown) == 4  # each system at both sides


def test_what_has_the_fewest_votes_comes_next(folder: Path) -> None:
    ballots = Ballots(folder, seed=0)
    for _ in range(6):
        word = ballots.draw()
        assert word is not None
        assert ballots.vote(word, "left")
        assert not ballots.vote(word, "left")  # once
        assert ballots.video(word, 0) is None
    assert ballots.votes == 6
    again = Ballots(folder)
    assert again.votes == 6
    counts = Counter(name for (_, name, _, _), _ in read_ballots(folder / "votes.csv"))
    assert counts == {"a+b": 3, "b.c+a": 3}


def test_words_tell_nothing_and_are_not_guessed(folder: Path) -> None:
    ballots = Ballots(folder)
    words = {ballots.draw() for _ in range(20)}
    assert len(words) == 20
    assert ballots.video("../votes.csv", 0) is None
    assert not ballots.vote("one", "left")


def test_links_out_of_the_folder_are_not_shown(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.mp4"
    secret.write_text("secret")
    for system in ("one", "two"):
        (folder / "results" / system / RECONSTRUCTION / "c.mp4").symlink_to(secret)
    ballots = Ballots(folder, seed=0)
    for _ in range(10):
        word = ballots.draw()
        assert word is not None
        video = ballots.video(word, 0)
        assert video is not None
        assert video.read_text() != "secret"
        ballots.vote(word, "neither")


def test_nothing_to_compare(tmp_path: Path) -> None:
    result(tmp_path, "one", CROSS, "a+b")
    assert Ballots(tmp_path).draw() is None
    (tmp_path / "votes.csv").write_text("no votes")
    with pytest.raises(KeySyncError, match="expected votes"):
        Ballots(tmp_path)
