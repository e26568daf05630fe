"""The device that is measured: its names, its clock and its memory."""

from __future__ import annotations

import gc
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import torch

# A call is measured so often at most.
MOST_RUNS = 20
# Calls that take longer need one run to warm up, others two.
LONG = 0.5
NO_CARD = "CPU"


@dataclass(frozen=True)
class Machine:
    """What a table is measured on; `device` is cuda or cpu."""

    device: str
    card: str
    driver: str
    cuda: str
    torch: str
    python: str
    date: str

    @classmethod
    def here(cls) -> Machine:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(
            device=device,
            card=torch.cuda.get_device_name() if device == "cuda" else NO_CARD,
            driver=_driver() if device == "cuda" else "none",
            cuda=str(torch.version.cuda or torch.version.hip or "none"),
            torch=torch.__version__,
            python=platform.python_version(),
            date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        )

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    def wait(self) -> None:
        """Returns when the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def clock(self, work: Callable[[], object]) -> float:
        """Seconds of one call."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def median(self, work: Callable[[], object], seconds: float) -> float:
        """Seconds of a call: after a warm-up, the median of those that `seconds` are enough for, or of one."""
        if self.clock(work) < LONG:
            self.clock(work)
        runs: list[float] = []
        while not runs or (sum(runs) < seconds and len(runs) < MOST_RUNS):
            runs.append(self.clock(work))
        return statistics.median(runs)

    def release(self) -> None:
        """Gives memory of the device back that nothing holds, and forgets the peak."""
        if self.device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int | None:
        """The most bytes that tensors have taken on the device since `release`; None on a CPU, which does not count."""
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else None

    def free_bytes(self) -> int | None:
        """Bytes that tensors could take besides those that they take now; None on a CPU."""
        if self.device != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, float32 is multiplied in float32: not in TF32, which torch uses for convolutions unless it is told."""
    matrices, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matrices, convolutions


def _driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown: no nvidia-smi"
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"
    return answer[0] if answer else "unknown"
