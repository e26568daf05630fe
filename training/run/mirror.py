"""A copy of a run at a URL that fsspec opens, such as s3://bucket/run: it survives the machine, and resumes on another.

URL/checkpoints.json lists the complete checkpoints. It is written last, so that a half-copied one counts for nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from keysync.errors import KeySyncError, one_line
from keysync.strict_json import strict_json

from ..data.disk import disk
from ..data.store import Store, open_store

if TYPE_CHECKING:
    from .run import Run

LIST = "checkpoints.json"


class Mirror:
    """The copy of `run` at `url`. Raises `KeySyncError` for a URL that cannot be opened."""

    def __init__(self, run: Run, url: str) -> None:
        self.run, self.url = run, url
        self._store = open_store(url)

    def push(self) -> None:
        """Copies the checkpoints that are not there yet, the settings and the logs; drops what the run has dropped.

        The newest is copied in any case: a run that resumed before it has made it anew. Raises `KeySyncError` if it
        cannot.
        """
        there, here = self._listed(), self.run.steps()
        for step in here:
            if step not in there or step == here[-1]:
                self._copy(self.run.checkpoint(step), self._checkpoint(step))
        for path in self.run.notes:
            if path.exists():
                self._put(path, self._store)
        with self._store.write(LIST) as file:
            file.write_text(json.dumps(here) + "\n", encoding="utf-8")
        for step in set(there) - set(here):
            store = self._checkpoint(step)
            for name in store.sizes():
                store.remove(name)

    def pull(self) -> bool:
        """Fetches the newest checkpoint, with the settings and the logs, if the folder of the run has none as new;
        returns whether it did.

        Raises `KeySyncError` if it cannot.
        """
        newest = max(self._listed(), default=0)
        if newest <= max(self.run.steps(), default=0):
            return False
        path = self.run.checkpoint(newest)
        part = path.with_name(f".{path.name}.part")
        with disk(path):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        store = self._checkpoint(newest)
        for name in store.sizes():
            self._fetch(store, part / name)
        for target in self.run.notes:
            if target.name in self._store.sizes():
                self._fetch(self._store, target)
        part.replace(path)
        return True

    def _checkpoint(self, step: int) -> Store:
        return open_store(f"{self.url}/checkpoints/{self.run.checkpoint(step).name}")

    def _copy(self, folder: Path, store: Store) -> None:
        for path in sorted(folder.iterdir()):
            self._put(path, store)

    @staticmethod
    def _put(path: Path, store: Store) -> None:
        with store.write(path.name) as file:
            shutil.copyfile(path, file)

    @staticmethod
    def _fetch(store: Store, path: Path) -> None:
        try:
            store.fetch(path.name, path)
        except OSError as error:
            raise KeySyncError(f"cannot copy {store.named(path.name)} to {path} ({one_line(error)})") from error

    def _listed(self) -> list[int]:
        """The steps of the complete checkpoints at the URL."""
        try:
            steps = strict_json(self._store.read(LIST))
            if not isinstance(steps, list) or not all(type(step) is int for step in steps):
                raise ValueError("expected a list of steps")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            name = self._store.named(LIST)
            raise KeySyncError(f"cannot read {name} ({one_line(error)}): check it, or choose another URL") from error
        return steps
