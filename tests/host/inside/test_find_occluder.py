"""Find Occluder, and Lip Sync that finds by itself what covers the mouth: in the example with a hand."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from torch import Tensor

NAME = "tiny_for_found.safetensors"
FRAMES = slice(52)

pytestmark = pytest.mark.usefixtures("inference")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def hand(extension: Any) -> Path:
    path: Path = part("keysync.demo").TALK_OCCLUDED
    return path


@pytest.fixture(scope="module")
def images(hand: Path) -> Tensor:
    frames = [frame for _, frame in part("keysync.media.reader").open_video(hand).frames()]
    return torch.from_numpy(np.stack(frames[FRAMES])).float() / 255


@pytest.fixture(scope="module")
def tracked(images: Tensor) -> Any:
    return part("nodes.face").TrackFace.execute(images, "mediapipe", "largest", 0, 0, 0).args[0]


@pytest.fixture(scope="module")
def found(images: Tensor, tracked: Any) -> tuple[Tensor, str]:
    mask, report = part("nodes.occluder").FindOccluder.execute(images, tracked).args
    return mask, report


@pytest.fixture
def sam2() -> Iterator[str]:
    """The tiny model in models/sam2."""
    folder = Path(folder_paths.models_dir) / "sam2"
    folder.mkdir(parents=True, exist_ok=True)
    spec = importlib.util.spec_from_file_location("tiny_sam2", Path(__file__).parents[2] / "tiny_sam2.py")
    assert spec
    assert spec.loader
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    yield str(tiny.write_tiny_sam2(folder / NAME).name)
    (folder / NAME).unlink()


def test_the_schema_is_complete(extension: Any) -> None:
    schema = part("nodes.occluder").FindOccluder.GET_SCHEMA()
    assert schema.node_id == "KeySyncFindOccluder"
    assert all(field.tooltip for field in (*schema.inputs, *schema.outputs))
    assert [field.id for field in schema.inputs] == ["images", "track", "model_name"]


def test_the_hand_is_found(images: Tensor, found: tuple[Tensor, str]) -> None:
    mask, report = found
    assert mask.shape == images.shape[:3]
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    covered = mask.amax((1, 2)).bool().tolist()
    assert 20 < sum(covered) < 45
    assert report.startswith(f"occluders: something covers the mouth in {sum(covered)} of {len(images)} frames: ")


def test_sam2_follows_what_is_found(images: Tensor, tracked: Any, found: tuple[Tensor, str], sam2: str) -> None:
    mask, report = part("nodes.occluder").FindOccluder.execute(images, tracked, sam2).args
    assert report == found[1]
    assert (mask >= found[0]).all()


def test_without_a_face_there_is_nothing_to_search(tracked: Any, images: Tensor, error: type[Exception]) -> None:
    nobody = part("nodes.host.sockets").Faces(tracked.track.during(np.zeros(len(images), np.bool_)))
    with pytest.raises(error, match=r"no face was found in the 52 frames: .*; use another detector"):
        part("nodes.occluder").FindOccluder.execute(images, nobody)
    with pytest.raises(error, match="connect the images used in Track Face"):
        part("nodes.occluder").FindOccluder.execute(images[:4], tracked)


def test_both_a_mask_and_a_search_are_refused(extension: Any, error: type[Exception]) -> None:
    opened = part("nodes.host.video").open_occluder
    assert opened(None, True) == part("keysync.face.occlusion").AUTO
    assert opened(None) is None
    with pytest.raises(error, match="turn off find_occluder, or disconnect the occluder"):
        opened(torch.zeros(1, 8, 8), True)


@pytest.mark.usefixtures("temporary")
def test_lip_sync_finds_it_and_says_so(hand: Path) -> None:
    reader = part("keysync.media.audio").AudioReader(part("keysync.demo").SPEECH)
    waveform = torch.from_numpy(np.concatenate(list(reader.blocks()), axis=1))
    speech = {"waveform": waveform[None], "sample_rate": reader.rate}
    choices = {"system": "rewrite", "strength": 1.0, "sync_mode": "cut_off", "detector": "mediapipe", "face_index": 0}
    video = InputImpl.VideoFromFile(str(hand))
    _, text, summary = part("nodes.rewrite").LipSync.execute(video, speech, **choices, find_occluder=True).args
    notes = json.loads(text)["notes"]
    assert any(note.startswith("occluders: something covers the mouth in ") for note in notes)
    assert "occluders: something covers the mouth" in summary
