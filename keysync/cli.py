"""The command `keysync`: dub a video, run the demo, say what a checkpoint is, convert one.

Exit codes: 0 done, 1 an error said in one line, 130 stopped by Ctrl-C; a file under the final name is always whole.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .choice import Choice, lines
from .demo import SPEECH, TALK
from .dub import Settings
from .errors import KeySyncError
from .face.detectors import DETECTORS
from .face.masks import MASKS
from .face.track import FaceChoice
from .job import FaceSource, dub_file
from .media.container import open_input
from .media.writer import check_output
from .report import DUBBED, PASSED_THROUGH, Report, check_report
from .systems.keysync.small import BUILT_IN
from .systems.table import SYSTEMS
from .timeline import SYNC_MODES
from .weights.checkpoint import DTYPES, convert
from .weights.describe import describe

WITHOUT_MODELS = "Models that are not given are those of KeySync small, which is built in and has no WavLM."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="keysync: %(message)s")
    try:
        options.run(options)
    except KeySyncError as error:
        print(f"keysync: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keysync: stopped; no half-written file was left", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keysync", description="Dub a video: new speech in, lips that follow it out.")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what happens on the way")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    dub = commands.add_parser("dub", help="dub a video with new speech", epilog=WITHOUT_MODELS)
    dub.add_argument("video", type=Path, metavar="VIDEO")
    dub.add_argument("audio", type=Path, metavar="AUDIO", help="the new speech: an audio file, or a video's own sound")
    dub.add_argument("--occluder", type=Path, metavar="MASK_VIDEO", help="white where something hides the face")
    dub.add_argument("--landmarks", type=Path, metavar="JSON", help="68 points a frame instead of a detector")
    dub.add_argument("--detector", choices=sorted(DETECTORS), default="mediapipe", help=_help(DETECTORS))
    dub.add_argument("--detector-weights", type=Path, metavar="FOLDER", help="for detectors that need files")
    dub.add_argument("--face", type=int, default=0, metavar="N", help="0 the largest (default), 1 the next ...")
    _add_run_options(dub)
    dub.set_defaults(run=_dub)

    demo = commands.add_parser("demo", help="dub a rendered person that comes with KeySync", epilog=WITHOUT_MODELS)
    _add_run_options(demo)
    demo.set_defaults(run=_demo)

    inspect = commands.add_parser("inspect", help="say what a checkpoint is")
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)

    change = commands.add_parser("convert", help="write a checkpoint as safetensors with metadata")
    change.add_argument("source", type=Path, metavar="IN")
    change.add_argument("target", type=Path, metavar="OUT")
    change.add_argument("--head-dim", type=int, metavar="N", help="channels of one attention head; no shape tells it")
    change.add_argument("--latent-size", type=_size, metavar="HxW", help="height x width, 64x64 if published")
    change.add_argument("--audio-guidance", type=float, metavar="X", help="to sample with, 5 if published")
    change.add_argument("--identity-guidance", type=float, metavar="X", help="to sample with, 2 if published")
    change.add_argument("--dtype", choices=sorted(DTYPES), help="precision to store")
    change.set_defaults(run=_convert)
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help=".mp4, .mov or .mkv")
    parser.add_argument("--system", choices=list(SYSTEMS), default="keysync", help="what draws the mouth")
    # By flag: two systems may share an option.
    options = {option.flag: option for system in SYSTEMS.values() for option in (*system.files, *system.options)}
    for option in options.values():
        option.add(parser)
    lengths = "what to do when video and audio have different lengths (default: cut_off)"
    parser.add_argument(
        "--sync-mode", choices=sorted(SYNC_MODES), default="cut_off", help=f"{lengths}; {_help(SYNC_MODES)}"
    )
    region = "the region to generate (default: the mask that the models were trained with)"
    parser.add_argument("--mask", choices=sorted(MASKS), help=f"{region}; {_help(MASKS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps ...")
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="precision of the networks; fp16 on a GPU, else fp32")
    parser.add_argument("--lossless", action="store_true", help="FFV1 in .mkv: every pixel as it was computed")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write what happened to which frames")


def _help(choices: Mapping[str, Choice[..., Any]]) -> str:
    return "; ".join(lines(choices))


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
        if min(height, width) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 64x64") from None
    return height, width


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise KeySyncError(f"the device {name!r} cannot be used here ({reason}): try --device cpu") from error
    return device


def _dub(options: argparse.Namespace) -> None:
    _run(options, options.video, options.audio)


def _demo(options: argparse.Namespace) -> None:
    options.landmarks = options.occluder = options.detector_weights = None
    options.detector, options.face = "mediapipe", 0
    _run(options, TALK, SPEECH)


def _run(options: argparse.Namespace, video: Path, audio: Path) -> None:
    # All that can be refused is refused before anything large is loaded.
    inputs = [path for path in (video, audio, options.occluder) if path]
    for path in inputs:
        with open_input(path):
            pass
    check_output(options.output, inputs, lossless=options.lossless)
    if options.report:
        check_report(options.report, [path for path in (*inputs, options.landmarks, options.output) if path])
    system = SYSTEMS[options.system]
    device = _device(options.device)
    dtype = DTYPES[options.dtype] if options.dtype else None
    settings = Settings(
        sync_mode=options.sync_mode,
        mask=options.mask,
        seed=options.seed,
        sampling=system.settings(options),
    )
    face = FaceSource(
        FaceChoice(options.face), options.detector, options.detector_weights, options.landmarks, device=str(device)
    )
    files = {option.name: getattr(options, option.name) for option in system.files}
    models = system.load(files, device=device, dtype=dtype)
    built_in = ", ".join(name for name, origin in models.origins.items() if origin == BUILT_IN)
    if built_in:
        print(
            f"keysync: {BUILT_IN}: {built_in}; it saw rendered faces, real ones want the published weights", flush=True
        )
    with closing(Bars()) as bars:
        report = dub_file(
            video,
            audio,
            options.output,
            models,
            settings,
            face,
            bars,
            occluder=options.occluder,
            lossless=options.lossless,
        )
    if options.report:
        report.write(options.report)
    _say(report, options.output)


class Bars:
    """Progress bars for the two long parts: following the face, and the network."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None

    def begin(self, what: str, total: int | None) -> None:
        """Starts the bar of one part; `total` in its steps, None where unknown."""
        self.end()
        if what == "network evaluations":
            print(f"keysync: {total} network evaluations to come", flush=True)
        self._bar = tqdm(total=total, desc=what, unit="", dynamic_ncols=True, file=sys.stderr)

    def step(self, count: int = 1) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            self._bar.update(count)

    def close(self) -> None:
        """Closes the bar that an error or Ctrl-C left open."""
        self.end()

    def end(self) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _say(report: Report, output: Path) -> None:
    dubbed, passed = report.count(DUBBED), report.count(PASSED_THROUGH)
    print(f"keysync: {output}: {dubbed} frames dubbed, {passed} passed through unchanged")
    for part in report.ranges:
        if part.state == PASSED_THROUGH:
            print(f"  frames {part.first}-{part.last} unchanged: {part.reason}")
    for note in report.notes:
        print(f"  {note}")


def _inspect(options: argparse.Namespace) -> None:
    found = describe(options.file)
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)


def _convert(options: argparse.Namespace) -> None:
    dtype = DTYPES[options.dtype] if options.dtype else None
    convert(
        options.source,
        options.target,
        head_dim=options.head_dim,
        latent_size=options.latent_size,
        audio_guidance=options.audio_guidance,
        identity_guidance=options.identity_guidance,
        dtype=dtype,
    )
    print(f"keysync: wrote {options.target}")


if __name__ == "__main__":
    sys.exit(main())
