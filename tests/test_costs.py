"""What a dub is expected to take is near what it takes: memory, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Dubs a part of the demo, then prints the estimate and the most that the process held, in bytes.
DUB = """
import json, resource, sys
from fractions import Fraction
from pathlib import Path
import torch
from keysync.demo import SPEECH, TALK
from keysync.dub import Settings
from keysync.job import FaceSource, dub_file
from keysync.media.reader import VideoReader
from keysync.systems.table import SYSTEMS

torch.set_num_threads(1)
row = SYSTEMS[sys.argv[1]]
models = row.load({option.name: None for option in row.files}, device=torch.device("cpu"), dtype=None)
report = dub_file(VideoReader(TALK, 0, 0.6), SPEECH, Path(sys.argv[2]), models, Settings(), FaceSource())
print(json.dumps([report.estimate["memory"], 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the most that a process held is counted in other units")
@pytest.mark.parametrize("system", ["keysync", "rewrite"])
def test_the_memory_of_a_dub_is_expected_within_15_percent(system: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DUB, system, str(tmp_path / "out.mp4")]
    told = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    expected, measured = json.loads(told.stdout)
    assert 0.85 * measured < expected < 1.15 * measured
