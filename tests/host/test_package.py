"""The package for ComfyUI's registry: valid, and holding what it should and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from keysync.small import FOLDER

from .find_comfyui import ROOT

HELD = {"__init__.py", "LICENSE", "README.md", "keysync", "locales", "nodes", "pyproject.toml", "web", "workflows"}


def comfy(*words: str, folder: Path, home: Path) -> None:
    """Runs comfy-cli in a home of its own, which sends no statistics."""
    command = shutil.which("comfy")
    if command is None:
        pytest.skip("comfy-cli is not installed: pip install comfy-cli into an environment of its own, put it on PATH")
    done = subprocess.run(
        [command, "--skip-prompt", "node", *words],
        cwd=folder,
        env=os.environ | {"HOME": str(home), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_holds_what_it_should(tmp_path: Path) -> None:
    """Packed in a copy: comfy-cli takes what git tracks, less what .comfyignore names, and leaves its file there."""
    copy, home = tmp_path / "copy", tmp_path / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True, timeout=300)
    comfy("validate", folder=copy, home=home)
    comfy("pack", folder=copy, home=home)
    names = zipfile.ZipFile(copy / "node.zip").namelist()
    assert {name.partition("/")[0] for name in names} == HELD
    assert {path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*") if path.is_file()} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
