"""Detectors find the same 68 points, missing packages and weights are named, landmarks files are read with care."""

from __future__ import annotations

import builtins
import json
import sys
import tracemalloc
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from keysync.errors import KeySyncError
from keysync.face.detectors import make_detector, read_landmarks_file, write_landmarks_file
from keysync.face.face import Face, overlap
from keysync.face.face_alignment import FaceAlignmentDetector
from keysync.face.finder.points import MESH_TO_68

from ..portrait import PORTRAIT
from ..synthetic_face import face_points


def test_the_mesh_table_names_68_different_points_of_the_mesh() -> None:
    assert len(MESH_TO_68) == len(set(MESH_TO_68)) == 68
    assert max(MESH_TO_68) < 468


def test_the_built_in_detector_finds_the_portrait_s_face() -> None:
    with Image.open(PORTRAIT) as file:
        (face,) = make_detector("mediapipe").detect(np.asarray(file.convert("RGB")))
    points = face.landmarks
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    assert face.confidence > 0.8
    left, right, chin = points[0], points[16], points[8]
    assert left[0] < points[36, 0] < points[39, 0] < points[27, 0] < points[42, 0] < points[45, 0] < right[0]
    assert (points[17:27, 1] < points[36:48, 1].min()).all()
    assert points[27, 1] < points[28, 1] < points[29, 1] < points[30, 1] < points[33, 1] < points[51, 1] < points[57, 1]
    assert chin[1] == points[:, 1].max()
    # Known places in this picture, in pixels: eyes, tip of the nose, corners of the mouth, chin.
    known = {30: (223, 131), 48: (206, 138), 54: (242, 138), 8: (222, 170)}
    for index, place in known.items():
        assert np.hypot(*(points[index] - place)) < 8, (index, points[index])


def test_an_unknown_detector_is_an_error() -> None:
    with pytest.raises(KeySyncError, match="unknown detector 'dlib': choose one of mediapipe, face-alignment"):
        make_detector("dlib")


def test_a_missing_package_is_answered_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ModuleNotFoundError("No module named 'face_alignment'", name="face_alignment")
    forbid_import(monkeypatch, "face_alignment", error)
    with pytest.raises(KeySyncError, match=r"-m pip install face-alignment"):
        make_detector("face-alignment")


def forbid_import(monkeypatch: pytest.MonkeyPatch, package: str, error: ImportError) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == package:
            raise error
        return original(name, *rest, **options)

    for loaded in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(builtins, "__import__", refuse)

    def import_alone(name: str) -> Any:
        return refuse(name)

    monkeypatch.setattr("keysync.face.face_alignment.import_alone", import_alone)


class FakeFaceAlignment:
    """Stands for face_alignment.FaceAlignment 1.5.0: the constructor's and the method's names and shapes."""

    def __init__(
        self,
        landmarks_type: int,
        device: str = "cuda",
        compile: bool = True,
        face_detector: str = "sfd",
        face_detector_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.call = (landmarks_type, device, compile, face_detector, face_detector_kwargs)
        self.face_alignment_net = self._load_native("2DFAN-4", 4, device, torch.float32)

    def _load_native(self, *_: Any) -> Any:
        raise AssertionError("the package would download its weights here")

    def get_landmarks_from_image(self, frame: np.ndarray, return_bboxes: bool) -> Any:
        assert return_bboxes
        if not frame.any():
            import warnings

            warnings.warn("No faces were detected.", stacklevel=1)
            return None, None, None
        return [face_points()], None, [np.array([30, 40, 70, 90, 0.75])]


@pytest.fixture
def face_alignment(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("face_alignment")
    module.FaceAlignment = FakeFaceAlignment  # type: ignore[attr-defined]
    module.LandmarksType = types.SimpleNamespace(TWO_D=1)  # type: ignore[attr-defined]
    module.api = types.SimpleNamespace(FAN=lambda size: torch.nn.Linear(size, 1))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    return module


def write_weights(folder: Path) -> Path:
    names = FaceAlignmentDetector
    torch.save(torch.nn.Linear(4, 1).state_dict(), folder / names.FAN)
    (folder / names.S3FD).touch()
    return folder


def test_face_alignment_reads_a_local_folder(face_alignment: types.ModuleType, tmp_path: Path) -> None:
    detector = make_detector("face-alignment", write_weights(tmp_path))
    path = str(tmp_path / "s3fd-619a316812.pth")
    assert detector._alignment.call == (1, "cpu", False, "sfd", {"path_to_detector": path})  # type: ignore[attr-defined]
    (face,) = detector.detect(np.ones((100, 100, 3), dtype=np.uint8))
    np.testing.assert_allclose(face.landmarks, face_points() + 0.5)
    assert face.confidence == 0.75
    assert detector.detect(np.zeros((100, 100, 3), dtype=np.uint8)) == []
    detector.close()


def test_face_alignment_looks_in_torch_home(
    face_alignment: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    with pytest.raises(
        KeySyncError, match=r"hub.checkpoints lacks 2DFAN4-11f355bf06.pth.tar and s3fd-619a316812.pth, which face-al"
    ):
        make_detector("face-alignment")
    folder.mkdir(parents=True)
    write_weights(folder)
    make_detector("face-alignment").close()


def test_face_alignment_weights_of_another_kind_are_an_error(face_alignment: types.ModuleType, tmp_path: Path) -> None:
    write_weights(tmp_path)
    (tmp_path / "2DFAN4-11f355bf06.pth.tar").write_bytes(b"not weights")
    with pytest.raises(KeySyncError, match=r"2DFAN4-11f355bf06.pth.tar .* is not a weight file of face-alignment"):
        make_detector("face-alignment", tmp_path)


def test_face_alignment_needs_a_torch_that_reads_its_weights_safely(
    face_alignment: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_weights(tmp_path)
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    with pytest.raises(KeySyncError, match=r"2DFAN4\S+ is refused: with PyTorch 2\.5\.1 a pickle can run"):
        make_detector("face-alignment", tmp_path)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_a_face_s_box_is_that_of_its_points() -> None:
    face = Face.of(face_points((50, 60), 40), 0.5)
    assert face.box[0] == face.landmarks[:, 0].min()
    assert face.box[3] == face.landmarks[:, 1].max()


def test_a_landmarks_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "track.json"
    nowhere = np.full((68, 2), np.nan, dtype=np.float32)
    write_landmarks_file(path, [face_points(), None, nowhere], size=(240, 320), fps=29.97)
    assert json.loads(path.read_text())["size"] == [320, 240]
    assert list(tmp_path.iterdir()) == [path]
    file = read_landmarks_file(path, size=(240, 320), frames=3)
    assert file.fps == 29.97
    assert file.size == (240, 320)
    first, *rest = file.frames
    assert first is not None
    np.testing.assert_allclose(first, face_points(), atol=1e-3)
    assert rest == [None, None]
    assert [len(file.faces(frame)) for frame in range(3)] == [1, 0, 0]
    assert len(read_landmarks_file(path, frames=2).frames) == 2


GOOD: dict[str, Any] = {"fps": 25, "size": [320, 240], "frames": [None, face_points().tolist()]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "are not JSON"),
        (json.dumps([1]), 'lack fps, size or frames: expected {"fps": number'),
        (json.dumps({"fps": 25, "size": [320, 240]}), "lack fps, size or frames"),
        (json.dumps(GOOD | {"fps": "25"}), "have fps '25'"),
        (json.dumps(GOOD | {"fps": -1}), "have fps -1"),
        (json.dumps(GOOD | {"size": [320]}), r"have size \[320\]"),
        (json.dumps(GOOD | {"size": [320.5, 240]}), r"have size \[320.5, 240\]"),
        (json.dumps(GOOD | {"frames": "none"}), "have no list of frames"),
        (
            json.dumps(GOOD | {"frames": [None, [[1, 2]] * 67]}),
            "frame 1 of the landmarks .* is neither null nor 68 pairs",
        ),
        (json.dumps(GOOD | {"frames": [[[1, 2, 3]] * 68]}), "frame 0 of the landmarks"),
        (json.dumps(GOOD | {"frames": [[[1, float("nan")]] * 68]}), "frame 0 of the landmarks"),
        (json.dumps(GOOD | {"frames": [[[1, 10**400]] * 68]}), "frame 0 of the landmarks"),
        (json.dumps(GOOD | {"frames": [5]}), "frame 0 of the landmarks"),
        (json.dumps(GOOD | {"frames": [None, [[1, 2.5]] * 68]}), "frame 1 .* has all its points in one place"),
        (json.dumps(GOOD | {"frames": [[[n, 9] for n in range(68)]]}), "frame 0 .* in one place or on one line"),
        (json.dumps(GOOD | {"frames": [(face_points() + 700).tolist()]}), "frame 0 .* far outside the 320x240 pixels"),
        (json.dumps(GOOD | {"frames": [(face_points() * 99).tolist()]}), "frame 0 .* has points far outside the 320x2"),
        (json.dumps(GOOD | {"frames": [(face_points() - 240).tolist()]}), "frame 0 .* a face outside the 320x240 pix"),
        (json.dumps(GOOD | {"frames": ["[" * 5000]}).replace('"[', "[").replace('["', "["), "frame 0 .* is not JSON"),
        (
            json.dumps(GOOD | {"frames": [None, [[[0] * 9] * 99] * 99]}),
            "frame 1 .* not JSON .* longer than 3276",
        ),
        (json.dumps(GOOD).replace("25", "9" * 5001, 1), "are not JSON .*an integer of 5001 digits"),
        (json.dumps(GOOD)[:-1] + ', "fps": 24}', "are not JSON .*'fps' is not a text, or occurs twice"),
        (json.dumps(GOOD) + "{}", "are not JSON .*goes on after its end"),
        (json.dumps(GOOD)[:-2], "are not JSON .*',' missing"),
        (json.dumps(GOOD)[:-1] + "," + "[" * 10**6, "are not JSON .*in the value at character"),
        (json.dumps(GOOD | {"size": [10**8, 10**8]}), "have size .100000000, 100000000"),
    ],
)
def test_a_wrong_landmarks_file_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "track.json"
    path.write_text(content)
    with pytest.raises(KeySyncError, match=message):
        read_landmarks_file(path)


def test_a_long_landmarks_file_takes_little_more_memory_than_its_text(tmp_path: Path) -> None:
    frame = json.dumps(np.round(face_points(), 3).tolist())
    path = tmp_path / "long.json"
    path.write_text(f'{{"fps": 25, "size": [320, 240], "frames": [{", ".join([frame] * 5000)}]}}')
    tracemalloc.start()
    try:
        assert len(read_landmarks_file(path).frames) == 5000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * path.stat().st_size  # as Python's own lists and numbers it takes eleven times as much


def test_a_landmarks_file_written_by_hand(tmp_path: Path) -> None:
    """Indented, with keys in another order, notes, a face half outside the frame and no frames at all."""
    path = tmp_path / "track.json"
    content = {
        "note": {"by": ["me"]},
        "frames": [None, (face_points() - [60, 0]).tolist()],
        "size": [320, 240],
        "fps": 9,
    }
    path.write_text("\n" + json.dumps(content, indent=4) + "\n")
    assert [frame is None for frame in read_landmarks_file(path).frames] == [True, False]
    path.write_text(json.dumps(content | {"frames": []}))
    assert read_landmarks_file(path).frames == ()


def test_landmarks_of_another_video_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "track.json"
    path.write_text(json.dumps(GOOD))
    with pytest.raises(KeySyncError, match="are for 320x240 pixels but the video has 640x360"):
        read_landmarks_file(path, size=(360, 640))
    with pytest.raises(KeySyncError, match="cover 2 frames but the video has 3"):
        read_landmarks_file(path, frames=3)
    with pytest.raises(KeySyncError, match=r"cannot read the landmarks .*missing.json"):
        read_landmarks_file(tmp_path / "missing.json")
    with pytest.raises(KeySyncError, match="cannot write the landmarks"):
        write_landmarks_file(tmp_path / "no" / "track.json", [None], size=(240, 320), fps=25)
