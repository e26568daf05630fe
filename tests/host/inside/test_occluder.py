from __future__ import annotations

import gc
import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import pytest
import torch
from torch import Tensor

NAME = "tiny.safetensors"
CLICK = {"frame": 2, "points": "20,10\n-40,30", "box": ""}


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.occluder")


@pytest.fixture(scope="module")
def library(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.keysync.face.sam2")


@pytest.fixture(scope="module", autouse=True)
def file() -> Path:
    """The tiny model in models/sam2, with a file beside it that is no model."""
    folder = Path(folder_paths.models_dir) / "sam2"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    spec = importlib.util.spec_from_file_location("tiny_sam2", Path(__file__).parents[2] / "tiny_sam2.py")
    assert spec
    assert spec.loader
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.write_tiny_sam2(folder / NAME)
    return folder / NAME


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.interpolate(torch.rand(6, 3, 4, 5, generator=generator), (40, 50)).movedim(1, -1)


def run(node: ModuleType, images: Tensor, **inputs: Any) -> Tensor:
    """The node as ComfyUI runs it: in inference mode."""
    with torch.inference_mode():
        mask: Tensor
        (mask,) = node.TrackOccluder.execute(images, NAME, **{**CLICK, **inputs}).args
    return mask


def test_the_schema_is_complete(node: ModuleType) -> None:
    schema = node.TrackOccluder.GET_SCHEMA()
    assert schema.node_id == "KeySyncTrackOccluder"
    assert schema.display_name == "Track Occluder (SAM2)"
    assert all(field.tooltip for field in (*schema.inputs, *schema.outputs))
    assert [field.id for field in schema.inputs] == ["images", "model_name", "frame", "points", "box"]
    assert node.TrackOccluder.define_schema().inputs[1].options == [NAME]


def test_masks_are_the_librarys(node: ModuleType, library: ModuleType, file: Path, images: Tensor) -> None:
    mask = run(node, images)
    assert mask.shape == (6, 40, 50)
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    prompt = library.Prompt(2, ((20.0, 10.0), (40.0, 30.0)), (1, 0))
    for number, expected in library.track_occluder(library.load_sam2(file), images, prompt):
        assert torch.equal(mask[number], expected.float())


def test_box_alone(node: ModuleType, images: Tensor) -> None:
    assert not torch.equal(run(node, images, points="", box="5,5,30,30"), run(node, images))


def test_weights_are_made_outside_inference_mode(node: ModuleType, file: Path) -> None:
    with torch.inference_mode():
        patcher = node.load(file)
    assert not any(parameter.is_inference() for parameter in patcher.model.parameters())
    assert patcher.model_size() > 0


def test_nothing_is_held_after_a_run(node: ModuleType, images: Tensor) -> None:
    run(node, images)
    gc.collect()
    comfy.model_management.cleanup_models_gc()
    held = [loaded.model.model for loaded in comfy.model_management.current_loaded_models if loaded.model is not None]
    assert not any(isinstance(model, node.Sam2) for model in held)


def test_progress_and_cancel(node: ModuleType, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def hook(value: int, total: int, preview: Any, *args: Any, **keywords: Any) -> None:
        seen.append((value, total))
        if value == 1:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(node, images)
    assert seen == [(1, 6)]
    assert run(node, images[:1], frame=0).shape == (1, 40, 50)


def test_a_changed_file_runs_again(node: ModuleType, file: Path) -> None:
    before = node.TrackOccluder.fingerprint_inputs(model_name=NAME, images=None, **CLICK)
    assert node.TrackOccluder.fingerprint_inputs(model_name=NAME, images=None, **CLICK) == before
    os.utime(file, ns=(1, 1))
    assert node.TrackOccluder.fingerprint_inputs(model_name=NAME, images=None, **CLICK) != before


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"points": ""}, "the prompt selects no object"),
        ({"points": "here"}, "point 'here'"),
        ({"points": "50,1"}, "point 50,1 is outside the frame of 50x40"),
        ({"frame": 6}, "is on frame 6 but the clip has 6"),
    ],
)
def test_wrong_prompts(
    node: ModuleType, images: Tensor, error: type[Exception], inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(node, images, **inputs)


def test_a_file_that_is_no_sam_2(
    node: ModuleType,
    file: Path,
    images: Tensor,
    error: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damaged = tmp_path / "sam2.safetensors"
    damaged.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(node, "model_path", lambda _: damaged)
    with pytest.raises(error, match=r"sam2\.safetensors .*\(choose another file in model_name\)$"):
        run(node, images)


def test_file_that_has_gone(node: ModuleType, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"other\.pt is not in models/sam2: put it there, or choose another file"):
        node.model_path("other.pt")
