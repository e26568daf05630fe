"""Digests follow the bytes and names, nothing else."""

from __future__ import annotations

from pathlib import Path

from training.data import digest


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1" * (digest.CHUNK + 1))
    (tmp_path / "b").write_bytes(b"1" * (digest.CHUNK + 1))
    (tmp_path / "c").write_bytes(b"1" * digest.CHUNK + b"2")
    a, b, c = (digest.of_file(tmp_path / name) for name in "abc")
    assert a == b == digest.of_path(tmp_path / "a")
    assert a != c
    assert len(a) == 32


def test_folders(tmp_path: Path) -> None:
    for folder, order in (("one", "ab"), ("two", "ba"), ("other", "ac")):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for name in order:
            (tmp_path / folder / "sub" / name).write_text("same")
    one, two, other = (digest.of_path(tmp_path / folder) for folder in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_json() -> None:
    assert digest.of_json({"a": 1, "b": [2]}) == digest.of_json({"b": [2], "a": 1})
    assert digest.of_json({"a": 1}) != digest.of_json({"a": "1"})
