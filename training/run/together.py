"""Processes that act as one: what the main process decides holds for all, and all see the same folders."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keysync.errors import KeySyncError

from ..data.disk import disk

if TYPE_CHECKING:
    from accelerate import Accelerator

Result = TypeVar("Result")

# How long a process looks for a file that another has just written: network file systems remember what was not there.
SECONDS = 15.0


def decided(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """What `work` returns in the main process, in every process; every process must call it.

    Raises in every process the `KeySyncError` that `work` raises.
    """
    if accelerator.num_processes == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None, ""]
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except KeySyncError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1]:
        raise KeySyncError(outcome[1])
    result: Result = outcome[0]
    return result


def gathered(accelerator: Accelerator, value: Result) -> list[Result]:
    """The values of all processes, in every process; every process must call it."""
    if accelerator.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    values: list[Result] = gather_object([value])
    return values


def check_shared(accelerator: Accelerator, folder: Path, data: Path | str, digest: str) -> None:
    """Checks that all processes see the run's folder, which is created, and read the data with this digest.

    Every process must call it. Raises `KeySyncError` in all of them if one does not.
    """
    if accelerator.num_processes == 1:
        return
    mark = folder / decided(accelerator, lambda: _leave_mark(folder))
    seen = gathered(accelerator, (socket.gethostname(), _sees(mark), digest))
    if accelerator.is_main_process:
        mark.unlink(missing_ok=True)
    for number, (host, sees, theirs) in enumerate(seen):
        if not sees:
            raise KeySyncError(
                f"process {number} on {host} does not see the folder {folder} of process 0 on {seen[0][0]}: name a "
                "folder that all machines share"
            )
        if theirs != seen[0][2]:
            raise KeySyncError(
                f"process {number} on {host} has other data in {data} than process 0 on {seen[0][0]}: copy the same "
                "data to all machines, or name a folder that they share"
            )


def _leave_mark(folder: Path) -> str:
    name = f".shared-{secrets.token_hex(8)}"
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return name


def _sees(mark: Path) -> bool:
    end = time.monotonic() + SECONDS
    while not mark.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
