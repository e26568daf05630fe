"""How to fix the library's errors in ComfyUI: which node to connect, or which input to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ...keysync.errors import KeySyncError
from ...keysync.speech.encoders import ENCODERS

# By `KeySyncError.about`.
REMEDIES = {
    "keyframe": "connect Load KeySync Model to keyframe_model",
    "interpolation": "connect Load KeySync Model to interpolation_model",
    "stages": "connect Load KeySync Model to keyframe_model and interpolation_model",
    "vae": "connect Load KeySync VAE",
    **dict.fromkeys(ENCODERS, "connect Load Speech Encoder"),
    "face": "set face_index",
    "speaker": "set it in Speaker",
    "sam2": "choose another file in model_name",
    "audio_guidance": "set audio_guidance to 0",
    "identity_guidance": "set identity_guidance to 0",
    "strength": "set strength",
    "steps": "set steps",
    "references": "set references",
    "flashlips": "choose a FlashLips file in Load FlashLips",
    "crops": "use crops from Crop Face with no model connected",
    "lips": "put Fit Audio before Lips Curve from Speech",
    "output": "ComfyUI's temporary folder; --temp-directory chooses another one",
    "detector_weights": "the folder models/face_alignment",
}


@contextmanager
def remedies(own: Mapping[str, str] | None = None) -> Iterator[None]:
    """Adds the remedy to a `KeySyncError` of the library that is raised inside; a node's `own` take precedence."""
    known = {**REMEDIES, **(own or {})}
    try:
        yield
    except KeySyncError as error:
        if error.about not in known:
            raise
        raise KeySyncError(f"{error} ({known[error.about]})") from error
