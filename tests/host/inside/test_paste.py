from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from portrait import portrait_frames
from torch import Tensor

SIZE = (384, 384)
FRAMES = 4


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.paste")


@pytest.fixture(scope="module")
def nodes(extension: ModuleType) -> SimpleNamespace:
    names = ("face", "mask", "host.sockets", "host.frames")
    modules = {name: importlib.import_module(f"{extension.__name__}.nodes.{name}") for name in names}
    return SimpleNamespace(**{name.rpartition(".")[2]: module for name, module in modules.items()})


@pytest.fixture(scope="module")
def library(extension: ModuleType) -> SimpleNamespace:
    names = ("face.paste", "errors")
    modules = {name: importlib.import_module(f"{extension.__name__}.keysync.{name}") for name in names}
    return SimpleNamespace(**{name.rpartition(".")[2]: module for name, module in modules.items()})


@pytest.fixture(scope="module")
def images(library: SimpleNamespace) -> Tensor:
    return torch.from_numpy(np.stack(list(portrait_frames(FRAMES)))).float() / 255


@pytest.fixture(scope="module")
def cropped(nodes: SimpleNamespace, library: SimpleNamespace, images: Tensor) -> tuple[Tensor, Any, Tensor]:
    """Crops, track and masks of the portrait; the last frame has no face, the third was bridged."""
    record = json.loads((Path(__file__).parent / "face_landmarks.json").read_text())
    frames = [[{"landmarks_xy": np.array(mesh), "score": 0.9}] for mesh in record["landmarks_xy"]]
    frames[1], frames[3] = [], []
    value = {"frames": frames, "image_size": SIZE, "connection_sets": {}}
    faces, _, _ = nodes.face.TrackFace.execute(images, "face_landmarks", "largest", 0, 0, 0, face_landmarks=value).args
    boxes = nodes.face.boxes_of(faces.track)
    faces = nodes.sockets.Faces(faces.track, boxes, (384, 384))
    return nodes.face.cut(images, boxes, (384, 384)), faces, nodes.mask.MouthMask.execute(faces, "mouth").args[0]


def test_the_schema_is_complete(node: ModuleType, library: SimpleNamespace) -> None:
    schema = node.PasteFace.GET_SCHEMA()
    assert schema.node_id == "KeySyncPasteFace"
    assert all(field.tooltip for field in schema.inputs)
    assert schema.inputs[-1].default == library.paste.FEATHER


def test_unchanged_crops_give_the_frames_back(
    node: ModuleType, images: Tensor, cropped: tuple[Tensor, Any, Tensor]
) -> None:
    before = images.clone()
    pasted, masks, mattes, _ = node.PasteFace.execute(images, *cropped, 0.04).args
    assert torch.equal(images, before)
    assert torch.equal(pasted[mattes == 0], images[mattes == 0])
    assert (mattes[masks == 0] == 0).all()
    assert (pasted - images).abs().mean() < 2e-3
    assert torch.equal(pasted[3], images[3])
    assert not masks[3].any()


def test_frames_are_pasted_as_the_command_pastes_them(
    node: ModuleType, library: SimpleNamespace, images: Tensor, cropped: tuple[Tensor, Any, Tensor]
) -> None:
    crops, faces, masks = cropped
    noise = torch.rand(crops.shape, generator=torch.Generator().manual_seed(0))
    pasted = node.PasteFace.execute(images, noise, faces, masks, 0.1).args[0]
    for frame in range(3):
        place = library.paste.Place.of(masks[frame], faces.boxes[frame], SIZE, 0.1)
        expected = library.paste.paste(images[frame], noise[frame], place)
        assert torch.equal(pasted[frame], expected)
    assert not torch.equal(pasted[0], images[0])


def test_turned_crops_are_pasted_where_they_were_cut(
    node: ModuleType, nodes: SimpleNamespace, images: Tensor, cropped: tuple[Tensor, Any, Tensor]
) -> None:
    track = cropped[1].track
    boxes = nodes.face.boxes_of(track, align=True)
    boxes[:, 3] = 2500  # hundredths of a degree
    faces = nodes.sockets.Faces(track, boxes, (384, 384))
    crops = nodes.face.cut(images, boxes, (384, 384))
    drawn = nodes.mask.MouthMask.execute(faces, "mouth").args[0]
    pasted, masks, mattes, _ = node.PasteFace.execute(images, crops, faces, drawn, 0.04).args
    assert torch.equal(pasted[masks == 0], images[masks == 0])
    assert (mattes[masks == 0] == 0).all()
    assert (pasted - images).abs().mean() < 2e-3
    assert 0 < (pasted != images).any(-1)[0].sum() <= (masks[0] > 0).sum()


def test_the_matte_says_how_much_of_a_pixel_is_generated(
    node: ModuleType, images: Tensor, cropped: tuple[Tensor, Any, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = importlib.import_module(node.paste.__module__)
    monkeypatch.setattr(compose, "LARGEST_SHIFT", 0.0)
    crops, faces, masks = cropped
    black = torch.zeros_like(images)
    pasted, full, mattes, _ = node.PasteFace.execute(black, torch.ones_like(crops), faces, masks, 0.1).args
    torch.testing.assert_close(pasted[..., 0], mattes)
    assert torch.equal(full > 0, mattes > 0)
    assert ((mattes > 0) & (mattes < 1)).any()
    assert (mattes == 1).any()


def test_crops_of_another_size_are_brought_to_the_frames(
    node: ModuleType, images: Tensor, cropped: tuple[Tensor, Any, Tensor]
) -> None:
    crops, faces, masks = cropped
    planes = crops.permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(planes, scale_factor=2, mode="bicubic").permute(0, 2, 3, 1).clamp(0, 1)
    pasted, full, mattes, _ = node.PasteFace.execute(images, larger, faces, masks, 0.04).args
    assert torch.equal(full, node.PasteFace.execute(images, *cropped, 0.04).args[1])
    assert torch.equal(pasted[mattes == 0], images[mattes == 0])
    assert (pasted - images).abs().mean() < 2e-3


def test_the_report_says_what_happened_to_each_frame(
    node: ModuleType, images: Tensor, cropped: tuple[Tensor, Any, Tensor]
) -> None:
    crops, faces, masks = cropped
    edited = masks.clone()
    edited[0] = 0.2
    pasted, _, _, report = node.PasteFace.execute(images, torch.zeros_like(crops), faces, edited, 0.04).args
    assert torch.equal(pasted[0], images[0])
    assert report.splitlines() == [
        "2 of 4 frames have a new mouth",
        "no face, left as they were: frames 3",
        "empty mask, left as they were: frames 0",
        "face position interpolated, pasted: frames 1",
    ]


def test_transparency_is_kept(node: ModuleType, images: Tensor, cropped: tuple[Tensor, Any, Tensor]) -> None:
    crops, faces, masks = cropped
    clear = torch.cat([images, torch.full_like(images[..., :1], 0.5)], dim=-1)
    pasted = node.PasteFace.execute(clear, torch.zeros_like(crops), faces, masks, 0.04).args[0]
    assert torch.equal(pasted[..., 3], clear[..., 3])
    assert not torch.equal(pasted, clear)


def test_what_paste_face_refuses(
    node: ModuleType,
    nodes: SimpleNamespace,
    library: SimpleNamespace,
    images: Tensor,
    cropped: tuple[Tensor, Any, Tensor],
) -> None:
    Error, paste = library.errors.KeySyncError, node.PasteFace.execute
    crops, faces, masks = cropped
    with pytest.raises(Error, match="the track is from Track Face and has no crops: connect the track of Crop Face"):
        paste(images, crops, nodes.sockets.Faces(faces.track), masks, 0.04)
    with pytest.raises(Error, match="there are 2 images but the face track covers 4 frames"):
        paste(images[:2], crops, faces, masks, 0.04)
    with pytest.raises(Error, match="the images are 384x300 but the face was tracked in frames of 384x384"):
        paste(images[:, :300], crops, faces, masks, 0.04)
    with pytest.raises(Error, match="there are 3 crops but 4 images: give one for each image, in order"):
        paste(images, crops[:3], faces, masks, 0.04)
    with pytest.raises(
        Error, match="there are 2 masks but 4 images: give one for each image, in order, or one for all"
    ):
        paste(images, crops, faces, masks[:2], 0.04)


def test_frame_numbers_are_named_in_ranges(nodes: SimpleNamespace) -> None:
    assert nodes.frames.name_frames([0, 3, 4, 5, 9]) == "0, 3-5, 9"
    assert nodes.frames.name_frames([]) == ""
