"""The detector face-alignment: the method's own landmarks (S3FD and FAN), with weights from a local folder."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import KeySyncError, install_line
from ..imports import import_alone
from ..weights.files import need_safe_torch
from .face import Face, Frame

# Raised by torch.load and load_state_dict for a file of another kind.
WRONG_FILE = (OSError, EOFError, RuntimeError, AttributeError, KeyError, TypeError, pickle.UnpicklingError)


class FaceAlignmentDetector:
    """The face-alignment package: S3FD finds the faces, FAN their 68 points. Weights are never downloaded.

    `weights` is the folder that contains `FAN` and `S3FD`; it defaults to torch's, $TORCH_HOME/hub/checkpoints.
    """

    FAN = "2DFAN4-11f355bf06.pth.tar"
    S3FD = "s3fd-619a316812.pth"

    def __init__(self, *, device: str = "cpu", weights: str | Path | None = None) -> None:
        package = _import_face_alignment()
        folder = Path(weights) if weights is not None else Path(torch.hub.get_dir()) / "checkpoints"
        missing = [name for name in (self.FAN, self.S3FD) if not (folder / name).is_file()]
        if missing:
            raise KeySyncError(
                f"{folder} lacks {' and '.join(missing)}, which face-alignment needs: download them from "
                "https://www.adrianbulat.com/downloads/python-fan/, choose another folder, or choose another detector",
                about="detector_weights",
            )
        self._alignment = _load_face_alignment(package, folder / self.FAN, folder / self.S3FD, device)

    def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
        with _cudnn_benchmark_kept(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No faces were detected")
            found = self._alignment.get_landmarks_from_image(frame, return_bboxes=True)
        if found is None or found[0] is None:
            return []
        landmarks, _, boxes = found
        # Half a pixel: FAN's origin is the centre of the first pixel.
        return [Face.of(points + 0.5, min(float(box[4]), 1.0)) for points, box in zip(landmarks, boxes, strict=True)]

    def close(self) -> None:
        del self._alignment


def _import_face_alignment() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package: Any = import_alone("face_alignment")
    except ImportError as error:
        raise KeySyncError(
            f"the detector face-alignment does not load ({error}): {install_line('face-alignment')}"
        ) from error
    return package


def _load_face_alignment(package: Any, fan: Path, s3fd: Path, device: str) -> Any:
    """A `FaceAlignment` that loads its network from a file: the package itself uses only torch's download folder."""

    class LocalFaceAlignment(package.FaceAlignment):  # type: ignore[misc]
        def _load_native(self, network_name: str, network_size: int, device: str, dtype: torch.dtype) -> Any:
            network = package.api.FAN(network_size)
            network.load_state_dict(torch.load(fan, map_location="cpu", weights_only=True))
            return network.to(device, dtype=dtype).eval()

    need_safe_torch(fan)
    try:
        with _cudnn_benchmark_kept():
            return LocalFaceAlignment(
                package.LandmarksType.TWO_D,
                device=str(device),
                compile=False,
                face_detector="sfd",
                face_detector_kwargs={"path_to_detector": str(s3fd)},
            )
    except torch.cuda.OutOfMemoryError:
        raise
    except WRONG_FILE as error:
        raise KeySyncError(
            f"{fan} or {s3fd} is not a weight file of face-alignment 1.5.0 ({error}): download it again"
        ) from error


@contextmanager
def _cudnn_benchmark_kept() -> Iterator[None]:
    """Undoes the package's change of a global setting: with cuDNN benchmarking, results on a GPU vary between runs."""
    kept = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = kept
