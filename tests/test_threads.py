"""Threads are those that the machine has to give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keysync.threads
from keysync.threads import PASSIVE, Use, processors, threads, wait_passively


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*keysync.threads.CHOSEN, *PASSIVE, "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("usable", "others", "most", "count"),
    [
        (2, 0.0, 2, 2),
        (2, 1.0, 2, 2),
        (2, 2.0, 2, 2),
        (4, 1.0, 4, 3),
        (4, 0.1, 4, 4),
        (16, 1.0, 16, 15),
        (16, 6.3, 16, 9),
        (16, 12.0, 16, 16),
        (8, 0.3, 4, 4),
        (8, 5.5, 4, 4),
        (0.5, 0.0, 2, 1),
        (1.5, 0.0, 8, 2),
    ],
)
def test_busy_processors_are_left_alone_where_most_are_idle(
    usable: float, others: float, most: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysync.threads, "processors", lambda: usable)
    monkeypatch.setattr(Use, "used_by_others", lambda self: others)
    assert threads(most) == count
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads(most) == most


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc": "0::/a/b\n", "a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc": "0::/\n"}, None),
        ({"proc": "0::/a\n", "a/cpu.max": "max 100000\n"}, None),
        ({"proc": "3:cpu,cpuacct:/d\n", "cpu/d/cpu.cfs_quota_us": "50000", "cpu/d/cpu.cfs_period_us": "100000"}, 0.5),
        ({"proc": "3:cpu:/d\n2:memory:/d\n", "cpu/d/cpu.cfs_quota_us": "-1"}, None),
    ],
)
def test_a_quota_is_that_of_the_tightest_group(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert keysync.threads._quota(tmp_path / "proc", tmp_path) == quota


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process to some processors")
def test_an_affinity_is_kept_to() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors() <= 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the use of the processors is unknown")
def test_what_others_use_is_seen_and_ones_own_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = min(os.sched_getaffinity(0))
    spin = f"import os, time\nos.sched_setaffinity(0, {{{processor}}})\nend = time.monotonic() + 30\n"
    before = os.sched_getaffinity(0)
    monkeypatch.setattr(keysync.threads, "_affinity", lambda: {processor})
    with subprocess.Popen(
        [sys.executable, "-c", f"{spin}print(flush=True)\nwhile time.monotonic() < end: pass"], stdout=-1
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        os.sched_setaffinity(0, {processor})
        try:
            began = Use.now()
            while Use.now().clock < began.clock + 1.5:  # this process is busy there too
                pass
            others = began.used_by_others()
        finally:
            os.sched_setaffinity(0, before)
            other.kill()
    assert 0.25 < others <= 1.05


def test_how_threads_wait_is_the_users_choice_first(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    for name in PASSIVE:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    wait_passively()
    assert "OMP_WAIT_POLICY" not in os.environ


def test_the_command_waits_passively_before_torch_is_loaded() -> None:
    code = (
        "import os, sys, keysync.__main__ as command\n"
        "assert 'torch' not in sys.modules\n"
        "sys.argv = ['keysync', '--help']\n"
        "import atexit\n"
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules))\n"
        "command.run()\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.endswith("PASSIVE True\n")
