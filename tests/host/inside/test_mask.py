from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

FRAME, CROP = (120, 160), (64, 96)
BOXES = np.array([[20, 10, 100], [24, 10, 100], [24, 10, 100]])


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.mask")


@pytest.fixture(scope="module")
def library(extension: ModuleType) -> SimpleNamespace:
    names = ("face.crop", "errors", "face.masks", "face.track")
    modules = {name: importlib.import_module(f"{extension.__name__}.keysync.{name}") for name in names}
    return SimpleNamespace(**{name.rpartition(".")[2]: module for name, module in modules.items()})


@pytest.fixture(scope="module")
def track(extension: ModuleType, library: SimpleNamespace) -> Any:
    """A face in the first two of three frames."""
    Faces = importlib.import_module(f"{extension.__name__}.nodes.host.sockets").Faces
    angles = np.linspace(np.pi, 0, 17)
    points = np.zeros((68, 2), dtype=np.float32)
    points[:17] = np.stack([70 + 25 * np.cos(angles), 55 + 30 * np.sin(angles)], axis=1)
    points[17:] = np.random.default_rng(0).uniform((55, 40), (85, 75), (51, 2))
    points[28] = 70, 50
    return Faces(library.track.from_landmarks([points, points + 4, None], FRAME))


@pytest.fixture(scope="module")
def cropped(extension: ModuleType, track: Any) -> Any:
    return type(track)(track.track, BOXES, CROP)


def test_the_schemas_are_complete(node: ModuleType, library: SimpleNamespace) -> None:
    assert {each.GET_SCHEMA().node_id for each in node.NODES} >= {"KeySyncMouthMask", "KeySyncSubtractOcclusion"}
    for each in node.NODES:
        assert all(field.tooltip for field in each.define_schema().inputs)
    assert node.MouthMask.define_schema().inputs[1].options == list(library.masks.MASKS)


def test_masks_of_crops_are_the_commands(node: ModuleType, library: SimpleNamespace, cropped: Any) -> None:
    for kind, draw in library.masks.MASKS.items():
        (masks,) = node.MouthMask.execute(cropped, kind).args
        assert masks.shape == (3, *CROP), kind
        for frame in range(2):
            landmarks = library.crop.to_crop(cropped.track.landmarks[frame], BOXES[frame], CROP)
            assert torch.equal(masks[frame], draw(landmarks, CROP)), kind
            assert masks[frame].any(), kind
        assert not masks[2].any(), kind


def test_masks_of_an_uncropped_track_have_the_frames_size(
    node: ModuleType, library: SimpleNamespace, track: Any
) -> None:
    (masks,) = node.MouthMask.execute(track, "jaw").args
    assert masks.shape == (3, *FRAME)
    assert torch.equal(masks[0], library.masks.jaw(torch.from_numpy(track.track.landmarks[0]), FRAME))
    assert not masks[2].any()


def test_an_occluder_of_the_masks_size_is_taken_out(node: ModuleType, cropped: Any) -> None:
    masks, occluders = torch.ones(3, *CROP), torch.rand(3, *CROP, generator=torch.Generator().manual_seed(0))
    for track in (None, cropped):
        (left,) = node.SubtractOcclusion.execute(masks, occluders, track).args
        assert torch.equal(left, (occluders <= 0.5).float())


@pytest.mark.parametrize(("masks", "occluders"), [(3, 1), (1, 3), (1, 1)])
def test_one_mask_stands_for_all(node: ModuleType, masks: int, occluders: int) -> None:
    occluder = torch.zeros(occluders, *CROP)
    occluder[..., :10] = 1
    (left,) = node.SubtractOcclusion.execute(torch.ones(masks, *CROP), occluder).args
    assert left.shape == (max(masks, occluders), *CROP)
    assert not left[..., :10].any()
    assert left[..., 10:].all()


@pytest.mark.parametrize("count", [3, 1])
def test_an_occluder_of_the_frames_size_is_cut_as_the_command_cuts_it(
    node: ModuleType, library: SimpleNamespace, cropped: Any, count: int
) -> None:
    occluder = torch.zeros(count, *FRAME)
    occluder[:, 40:70, 50:81] = 1
    (left,) = node.SubtractOcclusion.execute(torch.ones(3, *CROP), occluder, cropped).args
    for frame, box in enumerate(BOXES):
        video = (occluder[frame % count, ..., None].repeat(1, 1, 3) * 255).byte().numpy()
        hidden = library.crop.crop(video, box, CROP).mean(-1) > 0.5
        assert torch.equal(left[frame], library.masks.subtract(torch.ones(CROP), hidden.float()))
    assert not torch.equal(left[0], left[1])


def test_a_linked_track_decides_where_frames_and_crops_are_alike(node: ModuleType, track: Any) -> None:
    alike = type(track)(track.track, BOXES, FRAME)
    occluder = torch.zeros(3, *FRAME)
    occluder[:, :, 20:120] = 1
    assert node.SubtractOcclusion.execute(torch.ones(3, *FRAME), occluder, None).args[0].any()
    assert not node.SubtractOcclusion.execute(torch.ones(3, *FRAME), occluder, alike).args[0][0].any()


def test_masks_without_a_batch_or_with_a_channel_are_understood(node: ModuleType) -> None:
    (left,) = node.SubtractOcclusion.execute(torch.ones(3, 1, *CROP), torch.zeros(CROP)).args
    assert left.shape == (3, *CROP)


def test_what_subtract_occlusion_refuses(node: ModuleType, library: SimpleNamespace, cropped: Any, track: Any) -> None:
    Error, subtract = library.errors.KeySyncError, node.SubtractOcclusion.execute
    masks = torch.ones(3, *CROP)
    for linked in (None, track):
        with pytest.raises(
            Error, match="the occluder is 160x120 but the mask is 96x64: use an occluder at the size of the mask"
        ):
            subtract(masks, torch.ones(3, *FRAME), linked)
    with pytest.raises(Error, match="the occluder is 10x10 but the mask is 96x64"):
        subtract(masks, torch.ones(3, 10, 10), cropped)
    with pytest.raises(Error, match="there are 2 occluder masks but 3 masks: use one per frame, or one for all"):
        subtract(masks, torch.ones(2, *CROP))
    for n, m in ((3, 2), (4, 3), (4, 4)):
        message = f"there are {m} occluder masks but {n} masks and the track covers 3 frames: use one per frame"
        with pytest.raises(Error, match=message):
            subtract(torch.ones(n, *CROP), torch.ones(m, *FRAME), cropped)
    single = type(cropped)(library.track.from_landmarks([track.track.landmarks[0]], FRAME), BOXES[:1], CROP)
    with pytest.raises(Error, match="there are 3 occluder masks but 3 masks and the track covers 1 frames"):
        subtract(masks, torch.ones(3, *FRAME), single)
