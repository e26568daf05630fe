"""Runs the tests of `inside/` in each ComfyUI's own Python: one process a ComfyUI, one test here for a file there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .conftest import RAN
from .find_comfyui import ComfyUI

INSIDE = Path(__file__).parent / "inside"
FILES = sorted(path.stem for path in INSIDE.glob("test_*.py"))
TIME_LIMIT = 1800  # seconds


@dataclass
class Outcome:
    """What the tests of one inner file did."""

    ran: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, comfyui: ComfyUI, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """Runs the inner files that this session selected; returns the outcome of each."""
    calls = [item.callspec.params for item in request.session.items if "inner" in getattr(item, "fixturenames", ())]
    files = [INSIDE / f"{params['inner']}.py" for params in calls if params["comfyui"] == comfyui]
    return _run_inside(comfyui, files, tiny_folder, tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("inner", FILES)
def test_inside(request: pytest.FixtureRequest, comfyui: ComfyUI, outcomes: dict[str, Outcome], inner: str) -> None:
    outcome = outcomes[inner]
    request.config.stash[RAN][comfyui.version] += outcome.ran
    if outcome.failures:
        pytest.fail("\n\n".join(outcome.failures), pytrace=False)
    if not outcome.ran:
        pytest.skip("; ".join(outcome.skips) or "it holds no tests")


def _run_inside(comfyui: ComfyUI, files: list[Path], tiny: Path, work: Path) -> dict[str, Outcome]:
    report = work / "report.xml"
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "KEYSYNC_TINY": str(tiny),
        "PYTHONPATH": _lend_pytest(comfyui, work),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    command = [comfyui.python, "-m", "pytest", "-c", INSIDE / "pytest.ini", f"--junit-xml={report}", *files]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=comfyui.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    if not report.exists():
        pytest.fail(f"the tests inside ComfyUI did not start:\n{done.stdout}\n{done.stderr}", pytrace=False)
    outcomes: dict[str, Outcome] = defaultdict(Outcome)
    for case in ElementTree.parse(report).iter("testcase"):
        _note(case, outcomes)
    return outcomes


def _note(case: ElementTree.Element, outcomes: dict[str, Outcome]) -> None:
    """Adds one inner test to the outcome of its file; a file that cannot be imported is a failure of its own."""
    place = (case.get("classname") or case.get("name") or "").split(".")
    outcome = outcomes[next(part for part in place if part.startswith("test_"))]
    skipped, broken = case.find("skipped"), [*case.iter("failure"), *case.iter("error")]
    if skipped is not None:
        outcome.skips.append(skipped.get("message") or "")
        return
    outcome.ran += 1
    outcome.failures += [f"{case.get('name')}\n{found.text}" for found in broken]


def _lend_pytest(comfyui: ComfyUI, work: Path) -> str:
    """What `PYTHONPATH` must hold so that ComfyUI's Python finds pytest: ours where it has none, else nothing."""
    if subprocess.run([str(comfyui.python), "-c", "import pytest"], capture_output=True).returncode == 0:
        return ""
    lent = work / "lent"
    lent.mkdir()
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli"):
        spec = importlib.util.find_spec(name)
        if spec and spec.submodule_search_locations:
            (lent / name).symlink_to(spec.submodule_search_locations[0], target_is_directory=True)
    return str(lent)
