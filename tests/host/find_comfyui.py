"""Finds the ComfyUIs that the host tests run on, where comfy-cli would, and a Python that can run each.

`COMFYUI_PATH` names one, `COMFYUI_PATHS` further ones (separated like `PATH`), `COMFYUI_PYTHON` the Python of all.
"""

from __future__ import annotations

import configparser
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "torchsde", "aiohttp", "comfyui_frontend_package")


@dataclass(frozen=True)
class ComfyUI:
    """One ComfyUI: its folder, its version, and the Python that runs it, or None where none was found."""

    folder: Path
    version: str
    python: Path | None


@functools.cache
def find_comfyuis() -> tuple[ComfyUI, ...]:
    """The ComfyUI of this machine, then those of `COMFYUI_PATHS`; empty where there is none."""
    first = next((folder for folder in _usual_folders() if _is_comfyui(folder)), None)
    listed = [Path(entry).expanduser() for entry in os.environ.get("COMFYUI_PATHS", "").split(os.pathsep) if entry]
    wrong = [folder for folder in listed if not _is_comfyui(folder)]
    if wrong:
        raise FileNotFoundError(f"COMFYUI_PATHS names {wrong[0]}, which is no ComfyUI: it holds no comfyui_version.py")
    folders = dict.fromkeys(folder.resolve() for folder in (first, *listed) if folder)
    pythons = {folder: _find_python(folder) for folder in folders}
    any_python = next((python for python in pythons.values() if python), None)
    return tuple(ComfyUI(folder, _version(folder), python or any_python) for folder, python in pythons.items())


def _usual_folders() -> Iterator[Path]:
    if "COMFYUI_PATH" in os.environ:
        yield Path(os.environ["COMFYUI_PATH"]).expanduser()
    config = configparser.ConfigParser(interpolation=None)
    config.read(_comfy_cli_config())
    for key in ("default_workspace", "recent_workspace"):
        if config.defaults().get(key):
            yield Path(config.defaults()[key]).expanduser()
    yield Path.home() / "comfy" / "ComfyUI"
    if ROOT.parent.name == "custom_nodes":
        yield ROOT.parent.parent


def _comfy_cli_config() -> Path:
    folders = {
        "darwin": Path.home() / "Library" / "Application Support",
        "win32": Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")),
    }
    return folders.get(sys.platform, Path.home() / ".config") / "comfy-cli" / "config.ini"


def _is_comfyui(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("main.py", "comfyui_version.py"))


def _version(folder: Path) -> str:
    found = re.search(r'__version__ = "(.+?)"', (folder / "comfyui_version.py").read_text())
    return found[1] if found else "unknown"


def _find_python(comfyui: Path) -> Path | None:
    """The first Python that imports what ComfyUI needs: the named one, this one, its environments, that of the path."""
    if "COMFYUI_PYTHON" in os.environ:
        return Path(os.environ["COMFYUI_PYTHON"]).expanduser()
    inside = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    environments = [parent / name for parent in (comfyui, comfyui.parent) for name in (".venv", "venv")]
    on_path = [Path(found) for found in (shutil.which("python3"), shutil.which("python")) if found]
    pythons = [Path(sys.executable), *(environment.joinpath(*inside) for environment in environments), *on_path]
    return next((python for python in pythons if python.is_file() and _has_needed(python)), None)


@functools.cache
def _has_needed(python: Path) -> bool:
    question = f"import importlib.util as u; raise SystemExit(not all(map(u.find_spec, {NEEDED!r})))"
    return subprocess.run([python, "-c", question], capture_output=True, timeout=60).returncode == 0
