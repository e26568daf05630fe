"""All tests: `python -m tests.run`. Those inside ComfyUI and of training run beside the others: there are two cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

# About as long as all others, and those inside ComfyUI are skipped where there is none.
BESIDE = [str(Path(__file__).parent / room) for room in ("host", "training")]


def main() -> int:
    """Prints what the others print at once, then what those beside them printed; returns 1 if a test failed."""
    pytest = [sys.executable, "-m", "pytest"]
    with (
        TemporaryFile() as printed,
        subprocess.Popen([*pytest, *BESIDE], stdout=printed, stderr=subprocess.STDOUT) as beside,
    ):
        try:
            failed = subprocess.call([*pytest, *(f"--ignore={room}" for room in BESIDE)])
        except BaseException:
            beside.terminate()
            raise
        failed |= beside.wait()
        printed.seek(0)
        sys.stdout.buffer.write(printed.read())
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
