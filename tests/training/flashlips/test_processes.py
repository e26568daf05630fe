"""FlashLips' parts on two processes, with copies of the weights or with shards of them, train what one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from keysync.method import PUBLISHED_CROP_SCALE
from keysync.systems.flashlips.presets import PRESETS
from tests.conftest import ROOT
from tests.tiny_flashlips import write_tiny_flashlips
from training.config.config import load_as
from training.flashlips.config import LIPS_STAGES, FlashLipsConfig
from training.run.run import Run
from training.train import train

TOY = {
    "precision": "fp32",
    "workers": "0",
    "batch_size": "1",
    "steps": "2",
    "checkpoint_every": "2",
    "sample_every": "2",
    "ema_decay": "0.5",
    "reference_gap": "3",
}
OWN = {"lips_editor": {"network": "tiny"}, "lips_audio": {"speech_encoder": "hubert"}}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with what all parts but the first start from."""
    spec = replace(PRESETS["tiny"], crop_scale=PUBLISHED_CROP_SCALE, mask="box", mask_free=False)
    return write_tiny_flashlips(tmp_path_factory.mktemp("start"), spec, parts=("editor", "lips", "reader"))


def settings(stage: str, start: Path, **changes: str) -> dict[str, str]:
    begun = {} if stage == "lips_editor" else {"start": str(start)}
    return {**TOY, **OWN.get(stage, {}), **begun, **changes}


def alone(stage: str, data: Path, out: Path, start: Path, **changes: str) -> int:
    """A run of one process, which sees in two passes what two see in one."""
    name = stage.replace("_", "-")
    return train(
        load_as(FlashLipsConfig, name, None, settings(stage, start, accumulate="2", **changes)), data, out, "cpu"
    )


@pytest.mark.parametrize("distributed", ["ddp", "fsdp"])
@pytest.mark.parametrize("stage", LIPS_STAGES)
def test_two_processes_train_what_one_does(
    stage: str, distributed: str, data: Path, start: Path, tmp_path: Path
) -> None:
    assert alone(stage, data, tmp_path / "one", start) == 2
    words = settings(stage, start, distributed=distributed)
    rest = [word for key, value in words.items() for word in (f"--{key.replace('_', '-')}", value)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--"]
    told = subprocess.run(
        [
            *(
                sys.executable,
                *launcher,
                "training.train",
                stage.replace("_", "-"),
                "--data",
                str(data),
                "--out",
                str(tmp_path / "two"),
            ),
            *("--device", "cpu", *rest),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert [line["loss"] for line in two.logged()] == pytest.approx([line["loss"] for line in one.logged()], rel=1e-4)
    assert two.validated()[0]["loss"] == pytest.approx(one.validated()[0]["loss"], rel=1e-3)
    assert (tmp_path / "two" / "samples" / "step-000002.png").is_file()
    for name in ("flashlips.safetensors", "ema.safetensors"):
        ours, theirs = (load_file(run.checkpoint(2) / name) for run in (two, one))
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-4, msg=key)
    if distributed == "fsdp":  # one process goes on from what two have saved
        assert alone(stage, data, tmp_path / "two", start, steps="3") == 3
