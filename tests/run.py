"""All tests: `python -m tests.run`. Those inside ComfyUI run beside the others, which halves the time on two cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

HOST = Path(__file__).parent / "host"


def main() -> int:
    """Prints what the others print at once, then what those inside ComfyUI printed; returns 1 if a test failed."""
    pytest = [sys.executable, "-m", "pytest"]
    with (
        TemporaryFile() as printed,
        subprocess.Popen([*pytest, str(HOST)], stdout=printed, stderr=subprocess.STDOUT) as host,
    ):
        try:
            failed = subprocess.call([*pytest, "--ignore", str(HOST)])
        except BaseException:
            host.terminate()
            raise
        failed |= host.wait()
        printed.seek(0)
        sys.stdout.buffer.write(printed.read())
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
