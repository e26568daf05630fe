from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from keysync.errors import KeySyncError
from keysync.measure.figures import Figures
from training.evaluation.benchmark.columns import COLUMNS, HOOKS, open_meters
from training.evaluation.benchmark.pairs import CROSS, RECONSTRUCTION, SILENCE
from training.evaluation.benchmark.take import Take

CPU = torch.device("cpu")


def test_without_files_the_others_are_measured_and_the_rest_says_why() -> None:
    meters, missing = open_meters({}, CPU)
    assert meters.keys() == {"vl", "lipleak", "correlation", "lag_frames", "identity", "sharpness_over_source"}
    assert missing.keys() == {key for key, column in COLUMNS.items() if column.hook}
    for key, reason in missing.items():
        hook = COLUMNS[key].hook
        assert hook is not None
        assert reason.startswith("needs ")
        assert hook.option.flag in reason


def test_each_network_is_given_once() -> None:
    assert [hook.option.flag for hook in HOOKS] == ["--cmmd", "--topiq", "--fvd", "--lipscore", "--fid", "--lse"]


def test_a_file_that_is_given_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="no such file"):
        open_meters({"fid": tmp_path / "absent.pth"}, CPU)


def test_figures_are_those_of_measure() -> None:
    values = {field.name: None for field in fields(Figures)} | {"lag_frames": 3, "identity": None}
    take = Take.unseen(torch.zeros(1), Figures(**values))  # type: ignore[arg-type]
    meters, _ = open_meters({}, CPU)
    assert meters["lag_frames"].read(take) == 3.0
    assert meters["identity"].read(take) is None


def test_lipleak_alone_is_read_in_silence() -> None:
    in_silence = {key for key, column in COLUMNS.items() if SILENCE in column.where.values()}
    assert in_silence == {"lipleak"}
    assert COLUMNS["lipleak"].where == {CROSS: SILENCE}
    assert COLUMNS["vl"].where == {RECONSTRUCTION: RECONSTRUCTION, CROSS: CROSS}
