"""The clips that a run leaves out because they are damaged: RUN/quarantine.jsonl, a line each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from keysync.errors import KeySyncError

from ..data.dataset import Lost
from .run import Run

logger = logging.getLogger(__name__)


class Quarantine:
    """The damaged clips of a run, of which there may be `most`; with `write` they are added to the file, too.

    The file only reports: which clips are left out follows from the data alone.
    """

    def __init__(self, run: Run, most: int, write: bool = True) -> None:
        self.path, self.most, self._write = run.folder / "quarantine.jsonl", most, write
        self._run = run
        self._lost = {(row["shard"], row["clip"]): str(row["why"]) for row in run.quarantined()}

    def add(self, lost: Iterable[Lost]) -> None:
        """Adds clips. Raises `KeySyncError` if there are too many."""
        new = {(clip.shard, clip.key): clip.why for clip in lost}
        for (shard, key), why in new.items():
            if (shard, key) in self._lost:
                continue
            self._lost[shard, key] = why
            if self._write:
                logger.warning("%s of %s is left out: %s", key, shard, why)
                self._run.quarantine(shard=shard, clip=key, why=why)
        if len(self._lost) > self.most:
            raise KeySyncError(
                f"{len(self._lost)} clips are damaged, {self.most} may be (max_failures): {self.path} names them; copy "
                "or prepare the data again, or raise max_failures"
            )

    def lines(self) -> Iterator[str]:
        """The table; nothing if no clip is damaged."""
        if not self._lost:
            return
        yield f"{len(self._lost)} damaged clips were left out:"
        width = max(len(shard) for shard, _ in self._lost)
        for (shard, key), why in sorted(self._lost.items()):
            yield f"    {shard:{width}}  {key}: {why}"
