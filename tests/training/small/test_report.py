"""The report's curves and tables say what the runs and the evaluations say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keysync.demo import TALK
from training.config.config import read_toml
from training.run.run import Run
from training.small import report
from training.small.recipe import RECIPE, STAGES, stage_config

ROW = {"title": "sync", "value": 0.8127, "interval": [0.79, 0.83], "bound": ">= 0.8", "holds": False}


def evaluation(seed: int, **changes: Any) -> dict[str, Any]:
    return {"seed": seed, "rows": {"sync": ROW | changes, "told": ROW | {"title": "told", "bound": "", "holds": None}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is left of all steps."""
    heads = {"vae": "step,opening,psnr,mouth_psnr", "encoder": "step,minutes,open"}
    for name, head in heads.items():
        (tmp_path / name).mkdir()
        rows = "".join(f"{','.join(str(step * (k + 1)) for k in range(len(head.split(','))))}\n" for step in (1, 2, 3))
        (tmp_path / name / "curve.csv").write_text(f"{head}\n{rows}")
    for name in STAGES:
        run = Run(tmp_path / name)
        run.begin(stage_config(read_toml(RECIPE), name))
        run.checkpoint(400).mkdir()
        for step in range(1, 401):
            run.log(step=step, loss=1 / step, latent=1 / step, pixel=0.0, learning_rate=1e-3)
    return tmp_path


def test_everything_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = [tmp_path / f"{seed}.json" for seed in (0, 1)]
    for seed, file in enumerate(files):
        file.write_text(json.dumps(evaluation(seed, holds=seed == 0)))
    assert report.main([str(folder), *map(str, files), "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        *("curves.svg", "tables.md", "vae.csv", "encoder.csv"),
        *(f"{name}.csv" for name in STAGES),
    }
    rows = list(csv.DictReader((out / "keyframe.csv").read_text().splitlines()))
    assert len(rows) == report.POINTS
    assert float(rows[-1]["step"]) == 400
    assert float(rows[-1]["loss"]) == pytest.approx(1 / 400, rel=0.02)
    assert (out / "tables.md").read_text().splitlines()[2:] == [
        "| sync | 0.813 (0.790 to 0.830) | 0.813 (0.790 to 0.830) | >= 0.8 | does not hold |",
        "| told | 0.813 (0.790 to 0.830) | 0.813 (0.790 to 0.830) |  |  |",
    ]


def test_the_sheet_shows_the_demo_before_and_after(tmp_path: Path) -> None:
    report.write_sheet(tmp_path / "sheet.jpg", TALK, TALK)
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width == report.COLUMNS * report.SHEET_WIDTH
        above, below = (sheet.crop((0, top, sheet.width, top + 100)) for top in (0, report.SHEET_WIDTH))
        assert np.abs(np.asarray(above).astype(int) - np.asarray(below)).mean() < 3


def test_what_is_missing_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(folder), str(tmp_path / "none.json"), "-o", str(tmp_path)]) == 1
    assert "none.json is not an evaluation" in capsys.readouterr().err
    (folder / "encoder" / "curve.csv").unlink()
    assert report.main([str(folder), "none.json", "-o", str(tmp_path)]) == 1
    assert "encoder/curve.csv does not exist: run python -m training.small" in capsys.readouterr().err
