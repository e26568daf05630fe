"""Atomic writes: a file appears under its name complete, or not at all; and what keeps a file from being written."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from platform import node

if sys.platform != "win32":
    import fcntl

# Eight digits say which machine writes: processes of another one may hold locks that this one does not see.
HOST = sha256(node().encode(errors="replace")).hexdigest()[:8]
NAME = re.compile(r"\.keysync-(?:(?P<host>[0-9a-f]{8})-)?[0-9a-f]{16}\.(?:part|mkv)")
# Seconds without a write after which an unlocked file was left by a process that was killed: more than it takes to
# lock a new file; and where no lock tells, far more than lies between two writes of the slowest job.
SETTLED = 10
FORGOTTEN = 24 * 3600
# Where there is none: Windows.
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
FREE_SPACE = "free some space or choose another place"
IS_FOLDER, NO_FOLDER = "it is a folder", "the folder {} does not exist"
# What keeps a file from being written, and what to do about it; `{}` is the folder.
REASONS = {
    errno.EACCES: ("{} is read-only", "choose another folder"),
    errno.EPERM: ("{} is read-only", "choose another folder"),
    errno.EROFS: ("{} is read-only", "choose another folder"),
    errno.ENOSPC: ("the disk of {} is full", FREE_SPACE),
    getattr(errno, "EDQUOT", -1): ("the quota on the disk of {} is used up", FREE_SPACE),
    errno.ENOENT: (NO_FOLDER, "create it first"),
    errno.ENOTDIR: (NO_FOLDER, "create it first"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a new, empty file next to `path`; it is renamed to `path` at the end of the block.

    On an exception it is removed and an existing file at `path` is kept. Its name is random, starts with `.keysync-`
    and ends in `.part`, so it cannot be mistaken for a finished file; it has the default permissions. It is locked
    while the block runs; files of that kind that killed processes left in the folder are removed first. Raises
    `OSError` if `path` cannot be written.
    """
    sweep(path.parent)
    temporary = path.with_name(hidden_name())
    # Exclusive: never an existing file, nor one that a link leads to.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o666)
    try:
        try:
            lock(descriptor)
            yield temporary
        finally:
            os.close(descriptor)  # before the file is renamed: Windows renames no open file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Path]:
    """Locks a whole file of a `hidden_name`, which others may otherwise sweep, and removes it after the block."""
    descriptor = os.open(path, os.O_RDWR | NO_FOLLOW)
    try:
        lock(descriptor)
        yield path
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def hidden_name(extension: str = "part") -> str:
    """A new name of a file that goes when what needs it is done: of a video (mkv), or of an unfinished file."""
    return f".keysync-{HOST}-{secrets.token_hex(8)}.{extension}"


def sweep(folder: Path) -> list[Path]:
    """Removes the unfinished files that killed processes left in a folder; returns them.

    A file goes if its name is a `hidden_name`, it belongs to this user, no process holds its lock, and it
    has not been written for `SETTLED` seconds; for `FORGOTTEN` seconds where another machine wrote it, or where files
    cannot be locked.
    """
    swept = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = NAME.fullmatch(entry.name)
            with suppress(OSError):  # it has gone, or is not ours to remove
                if name and _is_left(Path(entry.path), local=name["host"] == HOST):
                    Path(entry.path).unlink()
                    swept.append(Path(entry.path))
    return swept


def why_not(path: Path) -> tuple[str, str] | None:
    """Why no file can be written at `path`, and what to do; None where it can: an empty file is written beside it."""
    try:
        if path.is_dir():
            return IS_FOLDER, "choose another file"
        if not path.parent.is_dir():
            return reason(FileNotFoundError(errno.ENOENT, ""), path)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.stat().st_mode):
                return "it is a device or a pipe", "choose another file"
        sweep(path.parent)
        temporary = path.with_name(hidden_name())
        try:
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o666))
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        return reason(error, path)
    return None


def reason(error: Exception, path: Path) -> tuple[str, str]:
    """Why `path` was not written, and what to do, by the error of the system."""
    what, remedy = REASONS.get(
        getattr(error, "errno", None) or 0, (getattr(error, "strerror", None) or type(error).__name__, FREE_SPACE)
    )
    return what.format(path.parent), remedy


def _is_left(path: Path, *, local: bool) -> bool:
    """Whether no process writes this file any more."""
    descriptor = os.open(path, os.O_RDWR | NO_FOLLOW)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or (sys.platform != "win32" and facts.st_uid != os.geteuid()):
            return False
        quiet = time.time() - facts.st_mtime
        if quiet <= SETTLED:
            return False
        free = lock(descriptor)
        return free is not False and (quiet > FORGOTTEN or (local and free is True))
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool | None:
    """Locks a file as long as its descriptor is open: False where another process has, None where none can be."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True
