"""The commands `measure` and `compare`: videos in; figures, pictures and a verdict out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import KeySyncError
from ..job import FaceSource
from ..measure.drawing import drawing_kind
from ..measure.figures import Measured
from ..measure.picture import write_picture
from ..measure.report import as_dict, as_json, table
from ..measure.verdict import verdict
from ..media.audio import AudioReader
from ..media.comparison import write_comparison
from ..media.container import open_input
from ..media.reader import open_video
from ..media.writer import check_output
from ..who import read_choice
from ..whole import reason, whole_file, why_not
from .running import Watched, device_of


def measure(options: argparse.Namespace) -> None:
    """Measures one video and prints what it found. Raises `KeySyncError` for what a user can fix."""
    if options.plot:
        drawing_kind(options.plot)
    _check_files(options, [options.video], plot=options.plot)
    (measured,) = _measured(options, [options.video])
    if options.plot:
        write_picture(measured, options.plot)
    if options.json:
        _write(options.json, as_dict(measured))
    _print([(str(options.video), measured)])
    for line in table([("", measured.figures)]):
        print(f"  {line}")


def compare(options: argparse.Namespace) -> None:
    """Measures several videos, and prints a row for each figure. Raises `KeySyncError` for what a user can fix."""
    _check_files(options, options.videos)
    if options.output:
        check_output(options.output, [*options.videos, *_given(options)])
    names = _names(options.videos)
    found = dict(zip(names, _measured(options, options.videos), strict=True))
    if options.output:
        _side_by_side(options, names)
    if options.json:
        _write(options.json, {name: as_dict(measured) for name, measured in found.items()})
    _print(list(found.items()))
    for line in table([(name, measured.figures) for name, measured in found.items()]):
        print(f"  {line}")
    if options.output:
        print(f"keysync: {options.output}: {', '.join([*['source'] * bool(options.source), *names])}, side by side")


def _measured(options: argparse.Namespace, videos: Sequence[Path]) -> list[Measured]:
    from ..measuring import measure_videos  # here: chains of imports stay short

    face = FaceSource(
        read_choice(options.face),
        options.detector,
        options.detector_weights,
        options.landmarks,
        device=str(device_of(options)),
    )
    with closing(Watched(options.stop)) as progress:
        return measure_videos(videos, options.audio, face, progress, source=options.source, mask=options.mask)


def _side_by_side(options: argparse.Namespace, names: Sequence[str]) -> None:
    """The source first, then the videos, with the sound that they follow."""
    paths = [*([options.source] if options.source else []), *options.videos]
    labels = [*["source"] * bool(options.source), *names]
    sound = options.audio or options.videos[-1]
    write_comparison([open_video(path) for path in paths], options.output, labels=labels, sound=AudioReader(sound))


def _check_files(options: argparse.Namespace, videos: Sequence[Path], **outputs: Path | None) -> None:
    """Raises `KeySyncError` for inputs that cannot be opened and outputs that cannot be written."""
    inputs = [*videos, *_given(options)]
    for path in inputs:
        with open_input(path):
            pass
    for about, path in {"json": options.json, **outputs}.items():
        if path is None:
            continue
        problem = why_not(path)
        if problem is None and path.resolve() in {other.resolve() for other in inputs}:
            problem = "it is an input", "choose another file"
        if problem is not None:
            raise KeySyncError(f"cannot write {path}: {'; '.join(problem)}", about=about)


def _given(options: argparse.Namespace) -> Iterator[Path]:
    """The inputs besides the videos."""
    yield from (path for path in (options.audio, options.source, options.landmarks) if path)


def _names(videos: Sequence[Path]) -> list[str]:
    """The videos by their files' names where these differ, else by their paths."""
    stems = [path.stem for path in videos]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in videos]
    if len(set(names)) < len(names):
        raise KeySyncError("a video is named twice: compare different files")
    return names


def _write(path: Path, content: Any) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_text(as_json(content), encoding="utf-8")
    except OSError as error:
        raise KeySyncError(f"cannot write {path}: {'; '.join(reason(error, path))}", about="json") from error


def _print(found: Sequence[tuple[str, Measured]]) -> None:
    """The verdict on each video, and what a person should know of its sound."""
    for name, measured in found:
        print(f"keysync: {name}: {verdict(measured.figures)}")
    for note in dict.fromkeys(note for _, measured in found for note in measured.sound.notes):
        print(f"  {note}")
