"""What the networks of an unfinished dub have made, in one file: a dub that was killed goes on from there.

A result is kept under the digest of all that it follows from, so what is taken is, bit for bit, what would be computed
again. The file begins with a line of JSON that names its job; a record is whole or is dropped, with all after it. It
goes when the dub is finished.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import sys
import threading
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import __version__
from .cache import code_digest
from .whole import lock, reason

SUFFIX = ".keysync-work"
# Of the file; those of another form are begun anew.
FORM = 1
# Rooms of the package whose code makes results.
ROOMS = ("face", "media", "network", "speech", "systems", "vae")
# Length of a record's key and of its digest, and before a record: its key, its digest, bytes of its head and of its
# numbers.
KEY, DIGEST = 64, 16
# Bytes of a key by which its record is found: all of them are compared then.
KNOWN = 16
BEFORE = struct.Struct(f"<{KEY}s{DIGEST}sIQ")
# Of the numbers of results, what heads take beside.
HEADS = 0.02
# In a folder of many jobs: seconds after which an unfinished one is forgotten, and bytes of all.
FORGOTTEN, MOST_LEFT = 7 * 24 * 3600, 20 * 2**30
MOST_HEAD = 4096

log = logging.getLogger(__name__)


class Work:
    """The file of an unfinished dub in a folder, which is made where it is missing; `fresh` ignores what is there.

    Nothing here fails a dub: where nothing can be kept, `problem` says why. Results come and go from several threads.
    """

    def __init__(self, folder: Path, name: str | None = None, *, fresh: bool = False) -> None:
        """Without a `name` the file is named after its job, and what other jobs have left in the folder is bounded."""
        self.folder, self.fresh = folder, fresh
        self.path = folder / f".{name or 'unnamed'}{SUFFIX}"
        self._named = name is not None
        self._dubs = 1
        self._causes: tuple[Any, ...] = ()
        self.problem, self.limit = "", 0
        self.taken = self.found = self.size = 0
        self._file: int | None = None
        self._places: dict[bytes, int] = {}  # where a record begins, by the beginning of its key
        self._busy = threading.Lock()

    @staticmethod
    def beside(output: Path, folder: Path | None = None, *, fresh: bool = False) -> Work:
        """That of the dub that writes `output`: a hidden file beside it, or in a folder."""
        name = output.name
        if folder is not None:  # results of one name in two folders
            name += f"-{blake2b(os.fsencode(output.absolute()), digest_size=4).hexdigest()}"
        return Work(folder or output.parent, name, fresh=fresh)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def share(self, dubs: int, *causes: Any) -> None:
        """So many dubs, one after the other, keep their results here until the last is finished; the job that they are
        together also follows from `causes`."""
        self._dubs, self._causes = dubs, causes

    def threads(self) -> int | None:
        """How many threads the unfinished dub computed with: others may round differently. None without one."""
        if self.fresh:
            return None
        try:
            with self.path.open("rb") as file:
                found = _head(file.readline(MOST_HEAD)).get("threads")
        except (OSError, ValueError):
            return None
        return found if isinstance(found, int) and found > 0 else None

    def open(self, job: str) -> None:
        """Opens the file for a job with this name; what another job or version has left is dropped."""
        if self._causes:
            job = job_name(job, *self._causes)
        if not self._named:
            sweep_work(self.folder)
            self.path = self.folder / f".{job}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        head = {"keysync-work": FORM, "version": __version__, "job": job, "threads": torch.get_num_threads()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, flags, 0o600)
        except OSError as error:
            self._give_up(error)
            return
        if lock(file) is False:
            os.close(file)
            self.problem = f"another process works with {self.path}"
            return
        self._file = file
        try:
            self._read(head)
        except OSError as error:
            self._give_up(error)

    def expect(self, size: int) -> None:
        """Bytes of numbers that a dub keeps; nothing is kept where the disk has no room for them."""
        # Twice: what was drawn early by a wrong guess, or by a run that put other windows together, is kept too.
        self.limit += 2 * round(size * (1 + HEADS)) + MOST_HEAD
        if self.is_open and shutil.disk_usage(self.path.parent).free < self.limit - self.size:
            self.problem = f"the disk of {self.path.parent} has less than {self.limit / 1e9:.1f} GB free"
            self._dubs = 1
            self.close(finished=True)

    def find(self, key: bytes) -> Tensor | None:
        """The result of this key, on the CPU; None where it is not kept, or damaged."""
        with self._busy:
            place = self._places.get(key[:KNOWN])
            if place is None or self._file is None:
                return None
            try:
                os.lseek(self._file, place, os.SEEK_SET)
                its, digest, head_size, size = BEFORE.unpack(_exactly(self._file, BEFORE.size))
                if its != key or head_size + size > self.size - place:
                    raise ValueError("its beginning is not that which was written")
                head, numbers = _exactly(self._file, head_size), _exactly(self._file, size)
                if _digest(head, numbers) != digest:
                    raise ValueError("its numbers are not those that were written")
                result = _tensor(head, numbers)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("a result in %s is damaged (%s): it is computed again", self.path, error)
                del self._places[key[:KNOWN]]
                return None
            self.taken += 1
            return result

    def keep(self, key: bytes, result: Tensor) -> None:
        """Keeps a result, while there is room."""
        result = result.detach().cpu().contiguous()
        head = json.dumps({"dtype": str(result.dtype).removeprefix("torch."), "shape": list(result.shape)}).encode()
        numbers = result.reshape(-1).view(torch.uint8).numpy().tobytes()
        with self._busy:
            size = BEFORE.size + len(head) + len(numbers)
            if self._file is None or self.problem or (self.limit and self.size + size > self.limit):
                return
            digest = _digest(head, numbers)
            record = BEFORE.pack(key, digest, len(head), len(numbers)) + head + numbers
            try:
                os.lseek(self._file, self.size, os.SEEK_SET)
                written = 0
                while written < len(record):
                    written += os.write(self._file, record[written:])
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._file, self.size)
                self._give_up(error, close=False)
                return
            self._places[key[:KNOWN]] = self.size
            self.size += size

    def close(self, *, finished: bool = False) -> None:
        """Closes the file, which stays for the next run unless the dub is `finished` or nothing is in it.

        One that several dubs share stays open until the last of them is finished.
        """
        if self._file is None:
            return
        if finished and self._dubs > 1:
            self._dubs -= 1
            return
        with suppress(OSError):
            if (finished or not self._places) and sys.platform != "win32":
                self.path.unlink(missing_ok=True)  # while it is locked: another process may have opened it since
        os.close(self._file)
        if (finished or not self._places) and sys.platform == "win32":
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._file = None
        self._places = {}

    def to_dict(self) -> dict[str, Any]:
        """What the report says: whether the dub went on, with how many results of before, and how large it grew."""
        how = "fresh" if self.fresh else "resumed" if self.found else "from the beginning"
        return {
            "file": str(self.path),
            "run": how,
            "results_found": self.found,
            "results_taken": self.taken,
            "bytes": self.size,
            "bytes_at_most": self.limit,
            "problem": self.problem or None,
        }

    def _read(self, head: dict[str, Any]) -> None:
        """Takes up what is in the file, as far as it is whole and of this job."""
        assert self._file is not None
        with os.fdopen(os.dup(self._file), "rb") as file:
            try:
                known = _head(file.readline(MOST_HEAD))
            except ValueError:
                known = {}
            if not self.fresh and {**known, "threads": 0} == {**head, "threads": 0}:
                self.size, end = file.tell(), os.fstat(self._file).st_size
                while (found := _next(file, end)) is not None:
                    key, after = found
                    self._places[key[:KNOWN]] = self.size
                    self.size = after
                    file.seek(self.size)
                os.ftruncate(self._file, self.size)
                self.found = len(self._places)
                return
        if known.get("job") not in (None, head["job"]) and not self.fresh:
            log.warning("%s is the unfinished work of another job: it is dropped", self.path)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.size = os.write(self._file, json.dumps(head).encode() + b"\n")

    def _give_up(self, error: OSError, *, close: bool = True) -> None:
        """Nothing more is kept; what is there can still be taken unless it is closed."""
        self.problem = f"{self.path} cannot be written: {'; '.join(reason(error, self.path))}"
        log.warning("%s: a run that is killed starts from the beginning", self.problem)
        if close and self._file is not None:
            os.close(self._file)
            self._file = None


def job_name(*causes: Any) -> str:
    """The name of a job that follows from these causes, this version, and the code that computes."""
    told = json.dumps([__version__, torch.__version__, [code_digest(room) for room in ROOMS], *causes], default=repr)
    return blake2b(told.encode(), digest_size=16).hexdigest()


def sweep_work(folder: Path) -> None:
    """Removes what unfinished jobs have left in a folder of many: old ones, and the oldest while all
    take too much.

    Files that a process works with stay.
    """
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    held = 0
    for changed, size, path in sorted(found, reverse=True):
        held += size
        if held > MOST_LEFT or time.time() - changed > FORGOTTEN:
            with suppress(OSError):
                file = os.open(path, os.O_RDWR)
                try:
                    if lock(file) is not False:
                        path.unlink()
                finally:
                    os.close(file)


def _head(line: bytes) -> dict[str, Any]:
    """The first line. Raises `ValueError` for what is none."""
    found = json.loads(line)
    if not line.endswith(b"\n") or not isinstance(found, dict):
        raise ValueError("no head of a file of unfinished work")
    return found


def _next(file: Any, end: int) -> tuple[bytes, int] | None:
    """The key of the next record of a file of `end` bytes, and where the one after it begins; None where none is
    whole."""
    before = file.read(BEFORE.size)
    if len(before) < BEFORE.size:
        return None
    key, _, head_size, size = BEFORE.unpack(before)
    after = file.tell() + head_size + size
    return (key, after) if head_size <= MOST_HEAD and after <= end else None


def _exactly(file: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(file, size - len(parts))
        if not part:
            raise ValueError("it ends too early")
        parts += part
    return bytes(parts)


def _digest(head: bytes, numbers: bytes) -> bytes:
    digest = blake2b(head, digest_size=DIGEST)
    digest.update(numbers)
    return digest.digest()


def _tensor(head: bytes, numbers: bytes) -> Tensor:
    told = json.loads(head)
    dtype = getattr(torch, told["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"unknown numbers {told['dtype']}")
    return torch.frombuffer(bytearray(numbers), dtype=dtype).reshape(told["shape"])
