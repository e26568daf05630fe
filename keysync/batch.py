"""A list of dubs, from a CSV file or a folder: one after another, whatever fails; what is done stays done.

A CSV has a column for each of `video`, `audio` and `output`, and any for options of a dub by name. Its paths start from
its folder. A folder holds videos and sounds that have names in common.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .allocator import return_memory
from .errors import KeySyncError, one_line
from .media.container import MediaFile
from .media.writer import FORMATS
from .whole import reason, whole_file

COLUMNS = ("video", "audio", "output")
# The option that may name a picture.
FACE = "face"
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac")
# Options that are no part of a job: they say where and how it runs, not what it makes.
UNLIKE = {"run", "stop", "work", "jobs", "json", "fresh", "work_folder", "verbose", "output_folder", "load"}
YES, NO = ("yes", "true", "1"), ("no", "false", "0")
DONE, SKIPPED, FAILED = "done", "already done", "failed"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its output, `DONE`, `SKIPPED` or `FAILED`, the error or nothing, and how long it took."""

    output: str
    state: str
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Jobs, each the options of a dub, and the hidden file that says which are done."""

    jobs: Sequence[argparse.Namespace]
    state: Path

    @staticmethod
    def read(path: Path, common: argparse.Namespace, actions: Sequence[argparse.Action], folder: Path | None) -> Batch:
        """The jobs of a CSV file or folder. `common` are options of all, `actions` those that columns may name; results
        without a place go to `folder`.

        Raises `KeySyncError` for a list that is wrong anywhere, before any job runs.
        """
        if path.is_dir():
            folder = folder or path / "dubbed"
            rows = [(str(row["video"]), row) for row in _pairs(path, folder)]
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise KeySyncError(f"{folder} cannot be created: {'; '.join(reason(error, folder))}") from error
            state = folder / ".keysync-batch"
        else:
            rows = list(_rows(path, folder))
            state = path.with_name(f".{path.name}.keysync-batch")
        known = {action.dest: action for action in actions}
        jobs = [_job(where, row, common, known, path if path.is_dir() else path.parent) for where, row in rows]
        outputs: dict[Path, str] = {}
        for (where, _), job in zip(rows, jobs, strict=True):
            other = outputs.setdefault(job.output.absolute(), where)
            if other != where:
                raise KeySyncError(f"{where}: {job.output} is also the output of {other}: choose another name")
        return Batch(jobs, state)

    def run(
        self, dub: Callable[[argparse.Namespace], None], say: Callable[[str], None], *, fresh: bool
    ) -> Iterator[Outcome]:
        """Runs the jobs one after another; those that are done with the same inputs and options only with `fresh`."""
        done = {} if fresh else self._done()
        for number, job in enumerate(self.jobs, start=1):
            return_memory()  # all that the job before leaves free: the next one may need little
            say(f"{number}/{len(self.jobs)}: {job.output}")
            key, began = _key(job), time.perf_counter()
            if key is not None and done.get(str(job.output)) == [key, _stamp(job.output)]:
                yield Outcome(str(job.output), SKIPPED)
                continue
            try:
                dub(job)
            except Exception as error:  # the next job may well succeed
                if not isinstance(error, KeySyncError):
                    log.exception("%s failed", job.output)
                yield Outcome(str(job.output), FAILED, one_line(error), time.perf_counter() - began)
                continue
            if key is not None and key == _key(job):
                done[str(job.output)] = [key, _stamp(job.output)]
                self._write(done)
            yield Outcome(str(job.output), DONE, seconds=time.perf_counter() - began)

    def _done(self) -> dict[str, Any]:
        """The key and the stamp of each finished result."""
        try:
            found = json.loads(self.state.read_bytes())
            if not isinstance(found, dict):
                raise ValueError("not an object")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s): finished jobs run again", self.state, one_line(error))
            return {}
        return found

    def _write(self, done: Mapping[str, Any]) -> None:
        try:
            with whole_file(self.state) as temporary:
                temporary.write_text(json.dumps(done))
        except OSError as error:
            log.warning("%s cannot be written (%s): finished jobs will run again", self.state, error)


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each job, and the sums."""
    widest = max((len(one.output) for one in outcomes), default=0)
    lines = [
        f"{one.output:{widest}}  {one.state}"
        + (f" in {one.seconds:.1f} s" if one.state == DONE else "")
        + (f": {one.error}" if one.error else "")
        for one in outcomes
    ]
    counts = [(state, sum(one.state == state for one in outcomes)) for state in (DONE, SKIPPED, FAILED)]
    return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counts)])


def as_json(outcomes: Sequence[Outcome]) -> str:
    """The same as JSON."""
    return json.dumps([asdict(one) for one in outcomes], indent=1)


def _rows(path: Path, folder: Path | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row of a CSV file is, and its cells by column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in lines.fieldnames or ()]
            missing = [name for name in COLUMNS if name not in columns and not (name == "output" and folder)]
            if missing:
                raise KeySyncError(
                    f"{path} has no column {missing[0]}: expected {', '.join(COLUMNS)} in its first line"
                )
            twice = next((name for name in columns if columns.count(name) > 1), None)
            if twice is not None:
                raise KeySyncError(f"{path} has two columns {twice}: remove one")
            lines.fieldnames = columns
            found = [(lines.line_num, row) for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KeySyncError(
            f"{path} cannot be read as CSV ({one_line(error)}): expected a CSV file or a folder"
        ) from error
    if not found:
        raise KeySyncError(f"{path} has no jobs: expected a line for each below the first")
    for number, row in found:
        where = f"{path}, line {number}"
        if None in row or None in row.values():
            raise KeySyncError(f"{where}: expected {len(columns)} cells, as in the first line")
        cells = {name: cell.strip() for name, cell in row.items()}
        if folder and not cells.get("output"):
            cells["output"] = str((folder / Path(cells["video"]).name).absolute())
        empty = next((name for name in COLUMNS if not cells[name]), None)
        if empty is not None:
            raise KeySyncError(f"{where}: the column {empty} is empty: expected a file")
        yield where, cells


def _pairs(path: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Each video of a folder with the sound of the same name."""
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    videos = {file.stem: file for file in files if file.suffix.lower() in VIDEOS}
    sounds = {file.stem: file for file in files if file.suffix.lower() in SOUNDS}
    names = sorted(videos.keys() & sounds.keys())
    if not names:
        raise KeySyncError(
            f"{path} has no video and audio file with the same name: expected pairs such as talk.mp4 and talk.wav"
        )
    for name in sorted(videos.keys() ^ sounds.keys()):
        log.warning("%s is skipped: no other file has the same name", (videos | sounds)[name])
    for name in names:
        suffix = videos[name].suffix.lower()
        output = folder / f"{name}{suffix if suffix in FORMATS else '.mp4'}"
        yield {
            "video": str(videos[name].absolute()),
            "audio": str(sounds[name].absolute()),
            "output": str(output.absolute()),
        }


def _job(
    where: str, row: Mapping[str, str], common: argparse.Namespace, known: Mapping[str, argparse.Action], folder: Path
) -> argparse.Namespace:
    """The options of a job. An empty cell leaves an option as it is for all."""
    job = argparse.Namespace(**vars(common))
    for column, cell in row.items():
        name = column.removeprefix("--").replace("-", "_")
        action = known.get(name) or next(
            (one for one in known.values() if f"--{name.replace('_', '-')}" in one.option_strings), None
        )
        if action is None:
            options = ", ".join(sorted(known.keys() - set(COLUMNS)))
            raise KeySyncError(f"{where}: unknown column {column!r}: expected {', '.join(COLUMNS)}, {options}")
        if cell:
            value = _value(f"{where}: {column}", action, cell)
            if isinstance(value, Path) or (action.dest == FACE and (folder / value).is_file()):
                value = folder / value
            setattr(job, action.dest, str(value) if action.dest == FACE else value)
    return job


def _value(where: str, action: argparse.Action, cell: str) -> Any:
    """What a cell says for an option. Raises `KeySyncError` where it cannot."""
    if action.nargs == 0:  # a switch
        if cell.lower() not in (*YES, *NO):
            raise KeySyncError(f"{where} is {cell!r}: expected yes or no")
        switched = cell.lower() in YES
        return action.const if switched else action.default
    if isinstance(action.nargs, int):
        words = shlex.split(cell)
        if len(words) != action.nargs:
            raise KeySyncError(f"{where} is {cell!r}: expected {action.nargs} words")
        return words
    try:
        value = action.type(cell) if callable(action.type) else cell
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise KeySyncError(f"{where} is {cell!r}: {one_line(error)}") from error
    if action.choices is not None and value not in action.choices:
        raise KeySyncError(f"{where} is {cell!r}: choose one of {', '.join(map(str, action.choices))}")
    return value


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _key(job: argparse.Namespace) -> str | None:
    """The same for the same job with the same files; None where one of them cannot be read."""
    options = {name: value for name, value in sorted(vars(job).items()) if name not in UNLIKE}
    files = [value for name, value in options.items() if isinstance(value, Path) and name not in ("output", "report")]
    files += [Path(options[FACE])] if Path(options[FACE]).is_file() else []
    try:
        prints = [MediaFile.of(file).fingerprint() for file in files if not file.is_dir()]
    except OSError:
        return None
    return blake2b(repr((options, prints)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
