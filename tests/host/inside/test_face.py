from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from portrait import portrait_frames
from torch import Tensor

FRAMES = 4
SIZE = (384, 384)


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.face")


@pytest.fixture(scope="module")
def detector(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.detector")


@pytest.fixture(scope="module")
def library(extension: ModuleType) -> SimpleNamespace:
    names = (
        "face.crop",
        "errors",
        "face.face",
        "face.detectors",
        "face.finder.points",
        "network.stage",
        "face.track",
        "network.unet",
    )
    modules = {name: importlib.import_module(f"{extension.__name__}.keysync.{name}") for name in names}
    return SimpleNamespace(**{name.rpartition(".")[2]: module for name, module in modules.items()})


@pytest.fixture(scope="module")
def images(library: SimpleNamespace) -> Tensor:
    return torch.from_numpy(np.stack(list(portrait_frames(FRAMES)))).float() / 255


@pytest.fixture
def recorded() -> dict[str, Any]:
    """What the core's node gives for these images, with points that MediaPipe's own package found."""
    record = json.loads((Path(__file__).parent / "face_landmarks.json").read_text())
    meshes = [np.array(mesh, dtype=np.float32) for mesh in record["landmarks_xy"]]
    faces = [
        {
            "bbox_xyxy": np.array([*mesh.min(0), *mesh.max(0)]),
            "blendshapes": {},
            "landmarks_xy": mesh,
            "landmarks_3d": np.zeros((478, 3), dtype=np.float32),
            "presence": 12.0,
            "score": 0.9,
        }
        for mesh in meshes
    ]
    return {"frames": [[face] for face in faces], "image_size": SIZE, "connection_sets": {}}


@pytest.fixture
def model(extension: ModuleType, library: SimpleNamespace) -> SimpleNamespace:
    network = importlib.import_module(f"{extension.__name__}.nodes.host.network").KeySyncModel
    unbuilt = network.__new__(network)
    torch.nn.Module.__init__(unbuilt)
    unbuilt.spec = library.stage.StageSpec("keyframe", library.unet.KEYFRAME, latent_size=(16, 24), crop_scale=1.4)
    return SimpleNamespace(model=unbuilt)


def follow(node: ModuleType, images: Tensor, value: Any = None, **changes: Any) -> tuple[Any, Tensor, str]:
    settings = {"detector": "face_landmarks", "face": "largest", "face_index": 0, "face_x": 0, "face_y": 0} | changes
    track, preview, report = node.TrackFace.execute(images, face_landmarks=value, **settings).args
    return track, preview, report


def test_the_schemas_are_complete(node: ModuleType) -> None:
    assert {each.GET_SCHEMA().node_id for each in node.NODES} >= {"KeySyncTrackFace", "KeySyncCropFace"}
    for each in node.NODES:
        schema = each.define_schema()
        assert schema.description
        assert schema.category == "KeySync"
        assert all(field.tooltip for field in schema.inputs)
    detector = node.TrackFace.define_schema().inputs[1]
    assert detector.options == ["mediapipe", "face-alignment", "face_landmarks"]


def test_linked_landmarks_are_taken_as_the_library_takes_a_detectors(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any]
) -> None:
    track = follow(node, images, recorded)[0].track
    tracker, points = library.track.Tracker(), list(library.points.MESH_TO_68)
    for frame, faces in zip(portrait_frames(FRAMES), recorded["frames"], strict=True):
        tracker.add(frame, [library.face.Face.of(faces[0]["landmarks_xy"][points], 0.9)])
    expected = tracker.finish()
    assert track.size == SIZE
    np.testing.assert_array_equal(track.landmarks, expected.landmarks)
    np.testing.assert_array_equal(track.confidence, expected.confidence)


def test_the_detector_is_not_made_where_landmarks_are_linked(
    node: ModuleType, images: Tensor, recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "make_detector", lambda *_, **__: pytest.fail("a detector was made"))
    assert follow(node, images, recorded, detector="face-alignment")[0].track.found.all()


def test_a_detector_gives_the_commands_track_and_agrees_with_the_linked_landmarks(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any]
) -> None:
    track = follow(node, images, detector="mediapipe")[0].track
    tracker, detector = library.track.Tracker(), library.detectors.make_detector("mediapipe")
    for frame in portrait_frames(FRAMES):
        tracker.follow(frame, detector)
    detector.close()
    np.testing.assert_array_equal(track.landmarks, tracker.finish().landmarks)
    linked = follow(node, images, recorded)[0].track
    # Two runs of one mesh on two crops of one face; half a pixel of convention in all points would show in the mean.
    difference = linked.landmarks - track.landmarks
    assert abs(difference).max() < 6
    assert abs(difference.mean((0, 1))).max() < 1.5


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's own folder of weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where ComfyUI looks for face-alignment's files: models/face_alignment, and two of an extra_model_paths.yaml."""
    import folder_paths
    from utils.extra_config import load_extra_path_config

    assert folder_paths.get_folder_paths("face_alignment") == [str(Path(folder_paths.models_dir, "face_alignment"))]
    own = tmp_path / "models" / "face_alignment"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "face_alignment", ([str(own)], set()))
    (tmp_path / "extra.yaml").write_text(
        f"shared:\n  base_path: {tmp_path}\n  face_alignment: |\n    disk\n    other/faces\n"
    )
    load_extra_path_config(str(tmp_path / "extra.yaml"))
    found = [own, tmp_path / "disk", tmp_path / "other" / "faces"]
    assert folder_paths.get_folder_paths("face_alignment") == [str(folder) for folder in found]
    for folder in found[:2]:  # the last one does not exist
        folder.mkdir(parents=True)
    return found


def put(detector: ModuleType, folder: Path, files: slice = slice(None)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in detector.FACE_ALIGNMENT_FILES[files]:
        (folder / name).touch()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_detectors_files_may_lie_in_any_folder_of_comfyui(
    detector: ModuleType, folders: list[Path], hub: Path, place: int
) -> None:
    put(detector, hub)
    assert detector.detector_weights() == hub
    put(detector, folders[place])
    assert detector.detector_weights() == folders[place]


def test_half_of_the_detectors_files_hides_no_whole_set(detector: ModuleType, folders: list[Path], hub: Path) -> None:
    put(detector, folders[0], slice(1))
    assert detector.detector_weights() == folders[0]
    put(detector, folders[1])
    assert detector.detector_weights() == folders[1]


def test_where_the_detectors_files_are_missing_comfyuis_folder_is_named(
    node: ModuleType, detector: ModuleType, library: SimpleNamespace, images: Tensor, folders: list[Path], hub: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "face_alignment", ModuleType("face_alignment"))
    names = " and ".join(detector.FACE_ALIGNMENT_FILES)
    with pytest.raises(library.errors.KeySyncError, match=re.escape(f"{folders[0]} lacks {names}, which face-")):
        follow(node, images, detector="face-alignment")


def test_the_detector_runs_where_comfyui_runs_its_models(
    node: ModuleType, images: Tensor, folders: list[Path], hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    made: list[tuple[Any, Any]] = []

    def make(*how: Any, **where: Any) -> NoFace:
        made.append((how, where))
        return NoFace()

    monkeypatch.setattr(management, "get_torch_device", lambda: torch.device("cuda", 1))
    monkeypatch.setattr(node, "make_detector", make)
    with pytest.raises(Exception, match="no face was found"):
        follow(node, images, detector="face-alignment")
    assert made == [(("face-alignment", folders[0]), {"device": "cuda:1"})]


class NoFace:
    def detect(self, *_: Any) -> list[Any]:
        return []

    def close(self) -> None:
        pass


def test_the_report_names_frames_without_the_face_and_those_that_were_bridged(
    node: ModuleType, images: Tensor, recorded: dict[str, Any]
) -> None:
    recorded["frames"][1], recorded["frames"][3] = [], []
    faces, _, report = follow(node, images, recorded)
    assert faces.track.found.tolist() == [True, True, True, False]
    assert report.splitlines() == [
        "the face was found in 3 of 4 frames; shots: 1",
        "no face found: frames 3",
        "missed by the detector, position interpolated: frames 1",
        "preview: crop and mask of the published models; connect a model to see its own",
    ]


def test_the_preview_shows_the_frames_with_the_face_drawn_on(
    node: ModuleType, images: Tensor, recorded: dict[str, Any]
) -> None:
    recorded["frames"][3] = []
    _, preview, _ = follow(node, images, recorded)
    assert preview.shape == images.shape
    assert torch.equal(preview[3], images[3])
    assert (preview[:3] != images[:3]).flatten(1).any(1).all()
    green = (preview[0] == torch.tensor([0.0, 1.0, 0.0])).all(-1)
    assert green.sum() >= 68


def outline(preview: Tensor) -> tuple[int, int, int]:
    """The box (x, y, side) that a picture of the preview draws."""
    drawn = (preview * 255).round() == torch.tensor([255.0, 220.0, 0.0])
    rows, columns = drawn.all(-1).nonzero(as_tuple=True)
    side = int(rows.max() - rows.min()) + 1
    assert side == int(columns.max() - columns.min()) + 1
    return int(columns.min()), int(rows.min()), side


def test_the_preview_shows_the_crop_that_crop_face_takes(
    node: ModuleType, images: Tensor, recorded: dict[str, Any], model: SimpleNamespace
) -> None:
    # Crops of another scale, and of another mask than box.
    model.model.spec = dataclasses.replace(model.model.spec, crop_scale=1.2, mask="mouth")
    faces, preview, report = follow(node, images, recorded, model=model)
    boxes = node.CropFace.execute(images, faces, model).args[1].boxes
    assert [outline(picture) for picture in preview] == [tuple(box) for box in boxes.tolist()]
    assert "preview" not in report
    model.model.spec = dataclasses.replace(model.model.spec, mask="box")
    assert not torch.equal(follow(node, images, recorded, model=model)[1], preview)
    model.model.spec = dataclasses.replace(model.model.spec, crop_scale=2.0)
    published = follow(node, images, recorded, model=model)
    assert [outline(picture) for picture in published[1]] != [outline(picture) for picture in preview]
    alone = follow(node, images, recorded)
    assert torch.equal(alone[1], published[1])
    assert alone[2] == f"{published[2]}\n{node.PREVIEW_OF_PUBLISHED}"


def test_the_model_is_the_last_input(node: ModuleType) -> None:
    """Workflows that were saved before it came keep loading."""
    schema = node.TrackFace.define_schema()
    assert [field.id for field in schema.inputs[-2:]] == ["face_landmarks", "model"]
    assert schema.inputs[-1].optional


def test_the_preview_of_large_frames_is_small_and_even(
    node: ModuleType, images: Tensor, recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "PREVIEW_SIDE", 101)
    assert follow(node, images, recorded)[1].shape == (FRAMES, 100, 100, 3)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"face": "largest", "face_index": 1}, True),
        ({"face": "index", "face_index": 1}, False),
        ({"face": "coordinates", "face_x": 330, "face_y": 200}, False),
        ({"face": "coordinates", "face_x": 120, "face_y": 200}, True),
    ],
)
def test_each_way_to_choose_a_face(
    node: ModuleType, images: Tensor, recorded: dict[str, Any], settings: dict[str, Any], left: bool
) -> None:
    for faces in recorded["frames"]:
        mesh = faces[0]["landmarks_xy"]
        faces.append({"landmarks_xy": (mesh - mesh.mean(0)) * 0.6 + [330, 200], "score": 0.9})
    track = follow(node, images, recorded, **settings)[0].track
    assert (track.landmarks[..., 0].mean() < 280) == left
    assert track.faces.tolist() == [2] * FRAMES


def test_what_track_face_refuses(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any]
) -> None:
    Error = library.errors.KeySyncError
    with pytest.raises(Error, match="nothing is connected to face_landmarks: connect"):
        follow(node, images)
    with pytest.raises(Error, match="covers 4 frames of 384x384 but there are 3 images of 384x384: detect"):
        follow(node, images[:3], recorded)
    with pytest.raises(Error, match="covers 4 frames of 384x384 but there are 4 images of 300x384: detect"):
        follow(node, images[:, :, :300], recorded)
    with pytest.raises(
        Error, match="the model is SimpleNamespace, not a KeySync model: load one with Load KeySync Model"
    ):
        follow(node, images, recorded, model=SimpleNamespace(model=SimpleNamespace()))
    with pytest.raises(Error, match="face_x 384, face_y 3 is outside the images of 384x384: choose a point"):
        follow(node, images, recorded, face="coordinates", face_x=384, face_y=3)
    with pytest.raises(Error, match="face 2 was chosen but no shot shows more than 1"):
        follow(node, images, recorded, face="index", face_index=2)
    with pytest.raises(Error, match="a face of 68x2 numbers but MediaPipe's mesh has 478x2"):
        follow(node, images, recorded | {"frames": [[{"landmarks_xy": np.zeros((68, 2)), "score": 1}]] * FRAMES})
    with pytest.raises(Error, match="no face was found in the 4 frames: use images that show a face"):
        follow(node, images, recorded | {"frames": [[]] * FRAMES})


def test_following_stops_where_the_user_cancels(node: ModuleType, images: Tensor, recorded: dict[str, Any]) -> None:
    import comfy.model_management as management

    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        follow(node, images, recorded)
    assert follow(node, images, recorded)[0].track.found.all()


def test_crops_are_the_commands(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any], model: SimpleNamespace
) -> None:
    faces = follow(node, images, recorded)[0]
    crops, cropped = node.CropFace.execute(images, faces, model).args
    boxes = library.crop.crop_boxes(faces.track, 0, FRAMES, 1.4)
    np.testing.assert_array_equal(cropped.boxes, boxes)
    assert cropped.crop_size == (128, 192)
    assert cropped.track is faces.track
    for frame, box, crop in zip(portrait_frames(FRAMES), boxes, crops, strict=True):
        assert torch.equal(crop, library.crop.crop(frame, box, (128, 192)))


def test_crops_are_turned_with_the_head_where_it_is_asked_for(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any], model: SimpleNamespace
) -> None:
    faces = follow(node, images, recorded)[0]
    crops, cropped = node.CropFace.execute(images, faces, model, align=True).args
    np.testing.assert_array_equal(cropped.boxes, library.crop.crop_boxes(faces.track, 0, FRAMES, 1.4, align=True))
    assert cropped.boxes.shape == (FRAMES, 4)
    for frame, box, crop in zip(portrait_frames(FRAMES), cropped.boxes, crops, strict=True):
        assert torch.equal(crop, library.crop.crop(frame, box, (128, 192)))
    native, placed = node.CropFace.execute(images, faces, align=True).args
    assert placed.boxes.shape == (FRAMES, 4)
    assert native.shape[1:3] == placed.crop_size


def test_a_frame_without_the_face_is_cropped_where_the_nearest_shows_it(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any]
) -> None:
    mesh = recorded["frames"][0][0]["landmarks_xy"][list(library.points.MESH_TO_68)]
    points = [None, mesh, None, None, None, mesh + 20, None]
    track = library.track.from_landmarks(points, SIZE)
    first, second = (library.crop.crop_boxes(track, frame, frame + 1)[0].tolist() for frame in (1, 5))
    assert node.boxes_of(track).tolist() == [first, first, first, first, second, second, second]


def test_what_crop_face_refuses(
    node: ModuleType, library: SimpleNamespace, images: Tensor, recorded: dict[str, Any], model: SimpleNamespace
) -> None:
    Error = library.errors.KeySyncError
    faces = follow(node, images, recorded)[0]
    with pytest.raises(Error, match="there are 3 images but the face track covers 4 frames: connect the images"):
        node.CropFace.execute(images[:3], faces, model)
    with pytest.raises(Error, match="the images are 384x200 but the face was tracked in frames of 384x384: connect"):
        node.CropFace.execute(images[:, :200], faces, model)
    with pytest.raises(
        Error, match="the model is SimpleNamespace, not a KeySync model: load one with Load KeySync Model"
    ):
        node.CropFace.execute(images, faces, SimpleNamespace(model=SimpleNamespace()))
