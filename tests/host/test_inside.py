"""Runs the tests of `inside/` in each ComfyUI's own Python: one process a ComfyUI, one test here for a file there.

Each inner test is a subtest here, with its own failure or the reason why it was skipped.
"""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .conftest import RAN, SKIPPED
from .find_comfyui import ComfyUI

INSIDE = Path(__file__).parent / "inside"
FILES = sorted(path.stem for path in INSIDE.glob("test_*.py"))
TIME_LIMIT = 3600  # seconds
PATIENT = "--continue-on-collection-errors"  # a file that cannot be imported does not keep the others from running
# What inner tests import and ComfyUI does not install: where it is missing, it is lent by the Python that runs this.
LENT = (
    *("pytest", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli"),
    *("diffusers", "importlib_metadata", "zipp", "accelerate"),
)


@dataclass(frozen=True)
class Outcome:
    """What one inner test did: it failed with a message, was skipped for a reason, or else passed."""

    name: str
    failure: str | None = None
    skipped: str | None = None
    trace: str = ""


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, comfyui: ComfyUI, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Outcome]]:
    """Runs the inner files that this session selected; returns the outcomes of each."""
    tests = (item for item in request.session.items if isinstance(item, pytest.Function))
    calls = [test.callspec.params for test in tests if "inner" in test.fixturenames]
    files = [INSIDE / f"{params['inner']}.py" for params in calls if params["comfyui"] == comfyui]
    return _run_inside(comfyui, files, tiny_folder, tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("inner", FILES)
def test_inside(
    request: pytest.FixtureRequest,
    subtests: pytest.Subtests,
    comfyui: ComfyUI,
    outcomes: dict[str, list[Outcome]],
    inner: str,
) -> None:
    assert outcomes[inner], "it holds no tests"
    skipped = sum(outcome.skipped is not None for outcome in outcomes[inner])
    request.config.stash[RAN][comfyui.version] += len(outcomes[inner]) - skipped
    request.config.stash[SKIPPED][comfyui.version] += skipped
    for outcome in outcomes[inner]:
        with subtests.test(outcome.name):
            if outcome.failure is not None:
                print(outcome.trace)
                pytest.fail(outcome.failure, pytrace=False)
            if outcome.skipped is not None:
                pytest.skip(outcome.skipped)
    if skipped == len(outcomes[inner]):
        pytest.skip(f"none of its {skipped} tests ran")


def _run_inside(comfyui: ComfyUI, files: list[Path], tiny: Path, work: Path) -> dict[str, list[Outcome]]:
    report = work / "report.xml"
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "KEYSYNC_TINY": str(tiny),
        "PYTHONPATH": str(_lend(comfyui, work)),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    command = [comfyui.python, "-m", "pytest", "-c", INSIDE / "pytest.ini", f"--junit-xml={report}", PATIENT, *files]
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
    return read_outcomes(report)


def read_outcomes(report: Path) -> dict[str, list[Outcome]]:
    """The outcomes of each inner file in a JUnit report; a file that cannot be imported is a failure of its own."""
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name") or ""
        place = (case.get("classname") or name).split(".")
        broken = [*case.iter("failure"), *case.iter("error")]
        skipped = case.find("skipped")
        outcome = Outcome(
            name,
            failure="; ".join(found.get("message") or "no message" for found in broken) or None,
            skipped=None if skipped is None else skipped.get("message") or "no reason given",
            trace="\n\n".join(found.text or "" for found in broken),
        )
        outcomes[next(part for part in place if part.startswith("test_"))].append(outcome)
    return outcomes


def _lend(comfyui: ComfyUI, work: Path) -> Path:
    """A folder of links to those packages of ours that ComfyUI's Python has not."""
    question = f"import importlib.util as u; print(*(name for name in {LENT!r} if u.find_spec(name) is None))"
    command = [str(comfyui.python), "-c", question]
    missing = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    folder = work / "lent"
    folder.mkdir()
    for package in metadata.distributions():
        if package.name.lower() in missing:
            for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
                (folder / top).symlink_to(str(package.locate_file(top)))
    return folder
