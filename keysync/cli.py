"""The command `keysync`: dub a video or many, make a picture talk, run the demo, download weights, describe a
checkpoint, convert one.

Exit codes: 0 success, 1 an error (printed on one line), 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP; output
files are always complete. A dub succeeds whether or not its messages can be printed; `inspect`, whose result is
printed, fails where they cannot.
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
import json
import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .batch import FAILED, Batch, Outcome, as_json, table
from .cache import Cache
from .choice import Choice, lines
from .demo import SPEECH, TALK
from .dub import Settings
from .errors import KeySyncError, concerning
from .face.detectors import DETECTORS
from .face.masks import MASKS
from .face.occlusion import AUTO
from .face.track import FaceChoice
from .job import FaceSource, check_job, dub_file
from .media.container import MediaFile, open_input
from .media.writer import check_output
from .progress import Moment
from .provenance import ALGORITHMS, Signing
from .report import DUBBED, PASSED_THROUGH, Report, check_report
from .resume import Work
from .signals import Stop, StoppedError, listening, say_stopped
from .systems.keyface.emotion import EMOTIONS, Emotion
from .systems.keysync.small import BUILT_IN
from .systems.keysync.system import KEYSYNC
from .systems.renderer import Option, Renderer, System
from .systems.table import AUTOMATIC, HEADS, SYSTEMS
from .terminal import PatientStream, ProgressLine, patient_streams
from .threads import threads
from .timeline import SYNC_MODES
from .weights.checkpoint import DTYPES, convert
from .weights.describe import describe
from .weights.download import fetch, hub_address, models_folder, place
from .weights.published import SETS, PublishedFile, in_words
from .who import EVERYONE, SPEAKING, read_choice

if TYPE_CHECKING:
    from .speakers import Speaker

WITHOUT_MODELS = (
    "Without weights a real face is drawn with the mouths of its own clip, and a rendered one by KeySync small; "
    "both are built in."
)
RESUMES = "keysync: stopped; no incomplete result is left, and the same command resumes the dub"
CONTINUES = "keysync: stopped; the same command continues the download"

WORK = "keep unfinished work here instead of beside the output; a run that is killed resumes with it"
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
    "to": "--to",
    "yes": "--yes",
}


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
    return int(failed or (output.lost and options.run in (_inspect, _batch)))


def in_full(error: KeySyncError) -> str:
    """An error with the option that fixes it."""
    remedy = remedies().get(error.about or "")
    return f"{error}{f' ({remedy})' if remedy else ''}"


def remedies() -> dict[str, str]:
    """The option that fixes an error, by `KeySyncError.about`: a system's option `--vae` is the remedy for "vae"."""
    options = _system_options((*SYSTEMS.values(), *HEADS.values()))
    return {name.removesuffix("_model"): option.flag for name, option in options.items()} | OWN_REMEDIES


def _system_options(systems: Iterable[System] | None = None) -> dict[str, Option]:
    """The options of systems by name, by default of those that dub. Raises `ValueError` where two define one
    differently."""
    options: dict[str, Option] = {}
    for system in SYSTEMS.values() if systems is None else systems:
        for option in (*system.files, *system.options):
            if options.setdefault(option.name, option) != option:
                raise ValueError(f"{system.name} defines {option.flag} unlike a system above it: share one option")
    return options


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
    _add_face_options(dub)
    _add_run_options(dub)
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
    _add_face_options(batch)
    _add_run_options(batch, of_one=False)
    batch.set_defaults(run=_batch, video=None, audio=None, output=None, report=None)

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
    _add_animate_options(animate)
    animate.set_defaults(run=_animate)

    demo = commands.add_parser("demo", help="dub the built-in video of a rendered person")
    _add_run_options(demo)
    demo.set_defaults(run=_demo)

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
    change.add_argument("--head-dim", type=int, metavar="N", help="channels per attention head (64 if published)")
    change.add_argument("--latent-size", type=_size, metavar="HxW", help="height x width (64x64 if published)")
    change.add_argument("--audio-guidance", type=float, metavar="X", help="default guidance (5 if published)")
    change.add_argument("--identity-guidance", type=float, metavar="X", help="default guidance (2 if published)")
    change.add_argument(
        "--weak", action="store_true", help="this is the weaker copy that guides a KeyFace interpolation model"
    )
    change.add_argument("--dtype", choices=sorted(DTYPES), help="precision of the stored weights")
    change.set_defaults(run=_convert)
    return parser


def _add_face_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--occluder",
        type=_occluder,
        metavar="MASK_VIDEO",
        help=f"video, white where the face is hidden; {AUTO}: find in the video what covers the mouth",
    )
    _add_finding_options(parser)
    parser.add_argument(
        "--face",
        default="0",
        metavar="WHO",
        help="0 for the largest face in each shot (default), 1 for the next; X,Y for the one at these pixels; a "
        f"picture of the person; {SPEAKING} for the one who speaks in the video; {EVERYONE} for each person while they "
        "speak",
    )
    parser.add_argument(
        "--same-person", action="store_true", help="with a number or X,Y in --face: follow this person through cuts"
    )


def _add_finding_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--landmarks", type=Path, metavar="JSON", help="68 points per frame, instead of a detector")
    parser.add_argument(
        "--detector", choices=sorted(DETECTORS), default="mediapipe", help=f"{_help(DETECTORS)} (default: %(default)s)"
    )
    parser.add_argument("--detector-weights", type=Path, metavar="FOLDER", help="weight files of the detector")


def _add_run_options(parser: argparse.ArgumentParser, *, of_one: bool = True) -> None:
    """Those of a dub; `of_one`: those too that name what one dub writes."""
    if of_one:
        _add_output_options(parser)
    systems = f"default: {KEYSYNC.name} with weights of its own, else {AUTOMATIC.name}, which looks at the face"
    parser.add_argument("--system", choices=list(SYSTEMS), help=systems)
    for option in _system_options().values():
        option.add(parser)
    lengths = "what to do when video and audio have different lengths (default: cut_off)"
    parser.add_argument(
        "--sync-mode", choices=sorted(SYNC_MODES), default="cut_off", help=f"{lengths}; {_help(SYNC_MODES)}"
    )
    region = "the region to generate (default: the mask that the models were trained with)"
    parser.add_argument("--mask", choices=sorted(MASKS), help=f"{region}; {_help(MASKS)}")
    parser.add_argument(
        "--quiet-mouth",
        action="store_true",
        help="close the mouth wherever the speech pauses, whatever else sounds there",
    )
    parser.add_argument(
        "--align",
        action="store_true",
        help="turn the crops with the head, so that the eyes are level: for tilted heads",
    )
    cache = "keep what is found out about the clip in this folder, for the next dub of the same clip"
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help=cache)
    _add_work_options(parser)


def _add_animate_options(parser: argparse.ArgumentParser) -> None:
    """Those of a talking head."""
    _add_output_options(parser)
    feeling = parser.add_mutually_exclusive_group()
    feeling.add_argument(
        "--emotion",
        default="neutral",
        metavar="STATES",
        help="a state such as happy, states in a row (sad,happy), or states at seconds (0:neutral,2.5:happy); "
        f"the states: {', '.join(EMOTIONS)} (default: %(default)s)",
    )
    feeling.add_argument(
        "--emotion-curve",
        type=Path,
        metavar="FILE",
        help="CSV or JSON with seconds, valence and arousal, both from -1 to 1",
    )
    parser.add_argument("--accentuate", action="store_true", help="make the emotion one and a half times as strong")
    parser.add_argument(
        "--as-original",
        action="store_true",
        help="squash the whole picture instead of finding the face, as KeyFace does",
    )
    _add_finding_options(parser)
    parser.add_argument(
        "--face",
        default="0",
        metavar="WHO",
        help="0 for the largest face (default), 1 for the next; X,Y for the one there",
    )
    for option in _system_options(HEADS.values()).values():
        option.add(parser)
    _add_work_options(parser)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="video: .mp4, .mov or .mkv")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write what happened to each frame")


def _add_work_options(parser: argparse.ArgumentParser) -> None:
    """How a job works, and what its result says of it."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps ...")
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="of the networks (default: fp16 on a GPU, else fp32)")
    parser.add_argument("--lossless", action="store_true", help="write FFV1 in .mkv, which keeps every pixel exactly")
    parser.add_argument("--work-folder", type=Path, metavar="FOLDER", help=WORK)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", dest="fresh", action="store_false", help="go on with unfinished work (default)")
    again.add_argument("--fresh", action="store_true", help="ignore unfinished work and start anew")
    parser.set_defaults(fresh=False)
    parser.add_argument(
        "--no-provenance",
        dest="provenance",
        action="store_false",
        help="do not say in the result's metadata that it is synthetic",
    )
    parser.add_argument(
        "--c2pa", nargs=2, metavar=("CHAIN", "KEY"), help="sign the result: PEM files of certificates and private key"
    )
    parser.add_argument(
        "--c2pa-algorithm", choices=ALGORITHMS, default=ALGORITHMS[0], help="of the key (default: %(default)s)"
    )


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


def _occluder(text: str) -> str | Path:
    return AUTO if text == AUTO else Path(text)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise KeySyncError(f"the device {name!r} is not available ({reason}): try --device cpu") from error
    return device


def _dub(options: argparse.Namespace) -> None:
    from .speakers import read_speaker

    speakers = [read_speaker(text) for text in options.speaker]
    if (options.audio is None) != bool(speakers):
        raise KeySyncError(
            "the speech is missing or given twice: expected either AUDIO or one --speaker for each person"
        )
    _run(options, options.video, options.audio, speakers)


def _animate(options: argparse.Namespace) -> None:
    from .animate import animate_file, check_animation  # here: a dub does not need it

    (system,) = HEADS.values()
    emotion = Emotion.read(options.emotion_curve) if options.emotion_curve else Emotion.of(options.emotion)
    inputs = [options.picture, options.audio]
    settings = Settings(
        seed=options.seed,
        sampling=system.settings(options),
        provenance=options.provenance,
        signing=_signing(options),
    )
    check_animation(options.picture, options.audio, options.output, settings, lossless=options.lossless)
    if options.report:
        check_report(options.report, [path for path in (*inputs, options.landmarks, options.output) if path])
    device = _device(options.device)
    dtype = DTYPES[options.dtype] if options.dtype else None
    face = FaceSource(
        read_choice(options.face), options.detector, options.detector_weights, options.landmarks, device=str(device)
    )
    options.work = Work.beside(options.output, options.work_folder, fresh=options.fresh)
    torch.set_num_threads(options.work.threads() or threads(torch.get_num_threads()))
    files = {option.name: getattr(options, option.name) for option in system.files}
    models = system.load(files, device=device, dtype=dtype)
    with closing(Watched(options.stop)) as progress:
        report = animate_file(
            options.picture,
            options.audio,
            options.output,
            models,
            emotion.accentuated() if options.accentuate else emotion,
            settings,
            face,
            progress,
            as_original=options.as_original,
            lossless=options.lossless,
            work=options.work,
        )
    if options.report:
        report.write(options.report)
    print(f"keysync: {options.output}: {report.frames} frames drawn")
    for line in (*report.notes, report.pace()):
        print(f"  {line}")


def _demo(options: argparse.Namespace) -> None:
    options.landmarks = options.occluder = options.detector_weights = None
    options.detector, options.face, options.same_person = "mediapipe", "0", False
    options.system = options.system or KEYSYNC.name
    _run(options, TALK, SPEECH)


def _batch(options: argparse.Namespace) -> bool:
    """Runs all jobs and prints what became of them; whether some failed."""
    dub = argparse.ArgumentParser(add_help=False)
    dub.add_argument("video", type=Path)
    dub.add_argument("audio", type=Path)
    _add_face_options(dub)
    _add_run_options(dub)
    batch = Batch.read(options.jobs, options, dub._actions, options.output_folder)
    loaded = Loaded()

    def run(job: argparse.Namespace) -> None:
        try:
            _run(job, job.video, job.audio, loaded=loaded)
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


class Loaded:
    """The models of the last job, for the next one that uses the same."""

    def __init__(self) -> None:
        self._key: object = None
        self._models: Renderer | None = None

    def load(self, system: System, files: dict[str, Path | None], device: torch.device, dtype: Any) -> Renderer:
        key = system.name, files, device, dtype, [path and MediaFile.of(path).stamp for path in files.values()]
        if self._models is None or key != self._key:
            self.forget()  # before others are loaded: there may be no room for both
            self._models, self._key = system.load(files, device=device, dtype=dtype), key
        return self._models

    def forget(self) -> None:
        self._models = None


def _run(
    options: argparse.Namespace,
    video: Path,
    audio: Path | None,
    speakers: Sequence[Speaker] = (),
    loaded: Loaded | None = None,
) -> None:
    from .speakers import dub_everyone, dub_speakers

    # Everything is checked before anything large is loaded.
    sounds = [audio] if audio else [Path(str(speaker.sound)) for speaker in speakers]
    masks = None if options.occluder == AUTO else options.occluder
    inputs = [path for path in (video, *sounds, masks) if path]
    for path in inputs:
        with concerning("occluder") if path is masks else nullcontext(), open_input(path):
            pass
    check_output(options.output, inputs, lossless=options.lossless)
    if options.report:
        check_report(options.report, [path for path in (*inputs, options.landmarks, options.output) if path])
    everyone = options.face == EVERYONE
    if speakers and options.face != "0":
        raise KeySyncError("--face has no effect with --speaker: name the face in --speaker, or leave out --face")
    if (speakers or everyone) and options.cache:
        raise KeySyncError("a cache has no effect on several speakers: leave out --cache")
    choice = FaceChoice() if everyone or speakers else read_choice(options.face, kept=options.same_person)
    system = _system(options)
    device = _device(options.device)
    dtype = DTYPES[options.dtype] if options.dtype else None
    settings = Settings(
        sync_mode=options.sync_mode,
        mask=options.mask,
        seed=options.seed,
        sampling=system.settings(options),
        provenance=options.provenance,
        signing=_signing(options),
        quiet_mouth=options.quiet_mouth,
        align=options.align,
    )
    for sound in sounds:
        check_job(video, sound, options.output, settings, occluder=options.occluder, lossless=options.lossless)
    face = FaceSource(choice, options.detector, options.detector_weights, options.landmarks, device=str(device))
    files = {option.name: getattr(options, option.name) for option in system.files}
    options.work = Work.beside(options.output, options.work_folder, fresh=options.fresh)
    # As many as in the run that is resumed: others may round differently.
    torch.set_num_threads(options.work.threads() or threads(torch.get_num_threads()))
    models = (loaded or Loaded()).load(system, files, device, dtype)
    built_in = ", ".join(name for name, origin in models.origins.items() if origin == BUILT_IN)
    if built_in:
        print(
            f"keysync: {BUILT_IN}: {built_in}; trained on rendered faces, real faces need the published weights",
            flush=True,
        )
    job = partial(dub_speakers, video, speakers) if speakers else partial(dub_everyone, video, sounds[0])
    if not speakers and not everyone:
        job = partial(dub_file, video, sounds[0], cache=Cache(options.cache) if options.cache else None)
    with closing(Watched(options.stop)) as progress:
        report = job(
            options.output,
            models,
            settings,
            face,
            progress,
            occluder=options.occluder,
            lossless=options.lossless,
            work=options.work,
        )
    if options.report:
        report.write(options.report)
    _print(report, options.output)


def _system(options: argparse.Namespace) -> System:
    """The system that is asked for; without a word, the one that the given files belong to, or what suits the clip.

    Raises `KeySyncError` for files of another system: they would have no effect.
    """
    given = {name for name, option in _file_options().items() if getattr(options, name) is not None}
    if options.system is not None:
        system = SYSTEMS[options.system]
        foreign = given - {option.name for option in system.files}
        if foreign:
            flag = _file_options()[min(foreign)].flag
            raise KeySyncError(f"the system {system.name} does not use {flag}: leave it out, or choose another system")
        return system
    return next((one for one in SYSTEMS.values() if given & {option.name for option in one.files}), AUTOMATIC)


def _file_options() -> dict[str, Option]:
    return {option.name: option for system in SYSTEMS.values() for option in system.files}


def _signing(options: argparse.Namespace) -> Signing | None:
    if options.c2pa is None:
        return None
    certificate, key = options.c2pa
    return Signing(Path(certificate), Path(key), options.c2pa_algorithm)


class Watched(ProgressLine):
    """The progress of a job; stops it where a signal asks for it."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def show(self, moment: Moment) -> None:
        self._stop.check()
        super().show(moment)


def _print(report: Report, output: Path) -> None:
    dubbed, passed = report.count(DUBBED), report.count(PASSED_THROUGH)
    print(f"keysync: {output}: {dubbed} frames dubbed, {passed} passed through unchanged")
    for part in report.ranges:
        if part.state == PASSED_THROUGH:
            print(f"  frames {part.first}-{part.last} unchanged: {part.reason}")
    for note in report.notes:
        print(f"  {note}")
    print(f"  {report.pace()}")


def _download(options: argparse.Namespace) -> None:
    files, folder = SETS[options.files], options.to or models_folder()
    for file in files:
        print(_described(file, folder))
    total = in_words(sum(file.size for file in files))
    if not options.yes:
        _ask(f"Download {total} from {hub_address()}, by the licences above?")
    for file in files:
        print(f"keysync: {fetch(file, folder)}", flush=True)
    flags = {name.removesuffix("_model"): option.flag for name, option in _system_options().items()}
    words = [word for file in files for word in (flags[file.input], str(place(file, folder)))]
    print(f"keysync: to use them: keysync dub VIDEO AUDIO -o OUT {shlex.join(words)}")


def _described(file: PublishedFile, folder: Path) -> str:
    return (
        f"{place(file, folder)} ({file.what}, about {in_words(file.size)})\n"
        f"  from {file.repository} ({file.owner}): {file.path}, revision {file.revision}\n"
        f"  licence: {file.licence}\n"
        f"  SHA-256: {file.sha256 or 'unknown; compared with what the hub states'}"
    )


def _ask(question: str) -> None:
    """Raises `KeySyncError` unless a person says yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise KeySyncError("nothing is downloaded without consent, and there is no terminal to ask at", about="yes")
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeySyncError("nothing is downloaded: the answer was not yes")


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
        weak=options.weak,
        dtype=dtype,
    )
    print(f"keysync: wrote {options.target}")


if __name__ == "__main__":
    sys.exit(main())
