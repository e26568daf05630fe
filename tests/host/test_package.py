"""The package for ComfyUI's registry: valid, and holding what the nodes need and nothing else."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from keysync.systems.keysync.small import FOLDER

from .find_comfyui import ROOT

HELD = {
    "__init__.py",
    "LICENSE",
    "README.md",
    "keysync",
    "locales",
    "nodes",
    "pyproject.toml",
    "subgraphs",
    "web",
    "workflows",
}
LARGEST = 40e6  # bytes, of which 23 million are KeySync small and 9 million FlashLips small
OWN = ROOT / ".venv-comfy-cli" / ("Scripts" if sys.platform == "win32" else "bin")


def comfy(*words: str, folder: Path, home: Path) -> str:
    """Runs comfy-cli in a home of its own, which sends no statistics; returns what it said."""
    command = shutil.which("comfy", path=OWN) or shutil.which("comfy")
    assert command, "comfy-cli is missing: run `make comfy-cli`"
    done = subprocess.run(
        [command, "--skip-prompt", "node", *words],
        cwd=folder,
        env=os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed in a copy: comfy-cli takes what git tracks, less what .comfyignore names, and leaves its file there."""
    copy, home = tmp_path_factory.mktemp("package") / "copy", tmp_path_factory.mktemp("home")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True, timeout=300)
    said = comfy("validate", folder=copy, home=home)
    assert "Warning" not in said, said
    comfy("pack", folder=copy, home=home)
    return copy / "node.zip"


def test_the_package_holds_what_it_should(package: Path) -> None:
    names = set(zipfile.ZipFile(package).namelist())
    assert {name.partition("/")[0] for name in names} == HELD
    help_pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "web" / "docs").glob("*.md")}
    assert help_pages
    assert help_pages <= names
    assert {path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*") if path.is_file()} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_package_is_small(package: Path) -> None:
    assert package.stat().st_size <= LARGEST


@pytest.mark.parametrize("folder", ["nodes", "keysync"])
def test_what_the_package_holds_imports_nothing_that_it_leaves_out(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                named = {(node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Import):
                named = {alias.name.partition(".")[0] for alias in node.names}
            else:
                continue
            assert not named & {"training", "tests"}, f"{path}:{node.lineno}"
