"""The package `training`, as the nodes use it: found and imported when a node needs it, never when ComfyUI starts.

It imports the library by its own name, `keysync`, which is here a part of the extension: it gets a copy of its own, and
what it raises becomes the extension's `KeySyncError`.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfy.model_management
import folder_paths

from ...keysync.errors import KeySyncError

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "keysync"
# A folder and a file are called so, on every system.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NOT_HERE = (
    "training is not installed: the package of ComfyUI's registry leaves it out; replace the folder {} by a git clone "
    "of the repository, and restart ComfyUI"
)


@contextmanager
def training() -> Iterator[None]:
    """Inside, `training` can be imported relatively. Raises `KeySyncError` where it cannot, and for what it raises."""
    if not (ROOT / "training" / "train.py").is_file():
        raise KeySyncError(NOT_HERE.format(ROOT))
    _provide_library()
    from keysync.errors import KeySyncError as TheirError

    try:
        yield
    except TheirError as error:
        interrupted = error.__cause__
        if isinstance(interrupted, comfy.model_management.InterruptProcessingException):
            raise interrupted from None
        raise KeySyncError(str(error)) from error
    except ImportError as error:
        raise KeySyncError(
            f"training cannot be imported ({error}): update ComfyUI's Python packages, or install what is missing with "
            f"{sys.executable} -m pip install"
        ) from error


def _provide_library() -> None:
    """The library under its own name. Raises `KeySyncError` where another one has it."""
    file = ROOT / LIBRARY / "__init__.py"
    held = sys.modules.get(LIBRARY)
    if held is not None:
        theirs = Path(str(held.__file__)).resolve()
        if theirs != file:
            raise KeySyncError(
                f"another keysync is loaded, from {theirs.parent}: expected {file.parent}; uninstall it with "
                f"{sys.executable} -m pip uninstall comfyui-keysync, and restart ComfyUI"
            )
        return
    spec = importlib.util.spec_from_file_location(LIBRARY, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[LIBRARY] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[LIBRARY]
        raise


def training_folder(name: str) -> Path:
    """The folder of a person or style, in ComfyUI's output folder. Raises `KeySyncError` for an unfit name."""
    check_name(name)
    return Path(folder_paths.get_output_directory(), "keysync", "training", name)


def check_name(name: str) -> None:
    """Raises `KeySyncError` for what is not a file's name on every system."""
    if not NAME.fullmatch(name):
        raise KeySyncError(
            f"the name is {name!r}: expected 1 to 64 letters, digits, hyphens and underscores, the first a letter or "
            "digit"
        )


def input_folder(name: str) -> Path:
    """A folder in ComfyUI's input folder. Raises `KeySyncError` where there is none, or outside."""
    base = Path(folder_paths.get_input_directory()).resolve()
    folder = (base / name).resolve()
    if not folder.is_relative_to(base):
        raise KeySyncError(f"the folder {name!r} is outside ComfyUI's input folder: expected a folder inside {base}")
    if not folder.is_dir():
        raise KeySyncError(
            f"there is no folder {name!r} in ComfyUI's input folder {base}: create it and put clips there"
        )
    return folder
