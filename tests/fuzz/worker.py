"""Reads damaged files of one kind, in a process of its own that may take only so much memory: a line of JSON a case.

python -m tests.fuzz.worker SEED KIND FIRST LAST
"""

from __future__ import annotations

import json
import logging
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import torch

from keysync.errors import KeySyncError

from .kinds import KINDS, Kind, same

# Seconds that a case may take, and bytes beyond what the process has once it has read a valid file.
SECONDS, MEMORY = 30, 2 * 2**30
ACCEPTED, REFUSED = "accepted", "refused"
FAULTS = ("traceback", "not one line", "hang", "memory", "silent", "crash")


class Hang(BaseException):
    """Not an `Exception`, so that nothing mistakes it for an error of the file."""


def outcome(kind: Kind, folder: Path, valid: Any, damaged: bytes) -> tuple[str, str]:
    """What becomes of the files in a folder, of which one is `damaged`, and the error or fault in words."""
    signal.alarm(SECONDS)
    try:
        held = kind.read(folder)
    except KeySyncError as error:
        text = str(error)
        return (REFUSED if text.isprintable() and 0 < len(text) < 2000 else "not one line"), text
    except Hang:
        return "hang", _where()
    except MemoryError:
        return "memory", _where()
    except RecursionError as error:
        return "traceback", f"RecursionError: {error}"
    except BaseException as error:
        memory = re.search(r"alloc|memory", str(error))
        return ("memory" if memory else "traceback"), f"{type(error).__name__}: {str(error)[:200]} {_where()}"
    finally:
        signal.alarm(0)
    if kind.untold is not None and not same(held, valid) and not kind.untold(damaged):
        return "silent", "not what the valid file holds, although the damaged one tells of it"
    return ACCEPTED, ""


def main(seed: str, name: str, first: int, last: int) -> None:
    kind = KINDS[name]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    signal.signal(signal.SIGALRM, _alarm)
    with tempfile.TemporaryDirectory() as place:
        whole, folder = Path(place) / "valid", Path(place) / "damaged"
        whole.mkdir()
        file = kind.write(whole)
        shutil.copytree(whole, folder)
        content = file.read_bytes()
        valid = kind.read(folder)  # raises where the valid file is not read: then the fuzzer is at fault
        _bound_memory()
        for case in range(first, last):
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            random = Random(f"{seed} {name} {case}")
            damaged = kind.damage(content, random)
            (folder / file.relative_to(whole)).write_bytes(damaged)
            result, words = outcome(kind, folder, valid, damaged)
            print(json.dumps({"case": case, "outcome": result, "words": words.replace(place, "")[:600]}), flush=True)


def _bound_memory() -> None:
    status = Path("/proc/self/status")
    if status.exists():  # on Linux
        held = int(status.read_text().split("VmSize:")[1].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))


def _alarm(_: int, __: FrameType | None) -> None:
    raise Hang


def _where() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [frame for frame in frames if "/keysync/" in frame.filename or "/training/" in frame.filename]
    frame = (ours or frames)[-1]
    return f"at {Path(frame.filename).name}:{frame.lineno} ({frame.name})"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
