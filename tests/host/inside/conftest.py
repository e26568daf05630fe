"""Tests that run inside a ComfyUI's own Python, from its folder, without a server; `test_inside.py` starts them.

By hand: `cd <ComfyUI> && <its python> -m pytest -c <this folder>/pytest.ini <this folder>`.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
# Frames of the demo that tests share.
SHORT = 40

# The tests' portrait, by its path: it imports nothing of KeySync, of which there must be no second copy here.
PORTRAIT = importlib.util.spec_from_file_location("portrait", ROOT / "tests" / "portrait.py")
assert PORTRAIT
assert PORTRAIT.loader
sys.modules["portrait"] = importlib.util.module_from_spec(PORTRAIT)
PORTRAIT.loader.exec_module(sys.modules["portrait"])

# ComfyUI reads its settings where comfy is first imported: the CPU, and folders that are nobody's.
BASE = tempfile.TemporaryDirectory(prefix="keysync-comfyui-")
sys.argv = ["main.py", "--cpu", "--base-directory", BASE.name]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import torch  # noqa: E402
import utils.extra_config  # noqa: E402, F401 - first, as in main.py: nodes.py of 0.8.0 puts another utils ahead of it

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def extension() -> ModuleType:
    """The extension, loaded by path as ComfyUI does, under the name `keysync_extension`."""
    spec = importlib.util.spec_from_file_location("keysync_extension", ROOT / "__init__.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def error(extension: ModuleType) -> type[Exception]:
    """The extension's `KeySyncError`."""
    kind: type[Exception] = importlib.import_module(f"{extension.__name__}.keysync.errors").KeySyncError
    return kind


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny models: keyframe.safetensors, interpolation.safetensors, vae, hubert, wavlm."""
    if "KEYSYNC_TINY" in os.environ:
        return Path(os.environ["KEYSYNC_TINY"])
    folder = tmp_path_factory.mktemp("tiny")
    # In a process of its own: it imports the library by its own name, which here is a part of the extension.
    subprocess.run([sys.executable, "-m", "tests.tiny_models", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """The folder of golden vectors: the small set that ships, or that of `KEYSYNC_GOLDEN`."""
    return Path(os.environ.get("KEYSYNC_GOLDEN") or ROOT / "tests" / "data" / "golden")


@pytest.fixture(scope="session")
def speech(extension: ModuleType) -> dict[str, Any]:
    """The first `SHORT` frames of the demo's speech, as AUDIO."""
    reader = importlib.import_module("keysync_extension.keysync.media.audio").AudioReader(demo().SPEECH)
    waveform = torch.from_numpy(np.concatenate(list(reader.blocks()), axis=1))[:, : SHORT * 640]
    return {"waveform": waveform[None], "sample_rate": reader.rate}


@pytest.fixture(scope="session")
def images(extension: ModuleType) -> torch.Tensor:
    """The first `SHORT` frames of the demo's clip, in which a rendered person speaks, as IMAGE."""
    frames = importlib.import_module("keysync_extension.keysync.media.reader").VideoReader(demo().TALK).frames()
    first = np.stack([frame for _, frame in itertools.islice(frames, SHORT)])
    return torch.from_numpy(first).float() / 255


def demo() -> Any:
    return importlib.import_module("keysync_extension.keysync.demo")


@pytest.fixture(autouse=True)
def _nobody_interrupts() -> Iterator[None]:
    """The core's one flag for Cancel: a test that raises it leaves none behind for the next."""
    import comfy.model_management

    comfy.model_management.interrupt_current_processing(False)
    yield
    comfy.model_management.interrupt_current_processing(False)


@pytest.fixture
def inference() -> Iterator[None]:
    """The mode that ComfyUI's executor runs nodes in."""
    with torch.inference_mode():
        yield


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """ComfyUI's folder for temporary files."""
    import folder_paths  # here: it must not come before utils.extra_config

    before = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path / "temp"
    folder_paths.set_temp_directory(before)
