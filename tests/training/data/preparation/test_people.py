"""Whose clips are whose: by a list, by folders, by the faces; and nobody is told otherwise later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.preparation.people import FOLDER, LIKENESS, VIDEO, Looks, alike, name_of
from training.data.preparation.videos import Source, Video, find_videos


def video(person: str = "", folder: str = "") -> Video:
    return Video.of(Source("talk.mp4", Path("talk.mp4"), person, folder), "0" * 32)


def test_a_list_and_then_the_folder_say_who() -> None:
    assert [name_of(video(folder="anna"), by) for by in (VIDEO, FOLDER, LIKENESS)] == ["", "anna", ""]
    assert [name_of(video("bea", "anna"), by) for by in (VIDEO, FOLDER, LIKENESS)] == ["bea"] * 3


def test_what_finding_videos_says_of_them(tmp_path: Path) -> None:
    for name in ("clips/anna/1.mp4", "clips/anna/more/2.mp4", "clips/3.mp4", "4.mp4", "5.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "list.txt").write_text("4.mp4\tBea B.\n# a comment\n5.mp4\n")
    found = find_videos([tmp_path / "clips", tmp_path / "list.txt"]).sources
    assert {source.name: (source.person, source.folder) for source in found} == {
        "anna/1.mp4": ("", "anna"),
        "anna/more/2.mp4": ("", "anna/more"),
        "3.mp4": ("", "clips"),
        "4.mp4": ("Bea B.", ""),
        "5.mp4": ("", ""),
    }


@pytest.fixture
def looks() -> dict[str, Looks]:
    """Three people in four clips each, whose looks differ a little, and a clip that tells nothing."""
    rng = np.random.default_rng(0)
    faces = rng.normal(size=(3, 96))
    found = {}
    for clip in range(12):
        look = faces[clip % 3] + 0.3 * rng.normal(size=96)
        found[f"clip{clip:02}"] = (look / np.linalg.norm(look)).astype(np.float32)
    return {**found, "dark": np.full(96, np.nan, np.float32)}


def test_clips_of_one_face_are_of_one_person(looks: dict[str, Looks]) -> None:
    people = alike(looks, {})
    assert people == {f"clip{clip:02}": f"clip{clip % 3:02}" for clip in range(12)}
    assert alike(dict(reversed(looks.items())), {}) == people


def test_others_who_are_added_rename_nobody(looks: dict[str, Looks]) -> None:
    later = {key: look for key, look in looks.items() if key >= "clip03"}
    before = alike(later, {})
    assert set(before.values()) == {"clip03", "clip04", "clip05"}
    after = alike(looks, before)
    assert {key: after[key] for key in before} == before
    assert after["clip00"] == "clip03"
    assert alike({}, {}) == {}
