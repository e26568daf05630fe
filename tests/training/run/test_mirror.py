"""A run's copy at a URL: the newest checkpoint with its settings and log, and never half of one."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data.store import open_store
from training.run.clock import Clock
from training.run.mirror import Mirror
from training.run.run import Run
from training.train import resumed

from ..places import remote as remote
from ..places import s3_server as s3_server
from ..small_config import small_config

CONFIG = small_config("keyframe")


def begun(folder: Path) -> Run:
    run = Run(folder)
    run.begin(CONFIG)
    return run


def save(run: Run, step: int, keep: int = 0) -> None:
    run.log(step=step, loss=1.0)
    with run.new_checkpoint(step, keep) as folder:
        (folder / "stage.safetensors").write_bytes(bytes([step]) * 1000)
        crc = {"stage.safetensors": zlib.crc32(bytes([step]) * 1000)}
        about = {"done": step, "clips": 2 * step, "unit": 2, "crc32": crc}
        (folder / "state.json").write_text(json.dumps(about))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_machine_gets_the_same_bytes(remote: str, tmp_path: Path) -> None:
    run = begun(tmp_path / "here")
    for step in (10, 20):
        save(run, step)
        Mirror(run, remote).push()
    other = Run(tmp_path / "there")
    Mirror(other, remote).pull()
    assert other.steps() == [20]
    assert other.config() == CONFIG
    here = contents(run.folder)
    assert contents(other.folder) == {name: held for name, held in here.items() if "step-000010" not in name}
    before = contents(other.folder)
    Mirror(other, remote).pull()  # nothing is newer there
    assert contents(other.folder) == before


def test_what_the_run_drops_its_copy_drops(remote: str, tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    for step in (1, 2, 3):
        save(run, step, keep=2)
        Mirror(run, remote).push()
    held = {step: sorted(open_store(f"{remote}/checkpoints/step-{step:06}").sizes()) for step in (1, 2, 3)}
    assert held == {1: [], 2: ["stage.safetensors", "state.json"], 3: ["stage.safetensors", "state.json"]}


def test_half_of_a_checkpoint_counts_for_nothing(remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path / "run")
    save(run, 1)
    Mirror(run, remote).push()
    save(run, 2)

    def lost(path: Path, store: object) -> None:
        raise KeySyncError("the connection is lost")

    mirror = Mirror(run, remote)
    with monkeypatch.context() as patched:
        patched.setattr(mirror, "_put", lost)
        with pytest.raises(KeySyncError, match="the connection is lost"):
            mirror.push()
    other = Run(tmp_path / "other")
    Mirror(other, remote).pull()
    assert other.steps() == [1]


def test_a_damaged_checkpoint_is_fetched_from_the_copy(remote: str, tmp_path: Path) -> None:
    """And one that was made anew replaces that in the copy."""
    run = begun(tmp_path / "run")
    for step in (1, 2):
        save(run, step)
    copy = Mirror(run, remote)
    copy.push()
    weights = run.checkpoint(2) / "stage.safetensors"
    weights.write_bytes(bytes(1000))
    checkpoint, clock = resumed(run, copy, CONFIG, 1)
    assert (checkpoint, clock) == (run.checkpoint(2), Clock(2, 4, 2))
    assert weights.read_bytes() == bytes([2]) * 1000
    assert resumed(run, None, CONFIG, 1) == (checkpoint, clock)
    weights.write_bytes(bytes([3]) * 1000)
    copy.push()
    assert open_store(f"{remote}/checkpoints/step-000002").read("stage.safetensors") == bytes([3]) * 1000


def test_an_empty_place_and_a_damaged_list(remote: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    Mirror(run, remote).pull()
    assert run.steps() == []
    for damage in ("{", "[1.5]", '{"steps": 3}'):
        with open_store(remote).write("checkpoints.json") as file:
            file.write_text(damage)
        with pytest.raises(KeySyncError, match=r"cannot read .*/checkpoints.json \(.+\): check it, or choose another"):
            Mirror(run, remote).pull()
