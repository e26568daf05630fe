"""One preparation: videos in, shards and a report out."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from keysync.errors import KeySyncError
from keysync.method import NETWORK_RATE

from .. import digest
from ..disk import written
from ..index import FILE, DataInfo, read_index
from .chain import Chain, Done, Record, attempt
from .engine import ENGINES
from .manifest import Manifest
from .models import Models, open_models
from .preview import check_preview, entries, write_preview
from .report import Report
from .settings import Settings
from .shards import ClipFiles, write_shards
from .stages import PARTS, UNREADABLE, WORK, clip_files, open_chain, table
from .videos import Source, Video, find_videos

logger = logging.getLogger(__name__)

Watch = Callable[[Video, str], None]

SAME = "the same as another"
FAILED = "failed, and tried again by the next run"
# Videos that may fail by default.
MOST_FAILURES = 10
# In the folder of intermediate results: the digest of what the shards were last made from.
PACKED = "packed.txt"


def prepare(
    given: Sequence[Path],
    settings: Settings,
    *,
    engine: str = "local",
    workers: int = 1,
    validation: float = 0.05,
    max_failures: int = MOST_FAILURES,
    preview: Path | None = None,
    models: Models | None = None,
    watch: Watch | None = None,
) -> Report:
    """Prepares the videos in `given` (see `find_videos`) into the folder `settings.data`, and writes the report there.

    `models` of a host program are used in this process instead of those that the settings name; `watch` is called when
    a stage begins, instead of a progress bar. `preview` is the file of a contact sheet to write.
    A call after an interruption resumes. If all videos are discarded, there
    are no shards and the report gives the reasons. Raises `KeySyncError` if there is no video, for models and settings
    that do not fit, on a full disk, and if more than `max_failures` videos fail: a library cannot get through them, or
    kills the process.
    """
    began = time.perf_counter()
    data = settings.data
    if not 0 < validation < 1:
        raise KeySyncError(f"a validation share of {validation}: expected a number between 0 and 1 (--validation)")
    if preview is not None:
        check_preview(preview)
    found = find_videos(given, leave_out=data)
    try:
        (data / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KeySyncError(f"cannot create {data} ({error.strerror}): choose another -o") from error
    # Workers load the models themselves, on devices that this process may not have.
    here = engine == "local" and workers == 1
    own = models or (open_models(settings) if here else Models(replace(settings, device="cpu")))
    info = own.check()
    report = Report(videos=len(found.sources), files_ignored=dict(found.ignored))
    videos = _identify(found.sources, Manifest(data), report)
    chain = open_chain(settings) if models is None else Chain(data / WORK, table(settings, models))
    if watch is None:
        outcomes = _work(chain, engine, settings, videos, workers)
    else:
        chain.watch = watch
        outcomes = (attempt(chain, video) for video in videos)
    fresh: set[str] = set()
    failed: dict[str, str] = {}
    for done in outcomes:
        if done.fresh:
            fresh.add(done.video.id)
        if done.failure:
            failed[done.video.id] = done.failure
            logger.warning("%s", done.failure)
        if len(failed) > max_failures:
            few = f"{len(failed)} videos failed, {max_failures} may" if max_failures else "a video failed"
            raise KeySyncError(f"{few}; the last: {done.failure}")
    clips: list[ClipFiles] = []
    contents: list[list[str]] = []
    for video in videos:
        records = chain.records(video)
        if video.id in failed:
            _account_failure(records, video, failed[video.id], report)
            continue
        if _account(records, video, video.id in fresh, report):
            clips += clip_files(chain, video)
            contents.append([video.id, *(records[stage].content for stage in PARTS)])
    _pack(clips, info, data, validation, digest.of_json([contents, asdict(info), validation]))
    report.seconds_spent = time.perf_counter() - began
    report.write(data)
    if preview is not None:
        write_preview(preview, entries(chain, videos, settings, failed))
    return report


def _identify(sources: Sequence[Source], manifest: Manifest, report: Report) -> list[Video]:
    """The readable videos, without duplicates."""
    videos: dict[str, Video] = {}
    for source in tqdm(sources, desc="files", unit="", dynamic_ncols=True, file=sys.stderr):
        try:
            video = manifest.identify(source)
        except OSError as error:
            report.lose(UNREADABLE, source.name, 0.0, error.strerror or str(error))
            continue
        first = videos.setdefault(video.digest, video)
        if first is not video:
            report.lose(SAME, source.name, 0.0, f"{first.name} has the same bytes")
    return list(videos.values())


def _work(chain: Chain, engine: str, settings: Settings, videos: Sequence[Video], workers: int) -> Iterator[Done]:
    """Makes missing results; yields the outcomes."""
    if not videos:
        return
    with tqdm(total=len(videos), desc="videos", unit="", dynamic_ncols=True, file=sys.stderr) as bar:
        chain.watch = lambda video, stage: bar.set_postfix_str(f"{video.name}: {stage}")
        for done in ENGINES[engine](partial(open_chain, settings), videos, workers):
            bar.update()
            yield done


def _account(records: Mapping[str, Record], video: Video, fresh: bool, report: Report) -> bool:
    """Adds a finished video to the report; returns whether it has clips."""
    last = list(records.values())[-1]
    held = records["clips"].facts if "clips" in records else {}
    seconds = held.get("seconds") or sum(lost for lost, _ in (last.discard or {}).values())
    report.seconds += seconds
    if fresh:
        report.seconds_worked_on += seconds
    for stage, record in records.items():
        report.spend(stage, record.spent, seconds)
        for reason, (lost, why) in {**record.facts.get("lost", {}), **(record.discard or {})}.items():
            report.lose(reason, video.name, lost, why)
    if last.discard is not None:
        return False
    report.keep(records["selection"].facts["clips"], NETWORK_RATE)
    return True


def _account_failure(records: Mapping[str, Record], video: Video, why: str, report: Report) -> None:
    """Adds a video that failed to the report, with its seconds where they are known."""
    facts = [records[stage].facts.get("seconds", 0.0) for stage in ("clips", "probe") if stage in records]
    seconds = next((known for known in facts if known), 0.0)
    report.seconds += seconds
    report.lose(FAILED, video.name, seconds, why.removeprefix(f"{video.name}: "))


def _pack(clips: Sequence[ClipFiles], info: DataInfo, data: Path, validation: float, made_of: str) -> None:
    """Writes the shards, unless they are up to date; without clips there are none."""
    stamp = data / WORK / PACKED
    if clips and stamp.exists() and stamp.read_text(encoding="utf-8") == made_of and _whole(data):
        logger.info("the shards in %s are up to date", data)
        return
    stamp.unlink(missing_ok=True)
    if not clips:
        (data / FILE).unlink(missing_ok=True)
        return
    for left in data.glob(".keysync-*.part"):  # by a run that was killed
        left.unlink()
    write_shards(clips, data, info, validation_share=validation)
    with written(stamp) as file:
        file.write_bytes(made_of.encode())


def _whole(data: Path) -> bool:
    """Whether the index and its shards exist."""
    try:
        return all((data / name).stat().st_size == size for name, size in read_index(data).sizes.items())
    except (KeySyncError, OSError):
        return False
