"""The people of each split: whole people, where they were before, and a keyframe window in each."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data.preparation.shards import ClipFiles
from training.data.preparation.split import PEOPLE, read_people, split, write_people
from training.data.store import Folder


def clip(key: str, video: str = "", frames: int = 20, person: str = "") -> ClipFiles:
    return ClipFiles(key, video or key, frames, {}, person)


def clips(count: int) -> list[ClipFiles]:
    return [clip(f"clip{number:03}") for number in range(count)]


def keys(held: Iterable[ClipFiles]) -> list[str]:
    return [one.key for one in held]


def of_each(splits: dict[str, list[ClipFiles]]) -> dict[str, str]:
    return {one.key: name for name, held in splits.items() for one in held}


@pytest.mark.parametrize("share", [0.05, 0.3, 0.99])
def test_whole_videos_go_to_one_split(share: float) -> None:
    made = [clip(f"v{video}-{part}", f"v{video}.mp4") for video in range(200) for part in range(3)]
    splits = split(made, share)
    videos = {name: {one.video for one in held} for name, held in splits.items()}
    assert videos["train"].isdisjoint(videos["validation"])
    assert abs(len(videos["validation"]) / 200 - share) < 0.1  # three standard deviations
    assert sorted(keys(splits["train"] + splits["validation"])) == sorted(keys(made))
    assert keys(splits["train"]) == sorted(keys(splits["train"]))


def test_all_videos_of_a_person_go_to_one_split() -> None:
    made = [clip(f"{video}", f"{video}.mp4", person=f"person {video % 8}") for video in range(40)]
    splits = split(made, 0.4)
    people = {name: {one.person for one in held} for name, held in splits.items()}
    assert people["train"]
    assert people["validation"]
    assert people["train"].isdisjoint(people["validation"])


def test_others_who_are_added_move_nobody() -> None:
    made = clips(60)
    before = of_each(split(made[:40], 0.2))
    assert of_each(split(reversed(made[:40]), 0.2)) == before
    after = of_each(split(made, 0.2))
    assert {key: after[key] for key in before} == before
    assert len(set(before.values())) == 2


def test_those_who_are_known_stay_whatever_their_hash_says() -> None:
    made = clips(20)
    known = {one.key: name for one, name in zip(made, ["validation", "train"] * 5, strict=False)}
    after = of_each(split(made, 0.01, known=known))
    assert {key: after[key] for key in known} == known


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_each_split_has_somebody(share: float) -> None:
    for count in (2, 3, 5):
        splits = split(clips(count), share)
        assert min(map(len, splits.values())) == 1


@pytest.mark.parametrize("longest", range(4))
@pytest.mark.parametrize("share", [0.01, 0.99])
def test_the_only_one_with_a_keyframe_window_is_trained_on(longest: int, share: float) -> None:
    made = [replace(one, frames=170 if place == longest else 169) for place, one in enumerate(clips(4))]
    splits = split(made, share)
    assert made[longest].key in keys(splits["train"])
    assert splits["validation"]


@pytest.mark.parametrize("share", [0.01, 0.99])
@pytest.mark.parametrize("long", [(0, 1), (2, 5), (3, 9)])
def test_of_two_with_a_keyframe_window_one_validates(long: tuple[int, int], share: float) -> None:
    made = [replace(one, frames=170 if place in long else 30) for place, one in enumerate(clips(10))]
    found = of_each(split(made, share))
    assert {found[made[place].key] for place in long} == {"train", "validation"}


def test_one_video_alone_is_parted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    made = [clip(f"part{number:02}", "talk.mp4") for number in range(10)]
    with caplog.at_level(logging.WARNING):
        splits = split(made, 0.2)
    assert (keys(splits["train"]), keys(splits["validation"])) == (keys(made[:8]), keys(made[8:]))
    assert "all clips are from talk.mp4" in caplog.text
    assert [len(held) for held in split(made[:2], 0.9).values()] == [1, 1]
    last = [*made[:9], replace(made[9], frames=170)]
    assert "part09" in keys(split(last, 0.2)["train"])


def test_people_are_remembered_but_not_one_in_both_splits(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    assert read_people(store) == {}
    write_people(store, {"train": [clip("a1", "a"), clip("b1", "b", person="bea")], "validation": [clip("c", "c")]})
    write_people(store, {"train": [clip("d1", "d"), clip("e", "e")], "validation": [clip("d2", "d")]})
    assert read_people(store) == {"a": "train", "bea": "train", "c": "validation", "e": "train"}
    for damage in ("[]", '{"a": "elsewhere"}', "{", '{"a": 3}'):
        (tmp_path / PEOPLE).write_text(damage)
        with pytest.raises(KeySyncError, match=r"cannot read .*people.json \(.+\): delete it"):
            read_people(store)


def test_shares_that_make_no_sense() -> None:
    for share in (0, 1, -0.5, float("nan")):
        with pytest.raises(KeySyncError, match="expected a number between 0 and 1"):
            split(clips(2), share)
