"""What pip is told: whose packages are named, and that all of them are to be had for the newest Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from keysync.errors import install_line
from keysync.weights.pickles import SAFE_TORCH

from .conftest import ROOT

NAME = "comfyui-keysync"
# cd-fvd, and filterpy that pyiqa needs, come as source alone: pip builds them, but only for the Python that runs.
LEFT_OUT = {'extra == "fvd"', 'extra == "iqa"'}
# The package of that name on the public index is a stranger's.
STRANGER = re.compile(r"pip3? install\b.*(?<![\w/.-])keysync(?![\w/.-])|(?<![\w-])keysync\\?\[[a-z]")


def test_no_file_installs_the_stranger_of_our_name() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    found = []
    for name in tracked.stdout.split("\0"):
        content = (ROOT / name).read_bytes() if name and (ROOT / name).is_file() else b""
        if b"\0" not in content and name != "tests/test_packaging.py":
            found += [name for line in content.decode("utf-8", "replace").splitlines() if STRANGER.search(line)]
    assert not found


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('pip install "keysync[training]"', True),
        ("python -m pip install --upgrade keysync", True),
        (r'match=r"keysync\[ray\]"', True),
        ('pip install -c constraints.txt -e ".[cli]"', False),
        ("pip install comfyui-keysync[cli]", False),
        ("python -m pip install ./keysync/", False),
    ],
)
def test_the_stranger_is_told_from_us(line: str, wrong: bool) -> None:
    assert bool(STRANGER.search(line)) == wrong


def test_an_install_line_is_of_the_python_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    assert install_line("peft") == '"/opt/my python/bin/python" -m pip install peft'
    assert install_line("ray[data]", "transformers>=4.57").endswith(' install "ray[data]" "transformers>=4.57"')


def test_torch_is_bounded_where_pickles_are_read_safely() -> None:
    bounds = re.findall(r'"torch(>=[^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert bounds == [f">={'.'.join(map(str, SAFE_TORCH))}"]


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    """A dry run that downloads metadata and no package."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--use-feature=fast-deps"]
    options = ["--retries=1", "--only-binary=:all:", "--quiet"]
    return subprocess.run([*command, *options, *words], capture_output=True, text=True, timeout=600)


def test_all_that_is_needed_comes_for_python_3_13(tmp_path: Path) -> None:
    """By pip itself, from the index that it is set to. Off the network it skips; in CI it does not."""
    needed = [requirement for requirement in requires(NAME) or () if not requirement.startswith(NAME)]
    needed = [name for name, _, marker in (line.partition(";") for line in needed) if marker.strip() not in LEFT_OUT]
    report, target = tmp_path / "report.json", tmp_path / "target"
    options = ["--python-version=3.13", f"--target={target}", f"--report={report}"]
    done = pip(*options, f"--constraint={ROOT / 'constraints.txt'}", *needed)
    if done.returncode and not os.environ.get("CI") and pip("--no-deps", "pip").returncode:
        pytest.skip("no package index answers: what comes for Python 3.13 is not known")
    assert done.returncode == 0, done.stderr
    chosen = {part["metadata"]["name"].lower().replace("_", "-") for part in json.loads(report.read_text())["install"]}
    named = {re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-") for requirement in needed}
    assert {"numpy", "torch", "ray", "scenedetect-headless"} <= named <= chosen
    assert not any(name.startswith(("mediapipe", "opencv-contrib")) for name in chosen)
    assert not target.exists()
