"""Where prepared data lies: a folder, or a URL that fsspec opens, such as s3://bucket/data or memory://data.

Both hold the same files with the same bytes. A file appears under its name complete or not at all.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from keysync.errors import KeySyncError, install_line, one_line
from keysync.whole import whole_file

from .disk import disk

URL = "://"


class Store(Protocol):
    """A place of files, all in one folder. `place` is what errors call it; reading raises `OSError`."""

    @property
    def place(self) -> Path | str: ...

    def named(self, name: str) -> Path | str:
        """The path or URL of a file."""
        ...

    def path(self, name: str) -> Path | None:
        """The file on this machine, None if it is elsewhere."""
        ...

    def sizes(self) -> dict[str, int]:
        """The size of each file in bytes; empty if there is no folder."""
        ...

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of a file, by default all; fewer where it ends before."""
        ...

    def fetch(self, name: str, path: Path) -> None:
        """Copies a file to `path`, however large it is."""
        ...

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A file on this machine to be filled, which then replaces `name`. Raises `KeySyncError` if it cannot."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        ...


def is_url(place: Path | str) -> bool:
    """Whether a place is a URL, not a path."""
    return URL in str(place)


def named_place(text: str) -> Path | str:
    """The place that a command line names: a URL as it is, or a path."""
    return text.rstrip("/") if is_url(text) else Path(text)


def open_store(place: Path | str) -> Store:
    """The files at a path or URL. Raises `KeySyncError` for a URL that no installed package opens."""
    return Remote(str(place)) if is_url(place) else Folder(Path(place))


class Folder:
    """A folder of this machine."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def named(self, name: str) -> Path:
        return self.place / name

    def path(self, name: str) -> Path:
        return self.place / name

    def sizes(self) -> dict[str, int]:
        try:
            with os.scandir(self.place) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return {}

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        with self.path(name).open("rb") as file:
            file.seek(offset)
            return file.read() if size is None else file.read(size)

    def fetch(self, name: str, path: Path) -> None:
        shutil.copyfile(self.path(name), path)

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        with disk(self.path(name)), whole_file(self.path(name)) as temporary:
            yield temporary

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)


class Remote:
    """A folder at a URL. Each read is a request for those bytes alone."""

    def __init__(self, place: str) -> None:
        self.place = place
        with self._access("open", place):
            self._system()

    def named(self, name: str) -> str:
        return f"{self.place}/{name}"

    def path(self, name: str) -> None:
        return None

    def sizes(self) -> dict[str, int]:
        with self._reading(), suppress(FileNotFoundError):
            system, root = self._system()
            system.invalidate_cache()
            held = system.ls(root, detail=True)
            return {entry["name"].rpartition("/")[2]: entry["size"] for entry in held if entry["type"] == "file"}
        return {}

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        with self._reading():
            system, root = self._system()
            end = None if size is None else offset + size
            content: bytes = system.cat_file(f"{root}/{name}", start=offset, end=end)
            return content

    def fetch(self, name: str, path: Path) -> None:
        with self._reading():
            system, root = self._system()
            system.get_file(f"{root}/{name}", str(path))

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="keysync-") as folder:
            temporary = Path(folder) / name
            with disk(temporary):
                temporary.touch()
                yield temporary
            with self._access("write", self.named(name)):
                system, root = self._system()
                system.makedirs(root, exist_ok=True)
                system.put_file(str(temporary), f"{root}/{name}")

    def remove(self, name: str) -> None:
        with self._access("remove", self.named(name)), suppress(FileNotFoundError):
            system, root = self._system()
            system.rm_file(f"{root}/{name}")

    def _system(self) -> tuple[Any, str]:
        """Its file system, which fsspec keeps for each process: a connection does not survive a fork."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise KeySyncError(f"{self.place} needs fsspec: {install_line('fsspec')}") from error
        system, root = url_to_fs(self.place)
        return system, root.rstrip("/")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns what a file system raises, of whatever class, into `OSError`."""
        try:
            yield
        except KeySyncError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:
            raise OSError(errno.EIO, one_line(error)) from error

    @contextmanager
    def _access(self, verb: str, what: str) -> Iterator[None]:
        """Turns what a file system raises into `KeySyncError`."""
        try:
            yield
        except KeySyncError:
            raise
        except Exception as error:
            raise KeySyncError(
                f"cannot {verb} {what} ({one_line(error)}): check the URL, the access to it, and that the package for "
                "it is installed"
            ) from error
