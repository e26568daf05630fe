"""What the tests inside a ComfyUI did is told one by one: passed, failed with its text, skipped with its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .test_inside import PATIENT, Outcome, read_outcomes

INNER = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.mark.skip("no such node")
def test_skips(): pass
@pytest.fixture
def broken(): raise RuntimeError("no model")
def test_cannot_begin(broken): pass
"""


def test_outcomes_of_a_real_run(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    (tmp_path / "test_unread.py").write_text("import nothing_of_this_name")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", f"--rootdir={tmp_path}", f"--junit-xml={report}", PATIENT]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    outcomes = read_outcomes(report)
    passed, failed, skipped, not_begun = outcomes["test_inner"]
    assert passed == Outcome("test_passes")
    assert "assert 1 == 2" in (failed.failure or "")
    assert skipped == Outcome("test_skips", skipped="no such node")
    assert "no model" in (not_begun.failure or "")
    assert "raise RuntimeError" in not_begun.trace
    (unread,) = outcomes["test_unread"]
    assert unread.failure
    assert "nothing_of_this_name" in unread.trace
