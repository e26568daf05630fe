"""The command `keysync`: dub a video or many, make a picture talk, run the demo, measure lip sync, download weights,
describe a checkpoint, convert one.

Exit codes: 0 success, 1 an error (printed on one line), 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP; output
files are always complete. A dub succeeds whether or not its messages can be printed; commands whose result is
printed, such as `inspect`, fail where they cannot.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from .allocator import hold_memory
    from .signals import leave_at_once
    from .threads import wait_passively

    leave_at_once()
    wait_passively()
    hold_memory()

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from .batch import FAILED, Batch, Outcome, as_json, table
from .commands.live_options import LIVE_HELP, add_live_options
from .commands.options import (
    add_conversion_options,
    add_detector_options,
    add_dub_options,
    add_face_options,
    add_head_options,
    add_mark_option,
    add_measuring,
    add_network_options,
    add_output_options,
    add_work_options,
    system_options,
)
from .errors import KeySyncError
from .resume import Work
from .signals import StoppedError, listening, say_stopped
from .systems.keysync.system import KEYSYNC
from .systems.table import AUTOMATIC, HEADS, LIVE, SYSTEMS
from .terminal import PatientStream, patient_streams
from .weights.published import SETS

WITHOUT_MODELS = (
    "Without weights a real face is drawn with the mouths of its own clip, and a rendered one by KeySync small; "
    "both are built in."
)
RESUMES = "keysync: stopped; no incomplete result is left, and the same command resumes the dub"
CONTINUES = "keysync: stopped; the same command continues the download"

OUTPUT_FOLDER = "results of jobs without an output (default for a folder of jobs: its folder dubbed)"

# The option that fixes an error, by `KeySyncError.about`; those of the systems are added by `remedies`.
OWN_REMEDIES = {
    "stages": "--keyframe-model, --interpolation-model",
    "detector_weights": "--detector-weights",
    "face": "--face",
    "speaker": "--speaker",
    "head_dim": "keysync convert --head-dim",
    "latent_size": "--latent-size",
    "report": "--report",
    "output": "--output",
    "occluder": "--occluder",
    "emotion": "--emotion",
    "emotion_curve": "--emotion-curve",
    "c2pa": "--c2pa",
    "sound": "--audio",
    "source": "--source",
    "json": "--json",
    "raw": "--raw",
    "batch": "--batch",
    "latency": "--latency",
    "person": "--person",
    "real_time": "--real-time",
    "plot": "--plot",
    "to": "--to",
    "yes": "--yes",
}


# What runs a command: takes its options; what it returns tells whether something failed.
Command = Callable[[argparse.Namespace], Any]


def _later(module: str, name: str) -> Command:
    """A command that is imported when it runs: the others need none of what it imports."""

    def run(options: argparse.Namespace) -> Any:
        return getattr(import_module(f".commands.{module}", __package__), name)(options)

    return run


_dub, _demo, _animate = _later("dub", "dub"), _later("dub", "demo"), _later("animate", "animate")
_live = _later("live", "live")
_measure, _compare = _later("measure", "measure"), _later("measure", "compare")
_download, _inspect, _convert = (_later("weights", name) for name in ("download", "inspect", "convert"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    with patient_streams() as output:
        return _main(arguments, output)


def _main(arguments: Sequence[str] | None, output: PatientStream) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="keysync: %(message)s")
    try:
        with listening() as options.stop:
            failed: bool = options.run(options) or False
    except KeySyncError as error:
        print(f"keysync: error: {in_full(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        work: Work | None = getattr(options, "work", None)
        say_stopped(*[CONTINUES] if options.run is _download else [RESUMES] if work and work.path.exists() else [])
        return stopped.code if isinstance(stopped, StoppedError) else 130
    output.flush()
    if output.lost:
        print("keysync: the standard output cannot be written to: what is printed there is lost", file=sys.stderr)
    return int(failed or (output.lost and options.run in (_inspect, _batch, _measure, _compare)))


def in_full(error: KeySyncError) -> str:
    """An error with the option that fixes it."""
    remedy = remedies().get(error.about or "")
    return f"{error}{f' ({remedy})' if remedy else ''}"


def remedies() -> dict[str, str]:
    """The option that fixes an error, by `KeySyncError.about`: a system's option `--vae` is the remedy for "vae"."""
    options = system_options((*SYSTEMS.values(), *HEADS.values()))
    return {name.removesuffix("_model"): option.flag for name, option in options.items()} | OWN_REMEDIES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keysync", description="Dub a video with new speech; the lips follow it.")
    parser.add_argument("-v", "--verbose", action="store_true", help="print details while running")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    dub = commands.add_parser("dub", help="dub a video with new speech", epilog=WITHOUT_MODELS)
    dub.add_argument("video", type=Path, metavar="VIDEO")
    dub.add_argument(
        "audio", type=Path, nargs="?", metavar="AUDIO", help="the new speech: an audio file, or a video with sound"
    )
    dub.add_argument(
        "--speaker",
        action="append",
        default=[],
        metavar="SOUND[@PARTS]:face=WHO",
        help="instead of AUDIO, once for each person: who says what, such as a.wav:face=anna.png or "
        "b.wav@0-4.5,7-9:face=1 with the seconds in which b.wav is heard (default: all); WHO as in --face, but a "
        "number counts the people of the video; the sounds are mixed, and who does not speak stays as in the video",
    )
    add_face_options(dub)
    _add_job_options(dub)
    dub.set_defaults(run=_dub)

    batch = commands.add_parser(
        "batch",
        help="dub a list of videos",
        description="Run a list of dubs one after another; a job that fails does not stop the others. JOBS is a CSV "
        "file with the columns video, audio and output, and any option of a dub by name, such as seed; its paths start "
        "from its folder. Or it is a folder of videos and sounds with the same names. Options given here apply to all "
        "jobs. Run again, it leaves out what is done. Exit code: 0 all done, 1 some failed.",
    )
    batch.add_argument("jobs", type=Path, metavar="JOBS")
    batch.add_argument("-o", "--output-folder", type=Path, metavar="FOLDER", help=OUTPUT_FOLDER)
    batch.add_argument("--json", action="store_true", help="print the table as JSON")
    add_face_options(batch)
    _add_job_options(batch, of_one=False)
    batch.set_defaults(run=_batch, video=None, audio=None, output=None, report=None)

    live = commands.add_parser("live", help="dub frames as they come", description=LIVE_HELP)
    add_live_options(live, list(LIVE))
    for option in system_options(LIVE.values()).values():
        option.add(live)
    add_detector_options(live)
    add_network_options(live)
    add_mark_option(live)
    live.set_defaults(run=_live)

    animate = commands.add_parser(
        "animate",
        help="make a picture talk",
        description="Make the head in a picture say a sound: speech, laughs, sighs. The face is found and cut out with "
        "head and shoulders; the result has the size that the models work at, and 25 frames a second.",
    )
    animate.add_argument(
        "picture", type=Path, metavar="PICTURE", help="a picture of any size, or a video's first frame"
    )
    animate.add_argument("audio", type=Path, metavar="AUDIO", help="the sound: an audio file, or a video with sound")
    add_output_options(animate)
    add_head_options(animate)
    for option in system_options(HEADS.values()).values():
        option.add(animate)
    add_work_options(animate)
    animate.set_defaults(run=_animate)

    demo = commands.add_parser("demo", help="dub the built-in video of a rendered person")
    _add_job_options(demo)
    demo.set_defaults(run=_demo)

    add_measuring(commands, _measure, _compare)

    download = commands.add_parser(
        "download",
        help="download the published weights",
        description="Download weights from their hub (HF_ENDPOINT, else huggingface.co) into a folder of models, under "
        "the names that the ComfyUI workflow uses. Each file is listed with its source, size and licence first.",
    )
    download.add_argument("files", choices=list(SETS), help="which weights")
    download.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="folder of models (default: that of the ComfyUI whose custom_nodes holds KeySync, else ./models)",
    )
    download.add_argument("--yes", action="store_true", help="do not ask: the licences are accepted")
    download.set_defaults(run=_download)

    inspect = commands.add_parser("inspect", help="describe a weight file")
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)

    change = commands.add_parser("convert", help="convert a checkpoint to safetensors with metadata")
    change.add_argument("source", type=Path, metavar="IN")
    change.add_argument("target", type=Path, metavar="OUT")
    add_conversion_options(change)
    change.set_defaults(run=_convert)
    return parser


def _add_job_options(parser: argparse.ArgumentParser, *, of_one: bool = True) -> None:
    """Those of a dub; `of_one`: those too that name what one dub writes."""
    if of_one:
        add_output_options(parser)
    systems = f"default: {KEYSYNC.name} with weights of its own, else {AUTOMATIC.name}, which looks at the face"
    parser.add_argument("--system", choices=list(SYSTEMS), help=systems)
    for option in system_options(SYSTEMS.values()).values():
        option.add(parser)
    add_dub_options(parser)
    add_work_options(parser)


def _batch(options: argparse.Namespace) -> bool:
    """Runs all jobs and prints what became of them; whether some failed."""
    from .commands.dub import dub_one
    from .commands.running import Loaded

    dub = argparse.ArgumentParser(add_help=False)
    dub.add_argument("video", type=Path)
    dub.add_argument("audio", type=Path)
    add_face_options(dub)
    _add_job_options(dub)
    batch = Batch.read(options.jobs, options, dub._actions, options.output_folder)
    loaded = Loaded()

    def run(job: argparse.Namespace) -> None:
        try:
            dub_one(job, job.video, job.audio, loaded=loaded)
        except KeySyncError as error:
            options.stop.check()
            raise KeySyncError(in_full(error)) from error
        except Exception:
            options.stop.check()
            loaded.forget()  # their state is unknown
            raise
        finally:
            options.work = getattr(job, "work", None)

    say = partial(print, file=sys.stderr if options.json else None, flush=True)
    outcomes: list[Outcome] = []
    try:
        with redirect_stdout(sys.stderr) if options.json else nullcontext():
            outcomes.extend(batch.run(run, lambda line: say(f"keysync: {line}"), fresh=options.fresh))
    finally:
        print(as_json(outcomes) if options.json else table(outcomes), flush=True)
    return any(outcome.state == FAILED for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
