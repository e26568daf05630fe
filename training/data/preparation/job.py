"""One preparation: videos in, shards and a report out."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from keysync.errors import KeySyncError, one_line
from keysync.method import NETWORK_RATE
from keysync.strict_json import strict_json

from .. import digest
from ..disk import written
from ..index import FILE, DataInfo, read_index
from ..store import Store, open_store
from .chain import Chain, Done, Record, attempt
from .engine import ENGINES, HASHERS
from .finding import UNREADABLE
from .manifest import Manifest
from .models import Models, open_models
from .people import LIKENESS, Looks, alike, name_of
from .preview import check_preview, entries, write_preview
from .ray_engine import Hashed
from .report import Report
from .rounds import rounds
from .settings import Settings
from .shards import ClipFiles, write_shards
from .stages import EMOTION_PART, PARTS, WORK, clip_files, looks_of, open_chain, table
from .videos import Source, Video, find_videos

logger = logging.getLogger(__name__)

Watch = Callable[[Video, str], None]
Hash = Callable[[Sequence[Path]], Iterator[Hashed]]

SAME = "the same as another"
FAILED = "failed, and tried again by the next run"
# Videos that may fail by default.
MOST_FAILURES = 10
# In the folder of intermediate results: the digest of what the shards were last made from.
PACKED = "packed.json"
# In the data's folder: the person of each clip, told by likeness.
SEEN = "seen.json"
MOST_CHARACTERS = 2**30


def prepare(
    given: Sequence[Path],
    settings: Settings,
    *,
    engine: str = "local",
    workers: int = 1,
    validation: float = 0.05,
    shards: str = "",
    max_failures: int = MOST_FAILURES,
    preview: Path | None = None,
    models: Models | None = None,
    watch: Watch | None = None,
) -> Report:
    """Prepares the videos in `given` (see `find_videos`) into the folder `settings.data`, and writes the report there.

    The shards are written to the URL `shards`, or else there too.
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
    videos = _identify(found.sources, Manifest(data), report, lambda files: HASHERS[engine](files, workers))
    chain = open_chain(settings) if models is None else Chain(data / WORK, table(settings, models))
    if watch is None:
        outcomes = _work(chain, engine, settings, videos, workers)
    else:
        chain.watch = watch
        outcomes = rounds(lambda units: (attempt(chain, unit) for unit in units), videos)
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
    contents: dict[str, str] = {}
    looks: dict[str, Looks] = {}
    for video in videos:
        records = chain.records(video)
        if video.id in failed:
            _account_failure(records, video, failed[video.id], report)
            continue
        if _account(records, video, video.id in fresh, report):
            person = name_of(video, settings.people)
            clips += [replace(clip, person=person) for clip in clip_files(chain, video)]
            looks |= looks_of(chain, video) if settings.people == LIKENESS and not person else {}
            contents[video.id] = digest.of_json(
                [records[stage].content for stage in (*PARTS, EMOTION_PART) if stage in records]
            )
    if settings.people == LIKENESS:
        people = _alike(looks, data)
        clips = [replace(clip, person=clip.person or people.get(clip.key, "")) for clip in clips]
    _pack(clips, info, data, open_store(shards or data), validation, contents)
    report.seconds_spent = time.perf_counter() - began
    report.write(data)
    if preview is not None:
        write_preview(preview, entries(chain, videos, settings, failed))
    return report


def _identify(sources: Sequence[Source], manifest: Manifest, report: Report, hash_files: Hash) -> list[Video]:
    """The readable videos, without duplicates."""
    videos: dict[str, Video] = {}
    for source, video in _identified(sources, manifest, hash_files):
        if isinstance(video, OSError):
            report.lose(UNREADABLE, source.name, 0.0, video.strerror or str(video))
            continue
        first = videos.setdefault(video.digest, video)
        if first is not video:
            report.lose(SAME, source.name, 0.0, f"{first.name} has the same bytes")
    return list(videos.values())


def _identified(
    sources: Sequence[Source], manifest: Manifest, hash_files: Hash
) -> Iterator[tuple[Source, Video | OSError]]:
    """The video in each file, or why it cannot be read, in their order; files that are new or changed are hashed."""
    held: dict[int, Video | OSError | None] = {}
    for number, source in enumerate(sources):
        try:
            held[number] = manifest.known(source)
        except OSError as error:
            held[number] = error
    new = hash_files([source.path for number, source in enumerate(sources) if held[number] is None])
    for number, source in enumerate(tqdm(sources, desc="files", unit="", dynamic_ncols=True, file=sys.stderr)):
        video = held[number]
        if video is None:
            try:
                found = next(new)
                video = found if isinstance(found, OSError) else manifest.add(source, found)
            except OSError as error:
                video = error
        yield source, video


def _work(chain: Chain, engine: str, settings: Settings, videos: Sequence[Video], workers: int) -> Iterator[Done]:
    """Makes missing results; yields the outcomes."""
    if not videos:
        return
    with tqdm(total=len(videos), desc="videos and segments", unit="", dynamic_ncols=True, file=sys.stderr) as bar:
        chain.watch = lambda video, stage: bar.set_postfix_str(f"{video.name}: {stage}")
        for done in ENGINES[engine](partial(open_chain, settings), videos, workers):
            if done.segments:  # more to do before this video is done
                bar.total += len(done.segments)
                bar.refresh()
            else:
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


def _alike(looks: Mapping[str, Looks], data: Path) -> dict[str, str]:
    """The person of each clip; who was told before is remembered in the data's folder."""
    path = data / SEEN
    try:
        known = strict_json(path.read_bytes(), most=MOST_CHARACTERS) if path.exists() else {}
        people = alike(looks, {str(key): str(person) for key, person in known.items()})
    except (ValueError, AttributeError) as error:
        raise KeySyncError(f"cannot read {path} ({one_line(error)}): delete it to tell people anew") from error
    with written(path) as file:
        file.write_text(json.dumps({**known, **people}, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    return people


def _pack(
    clips: Sequence[ClipFiles],
    info: DataInfo,
    data: Path,
    store: Store,
    validation: float,
    contents: Mapping[str, str],
) -> None:
    """Adds what is missing in the shards, if anything is; without clips there are none. `contents` are the digests of
    the videos' parts."""
    stamp = data / WORK / PACKED
    made_of = digest.of_json([asdict(info), validation])
    before = _packed(stamp, made_of, store)
    people: dict[str, list[str]] = {}
    for clip in clips:
        people.setdefault(clip.video, []).append(clip.person)
    videos = {video: digest.of_json([content, people[video]]) for video, content in contents.items()}
    if clips and before == videos and _whole(store):
        logger.info("the shards in %s are up to date", store.place)
        return
    if not clips:
        stamp.unlink(missing_ok=True)
        store.remove(FILE)
        return
    for left in data.glob(".keysync-*.part"):  # by a run that was killed
        left.unlink()
    unchanged = {video for video, content in videos.items() if before.get(video) == content}
    write_shards(clips, store.place, info, validation_share=validation, unchanged=unchanged)
    content = {"made_of": made_of, "index": digest.of_bytes(store.read(FILE)), "videos": videos}
    with written(stamp) as file:
        file.write_bytes(json.dumps(content).encode())


def _packed(stamp: Path, made_of: str, store: Store) -> dict[str, str]:
    """The videos that are in the shards, as they were; none if the settings or the index differ."""
    try:
        content = strict_json(stamp.read_bytes(), most=MOST_CHARACTERS)
        if content["made_of"] != made_of or content["index"] != digest.of_bytes(store.read(FILE)):
            return {}
        read_index(store)  # an error where a table is missing
        return {str(video): str(made) for video, made in content["videos"].items()}
    except FileNotFoundError:
        return {}
    except (KeySyncError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("all shards are written again: %s", one_line(error))
        return {}


def _whole(store: Store) -> bool:
    """Whether all shards of the index are there."""
    held = store.sizes()
    return all(held.get(name) == size for name, size in read_index(store).sizes.items())
