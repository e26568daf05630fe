"""The cache: entries are whole or dropped, its size is bounded, and it never fails a job."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from keysync.cache import Cache, Entry, code_digest, digest_of, key_of

ENTRY = Entry(
    {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "none": np.zeros((0, 2), np.int64), "b": np.array([True])},
    {"words": ["ß", 1, None], "number": 0.1},
)


def equal(one: Entry, other: Entry) -> bool:
    arrays = one.arrays.keys() == other.arrays.keys() and all(
        one.arrays[name].dtype == array.dtype and np.array_equal(one.arrays[name], array)
        for name, array in other.arrays.items()
    )
    return arrays and dict(one.facts) == dict(other.facts)


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "made" / "here")
    assert cache.load("track-1") is None
    cache.store("track-1", ENTRY)
    loaded = cache.load("track-1")
    assert loaded is not None
    assert equal(loaded, ENTRY)
    assert [path.name for path in cache.folder.iterdir()] == ["track-1.safetensors"]
    cache.store("track-1", Entry())
    assert cache.load("track-1") == Entry({}, {})


def test_the_key_follows_from_all_causes() -> None:
    keys = {
        key_of("track", ["face"], *causes) for causes in [("a", 1), ("a", 2), ("b", 1), (1, "a"), ("a",), ("a", [1])]
    }
    assert len(keys) == 6
    assert key_of("track", [], "a", {"x": 1, "y": 2}) == key_of("track", [], "a", {"y": 2, "x": 1})


def test_the_key_follows_from_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keysync.cache.__file__", str(tmp_path / "cache.py"))
    keys = set()
    for room, name, text in (("face", "track.py", "1"), ("face", "track.py", "2"), ("face", "new.py", "2")):
        (tmp_path / room).mkdir(exist_ok=True)
        (tmp_path / room / name).write_text(text)
        code_digest.cache_clear()
        keys.add(key_of("track", ["face"], "a"))
    assert len(keys) == 3
    (tmp_path / "elsewhere.py").write_text("1")
    code_digest.cache_clear()
    assert key_of("track", ["face"], "a") in keys
    code_digest.cache_clear()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    save_file({"a": np.zeros(3)}, path)


def pickled(path: Path) -> None:
    path.write_bytes(b"\x80\x04K\x01.")


def no_object(path: Path) -> None:
    arrays: dict[str, Any] = {"a": np.zeros(3)}
    save_file(arrays, path, {"facts": "[]", "digest": digest_of(arrays, "[]")})


@pytest.mark.parametrize("damage", [cut, flip, empty, foreign, pickled, no_object])
def test_a_damaged_entry_is_dropped_and_named(damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path)
    cache.store("track-1", ENTRY)
    damage(tmp_path / "track-1.safetensors")
    with caplog.at_level(logging.WARNING):
        assert cache.load("track-1") is None
    assert "track-1 in the cache is damaged" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    large = Entry({"a": np.zeros(1000, np.uint8)})
    cache = Cache(tmp_path, limit=4000)
    for number in range(3):
        cache.store(f"track-{number}", large)
        os.utime(tmp_path / f"track-{number}.safetensors", (1000 + number, 1000 + number))
    assert cache.load("track-0") is not None  # used: now track-1 is the oldest
    cache.store("track-3", large)
    assert sorted(path.name[:7] for path in tmp_path.iterdir()) == ["track-0", "track-2", "track-3"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000


def test_an_entry_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=4000)
    cache.store("track-0", Entry({"a": np.zeros(1000, np.uint8)}))
    cache.store("track-1", Entry({"a": np.zeros(4001, np.uint8)}))
    assert [path.name[:7] for path in tmp_path.iterdir()] == ["track-0"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = Cache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        cache.store("track-1", ENTRY)
    assert "track-1 cannot be kept in the cache" in caplog.text
    assert cache.load("track-1") is None
