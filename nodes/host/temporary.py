"""Files in ComfyUI's temporary folder, which it empties when it starts, and the folder of what outlives that."""

from __future__ import annotations

import secrets
from pathlib import Path

import folder_paths

from ...keysync.errors import KeySyncError


def temporary_video(suffix: str = ".mp4") -> Path:
    """A new name for a video there. Raises `KeySyncError` where the folder cannot be made."""
    folder = Path(folder_paths.get_temp_directory())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KeySyncError(
            f"ComfyUI's temporary folder {folder} cannot be made ({error.strerror}): start ComfyUI with another one "
            "(--temp-directory)"
        ) from error
    return folder / f"keysync-{secrets.token_hex(8)}{suffix}"


def work_folder() -> Path:
    """Where dubs keep unfinished work: in ComfyUI's user folder, for the same job after a restart."""
    return Path(folder_paths.get_user_directory()) / "keysync-work"


def is_temporary(path: str | Path) -> bool:
    """Whether a file is there: then its name means nothing to a person."""
    return Path(path).resolve().is_relative_to(Path(folder_paths.get_temp_directory()).resolve())
