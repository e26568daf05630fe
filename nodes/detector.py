"""What a face detector of the library needs from ComfyUI: the folder of its weights, and a device."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import folder_paths
import torch

from ..keysync.choice import explain
from ..keysync.face.detectors import DETECTORS
from ..keysync.face.face_alignment import FaceAlignmentDetector

# Its folder in models/ and in extra_model_paths.yaml.
FACE_ALIGNMENT = "face_alignment"
FACE_ALIGNMENT_FILES = (FaceAlignmentDetector.FAN, FaceAlignmentDetector.S3FD)
DETECTOR_TIP = explain(f"The face detector. Weight files belong in models/{FACE_ALIGNMENT}.", DETECTORS)
folder_paths.add_model_folder_path(FACE_ALIGNMENT, str(Path(folder_paths.models_dir, FACE_ALIGNMENT)))


def detector_weights() -> Path:
    """The first folder with both of face-alignment's files: one of ComfyUI's, or torch's own, where many have them.

    Where none has both, the one of ComfyUI's that has most: the detector says what is missing there.
    """
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(FACE_ALIGNMENT)]
    own = Path(torch.hub.get_dir(), "checkpoints")

    def held(folder: Path) -> int:
        return sum((folder / name).is_file() for name in FACE_ALIGNMENT_FILES)

    complete = (folder for folder in (*folders, own) if held(folder) == len(FACE_ALIGNMENT_FILES))
    return next(complete, None) or max(folders, key=held)


def detector_device() -> str:
    """Where a detector runs: where ComfyUI runs its models."""
    return str(comfy.model_management.get_torch_device())
