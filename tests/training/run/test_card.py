"""The model card of a run says what the run knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.run.card import card
from training.run.run import Run

from ..small_config import small_config

METADATA = {"keysync.training.data": "my_data", "keysync.training.clips": "64"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "my_K")
    made.begin(small_config("keyframe", start="/far/svd.safetensors"), step=0, processes=2, clips_per_step=8)
    made.begin(small_config("keyframe", start="/far/svd.safetensors"), step=4, processes=1, clips_per_step=8)
    return made


def test_what_is_known(run: Run) -> None:
    for step, correlation in ((4, 0.25), (8, 0.75), (12, 0.9)):
        run.log_validation(step=step, loss=0.5, loss_at_3=0.125, mouth_correlation=correlation)
    text = card(run, 8, "keyframe stage, step 8", "my_K.safetensors", METADATA, "apache-2.0")
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    assert "license: apache-2.0" in front.splitlines()
    assert body.startswith("# my_K\n\nKeyframe stage, step 8, for KeySync")
    for row in (
        "| data | my_data |",
        "| steps | 8 |",
        "| clips seen | 64 |",
        "| batches | 8 clips on 2 processes, then 8 clips on 1 process |",
        "| started from | svd.safetensors |",
        "| licence | apache-2.0 |",
        "| correlation of the mouth's opening with that of the validation clip | 0.75 |",
        "| the same with what the speech asks for, by KeySync's built-in encoder | not measured |",
        "| loss at noise level 3 | 0.125 |",
        "resolution = 64",
    ):
        assert row in body.splitlines()
    assert "/far" not in text


def test_what_is_not_known(run: Run) -> None:
    run.history_file.unlink()
    text = card(run, 8, "LoRA for the keyframe stage, step 8", "my_lora.safetensors", {})
    assert "license" not in text.partition("# my_K")[0]
    assert "Not measured: the run had no validation." in text
    for name in ("data", "clips seen", "batches", "licence"):
        assert f"| {name} | not stated |" in text


def test_what_damaged_lines_say_is_not_repeated(run: Run) -> None:
    run.log_validation(step=8, loss=0.5, mouth_correlation="good", loss_at_3=[1])
    with run.history_file.open("a") as file:
        file.write('{"step": 6, "clips_per_step": [8], "processes": 1}\n')
    text = card(run, 8, "keyframe stage, step 8", "my_K.safetensors", METADATA)
    assert "| batches | 8 clips on 2 processes, then 8 clips on 1 process |" in text
    assert "| correlation of the mouth's opening with that of the validation clip | not measured |" in text
    assert "| loss at noise level 3 | not measured |" in text
