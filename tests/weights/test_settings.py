"""A config.json says how a model is built and names no code to run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from keysync.speech.encoders import load_encoder
from keysync.weights.settings import without_code


def test_code_is_left_out_at_any_depth() -> None:
    settings = {
        "hidden_size": 8,
        "attn_implementation": "somebody/kernel",
        "parts": [{"_attn_implementation": "somebody/kernel", "auto_map": {}, "depth": 2}],
    }
    assert without_code(settings) == {"hidden_size": 8, "parts": [{"depth": 2}]}


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_an_encoder_s_config_cannot_ask_for_a_kernel(tiny_files: dict[str, Path], tmp_path: Path, key: str) -> None:
    folder = shutil.copytree(tiny_files["hubert"], tmp_path / "hubert")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: "kernels-community/flash-attn2"}))
    encoder = load_encoder("hubert", folder)
    assert encoder.model.config._attn_implementation in ("sdpa", "eager")
