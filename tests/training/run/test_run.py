"""The folder of a run: one run, whole files, a log that a kill does not spoil."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.config.config import TrainConfig, load_config
from training.run.run import Run


@pytest.fixture
def config() -> TrainConfig:
    return load_config("tiny-keyframe", None, {})


def test_the_settings_are_kept(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path / "new" / "run")
    run.begin(config)
    assert run.config() == config
    assert run.steps() == []


def test_what_may_change_and_what_may_not(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    longer = load_config("tiny-keyframe", None, {"steps": "9", "learning_rate": "1e-5"})
    run.begin(longer, step=2)
    assert run.config() == longer
    other = load_config("tiny-keyframe", None, {"seed": "5"})
    for refuse in (run.check, run.begin):
        with pytest.raises(KeySyncError, match=r"a run with seed 0, not 5: resume it with 0, or name another folder"):
            refuse(other)
    assert run.config() == longer


def test_memory_may_change_and_the_optimizer_may_not(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    adapters = replace(config, trainable="lora", rgb_weight=1.0)
    run.begin(adapters, step=0)
    run.begin(replace(adapters, frozen="bf16", decoder_tile=64, offload_decoder=True), step=2)
    assert set(run.history()[-1]["changed"]) == {"frozen", "decoder_tile", "offload_decoder"}
    with pytest.raises(KeySyncError, match="a run with optimizer 'adamw', not 'adamw8bit': resume it with 'adamw'"):
        run.begin(replace(adapters, optimizer="adamw8bit"))


def test_the_history_tells_what_changed(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.history() == []
    run.begin(config, step=0, processes=2)
    run.begin(load_config("tiny-keyframe", None, {"learning_rate": "1e-5", "precision": "bf16"}), step=7, processes=1)
    first, second = run.history()
    assert (first["step"], first["processes"], first["changed"]) == (0, 2, {})
    assert (second["step"], second["processes"]) == (7, 1)
    assert second["changed"] == {"learning_rate": [config.learning_rate, 1e-5], "precision": ["fp32", "bf16"]}


def test_the_best_checkpoint_is_kept(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    assert run.best() is None
    for step, loss in enumerate((0.5, 0.3, 0.4, float("nan"), 0.6), 1):
        run.log_validation(step=step, loss=loss)
        with run.new_checkpoint(step, keep=1) as folder:
            (folder / "stage.safetensors").write_text("weights")
    run.log_validation(step=6, loss=0.1)  # of which there is no checkpoint
    assert run.best() == 2
    assert run.steps() == [2, 5]
    run.forget_after(1)
    assert [row["step"] for row in run.validated()] == [1]


def test_a_checkpoint_that_is_set_aside_is_none(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    for content in ("first", "second"):
        with run.new_checkpoint(3, keep=0) as folder:
            (folder / "stage.safetensors").write_text(content)
        aside = run.set_aside(3)
        assert (aside / "stage.safetensors").read_text() == content
        assert run.steps() == []


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"is not a training run: it has no config\.toml"):
        Run(tmp_path).config()


def test_checkpoints_are_whole_or_not_there(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    for step in (5, 10, 1_000_000):
        with run.new_checkpoint(step, keep=2) as folder:
            (folder / "stage.safetensors").write_text("weights")
            assert step not in run.steps()
    assert run.steps() == [10, 1_000_000]
    broken = run.new_checkpoint(11, keep=1)
    (broken.__enter__() / "stage.safetensors").write_text("half")
    broken.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert run.steps() == [10, 1_000_000]
    assert sorted(path.name for path in run.checkpoints_folder.iterdir()) == ["step-000010", "step-1000000"]


def test_what_a_kill_left_is_swept_away(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    (run.checkpoints_folder / ".step-000007.part").mkdir()
    run.begin(config)
    assert not list(run.checkpoints_folder.iterdir())


def test_the_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.forget_after(3)  # no log yet
    for step in range(1, 6):
        run.log(step=step, loss=1 / step)
    with run.log_file.open("a") as file:
        file.write('{"step": 6, "lo')
    run.forget_after(3)
    assert [line["step"] for line in run.logged()] == [1, 2, 3]
    assert run.logged()[2]["loss"] == 1 / 3


@pytest.mark.parametrize(
    "damage", [b"", b"\xff", b'{"step": 2, "lo', b"[" * 100_000, b"3", b'{"loss": 1}', b'{"step": "2"}']
)
def test_damaged_lines_of_the_log_are_left_out_and_counted(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    run.log(step=1, loss=float("nan"))
    with run.log_file.open("ab") as file:
        file.write(damage + b"\n")
    run.log(step=3, loss=0.5)
    assert [line["step"] for line in run.logged()] == [1, 3]
    assert "log.jsonl: 1 of 3 lines are damaged and left out" in caplog.text
    run.forget_after(1)
    assert [line["step"] for line in run.logged()] == [1]


def test_a_config_that_is_not_text(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    run.config_file.write_bytes(b"\xff\xfe")
    with pytest.raises(KeySyncError, match=r"cannot read .*config\.toml: it is not a text file"):
        run.config()


def test_a_full_disk_names_the_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(config)
    with run.new_checkpoint(7, keep=0) as part:
        (part / "stage.safetensors").write_text("old")
    full = pytest.raises(KeySyncError, match=r"cannot write .*step-000007 \(No space left on device\)")
    with full, run.new_checkpoint(7, keep=0) as part:
        (part / "stage.safetensors").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in run.checkpoints_folder.iterdir()] == ["step-000007"]
    assert (run.checkpoint(7) / "stage.safetensors").read_text() == "old"
