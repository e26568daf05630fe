from __future__ import annotations

from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.evaluation.benchmark.pairs import CROSS, PROTOCOLS, RECONSTRUCTION, SILENCE, Pair, draw_clips, pairs_of
from training.evaluation.real.clips import RealClip


def named(*names: str) -> list[RealClip]:
    """Clips of nothing but a name."""
    clips = [object.__new__(RealClip) for _ in names]
    for clip, name in zip(clips, names, strict=True):
        object.__setattr__(clip, "name", name)
    return clips


def test_each_clip_is_dubbed_and_speaks_once_under_each_protocol() -> None:
    clips = named("a.mp4", "b.mov", "c.mkv")
    pairs = pairs_of(clips)
    assert [pair.name for pair in pairs if pair.protocol == CROSS] == ["a+b", "b+c", "c+a"]
    assert [pair.name for pair in pairs if pair.protocol == RECONSTRUCTION] == ["a", "b", "c"]
    silent = [pair for pair in pairs if pair.protocol == SILENCE]
    assert [pair.voice for pair in silent] == [None, None, None]
    assert {pair.protocol for pair in pairs} == PROTOCOLS.keys()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four files that pass for clips, and one that does not."""

    def read(path: Path, seconds: float) -> RealClip:
        if path.suffix == ".txt":
            raise KeySyncError(f"{path.name} is no video")
        return named(path.name)[0]

    monkeypatch.setattr(RealClip, "read", read)
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mov", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_seed_draws_the_clips(folder: Path) -> None:
    orders = {seed: tuple(clip.name for clip in draw_clips(folder, None, 2.0, seed)[0]) for seed in range(3)}
    assert {tuple(sorted(order)) for order in orders.values()} == {("a.mp4", "b.mp4", "c.mp4", "d.mov")}
    assert len(set(orders.values())) > 1
    assert tuple(clip.name for clip in draw_clips(folder, 2, 2.0, 1)[0]) == orders[1][:2]


def test_files_that_are_no_clips_are_named(folder: Path) -> None:
    assert draw_clips(folder, None, 2.0, 0)[1] == {"notes.txt": "notes.txt is no video"}


def test_a_clip_alone_and_two_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(KeySyncError, match="is not a folder"):
        draw_clips(folder / "absent", None, 2.0, 0)
    (folder / "d.mp4").touch()
    with pytest.raises(KeySyncError, match=r"two clips in .* are called d: results go by that name, rename one"):
        draw_clips(folder, None, 2.0, 0)
    for path in folder.glob("*.m*"):
        path.unlink()
    with pytest.raises(KeySyncError, match=r"0 talking clips in .*, which swap voices; notes.txt is no video"):
        draw_clips(folder, None, 2.0, 0)


def test_speech_is_the_voice_or_as_long_a_silence(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert len(pair.speech) == 25_600
        assert bool(pair.speech.any()) is (pair.protocol != SILENCE)
