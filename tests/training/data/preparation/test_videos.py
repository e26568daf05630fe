"""Which files are taken as videos, what they are called, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data.preparation.videos import Source, Video, find_videos


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_folder_is_searched(tmp_path: Path) -> None:
    for name in ("b.mp4", "sub/a.MOV", "notes.md", "sound.wav", "._b.mp4", "Makefile", "data/work/b/crops/b.mp4"):
        touch(tmp_path / name)
    found = find_videos([tmp_path], leave_out=tmp_path / "data")
    assert found.sources == [
        Source("b.mp4", tmp_path / "b.mp4", folder=tmp_path.name),
        Source("sub/a.MOV", tmp_path / "sub/a.MOV", folder="sub"),
    ]
    assert found.ignored == {".md": 1, ".wav": 1, ".mp4": 1, "Makefile": 1}


def test_a_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    assert find_videos([touch(tmp_path / "talk.dat")]).sources == [Source("talk.dat", tmp_path / "talk.dat")]


def test_a_list_begins_at_its_own_folder(tmp_path: Path) -> None:
    touch(tmp_path / "sub/a.mp4")
    (tmp_path / "list.txt").write_text(f"# talks\nsub/a.mp4\n\n{tmp_path / 'gone.mp4'}\n")
    named = [source.name for source in find_videos([tmp_path / "list.txt"]).sources]
    assert named == ["a.mp4", "gone.mp4"]


def test_what_is_given_twice_counts_once(tmp_path: Path) -> None:
    video = touch(tmp_path / "a.mp4")
    assert len(find_videos([tmp_path, video]).sources) == 1


def test_two_of_one_name_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    """By no more: the data is shared, and where it was made is nobody's business."""
    files = [touch(tmp_path / folder / "a.mp4") for folder in ("x", "y", "p/z", "q/z")]
    assert [source.name for source in find_videos(files).sources] == ["p/z/a.mp4", "q/z/a.mp4", "x/a.mp4", "y/a.mp4"]


@pytest.mark.parametrize(
    ("given", "message"),
    [("gone.mp4", "does not exist"), ("empty", r"no video in .*empty \(1 other files\)"), ("bytes.txt", "UTF-8")],
)
def test_what_holds_no_videos(given: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path / "empty" / "notes.md")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeySyncError, match=message):
        find_videos([tmp_path / given])


def test_ids_are_fit_for_keys() -> None:
    made = Video.of(Source("sub/Ä talk.v2 (1).mp4", Path("x.mp4")), "0123456789abcdef" * 2)
    assert made.id == "talk-v2-1-0123456789ab"
    assert Video.of(Source("答.mp4", Path("x.mp4")), "0123456789abcdef" * 2).id == "video-0123456789ab"
