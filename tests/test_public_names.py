"""What the library promises: a handful of names, imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import keysync


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert sorted(keysync.__all__) == [
        "FaceSource",
        "KeySyncError",
        "Models",
        "Report",
        "Settings",
        "dub_file",
        "load_models",
    ]
    for name in keysync.__all__:
        assert getattr(keysync, name).__name__ == name


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="module 'keysync' has no attribute 'Dub'"):
        keysync.Dub  # noqa: B018


def test_torch_is_not_loaded_for_the_name_alone() -> None:
    question = "import sys, keysync; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", question], timeout=60).returncode == 0
